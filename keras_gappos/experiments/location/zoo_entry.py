"""The zoo entries of the location experiment's networks."""

from __future__ import annotations

from collections.abc import Iterator

from keras_gappos.experiments.engine.zoo_entry import (
    class_names,
    mirrored,
    name_part,
    standardization,
)
from keras_gappos.experiments.location.report import paper_of


def entries(settings: dict, row: dict) -> Iterator[tuple[str, dict]]:
    """Yields the path of a row's weights and the fields of a `ZooModel` that are its own.

    Args:
        settings: the recorded settings.
        row: a row of the results.
    """
    key = {name: row[name] for name in ("network", "task", "grid_size", "padding")}
    padded = "" if row["padding"] == "zeros" else f" Its convolutions pad: {row['padding']}."
    paper = paper_of({**settings, **row})
    yield (
        row["weights"],
        {
            **grid_fields(settings, row, **key),
            "about": f"Trained to predict the {_TARGETS[row['task']]} of images on random cells of "
            f"a {row['grid_size']}x{row['grid_size']} grid{mirrored(settings)}.{padded}",
            "measured": f"Measured on {row['test_images']:,} test images; passes over them, with "
            f"fresh random cells: {row['test_passes']}.",
            "metrics": {"accuracy": row["accuracy"]},
            "paper": {} if paper is None else {"accuracy": paper},
            "key": key,
        },
    )


_TARGETS = {"location": "cell", "class": "class"}


def grid_fields(
    settings: dict,
    row: dict,
    network: str,
    task: str,
    grid_size: int,
    padding: str = "zeros",
    detail: str = "",
) -> dict:
    """The fields of a network that takes images on a grid.

    Args:
        settings: the recorded settings.
        row: a row of the results.
        network: `"gapnet"`, `"permutenet"` or `"resnet"`.
        task: `"location"` or `"class"`.
        grid_size: cells along each side.
        padding: how its convolutions pad.
        detail: what the model's name says after the task.
    """
    height, width, channels = row["image_shape"]
    names = class_names(settings, row)
    if task == "location":
        cells = range(1, grid_size + 1)
        names = tuple(f"row {i}, column {j}" for i in cells for j in cells)
    arguments = {
        "input_shape": (grid_size * height, grid_size * width, channels),
        "num_classes" if network == "resnet" else "num_outputs": len(names),
        "depth": settings["depth"],
        "width": settings["width"],
    }
    if padding != "zeros":
        arguments["padding"], detail = padding, f"{detail}_{padding}"
    if network == "permutenet":
        arguments["seed"] = settings["seed"] + 1
    if network == "resnet":
        arguments["stem"] = "canvas"
    architecture = f"resnet{settings['depth']}"
    if network != "resnet":
        architecture = f"{network}_{architecture}"
    place = f"{task}{detail}_{grid_size}x{grid_size}_w{settings['width']}"
    return {
        "name": f"{architecture}.{name_part(settings['dataset'])}_{place}",
        "builder": network,
        "arguments": arguments,
        "task": "location" if task == "location" else "classification",
        "grid_size": grid_size,
        "class_names": names,
        **standardization(row),
    }
