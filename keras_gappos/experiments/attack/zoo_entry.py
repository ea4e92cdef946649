"""The zoo entries of the attack's networks."""

from __future__ import annotations

from collections.abc import Iterator

from keras_gappos.experiments.engine.zoo_entry import name_part


def entries(settings: dict, row: dict) -> Iterator[tuple[str, dict]]:
    """Yields the path of a row's weights and the fields of a `ZooModel` that are its own.

    Args:
        settings: the recorded settings.
        row: a network's row of the results.
    """
    depth, (height, width, channels) = settings["depth"], row["image_shape"]
    ending = f"_w{settings['width']}{'_flips' if row['flip'] else ''}"
    flips = "half of the images mirrored" if row["flip"] else "no image mirrored"
    yield (
        row["weights"],
        {
            "name": f"deeplabv3_resnet{depth}.{name_part(settings['dataset'])}{ending}",
            "builder": "deeplabv3",
            "arguments": {
                "input_shape": (height, width, channels),
                "num_classes": row["num_classes"],
                "depth": depth,
                "width": settings["width"],
                "output_stride": settings["output_stride"],
            },
            "about": f"Output stride {settings['output_stride']}. Trained with {flips}.",
            "measured": f"Measured on {row['test_images']:,} images of {height}x{width} pixels not "
            "used in training; pixels without a class do not count.",
            "task": "segmentation",
            "grid_size": 1,
            "class_names": tuple(row["class_names"]),
            "mean": (0.0,) * channels,
            "std": (1.0,) * channels,
            "metrics": {"miou": row["miou"], "pixel_accuracy": row["accuracy"]},
            "paper": {},
            "key": {"flip": row["flip"], "ranking": "none", "count": 0, "region": "whole"},
        },
    )
