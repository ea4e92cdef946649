"""Entries of a registry, and small models that a zoo can hold."""

import hashlib
import shutil

import keras
import numpy as np

from keras_gappos.zoo import ZooFile, ZooModel, archive
from keras_gappos.zoo.loading import build, outputs_of

ARGUMENTS = {"depth": 18, "input_shape": (8, 8, 1), "num_classes": 3, "width": 2}
GRID_ARGUMENTS = {"depth": 18, "input_shape": (16, 16, 1), "num_outputs": 4, "width": 2}


def entry(name="resnet18.digits", **values):
    defaults = {
        "builder": "resnet",
        "arguments": ARGUMENTS,
        "about": "A plain network.",
        "task": "classification",
        "grid_size": 1,
        "dataset": "digits",
        "data_license": "BSD",
        "data_note": "",
        "class_names": ("zero", "one", "two"),
        "image_shape": (8, 8, 1),
        "mean": (0.25,),
        "std": (0.5,),
        "metrics": {"top1": 90.0},
        "paper": {},
        "chance": 33.3,
        "measured": "Measured on 10 images.",
        "parameters": 100,
        "epochs": 1,
        "train_images": 10,
        "experiment": "invariance",
        "settings": {"width": 2, "seed": 7},
        "key": {"method": "resnet18"},
        "command": "keras-gappos run",
        "results": "results.json",
        "commit": "0" * 40,
        "versions": {"keras": "3"},
        "files": {"weights": ZooFile(f"{name}/model.weights.h5", 3, "a" * 64)},
    }
    return ZooModel(name=name, **{**defaults, **values})


def permutenet_entry(name="permutenet_resnet18.digits_location_2x2_w2"):
    return entry(
        name,
        builder="permutenet",
        arguments=GRID_ARGUMENTS | {"seed": 1},
        task="location",
        grid_size=2,
        class_names=("a", "b", "c", "d"),
        metrics={"accuracy": 31.5},
        paper={"accuracy": 78.8},
    )


def add_files(folder, model, seed=0, saved_model=False):
    """Makes a model's files in a folder, of a network with random weights; the whole entry."""
    keras.utils.set_random_seed(seed)
    network = build(model)
    for layer in network.layers:  # as a trained one has them, not the first ones
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([np.random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    there = folder / model.name
    there.mkdir(parents=True, exist_ok=True)
    paths = {"weights": there / "model.weights.h5", "sample": there / "sample.npz"}
    network.save_weights(paths["weights"])
    inputs = np.random.normal(size=(2, *model.input_shape)).astype("float32")
    np.savez(paths["sample"], inputs=inputs, outputs=outputs_of(model, network, inputs))
    unpacked_bytes = None
    if saved_model:
        unpacked = there / "unpacked"
        network.export(str(unpacked), format="tf_saved_model", verbose=False)
        shutil.make_archive(str(there / "saved_model"), "zip", unpacked)
        unpacked_bytes = archive.unpacked_bytes(there / "saved_model.zip")
        shutil.rmtree(unpacked)
        paths["saved_model"] = there / "saved_model.zip"
    files = {kind: file_of(folder, path) for kind, path in paths.items()}
    if saved_model:
        files["saved_model"] = file_of(folder, paths["saved_model"], unpacked_bytes)
    return with_files(model, files)


def file_of(folder, path, unpacked_bytes=None):
    """The `ZooFile` of a file in a zoo's folder."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return ZooFile(path.relative_to(folder).as_posix(), len(content), digest, unpacked_bytes)


def with_files(model, files):
    """The entry, with other files."""
    return ZooModel(**vars(model) | {"files": files})
