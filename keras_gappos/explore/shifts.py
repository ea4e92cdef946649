"""What a classifier answers when its image moves."""

from __future__ import annotations

import numpy as np

from keras_gappos.analysis.consistency.result import agreement_of_random_pairs
from keras_gappos.explore.explored import Explored
from keras_gappos.layers import shift_images

FILLS = ("mean color", "black", "reflect", "nearest", "wrap")
BATCH = 64


def answers_under_shifts(
    explored: Explored, image: np.ndarray, offsets: np.ndarray, fill: str = "mean color"
) -> list[list[tuple[str, float]]]:
    """The answers of a classifier for one image, moved by each of several offsets.

    Args:
        explored: a classifier.
        image: uint8, of the classifier's `image_shape`.
        offsets: int `(n, 2)`, in pixels (down, right).
        fill: what comes in at the border, one of `FILLS`; "mean color" is that of the training
            data of a zoo model, otherwise black.

    Returns:
        For each offset the most probable classes, with their probabilities in percent.
    """
    mode = {"mean color": "constant", "black": "constant"}.get(fill, fill)
    prepared = explored.prepare(image[None])
    answers = []
    for start in range(0, len(offsets), BATCH):
        chunk = np.asarray(offsets[start : start + BATCH], "int32")
        if mode == "constant":
            color = explored.fill if fill == "mean color" else 0.0
            border = explored.prepare(np.broadcast_to(np.float32(color), image.shape)[None])
            inside = shift_images(np.ones((len(chunk), *image.shape), "float32"), chunk)
            moved = shift_images(np.repeat(prepared, len(chunk), 0), chunk)
            batch = np.where(np.asarray(inside) > 0, np.asarray(moved), border)
        else:
            batch = np.asarray(shift_images(np.repeat(prepared, len(chunk), 0), chunk, mode))
        answers += explored.answers(explored.network.predict_on_batch(batch))
    return answers


def consistency(answers: list[list[tuple[str, float]]]) -> float:
    """Exact consistency of one image: the percent of pairs of shifts with the same first answer."""
    names = [answer[0][0] for answer in answers]
    _, decided = np.unique(names, return_inverse=True)
    return float(100 * agreement_of_random_pairs(decided[:, None], decided.max() + 1)[0])
