"""Measure how often a classifier gives the same answer when the image shifts."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import keras
import numpy as np

from keras_gappos.analysis.batches import count_batches, is_array, iterate_batches
from keras_gappos.analysis.consistency.protocols import PROTOCOLS, plan_shifts
from keras_gappos.analysis.consistency.result import (
    COLLAPSED,
    ConsistencyCounts,
    ConsistencyResult,
)
from keras_gappos.analysis.consistency.shifted import ShiftedTop1
from keras_gappos.analysis.networks import check_classifier
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.arguments import integer, one_of


def shift_consistency(
    model: keras.Model,
    images: Any,
    protocol: str = "random",
    max_shift: int | None = None,
    *,
    labels: Any = None,
    pairs: int = 5,
    fill_mode: str | None = None,
    fill_value: float = 0.0,
    crop_size: int | tuple[int, int] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    threshold: float | None = None,
    decision: str = "auto",
    progress: bool = True,
) -> ConsistencyResult:
    """Measures the shift consistency of a classifier, in percent.

    Results of different protocols, ranges or fills are not comparable.

    A multi-label classifier decides for a set of labels; two shifts agree if they get the same set,
    and an answer is correct if the whole set is. `result.agreement_of` says which was measured.

    - `"random"`: each image is shifted twice, independently, by up to `max_shift` pixels on each
      axis, `pairs` times; the percentage of pairs that get the same top-1 class. As far as the
      text of Islam et al. (ICCV 2021) says, this is their "consistency".
    - `"exact"`: what "random" estimates, without sampling error: each image is classified under
      all (2 max_shift + 1)^2 shifts, and the counts of each class give the probability that two
      shifts agree. It costs (2 max_shift + 1)^2 passes.
    - `"aps"`: shifts from -3 to 2 pixels on each axis, one pair for a whole batch, circular
      (`fill_mode="wrap"`) or with zeros (`fill_mode="constant"`). Chaman and Dokmanic,
      arXiv 2011.14214, on CIFAR-10. A `max_shift` of s means -s to s - 1.
    - `"crop"`: two crops of `crop_size` from larger images, their corners 0 to 31 pixels from the
      upper left one (less where the image is smaller), one pair for a whole batch, five passes.
      Zhang, arXiv 1904.11486, on ImageNet, crops of 224 from 256. A `max_shift` of s means 0
      to s.

    Args:
        model: any `keras.Model` from images to one output `(batch, classes)`, logits or
            probabilities: Functional, Sequential or subclassed.
        images: `(n, height, width, channels)` array, or a `tf.data.Dataset`, `PyDataset` or
            iterable of batches `x`, `(x, y)` or `(x, y, w)`, in the units that the model takes.
        protocol: `"random"`, `"exact"`, `"aps"` or `"crop"`.
        max_shift: in pixels, smaller than the image; `None` is the protocol's own: 4, 4, 3, 31.
        labels: class indices `(n,)`, or one-hot, for an array of images; a data set has its own.
            Of a multi-label classifier multi-hot, `(n, classes)`. With labels the accuracy is
            measured, too.
        pairs: number of pairs for each image, at least 1; "exact" does not use it.
        fill_mode: what comes in at the border: `"constant"`, `"nearest"`, `"reflect"`, `"wrap"`;
            `None` is the protocol's own, "constant" or, for "aps", "wrap". Not for "crop".
        fill_value: the constant, in the images' units.
        crop_size: for "crop", the side of the crops in pixels, or (height, width).
        batch_size: number of images in a batch, for an array of images. It does not change
            the results of "random" and "exact".
        seed: integer, at least 0, of the shifts; the same on every backend.
        threshold: for a model of one output, or a multi-label one, the output above which the
            class is 1, or the label is set; `None` is 0.5 if the model ends in a sigmoid or has
            a binary cross-entropy, 0.0 for one that is compiled with `from_logits=True`.
        decision: `"argmax"`: the class of the largest output; `"threshold"`: all labels whose
            output is above the threshold; `"auto"`: by the model's head. "auto" is "threshold" for
            one output, and for several that end in a sigmoid or are compiled with a binary
            cross-entropy; otherwise it is "argmax". Models that are compiled with a regression
            loss, and have no softmax, raise.
        progress: whether to show a bar, on a terminal or in a notebook, after more than 3 seconds.

    Returns:
        A `ConsistencyResult`. A model that decides for the same class on all images and shifts is
        fully consistent and useless: `num_predicted_classes` is 1 then, with a warning.

    Raises:
        ValueError: for an argument out of range or one that the protocol does not have, images
            that are empty, not finite or of another size than the model's, labels that do not
            match the images, the model's classes or the kind of decision, a model that is no
            classifier of images, such as a regression model, or gives NaN.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "test")
        >>> model = keras_gappos.models.gapnet((8, 8, 1), num_outputs=10, width=4)
        >>> result = shift_consistency(model, images / 255, max_shift=2, labels=labels)
        >>> 0 <= result.consistency <= 100
        True
    """
    one_of("protocol", protocol, PROTOCOLS)
    seed, batch_size = integer("seed", seed, 0), integer("batch_size", batch_size, 1)
    rng = np.random.default_rng(seed)
    batches = iterate_batches(images, labels, batch_size)
    first = next(batches)
    image_shape, dtype = first[0].shape[1:], first[0].dtype
    plan = plan_shifts(protocol, image_shape, max_shift, pairs, fill_mode, crop_size)
    seen_shape = image_shape if plan.crop_size is None else (*plan.crop_size, image_shape[2])
    decided_for = check_classifier(model, seen_shape, dtype, threshold, decision)
    top1 = ShiftedTop1(model, decided_for.threshold, plan, fill_value)
    top1.check_fill(image_shape, dtype)
    counts = ConsistencyCounts(plan, decided_for.classes)
    num_batches = count_batches(images, batch_size)
    num_steps = None if num_batches is None else num_batches * plan.num_views
    with ProgressBar("shift consistency", num_steps, enabled=progress) as bar:
        for x, y in itertools.chain([first], batches):
            y = None if y is None else decided_for.indices(y)
            views = plan.draw(rng, len(x))
            decided = [bar.advance(result) for result in top1.decide(x, views)]
            counts.add(views, np.stack(decided), y)
    result = counts.result(
        {
            "protocol": protocol,
            "max_shift": plan.max_shift,
            "pairs": plan.pairs,
            "fill_mode": plan.fill_mode,
            "fill_value": np.asarray(fill_value).item() if plan.fill_mode == "constant" else None,
            "crop_size": plan.crop_size and list(plan.crop_size),
            "image_shape": list(image_shape),
            "batch_size": batch_size if is_array(images) else len(first[0]),
            "seed": seed,
            "decision": "argmax" if decided_for.threshold is None else "threshold",
            "threshold": decided_for.threshold,
            "model": model.name,
            "backend": keras.backend.backend(),
            "keras_version": keras.__version__,
        }
    )
    if result.num_predicted_classes == 1 and result.num_images > 1:
        warnings.warn(COLLAPSED.format(result.agreement_of, result.num_images), stacklevel=2)
    return result
