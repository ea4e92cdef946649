"""What the zoo's registry says of an experiment's networks, from its rows."""

import dataclasses
import pathlib
import re

from keras_gappos.experiments.engine import zoo_texts as texts
from keras_gappos.experiments.invariance import report as invariance_report
from keras_gappos.experiments.invariance.networks import DOWNSAMPLING
from keras_gappos.experiments.location import report as location_report

CLASS_NAMES = {
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    "digits": tuple("0123456789"),
}
_SCORES = (
    "top1",
    "consistency_random",
    "consistency_random_stderr",
    "consistency_exact",
    "consistency_exact_stderr",
    "accuracy_over_shifts",
    "worst_case",
)


@dataclasses.dataclass(frozen=True)
class Publication:
    """A trained network of an experiment's folder: the part of its entry that the row tells.

    Attributes:
        row: the row of `results.json`.
        fields: those fields of a `ZooModel`, by name.
    """

    row: dict
    fields: dict

    @property
    def name(self):
        """The model's name in the zoo."""
        return self.fields["name"]


def publications(content, tag=None) -> list[Publication]:
    """The networks of an experiment's results that were trained there, and have weights.

    Args:
        content: what is in a `results.json`.
        tag: put behind the names; lower case letters, digits and underscores, or `None`.

    Raises:
        ValueError: for another tag, if there is no network, or the zoo does not take those of the
            experiment.
    """
    experiment, settings = content["experiment"], content["settings"]
    if experiment not in _FIELDS:
        raise ValueError(
            f"`results_dir` must hold results of one of {tuple(_FIELDS)}. Received: {experiment!r}"
        )
    if tag is not None and not re.fullmatch("[a-z0-9_]+", tag):
        raise ValueError(
            f"`tag` must be lower case letters, digits and underscores. Received: tag={tag!r}"
        )
    ending = f"_{tag}" if tag else ""

    def publication(row):
        fields = _common(content, row) | _FIELDS[experiment](settings, row)
        return Publication(row, fields | {"name": fields["name"] + ending})

    rows = (row for row in content["rows"] if "weights" in row and row["epochs"])
    found = [publication(row) for row in rows]
    if not found:
        raise ValueError(
            "`results_dir` must hold a network that was trained there. Received: results of "
            f"{experiment!r} without one"
        )
    return found


def _common(content, row):
    dataset = content["settings"]["dataset"]
    return {
        "dataset": dataset,
        "data_license": texts.LICENSES.get(_plain(dataset), "See the data set's own page."),
        "chance": row.get("chance"),
        "image_shape": tuple(row["image_shape"]),
        "parameters": row["parameters"],
        "epochs": row["epochs"],
        "train_images": row["train_images"],
        "experiment": content["experiment"],
        "settings": content["settings"],
        "command": content["command"],
        "versions": content["environment"] | {k: row[k] for k in ("backend", "device")},
    }


def _plain(dataset):
    """A data set's name without version and configuration; of a folder, the set's."""
    path = pathlib.PurePath(dataset)
    if path.is_absolute() or dataset[0] in "~.":
        is_version = re.fullmatch(r"\d+\.\d+\.\d+", path.name) and path.parent.name
        return path.parent.name if is_version else path.name
    return re.split("[:/]", dataset)[0]


def _tag(dataset):
    """A data set's name as a part of a model's: with nothing that leads out of a folder."""
    return re.sub(r"[^a-z0-9]+", "_", _plain(dataset).lower()).strip("_")


def _normalized(row):
    return {"mean": tuple(row["mean"]), "std": tuple(row["std"])}


def _classes(settings, row):
    numbered = tuple(f"class {index}" for index in range(row["num_classes"]))
    return CLASS_NAMES.get(_plain(settings["dataset"]), numbered)


def _location(settings, row):
    network, task, grid_size = (row[part] for part in ("network", "task", "grid_size"))
    height, width, channels = row["image_shape"]
    names = _classes(settings, row)
    if task == "location":
        cells = [(i, j) for i in range(1, grid_size + 1) for j in range(1, grid_size + 1)]
        names = tuple(f"row {i}, column {j}" for i, j in cells)
    arguments = {
        "input_shape": (grid_size * height, grid_size * width, channels),
        "num_outputs": len(names),
        "depth": settings["depth"],
        "width": settings["width"],
    }
    if network == "permutenet":
        arguments["seed"] = settings["seed"] + 1
    paper = location_report.PAPER.get((network, task, grid_size))
    known = _plain(settings["dataset"]) == "cifar10" and paper is not None
    place = f"{_tag(settings['dataset'])}_{task}_{grid_size}x{grid_size}_w{settings['width']}"
    return {
        "name": f"{network}_resnet{settings['depth']}.{place}",
        "builder": network,
        "arguments": arguments,
        "about": texts.about_location(settings, row),
        "measured": texts.measured_location(settings, row),
        "task": "location" if task == "location" else "classification",
        "grid_size": grid_size,
        "class_names": names,
        "figures": {"accuracy": row["accuracy"]},
        "paper": {"accuracy": paper} if known else {},
        "key": {"network": network, "task": task, "grid_size": grid_size},
        **_normalized(row),
    }


def _invariance(settings, row):
    method, depth = row["method"], settings["depth"]
    architecture = f"resnet{depth}" if method == "resnet18" else f"{method}_resnet{depth}"
    paper = invariance_report.PAPER.get(_plain(settings["dataset"]), {}).get(method, ())
    return {
        "name": f"{architecture}.{_tag(settings['dataset'])}",
        "builder": "resnet",
        "arguments": {
            "depth": depth,
            "input_shape": tuple(row["image_shape"]),
            "num_classes": row["num_classes"],
            "width": settings["width"],
            "stem": settings["stem"],
            "downsampling": DOWNSAMPLING.get(method, "stride"),
        },
        "about": texts.about_invariance(settings, row),
        "measured": texts.measured_invariance(settings, row),
        "task": "classification",
        "grid_size": 1,
        "class_names": _classes(settings, row),
        "figures": {score: row[score] for score in _SCORES},
        "paper": dict(zip(("top1", "consistency_random"), paper)),
        "key": {"method": method, "split": "test"},
        **_normalized(row),
    }


def _attack(settings, row):
    depth, channels = settings["depth"], row["image_shape"][-1]
    tag = f"{_tag(settings['dataset'])}_w{settings['width']}{'_flips' if row['flip'] else ''}"
    return {
        "name": f"deeplabv3_resnet{depth}.{tag}",
        "builder": "deeplabv3",
        "arguments": {
            "input_shape": tuple(row["image_shape"]),
            "num_classes": row["num_classes"],
            "depth": depth,
            "width": settings["width"],
            "output_stride": settings["output_stride"],
        },
        "about": texts.about_attack(settings, row),
        "measured": texts.measured_attack(settings, row),
        "task": "segmentation",
        "grid_size": 1,
        "class_names": tuple(row["class_names"]),
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "figures": {"miou": row["miou"], "pixel_accuracy": row["accuracy"]},
        "paper": {},
        "key": {"flip": row["flip"], "ranking": "none", "count": 0, "region": "whole"},
    }


_FIELDS = {"location": _location, "invariance": _invariance, "attack": _attack}
