"""Verifies cached files by SHA-256, and networks by their stored outputs."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_gappos.zoo import archive
from keras_gappos.zoo.cache import (
    cached_path,
    fetch,
    fetch_file,
    is_intact,
    made_archive_path,
)
from keras_gappos.zoo.loading import load, outputs_of
from keras_gappos.zoo.model import ZooModel
from keras_gappos.zoo.registry import info, list_models

# Largest difference from the stored outputs, relative to the largest of them. Half of it is for
# their float16 storage; the rest is 100 times the difference between backends in float32.
TOLERANCE = 1e-3
UNPACKED = "saved_model, unpacked"
_BAD = ("damaged", "differs", "failed")


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of checking one file or one network.

    Attributes:
        model: the model's name.
        part: `"weights"`, `"saved_model"`, `"saved_model, unpacked"` or `"sample"`; or the
            network's loader, such as `"tf.saved_model.load"`.
        state: for a file `"intact"`, `"not cached"`, `"damaged"` or `"not checked"`; for a network
            `"same outputs"`, `"differs"`, `"failed"` or `"skipped"`.
        detail: the reason or the remedy; may be empty.
    """

    model: str
    part: str
    state: str
    detail: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether the check failed; uncached files and skipped checks are fine."""
        return self.state in _BAD


def verify(
    name: str | None = None,
    reload: bool = False,
    on_finding: Callable[[Finding], None] | None = None,
) -> list[Finding]:
    """Verifies the cached files, and with `reload` the networks' outputs.

    Without `reload` nothing is fetched, loaded or changed.

    Args:
        name: a model's name, see `list_models`; `None` means all.
        reload: whether to run each model, and its SavedModel on TensorFlow, on the stored input,
            fetching missing or damaged files. The outputs must have the same top-1 as the stored
            ones and match them to `TOLERANCE` of the largest. For a model that is random by design,
            the SavedModel is compared with the first outputs of the loaded model, since the state
            of the random generator is one of the weights.
        on_finding: called with each finding at once.

    Returns:
        A list of `Finding`.

    Raises:
        ValueError: for an unknown name.

    Examples:
        >>> any(finding.is_bad for finding in keras_gappos.zoo.verify("resnet18.cifar10"))
        False
    """
    names = list_models() if name is None else [info(name).name]
    findings = []
    for model in map(info, names):
        for look in (check_files, reload_model) if reload else (check_files,):
            for finding in look(model):
                findings.append(finding)
                if on_finding is not None:
                    on_finding(finding)
    return findings


def check_files(model: ZooModel) -> Iterator[Finding]:
    """Yields a `Finding` for each file of a model, and for its unpacked SavedModel."""
    for kind, file in model.files.items():
        path, made = cached_path(file), made_archive_path(model)
        if kind == "saved_model" and not os.path.exists(path) and os.path.exists(made):
            path, state = made, state_of(True, archive.is_whole(made))
        else:
            state = state_of(os.path.exists(path), is_intact(path, file))
        yield Finding(model.name, kind, state, _remedy(model.name, kind, state))
        if kind == "saved_model":
            yield _check_unpacked(model, path, state)


def _check_unpacked(model, path, state):
    folder = path.with_suffix("")
    if os.path.exists(folder) and state != "intact":
        reason = f"its archive is {state}"
        return Finding(model.name, UNPACKED, "not checked", reason)
    there = os.path.exists(folder)
    unpacked = state_of(there, there and archive.matches(path, folder))
    return Finding(model.name, UNPACKED, unpacked, _remedy(model.name, "saved_model", unpacked))


def state_of(exists: bool, intact: bool) -> str:
    """The `Finding.state` of a file or folder in the cache."""
    if not exists:
        return "not cached"
    return "intact" if intact else "damaged"


def _remedy(name, kind, state):
    if state != "damaged":
        return ""
    commands = {
        "weights": f"fetch {name}",
        "saved_model": f"fetch {name} --format saved_model",
        "sample": f"verify {name} --reload",
    }
    return f"`keras-gappos zoo {commands[kind]}` fetches it again"


def reload_model(model: ZooModel) -> Iterator[Finding]:
    """Loads and runs a model, and its SavedModel on TensorFlow; yields a `Finding` for each."""
    with warnings.catch_warnings():
        # `check_files` has reported damaged files.
        warnings.filterwarnings("ignore", ".* is damaged", UserWarning)
        yield _compared(model, "kg.zoo.load", _run_network)
        # The stored output of a random model is that of the layer before the permutation.
        wanted = _first_outputs if model.is_random else None
        obstacle = _obstacle(model.files, keras.backend.backend())
        for part, run in (("tf.saved_model.load", _run_served), ("TFSMLayer", _run_layer)):
            if obstacle:
                yield Finding(model.name, part, "skipped", obstacle)
            else:
                yield _compared(model, part, run, wanted)


def _obstacle(files, backend):
    """Why a SavedModel cannot be run; empty if it can."""
    if "saved_model" not in files:
        return "the zoo has no SavedModel of it"
    return "" if backend == "tensorflow" else "needs the TensorFlow backend"


def _compared(model, part, run, wanted=None):
    """Compares the outputs of `run` for the stored input with `wanted`, or the stored output."""
    try:
        with np.load(fetch_file(model.files["sample"])) as sample:
            inputs, stored = (sample[key].astype("float32") for key in ("inputs", "outputs"))
        if wanted is not None:
            stored = wanted(model, inputs)
        got = np.asarray(run(model, inputs))
    except Exception as error:  # any failure is a finding
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(model.name, part, "failed", reason)
    difference = find_difference(got, stored)
    return Finding(model.name, part, "differs" if difference else "same outputs", difference)


def _run_network(model, inputs):
    return outputs_of(model, load(model.name), inputs)


def _first_outputs(model, inputs):
    return keras.ops.convert_to_numpy(load(model.name)(inputs))


def _run_served(model, inputs):
    import tensorflow as tf

    served = tf.saved_model.load(str(fetch(model.name, "saved_model")))
    return served.serve(inputs)


def _run_layer(model, inputs):
    folder = fetch(model.name, "saved_model")
    return keras.layers.TFSMLayer(str(folder), call_endpoint="serve")(inputs)


def find_difference(got: np.ndarray, stored: np.ndarray) -> str:
    """Describes how outputs differ from the stored ones by more than the tolerance.

    Args:
        got: array of outputs, classes last.
        stored: array of the stored outputs.

    Returns:
        One line, empty if they agree. The top-1 may differ if the two largest stored outputs are
        within the tolerance of each other.
    """
    if got.shape != stored.shape:
        return f"outputs of shape {got.shape}, not {stored.shape}"
    if not np.isfinite(got).all():
        return "outputs that are not finite"
    allowed = TOLERANCE * np.abs(stored).max()
    largest = np.abs(got - stored).max()
    if largest > allowed:
        return f"outputs differ by up to {largest:.2g}; {allowed:.2g} is allowed"
    best = np.sort(stored, axis=-1)[..., -2:]
    changed = (got.argmax(-1) != stored.argmax(-1)) & (best[..., -1] - best[..., 0] > allowed)
    return f"the top-1 of {changed.sum()} of {changed.size} differs" if changed.any() else ""
