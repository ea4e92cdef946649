"""An experiment's trained networks as models of the zoo: their files, entries and cards."""

import os
import pathlib
import subprocess
import tempfile
import zipfile

import h5py
import keras
import numpy as np

from keras_gappos.experiments.given_weights import load_given_weights
from keras_gappos.experiments.publishing_entries import publications
from keras_gappos.experiments.results import read_results
from keras_gappos.files import replacing
from keras_gappos.zoo import ZooFile, ZooModel
from keras_gappos.zoo.cache import digest_of
from keras_gappos.zoo.card import format_card, format_readme
from keras_gappos.zoo.loading import build, outputs_of
from keras_gappos.zoo.registry import FILE_NAME, format_registry, parse_registry

LIMITS = {"weights": 25_000_000, "saved_model": 50_000_000}  # bytes of a file
ZOO_LIMIT = 250_000_000  # bytes of all files
_NAMES = {"weights": "model.weights.h5", "saved_model": "saved_model.zip", "sample": "sample.npz"}
_HALF = 1e-2  # how far float16 weights may move the outputs
_SMALL = 12_000_000  # bytes of float32 weights that are not worth rounding
_LEVELS = 16  # of the brightness in a sample, so that it packs well
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can hold


def publish(results_dir, zoo_dir, registry_dir, log=print) -> list[ZooModel]:
    """Adds the networks that an experiment has trained to the zoo, or brings them up to date.

    The files of a model whose weights are in the zoo already stay as they are, so that the same
    results give the same entry.

    Args:
        results_dir: the experiment's output folder.
        zoo_dir: folder of the zoo's files; its README is written anew.
        registry_dir: folder of `registry.json`, which is written last.
        log: function of a line of text.

    Returns:
        The entries of these networks.

    Raises:
        ValueError: for results that the zoo does not take, weights of another network, files that
            are too large, or another backend than TensorFlow, which SavedModels need; the registry
            is as before then.
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
    commit = _commit_of(results)
    added = []
    for publication in publications(read_results(results)):
        model = ZooModel(
            **publication.fields,
            results=pathlib.Path(os.path.relpath(results, zoo_dir.parent)).as_posix(),
            commit=commit,
            files={},
        )
        weights = results.parent / publication.row["weights"]
        files = _files(model, weights, zoo_dir, models.get(model.name))
        added.append(_with_files(model, files))
        log(f"{model.name}: {sum(file.bytes for file in files.values()) / 1e6:.1f} MB")
    models |= {model.name: model for model in added}
    _check_total(models.values())
    for model in added:
        _write(zoo_dir / model.name / "card.md", format_card(model))
    _write(zoo_dir / "README.md", format_readme(models.values()))
    _write(registry, format_registry(models.values()))
    return added


def _with_files(model, files):
    fields = {name: getattr(model, name) for name in model.__dataclass_fields__}
    return ZooModel(**fields | {"files": files})


def _files(model, weights, zoo_dir, former):
    """Makes the files of a model that are not in the zoo yet; `ZooFile`s by kind."""
    network = build(model)
    load_given_weights(network, weights, model.name)
    folder = zoo_dir / model.name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=zoo_dir) as temporary:
        temporary = pathlib.Path(temporary)
        made = temporary / _NAMES["weights"]
        _save_weights(network, made, model)
        digest = digest_of(made)
        if former and former.files["weights"].sha256 == digest and _are_there(former, zoo_dir):
            return former.files
        load_given_weights(network, made, model.name)
        inputs = sample_inputs(model)
        outputs = outputs_of(model, network, inputs).astype("float16")
        np.savez_compressed(temporary / _NAMES["sample"], inputs=inputs, outputs=outputs)
        unpacked = temporary / "saved_model"
        network.export(str(unpacked), format="tf_saved_model", verbose=False)
        zip_folder(unpacked, temporary / _NAMES["saved_model"])
        for kind, name in _NAMES.items():
            _check_size(f"{model.name}/{name}", kind, (temporary / name).stat().st_size)
        for name in _NAMES.values():
            os.replace(temporary / name, folder / name)
        unpacked_bytes = sum(path.stat().st_size for path in unpacked.rglob("*"))
    files = {}
    for kind, name in _NAMES.items():
        path = folder / name
        files[kind] = ZooFile(
            f"{model.name}/{name}",
            path.stat().st_size,
            digest_of(path),
            unpacked_bytes if kind == "saved_model" else None,
        )
    return files


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
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _ZIP_DATE)
            member.external_attr = 0o644 << 16
            archive.writestr(member, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


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
    """The commit that the results were recorded with, or "" if they are in none."""
    try:
        found = subprocess.run(
            ["git", "log", "-1", "--format=%H", "--", results.name],
            cwd=results.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def _write(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")
