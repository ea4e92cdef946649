"""Publishes an experiment's trained networks in the zoo: files, entries and cards."""

import dataclasses
import io
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable

import h5py
import keras
import numpy as np

from keras_gappos.files import weights_in_memory, write_bytes
from keras_gappos.zoo import ZooFile, ZooModel, archive
from keras_gappos.zoo.cache import digest_of
from keras_gappos.zoo.card import format_card, format_readme
from keras_gappos.zoo.loading import build, load_given_weights, outputs_of
from keras_gappos.zoo.registry import FILE_NAME, format_registry, parse_registry
from keras_gappos.zoo.saved_model import check_backend, export_archive

LIMITS = {"weights": 25_000_000, "saved_model": 50_000_000}  # bytes of a file
ZOO_LIMIT = 250_000_000  # bytes of all files
_NAMES = {"weights": "model.weights.h5", "saved_model": "saved_model.zip", "sample": "sample.npz"}
_HALF = 1e-2  # largest change of an output by float16 weights
# Bytes. Smaller weights stay float32: rounding changed 1 of 800 predictions of a digits network,
# and a card's scores should be reproducible to the last digit.
_SMALL = 12_000_000
_LEVELS = 16  # of brightness in a sample, so that it compresses well


def publish(
    results_dir: str | os.PathLike,
    zoo_dir: str | os.PathLike,
    registry_dir: str | os.PathLike,
    tag: str | None = None,
    replace: bool = False,
    data_note: str | None = None,
    log: Callable[[str], object] = print,
    *,
    entries_of: Callable[[pathlib.Path, str | None], list],
) -> list[ZooModel]:
    """Adds an experiment's trained networks to the zoo, or updates them.

    Files of a model whose weights are already in the zoo do not change, so the same results give
    the same entry. The zoo changes only after all files are complete.

    Args:
        results_dir: the experiment's output folder.
        zoo_dir: folder of the zoo's files; its README is rewritten.
        registry_dir: folder of `registry.json`, which is written last.
        tag: suffix for the models' names, such as `"tuned"`, or `None`.
        replace: whether to replace models of the same names that come from other results.
        data_note: a note about the data for the cards; `None` keeps the present notes.
        log: function of a line of text.
        entries_of: function of (path of `results.json`, tag) that returns the networks to publish,
            each with a `name`, the `fields` of a `ZooModel`, and the path of the `weights`.

    Returns:
        The entries of these networks.

    Raises:
        ValueError: for results that cannot be published, weights of another network, files that are
            too large, a model of other results, or a backend other than TensorFlow, which
            SavedModels need. The zoo is then unchanged.
        OSError: if a folder cannot be read or written.
    """
    check_backend()
    results = pathlib.Path(results_dir).expanduser().absolute() / "results.json"
    zoo_dir = pathlib.Path(zoo_dir).expanduser().absolute()
    registry = pathlib.Path(registry_dir) / FILE_NAME
    models = parse_registry(registry.read_text("utf-8")) if registry.is_file() else {}
    found = entries_of(results, tag)
    place = pathlib.Path(os.path.relpath(results, zoo_dir.parent)).as_posix()
    if not replace:
        _check_owners([publication.name for publication in found], models, place)
    commit = _commit_of(results)
    if not commit:
        log(f"{results} is not committed: the cards will name no commit.")
    zoo_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adding", dir=zoo_dir) as temporary:
        made = pathlib.Path(temporary)
        added = {}
        for publication in found:
            former = models.get(publication.name)
            note = former.data_note if former and data_note is None else data_note
            model = ZooModel(
                **publication.fields, data_note=note or "", results=place, commit=commit, files={}
            )
            weights = results.parent / publication.weights
            files = _files(model, weights, made, former, zoo_dir)
            added[model.name] = dataclasses.replace(model, files=files)
            log(f"{model.name}: {sum(file.bytes for file in files.values()) / 1e6:.1f} MB")
        models |= added
        _check_total(models.values())
        for path in sorted(made.glob("*/*")):
            (zoo_dir / path.parent.name).mkdir(exist_ok=True)
            os.replace(path, zoo_dir / path.relative_to(made))
    for model in added.values():
        _write(zoo_dir / model.name / "card.md", format_card(model))
    _write(zoo_dir / "README.md", format_readme(models.values()))
    _write(registry, format_registry(models.values()))
    return list(added.values())


