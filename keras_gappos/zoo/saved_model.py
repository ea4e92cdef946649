"""SavedModels of pretrained models: for the zoo, and made where none is at hand."""

from __future__ import annotations

import os
import pathlib
import tempfile

import keras

from keras_gappos.surgery.graph import in_inference
from keras_gappos.zoo import archive
from keras_gappos.zoo.loading import build, load_weights, with_preprocessing
from keras_gappos.zoo.model import ZooModel

RAW_ENDPOINT = "serve_images"  # of a SavedModel; `serve` takes prepared inputs


def check_backend() -> None:
    """Raises a `ValueError` if the backend is not TensorFlow, whose format SavedModels are."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "SavedModels need the TensorFlow backend: set KERAS_BACKEND=tensorflow, after pip "
            f"install 'keras-gappos[tensorflow]'. Received: {keras.backend.backend()}"
        )


def make_archive(model: ZooModel, weights: pathlib.Path, path: pathlib.Path) -> None:
    """Makes the archive of a model's SavedModel from its weights.

    Args:
        model: the model's entry.
        weights: its verified weights file.
        path: the archive, which appears only when complete.
    """
    network = build(model)
    load_weights(network, weights, model.name)
    export_archive(model, network, path)


def export_archive(model: ZooModel, network: keras.Model, path: pathlib.Path) -> None:
    """Exports a network of the zoo as a zip archive of a SavedModel.

    Args:
        model: the network's entry.
        network: the network with its weights.
        path: the archive, which appears only when complete.
    """
    prefix = archive.UNFINISHED
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as temporary:
        folder, packed = (pathlib.Path(temporary) / name for name in ("exported", path.name))
        export(model, network, folder)
        archive.pack(folder, packed)
        os.replace(packed, path)


def export(model: ZooModel, network: keras.Model, folder: pathlib.Path) -> None:
    """Writes a SavedModel in inference: `serve` takes prepared inputs, `serve_images` uint8."""
    images = with_preprocessing(model, network)
    exported = keras.export.ExportArchive()
    for name, part, dtype in (("serve", network, "float32"), (RAW_ENDPOINT, images, "uint8")):
        part = in_inference(part)
        specs = [
            keras.InputSpec(
                shape=tensor.shape,
                dtype=tensor.dtype if tensor.dtype == "int32" else dtype,
                name=tensor.name,
            )
            for tensor in part.inputs
        ]
        exported.track_and_add_endpoint(name, part, specs if len(specs) == 1 else [specs])
    exported.write_out(str(folder), verbose=False)
