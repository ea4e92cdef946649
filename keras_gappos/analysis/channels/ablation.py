"""Switch channels of a feature map off, and see what that does."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.analysis.batches import count_batches, iterate_batches
from keras_gappos.analysis.channels.ablation_rows import ClassTally, PixelTally, rows_of
from keras_gappos.analysis.channels.sweep_plan import AblationPlan
from keras_gappos.analysis.pixel_classes import count_classes
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.analysis.shifted_top1 import check_classifier
from keras_gappos.arguments import integer
from keras_gappos.layers import ChannelMask
from keras_gappos.predictions import top1
from keras_gappos.surgery.feature_map import (
    check_image_shape,
    feature_map_tensor,
    find_feature_map,
    split_at_feature_map,
)
from keras_gappos.surgery.recorded_graph import RecordedGraph


def ablate(
    model: keras.Model, channels: Iterable[int], latent: str | keras.layers.Layer | None = None
) -> keras.Model:
    """Returns a network whose feature map has some channels at zero.

    Every branch that reads the feature map sees them at zero. The new model shares its layers, and
    so its weights, with the old one, which stays as it is.

    Args:
        model: a Functional or Sequential `keras.Model`.
        channels: indices of the channels, each once, such as `ranking.channels[:20]`.
        latent: a global pooling layer, whose input is the feature map, or the layer that gives the
            feature map, or the name of either, in a backbone that is one of the layers, too;
            `None` is the last global pooling layer.

    Returns:
        A Functional `keras.Model`, not compiled, with a `ChannelMask` more.

    Raises:
        ValueError: for channels that are out of range or given twice, or if there is no such
            layer, or `latent` is no feature map.

    Example:
        >>> model = keras_gappos.models.permutenet((8, 8, 1), num_outputs=10, width=4)
        >>> ablated = ablate(model, channels=range(32))
        >>> outputs = ablated.predict(np.random.rand(2, 8, 8, 1), verbose=0)
        >>> bool((outputs[0] == outputs[1]).all())
        True

    Source: Islam et al., ICCV 2021, the section on targeting position-encoding channels.
    """
    return _ablated(model, find_feature_map(model, latent), channels)


def _ablated(model, path, channels):
    layer, *inside = path
    if inside:
        graph = RecordedGraph(model, layer, [_ablated(layer, inside, channels)])
        outputs = graph.outputs
    else:
        graph = RecordedGraph(model)
        features = feature_map_tensor(graph, layer)
        graph.others_needed_after(features)  # refuses a feature map without effect
        mask = ChannelMask(channels, name=_free_name(model, "channel_mask"))
        outputs = graph.outputs_with(features, mask(features))
    if isinstance(model, keras.Sequential):
        return keras.Model(graph.inputs[0], outputs[0], name=model.name)
    inputs = keras.tree.pack_sequence_as(model.input, graph.inputs)
    return keras.Model(inputs, keras.tree.pack_sequence_as(model.output, outputs), name=model.name)


def _free_name(model, name):
    taken = {layer.name for layer in model.layers}
    numbered = (f"{name}_{number}" for number in range(1, len(taken) + 1))
    return name if name not in taken else next(new for new in numbered if new not in taken)


def ablation_sweep(
    model: keras.Model,
    images: Any,
    masks: Any,
    ranking: Any,
    counts: Iterable[int],
    regions: Sequence[str] | None = None,
    *,
    latent: str | keras.layers.Layer | None = None,
    baselines: Sequence[str] = ("random", "most_active"),
    draws: int = 5,
    seed: int = 0,
    ignore_class: int | None = None,
    threshold: float | None = None,
    batch_size: int = 16,
    progress: bool = True,
) -> list[dict]:
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
            a classifier's labels, class indices `(n,)` or one-hot. Give `None` beside a stream,
            which brings its own.
        ranking: a `ChannelRanking`, a list of channels, best first, or a dictionary from names to
            either, to sweep several at once.
        counts: numbers of channels to switch off, integers from 0 to the number of channels.
        regions: parts of the image to score: some of `"whole"`, `"left"`, `"right"`, `"top"`,
            `"bottom"`. `None` is the first three for segmentation; classifiers have "whole" alone.
        latent: as in `ablate`; the rankings must be of the same feature map.
        baselines: which of these to sweep, too: `"random"`: N random channels, drawn `draws`
            times; `"most_active"`: the N channels of the largest activity, as the (first)
            `ChannelRanking` has measured it.
        draws: number of random orders of the channels, at least 1. Within one the sets for larger
            N contain those for smaller N.
        seed: integer, at least 0, of the random orders.
        ignore_class: label of pixels that do not count, or `None`; for segmentation.
        threshold: for a model of one output per image or pixel, the output above which the class
            is 1; `None` is 0.5 for a classifier that ends in a sigmoid.
        batch_size: number of images in a batch, for an array of images.
        progress: whether to show a progress bar, on a terminal, if it takes more than 3 seconds.

    Returns:
        A list of dictionaries, one for each ranking (baselines too), count and region, with
        `ranking`, `count`, `region`. For segmentation: `miou`, pixel `accuracy`, and `iou`, a list
        with an entry for each class; for a classifier: `top1`. All in percent; `None` where there
        is nothing to measure. Rows of "random" give means over the draws, and besides them the
        list `miou_draws` (`top1_draws`) and the standard deviation `miou_std` (`top1_std`), `None`
        for one draw. A ranking that was given alone is named by its region, or "ranking" if it is
        a list.

    Raises:
        ValueError: for an argument that does not fit; a ranking of another number of channels,
            with channels given twice, or shorter than a count; masks of another size than the
            model's output, or labels beyond its classes; images that are empty, not finite or of
            another size than the model's; a model that gives NaN.

    Example:
        >>> images, labels = keras_gappos.data.load("digits", "test", limit=50)
        >>> model = keras_gappos.models.permutenet((8, 8, 1), num_outputs=10, width=4)
        >>> rows = ablation_sweep(model, images / 255, labels, range(32), counts=(0, 8, 32),
        ...                       baselines=["random"], draws=2)
        >>> [(row["ranking"], row["count"]) for row in rows][:4]
        [('ranking', 0), ('ranking', 8), ('ranking', 32), ('random', 0)]

    Source: Islam et al., ICCV 2021, the section on targeting position-encoding channels.
    """
    parts = split_at_feature_map(model, latent)
    plan = AblationPlan(parts.channels, ranking, counts, baselines, draws, seed)
    batches = iterate_batches(images, masks, integer("batch_size", batch_size, 1))
    first = next(batches)
    check_image_shape(model, first[0].shape[1:])
    num_classes, threshold = _classes(model, first[0], threshold)
    make_tally = ClassTally if len(model.outputs[0].shape) == 2 else PixelTally
    tallies = [make_tally(num_classes, ignore_class, regions) for _ in plan.sets]
    head = _Head(parts, model, threshold, size=len(first[0]))
    num_batches = count_batches(images, batch_size)
    num_steps = None if num_batches is None else num_batches * len(plan.sets)
    with ProgressBar("ablation", num_steps, enabled=progress) as bar:
        for x, y in itertools.chain([first], batches):
            truth = None
            for tally, decided in zip(tallies, head.decide(x, plan.sets), strict=True):
                truth = tally.truth(y, decided.shape) if truth is None else truth
                tally.add(truth, decided)
                bar.advance()
    return rows_of(plan, tallies)


