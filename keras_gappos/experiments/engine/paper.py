"""Where the paper's numbers stand beside ours: only where the trainings compare."""

from __future__ import annotations

from collections.abc import Collection

from keras_gappos.data.segmentation_sets import plain_name

_WIDTH, _EPOCHS, _IMAGES = 32, 20, 50_000  # at least; the paper's are 64, 20 and 50,000


def compares_with_paper(row: dict, datasets: Collection[str]) -> bool:
    """Whether the paper's numbers may stand beside a row.

    They may if the network learned one of the paper's data sets, from all of its 50,000 training
    images, for at least 20 epochs, at a width of at least 32 (half the paper's).

    Args:
        row: a row of results with its `dataset`, `width`, `epochs` and `train_images`; one that
            lacks any of them does not compare.
        datasets: the names of the paper's data sets.
    """
    return (
        plain_name(row.get("dataset", "?")) in datasets
        and row.get("width", 0) >= _WIDTH
        and row.get("epochs", 0) >= _EPOCHS
        and row.get("train_images", 0) >= _IMAGES
    )
