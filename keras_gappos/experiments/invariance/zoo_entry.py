"""The zoo entries of the invariance experiment's networks."""

from __future__ import annotations

from collections.abc import Iterator

from keras_gappos.experiments.engine.zoo_entry import (
    class_names,
    mirrored,
    name_part,
    standardization,
)
from keras_gappos.experiments.invariance.methods import METHODS
from keras_gappos.experiments.invariance.report import paper_of

_SCORES = (
    "top1",
    "consistency_random",
    "consistency_random_stderr",
    "consistency_circular",  # not in older results
    "consistency_circular_stderr",
    "consistency_exact",
    "consistency_exact_stderr",
    "accuracy_over_shifts",
    "worst_case",
)
_DOWNSAMPLING = {
    "stride": "",
    "blur": "Blurs feature maps before it halves them (BlurPool: Zhang, ICML 2019). ",
    "polyphase": "Halves feature maps by adaptive polyphase sampling (Chaman and Dokmanic, CVPR "
    "2021). ",
    "learned_polyphase": "Halves feature maps by learnable polyphase sampling (Rojas-Gomez et al., "
    "NeurIPS 2022). ",
}
_CIRCULAR = "Pads circularly, for invariance to circular shifts. "


def entries(settings: dict, row: dict) -> Iterator[tuple[str, dict]]:
    """Yields the path of a row's weights and the fields of a `ZooModel` that are its own.

    Args:
        settings: the recorded settings.
        row: a method's row of the results.
    """
    method, depth = row["method"], settings["depth"]
    architecture = f"{method.removesuffix('_unshifted')}_resnet{depth}".removeprefix("resnet18_")
    name = f"{architecture}.{name_part(settings['dataset'])}"
    paper = paper_of({**settings, **row}) or ()
    downsampling, padding = METHODS[method].downsampling, METHODS[method].padding
    padded = _CIRCULAR if padding == "circular" else ""
    yield (
        row["weights"],
        {
            "name": name if METHODS[method].views else f"{name}_unshifted",
            "builder": "resnet",
            "arguments": {
                "depth": depth,
                "input_shape": tuple(row["image_shape"]),
                "num_classes": row["num_classes"],
                "width": settings["width"],
                "stem": settings["stem"],
                "downsampling": downsampling,
                **({} if padding == "zeros" else {"padding": padding}),
            },
            "about": f"{_DOWNSAMPLING[downsampling]}{padded}{_training(settings, row)}.",
            "measured": _measured(settings, row),
            "task": "classification",
            "grid_size": 1,
            "class_names": class_names(settings, row),
            "metrics": {score: row[score] for score in _SCORES if score in row},
            "paper": dict(zip(("top1", "consistency_random"), paper)),
            "key": {"method": method, "split": "test"},
            **standardization(row),
        },
    )


def _training(settings, row):
    shift = (
        f"up to {settings.get('train_shift') or settings['max_shift']} px, fill mode "
        f"{settings.get('fill_mode', 'constant')}"
    )
    views = METHODS[row["method"]].views
    if views == 2:
        weight = row.get("consistency_weight", 0.0)
        text = (
            f"Trained with AugShift: each image is shifted twice ({shift}), and {weight:g} times "
            "the distance between the two pooled latents is added to the loss"
        )
    elif views == 1:
        text = f"Trained on images shifted at random ({shift})"
    else:
        text = "Trained on unshifted images"
    return text + mirrored(settings)


def _measured(settings, row):
    shift = settings["max_shift"]
    return (
        f"Top-1: {row['test_images']:,} unshifted test images. Shifts: up to {shift} px on each "
        f"axis, 0 in the network's input at the border. Random pairs: {settings['pairs']} for "
        f"each test image. All pairs and all shifts: the {(2 * shift + 1) ** 2} shifts of the "
        f"first {row['consistency_images']:,} test images; compare their scores with each other, "
        "not with top-1. ± is the standard error over images."
    )
