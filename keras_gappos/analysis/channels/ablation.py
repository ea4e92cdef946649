"""Measure a network with channels of its feature map switched off."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.analysis.batches import count_batches, iterate_batches
from keras_gappos.analysis.channels.sweep import AblationSweep
from keras_gappos.analysis.channels.sweep_plan import AblationPlan
from keras_gappos.analysis.networks import (
    Decision,
    check_classifier,
    check_image_shape,
    count_pixel_classes,
)
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.analysis.segmentation import RegionScores, maps_of
from keras_gappos.arguments import integer
from keras_gappos.decisions import decide
from keras_gappos.files import number_or_none
from keras_gappos.predictions import Predictor, compile_as
from keras_gappos.surgery.split import split_at_feature_map

# Names of the scores in a row, and of the attributes of `ConfusionMatrix` that give them.
_CLASS_SCORES = {"top1": "accuracy"}
_PIXEL_SCORES = {"miou": "miou", "accuracy": "accuracy", "iou": "iou"}


def ablation_sweep(
    model: keras.Model,
    images: Any,
    masks: Any,
    ranking: Any,
    counts: Iterable[int],
    regions: Sequence[str] | None = None,
    *,
    latent: str | keras.layers.Layer | None = None,
    baselines: Sequence[str] | None = None,
    draws: int = 5,
    seed: int = 0,
    ignore_class: int | None = None,
    threshold: float | None = None,
    batch_size: int = 16,
    progress: bool = True,
) -> AblationSweep:
    """Measures a network with its N best channels switched off, for many N at once.

    The part of the network up to the feature map runs once for each image, only the part after it
    runs again for each set of channels. The memory is that of one batch.

    Args:
        model: a Functional or Sequential `keras.Model` from images to one output, logits or
            probabilities: `(batch, height, width, classes)` for segmentation, or `(batch,
            classes)` for a classifier.
        images: `(n, height, width, channels)` array, or a `tf.data.Dataset`, `PyDataset` or
            iterable of batches `(images, masks)`, in the units that the model takes.
        masks: for an array of images, integers `(n, height, width)` or `(n, height, width, 1)`; or
            a classifier's labels, class indices `(n,)` or one-hot. Give `None` for a stream,
            which has its own.
        ranking: a `ChannelRanking`, a list of channels, best first, or a dictionary from names to
            either, to sweep several at once.
        counts: numbers of channels to switch off, integers from 0 to the number of channels.
        regions: parts of the image to score: some of `"whole"`, `"left"`, `"right"`, `"top"`,
            `"bottom"`. `None` is the first three for segmentation; classifiers have "whole" alone.
        latent: as in `ablate`; the rankings must be of the same feature map.
        baselines: which of these to sweep, too: `"random"`: N random channels, drawn `draws`
            times; `"most_active"`: the N channels of the largest activity, as the (first)
            `ChannelRanking` has measured it. `None` is both, but "random" alone where the rankings
            are lists, which know no activity; `()` is none.
        draws: number of random orders of the channels, at least 1. Within one the sets for larger
            N contain those for smaller N.
        seed: integer, at least 0, of the random orders.
        ignore_class: label of pixels that do not count, or `None`; for segmentation.
        threshold: for a model of one output per image or pixel, the output above which the class
            is 1; `None` is 0.5 for a classifier that ends in a sigmoid.
        batch_size: number of images in a batch, for an array of images.
        progress: whether to show a bar, on a terminal or in a notebook, after more than 3 seconds.

    Returns:
        An `AblationSweep`, a list of dictionaries with `.plot()` and `.to_dataframe()`, one for
        each ranking (baselines too), count and region, with `ranking`, `count`, `region`. For
        segmentation: `miou`, pixel `accuracy`, and `iou`, a list with an entry for each class; for
        a classifier: `top1`. All in percent; `None` where there is nothing to measure. Rows of
        "random" give means over the draws, and besides them the list `miou_draws` (`top1_draws`)
        and the standard deviation `miou_std` (`top1_std`), `None` for one draw. A ranking that was
        given alone is named by its region, or "ranking" if it is a list.

    Raises:
        ValueError: for an argument that does not fit; a ranking of another number of channels,
            with channels given twice, or shorter than a count; masks of another size than the
            model's output, or labels beyond its classes; images that are empty, not finite or of
            another size than the model's; a model that gives NaN.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "test", limit=50)
        >>> model = keras_gappos.models.permutenet((8, 8, 1), num_outputs=10, width=4)
        >>> rows = ablation_sweep(model, images / 255, labels, range(32), (0, 8, 32), draws=2)
        >>> [(row["ranking"], row["count"]) for row in rows][:4]
        [('ranking', 0), ('ranking', 8), ('ranking', 32), ('random', 0)]
        >>> rows.plot().get_ylabel()
        'top-1 accuracy (%)'

    Source: Islam et al., ICCV 2021, the section on targeting position-encoding channels.
    """
    parts = split_at_feature_map(model, latent)
    plan = AblationPlan(parts.channels, ranking, counts, baselines, draws, seed)
    batches = iterate_batches(images, masks, integer("batch_size", batch_size, 1))
    first = next(batches)
    check_image_shape(model, first[0].shape[1:])
    decision = _decision(model, first[0], threshold)
    classifier = len(model.outputs[0].shape) == 2
    regions = _regions(classifier, regions, ignore_class)
    scores = [RegionScores(decision.classes, ignore_class, regions) for _ in plan.sets]
    ablating = _ablating(model, parts, decision.threshold)
    num_batches = count_batches(images, batch_size)
    num_steps = None if num_batches is None else num_batches * len(plan.sets)
    with ProgressBar("ablation", num_steps, enabled=progress) as bar:
        for x, y in itertools.chain([first], batches):
            places = None
            for score, decided in zip(scores, ablating.variants(x, zip(plan.sets)), strict=True):
                if places is None:
                    truth = _class_maps(y, decision) if classifier else maps_of(y, decided.shape)
                    places = score.places(truth)
                score.add_at(places, decided.reshape(places.shape))
                bar.advance()
    return AblationSweep(_rows(plan, scores, _CLASS_SCORES if classifier else _PIXEL_SCORES))


def _ablating(model, parts, threshold):
    """A `Predictor` of the classes, whose variants are the channels that stay, `(channels,)`."""

    def classes(features, *others_and_keep):
        *others, keep = others_and_keep
        # Which channels stay is an argument: no set of channels is compiled anew.
        features = ops.where(keep, features, ops.zeros((), features.dtype))
        return decide(parts.back([features, *others], training=False), threshold)

    compile_as(model, parts.front)
    return Predictor(model, classes, prepare=parts.front.predict_on_batch)


def _decision(model, images, threshold):
    """The `Decision` of a classifier, by its one label, or a segmentation network."""
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) == 1 and len(shapes[0]) == 2:
        decision = "auto" if shapes[0][1] == 1 else "argmax"
        return check_classifier(model, images.shape[1:], images.dtype, threshold, decision)
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            "`model` must give one output, (batch, height, width, classes) or (batch, classes). "
            f"Received: a model with outputs of shape {shapes}"
        )
    return Decision(count_pixel_classes(model, threshold), threshold, of_label_sets=False)


def _regions(classifier, regions, ignore_class):
    """The regions to score; a classifier's images are scored as maps of one pixel."""
    if not classifier:
        return ("whole", "left", "right") if regions is None else regions
    if regions is not None and list(regions) != ["whole"]:
        raise ValueError(
            f'`regions` of a classifier must be ("whole",), or None. Received: regions={regions!r}'
        )
    if ignore_class is not None:
        raise ValueError(
            f"`ignore_class` is for segmentation. Received: ignore_class={ignore_class!r}"
        )
    return ("whole",)


def _class_maps(labels, decision):
    if labels is None:
        raise ValueError("`masks` must be the classifier's labels. Received: no labels")
    return decision.indices(labels).reshape(-1, 1, 1)


def _rows(plan, scores, names):
    """The rows of a sweep, from the `RegionScores` of each of the plan's sets."""
    rows = []
    for ranking, count, places in plan.steps:
        for region in scores[0].matrices:
            drawn = [scores[place][region] for place in places]
            values = {name: [getattr(one, names[name]) for one in drawn] for name in names}
            row = {"ranking": ranking, "count": count, "region": region}
            row.update({name: _mean(each) for name, each in values.items()})
            if ranking == "random":
                name, each = next(iter(values.items()))  # the score that the sweep is about
                row[f"{name}_draws"] = [number_or_none(value) for value in each]
                row[f"{name}_std"] = number_or_none(np.std(each, ddof=1)) if each[1:] else None
            rows.append(row)
    return rows


def _mean(values):
    """Mean of numbers, or of each entry of arrays, over those that are not NaN; `None` for none."""
    count = (~np.isnan(values)).sum(axis=0)
    mean = np.where(count, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)
    return [number_or_none(value) for value in mean] if mean.ndim else number_or_none(mean)
