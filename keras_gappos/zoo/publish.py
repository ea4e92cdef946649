"""An experiment's trained networks as models of the zoo: their files, entries and cards."""

import dataclasses
import os
import pathlib
import subprocess
import tempfile
import zipfile

import h5py
import keras
import numpy as np

from keras_gappos.files import replacing
from keras_gappos.zoo import ZooFile, ZooModel, archive
from keras_gappos.zoo.cache import digest_of
from keras_gappos.zoo.card import format_card, format_readme
from keras_gappos.zoo.loading import build, load_given_weights, outputs_of
from keras_gappos.zoo.registry import FILE_NAME, format_registry, parse_registry

LIMITS = {"weights": 25_000_000, "saved_model": 50_000_000}  # bytes of a file
ZOO_LIMIT = 250_000_000  # bytes of all files
_NAMES = {"weights": "model.weights.h5", "saved_model": "saved_model.zip", "sample": "sample.npz"}
_HALF = 1e-2  # how far float16 weights may move the outputs
# Bytes of float32 weights that are not worth rounding: it changed one of 800 answers of a digits
# network, and then the scores of a card are not to be had again to the last digit.
_SMALL = 12_000_000
_LEVELS = 16  # of the brightness in a sample, so that it packs well
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can hold


def publish(
    results_dir,
    zoo_dir,
    registry_dir,
    tag=None,
    replace=False,
    data_note=None,
    log=print,
    *,
    entries_of,
) -> list[ZooModel]:
    """Adds the networks that an experiment has trained to the zoo, or brings them up to date.

    The files of a model whose weights are in the zoo already stay as they are, so that the same
    results give the same entry. Nothing is moved into the zoo before everything is made.

    Args:
        results_dir: the experiment's output folder.
        zoo_dir: folder of the zoo's files; its README is written anew.
        registry_dir: folder of `registry.json`, which is written last.
        tag: is put behind the models' names, such as `"tuned"`; `None` leaves them as they are.
        replace: whether models of these names may be replaced that other results have given.
        data_note: what else is to be known about the data, for the cards; `None` keeps what the
            models' cards have.
        log: function of a line of text.
        entries_of: function of (path of `results.json`, tag) that gives the networks to publish,
            as `keras_gappos.experiments.catalog` does: `name`, `fields` of a `ZooModel`, and the
            path of the `weights`.

    Returns:
        The entries of these networks.

    Raises:
        ValueError: for results that the zoo does not take, weights of another network, files that
            are too large, a model of other results, or another backend than TensorFlow, which
            SavedModels need; what was in the zoo is as before then.
        OSError: if a folder cannot be read or written.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "SavedModels are made on TensorFlow: set KERAS_BACKEND=tensorflow. Received: "
            f"{keras.backend.backend()}"
        )
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
        log(f"{results} is not committed as it is, and the cards name no commit of it.")
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
    """Raises a `ValueError` if one of the names is that of a model of other results."""
    for name in names:
        if name in models and models[name].results != place:
            raise ValueError(
                f"`results_dir` has {name}, which the zoo has from {models[name].results}: give a "
                f"`tag`, or say that it shall `replace` that one. Received: {place}"
            )


def _files(model, weights, made, former, zoo_dir):
    """Makes the files of a model in `made`, if they are not in the zoo yet; `ZooFile`s by kind."""
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
    with tempfile.TemporaryDirectory(prefix=".exported", dir=made) as unpacked:
        network.export(unpacked, format="tf_saved_model", verbose=False)
        zip_folder(pathlib.Path(unpacked), paths["saved_model"])
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
    """Saves large weights as float16, if the network answers alike with them, else as they are."""
    fresh = build(model)  # with the random generators' first states, whatever was drawn since
    fresh.set_weights(network.get_weights())
    fresh.save_weights(path)
    if path.stat().st_size <= _SMALL:
        return
    half = path.with_name("half.weights.h5")
    with h5py.File(path) as source, h5py.File(half, "w") as target:
        copy_as_float16(source, target)
    inputs = sample_inputs(model, 2 if model.task == "segmentation" else 16)
    wanted = outputs_of(model, network, inputs)
    load_given_weights(fresh, half, model.name)
    got = outputs_of(model, fresh, inputs)
    same_top1 = (wanted.argmax(-1) == got.argmax(-1)).all()
    if np.abs(got - wanted).max() <= _HALF and same_top1:
        os.replace(half, path)
    half.unlink(missing_ok=True)


def copy_as_float16(source, target):
    """Copies an HDF5 group, its float32 arrays as float16.

    Args:
        source: `h5py.Group` to read.
        target: `h5py.Group` to write, empty.
    """
    target.attrs.update(source.attrs)
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            copy_as_float16(item, target.create_group(name))
        else:
            values = item[()]
            half = values.astype("float16") if values.dtype == np.float32 else values
            target.create_dataset(name, data=half).attrs.update(item.attrs)


def sample_inputs(model, count=1):
    """Smooth noise for a model of the zoo, the same at each call.

    Args:
        model: a `ZooModel`.
        count: number of images.

    Returns:
        float32 `(count, height, width, channels)`, as the network takes them.
    """
    height, width, channels = model.input_shape
    coarse = np.random.default_rng(0).random((count, 8, 8, channels), "float32")
    images = keras.ops.image.resize(coarse, (height, width), data_format="channels_last")
    levels = np.floor(keras.ops.convert_to_numpy(images) * _LEVELS).clip(0, _LEVELS - 1)
    return model.preprocess(levels / np.float32(_LEVELS - 1))


def zip_folder(folder, path):
    """Packs a folder, so that the same files give the same archive.

    Args:
        folder: a `pathlib.Path`.
        path: of the archive.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _ZIP_DATE)
            member.external_attr = 0o644 << 16
            packed.writestr(member, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


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
    """The commit that the results were recorded with, or "" if they are in none as they are."""
    try:
        if _git(results, "status", "--porcelain"):
            return ""
        return _git(results, "log", "-1", "--format=%H")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(path, *command):
    """What git says about a file."""
    return subprocess.run(
        ["git", *command, "--", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _write(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")