class _Head:
    """The part of a network after its feature map, with channels of that switched off.

    Args:
        parts: a `SplitModel`.
        model: the network.
        threshold: as in `keras_gappos.predictions.top1`.
        size: number of images in a batch.
    """

    def __init__(self, parts, model, threshold, size):
        tensors = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in parts.back.inputs]
        keep = keras.Input(batch_shape=(parts.channels,), dtype="bool")
        features, *others = tensors
        # Which channels stay is an input: no set of channels is compiled anew.
        features = ops.where(keep, features, ops.zeros((), features.dtype))
        (outputs,) = keras.tree.flatten(parts.back([features, *others]))
        # One NaN makes the sum one, which takes less time than a look at each pixel's classes.
        missing = ops.isnan(ops.sum(ops.cast(outputs, "float32")))
        classes = ops.where(missing, -1, top1(outputs, threshold))
        self._front, self._size = parts.front, size
        self._back = keras.Model([*tensors, keep], classes)
        for part in (self._front, self._back):
            part.compile(jit_compile=model.jit_compile if model.compiled else "auto")

    def decide(self, images, sets):
        """The classes of a batch of images with each of several sets of channels off.

        Args:
            images: array `(batch, height, width, channels)`.
            sets: boolean array `(sets, channels)`, `False` for the channels that are off.

        Yields:
            int array `(batch,)` or `(batch, height, width)` for each set.

        Raises:
            ValueError: if the network gives NaN.
        """
        # A smaller last batch would be compiled anew: fill it up.
        missing = max(0, self._size - len(images))
        filled = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        tensors = keras.tree.flatten(self._front.predict_on_batch(filled))
        tensors = [ops.convert_to_tensor(t) for t in tensors]  # to the device, once for all sets
        for keep in map(ops.convert_to_tensor, sets):  # Keras on PyTorch takes no mixture
            classes = np.asarray(self._back.predict_on_batch([*tensors, keep]))[: len(images)]
            if classes.min() < 0:
                raise ValueError("`model` must give numbers. Received: a model that gives NaN")
            yield classes


def _classes(model, images, threshold):
    """`(classes, threshold)` of a classifier or a segmentation network."""
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) == 1 and len(shapes[0]) == 2:
        return check_classifier(model, images.shape[1:], images.dtype, threshold)
    if len(shapes) != 1 or len(shapes[0]) != 4 or not shapes[0][-1]:
        raise ValueError(
            "`model` must give one output, (batch, height, width, classes) or (batch, classes). "
            f"Received: a model with outputs of shape {shapes}"
        )
    return count_classes(shapes[0], threshold), threshold
