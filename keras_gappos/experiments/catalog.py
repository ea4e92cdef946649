"""The experiments by name: all that the command line and the zoo need to know of them."""

from __future__ import annotations

import pathlib
from typing import Any

from keras_gappos.experiments.attack.run import Attack
from keras_gappos.experiments.engine import zoo_entry
from keras_gappos.experiments.engine.experiment import Experiment
from keras_gappos.experiments.engine.results import read_results
from keras_gappos.experiments.engine.settings import dtype_policy
from keras_gappos.experiments.invariance.run import Invariance
from keras_gappos.experiments.location.run import Location
from keras_gappos.experiments.probe.run import Probe
from keras_gappos.zoo import ZooModel, fetch, info
from keras_gappos.zoo import publish as zoo_publish
from keras_gappos.zoo.loading import build, load_weights

EXPERIMENTS: dict[str, type[Experiment]] = {
    experiment.name: experiment for experiment in (Location, Invariance, Attack, Probe)
}


def score(name: str, data_dir: str | None = None) -> dict[str, float]:
    """Scores a zoo model as its card describes.

    With the card's seed, the scores are the same on the same backend.

    Args:
        name: a model's name; see `keras_gappos.zoo.list_models`.
        data_dir: folder of prepared TensorFlow Datasets; `None` is ~/tensorflow_datasets.

    Returns:
        A dictionary with the keys of `ZooModel.metrics`, measured now, in percent.

    Raises:
        ValueError: for an unknown name.
        OSError: if the weights or the data cannot be fetched.
    """
    model = info(name)
    kind = EXPERIMENTS[model.experiment]
    experiment = kind(kind.Settings.from_recorded(model.settings, data_dir=data_dir))
    with dtype_policy(experiment.settings.precision):
        network = build(model)
        load_weights(network, fetch(name), name)
        metrics = experiment.measure(model.key, network)
    return {metric: metrics[metric] for metric in model.metrics}


def publications(results: dict, tag: str | None = None) -> list[zoo_entry.Publication]:
    """The networks that an experiment trained, for publication.

    Args:
        results: the content of a `results.json`.
        tag: suffix of the names: lowercase letters, digits and underscores, or `None`.

    Raises:
        ValueError: for another tag or experiment, or if there is no network.
    """
    known = {name: kind.zoo_entry for name, kind in EXPERIMENTS.items() if kind.zoo_entry}
    found = known.get(results["experiment"])
    if found is None:
        raise ValueError(
            f"`results_dir` must hold results of one of {tuple(known)}. "
            f"Received: {results['experiment']!r}"
        )
    return zoo_entry.publications(results, found.entries, tag)


def publish(*args: Any, **kwargs: Any) -> list[ZooModel]:
    """Adds an experiment's networks to the zoo: `zoo.publish.publish` with these experiments."""
    return zoo_publish.publish(*args, **kwargs, entries_of=_entries_of)


def _entries_of(results: pathlib.Path, tag: str | None) -> list[zoo_entry.Publication]:
    return publications(read_results(results), tag)