def _check_owners(names, models, place):
    """Raises a `ValueError` if one of the names belongs to a model of other results."""
    for name in names:
        if name in models and models[name].results != place:
            raise ValueError(
                f"`results_dir` has {name}, which the zoo has from {models[name].results}: set "
                f"`tag` to publish it under another name, or `replace`. Received: {place}"
            )


def _files(model, weights, made, former, zoo_dir):
    """Creates the files of a model in `made`, unless the zoo has them; `ZooFile`s by kind."""
    network = build(model)
    load_given_weights(network, weights, model.name)
    folder = made / model.name
    folder.mkdir()
    paths = {kind: folder / name for kind, name in _NAMES.items()}
    _save_weights(network, paths["weights"], model)
    digest = digest_of(paths["weights"])
    if former and former.files["weights"].sha256 == digest and _are_there(former, zoo_dir):
        paths["weights"].unlink()
        return former.files
    load_given_weights(network, paths["weights"], model.name)
    inputs = sample_inputs(model)
    outputs = outputs_of(model, network, inputs).astype("float16")
    np.savez_compressed(paths["sample"], inputs=inputs, outputs=outputs)
    export_archive(model, network, paths["saved_model"])
    return {kind: _zoo_file(model, kind, path) for kind, path in paths.items()}


def _zoo_file(model, kind, path):
    name, size = f"{model.name}/{path.name}", path.stat().st_size
    _check_size(name, kind, size)
    unpacked = archive.unpacked_bytes(path) if kind == "saved_model" else None
    return ZooFile(name, size, digest_of(path), unpacked)


def _are_there(model, zoo_dir):
    files = ((zoo_dir / file.path, file) for file in model.files.values())
    return all(path.is_file() and digest_of(path) == file.sha256 for path, file in files)


def _save_weights(network, path, model):
    """Saves weights; large ones as float16, if that hardly changes the outputs."""
    fresh = build(model)  # with random generators in their first state
    fresh.set_weights(network.get_weights())
    write_bytes(path, weights_in_memory(fresh).getbuffer())
    if path.stat().st_size <= _SMALL:
        return
    half = path.with_name("half.weights.h5")
    content = io.BytesIO()
    with h5py.File(path) as source, h5py.File(content, "w") as target:
        copy_as_float16(source, target)
    write_bytes(half, content.getbuffer())
    inputs = sample_inputs(model, 2 if model.task == "segmentation" else 16)
    wanted = outputs_of(model, network, inputs)
    load_given_weights(fresh, half, model.name)
    got = outputs_of(model, fresh, inputs)
    same_top1 = (wanted.argmax(-1) == got.argmax(-1)).all()
    if np.abs(got - wanted).max() <= _HALF and same_top1:
        os.replace(half, path)
    half.unlink(missing_ok=True)


def copy_as_float16(source: h5py.Group, target: h5py.Group) -> None:
    """Copies an HDF5 group into an empty one, with float32 arrays as float16."""
    target.attrs.update(source.attrs)
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            copy_as_float16(item, target.create_group(name))
        else:
            values = item[()]
            half = values.astype("float16") if values.dtype == np.float32 else values
            target.create_dataset(name, data=half).attrs.update(item.attrs)


def sample_inputs(model: ZooModel, count: int = 1) -> np.ndarray:
    """Smooth noise for a model, the same at each call.

    Returns:
        Preprocessed images, float32 `(count, height, width, channels)`.
    """
    height, width, channels = model.input_shape
    coarse = np.random.default_rng(0).random((count, 8, 8, channels), "float32")
    images = keras.ops.image.resize(coarse, (height, width), data_format="channels_last")
    levels = np.floor(keras.ops.convert_to_numpy(images) * _LEVELS).clip(0, _LEVELS - 1)
    return model.preprocess(levels / np.float32(_LEVELS - 1))


def _check_size(path, kind, count):
    if count > LIMITS.get(kind, count):
        raise ValueError(
            f"{path} must have at most {LIMITS[kind]:,} bytes. Received: {count:,}. Publish a "
            "narrower network."
        )


def _check_total(models):
    total = sum(file.bytes for model in models for file in model.files.values())
    if total > ZOO_LIMIT:
        raise ValueError(f"The zoo must have at most {ZOO_LIMIT:,} bytes. Received: {total:,}")


def _commit_of(results):
    """The last commit of the results, or "" if they are not committed."""
    try:
        if _git(results, "status", "--porcelain"):
            return ""
        return _git(results, "log", "-1", "--format=%H")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(path, *command):
    """The output of a git command about a file."""
    return subprocess.run(
        ["git", *command, "--", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _write(path, text):
    write_bytes(path, text.encode())
