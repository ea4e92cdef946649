"""The experiments by name: all that the command line and the zoo need to know of them."""

from __future__ import annotations

import importlib
import pathlib
from typing import TYPE_CHECKING, Any

from keras_gappos.experiments.engine.settings import TrainingSettings

if TYPE_CHECKING:
    from keras_gappos.experiments.engine.experiment import Experiment
    from keras_gappos.experiments.engine.zoo_entry import Publication
    from keras_gappos.zoo import ZooModel

# Each is a folder with `settings`, whose docstring is the command's help, and `run`.
EXPERIMENTS = ("location", "invariance", "attack", "probe")


def settings_class(name: str) -> type[TrainingSettings]:
    """The class of an experiment's settings, without an import of Keras."""
    module = importlib.import_module(f"keras_gappos.experiments.{name}.settings")
    return getattr(module, f"{name.capitalize()}Settings")


def experiment_class(name: str) -> type[Experiment]:
    """An experiment's class."""
    module = importlib.import_module(f"keras_gappos.experiments.{name}.run")
    return getattr(module, name.capitalize())


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
    from keras_gappos.experiments.engine.devices import dtype_policy
    from keras_gappos.zoo import fetch, info
    from keras_gappos.zoo.loading import build, load_weights

    model = info(name)
    kind = experiment_class(model.experiment)
    experiment = kind(kind.Settings.from_recorded(model.settings, data_dir=data_dir))
    with dtype_policy(experiment.settings.precision):
        network = build(model)
        load_weights(network, fetch(name), name)
        metrics = experiment.measure(model.key, network)
    return {metric: metrics[metric] for metric in model.metrics}


def publications(results: dict, tag: str | None = None) -> list[Publication]:
    """The networks that an experiment trained, for publication.

    Args:
        results: the content of a `results.json`.
        tag: suffix of the names: lowercase letters, digits and underscores, or `None`.

    Raises:
        ValueError: for another tag or experiment, or if there is no network.
    """
    from keras_gappos.experiments.engine import zoo_entry

    classes = {name: experiment_class(name) for name in EXPERIMENTS}
    known = {name: found.zoo_entry for name, found in classes.items() if found.zoo_entry}
    found = known.get(results["experiment"])
    if found is None:
        raise ValueError(
            f"`results_dir` must hold results of one of {tuple(known)}. "
            f"Received: {results['experiment']!r}"
        )
    return zoo_entry.publications(results, found.entries, tag)


def publish(*args: Any, **kwargs: Any) -> list[ZooModel]:
    """Adds an experiment's networks to the zoo: `zoo.publish.publish` with these experiments."""
    from keras_gappos.zoo.publish import publish

    return publish(*args, **kwargs, entries_of=_entries_of)


def _entries_of(results: pathlib.Path, tag: str | None) -> list[Publication]:
    from keras_gappos.experiments.engine.results import read_results

    return publications(read_results(results), tag)
