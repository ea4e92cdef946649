"""The zoo entries of the probe's networks: the backbone with each of its heads."""

from __future__ import annotations

from collections.abc import Iterator

from keras_gappos.experiments.engine.zoo_entry import mirrored
from keras_gappos.experiments.location.zoo_entry import grid_fields


def entries(settings: dict, row: dict) -> Iterator[tuple[str, dict]]:
    """Yields the path of each network's weights and the fields of a `ZooModel` that are its own.

    Args:
        settings: the recorded settings.
        row: a network's row of the results.
    """
    network, grid_size = row["network"], settings["grid_size"]
    where = f"images on random cells of a {grid_size}x{grid_size} grid{mirrored(settings)}"
    heads = {
        "class": ("", row["accuracy"], row["chance"], f"Trained to predict the class of {where}."),
        "location": (
            "_head",
            row["location_accuracy"],
            100 / grid_size**2,
            f"Backbone trained to predict the class of {where}; then frozen, and the head trained "
            f"to predict the cell ({row['head_epochs']} epochs).",
        ),
    }
    for task, (detail, accuracy, chance, about) in heads.items():
        yield (
            row["weights"][task],
            {
                **grid_fields(settings, row, network, task, grid_size, detail=detail),
                "about": about,
                "measured": f"Measured on {row['test_images']:,} test images; passes over them, "
                f"with fresh random cells: {settings['test_passes']}.",
                "chance": chance,
                "metrics": {"accuracy": accuracy},
                "paper": {},
                "key": {"network": network, "ranking": "none", "task": task},
            },
        )
