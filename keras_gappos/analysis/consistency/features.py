"""Measure, layer by layer, how far a network's feature maps move with the image."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gappos.analysis.batches import count_batches, iterate_batches
from keras_gappos.analysis.networks import check_image_shape
from keras_gappos.analysis.plots import data_frame, drawing
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.arguments import integer
from keras_gappos.layers import shift_images
from keras_gappos.predictions import check_numbers, compile_as
from keras_gappos.surgery.graph import with_outputs_of
from keras_gappos.surgery.latent import check_channels_last, check_graph, find_layer
from keras_gappos.surgery.strides import feature_map_strides

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True)
class LayerConsistency:
    """How far one layer's feature map is from moving with the image.

    Attributes:
        layer: the layer's name.
        strides: step of its map's pixels along (rows, columns), in pixels of the image.
        aligned: relative distance, at shifts that are multiples of its strides, between the map of
            the shifted image and the shifted map: 0 if the map moves with the image.
        any_shift: the same at all shifts, against the nearest whole-pixel shift of the map.
    """

    layer: str
    strides: tuple[int, int]
    aligned: float
    any_shift: float


@dataclasses.dataclass(frozen=True)
class FeatureConsistency:
    """How far a network's feature maps move with the image.

    Attributes:
        layers: a `LayerConsistency` for each layer, in the order of the network.
        num_images: number of images.
        settings: dictionary of all settings needed to repeat the measurement.
    """

    layers: tuple[LayerConsistency, ...]
    num_images: int
    settings: dict

    def to_rows(self) -> list[dict]:
        """A dictionary for each layer, for a table."""
        return [dataclasses.asdict(layer) for layer in self.layers]

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame` with a row for each layer.

        Raises:
            ImportError: without pandas.
        """
        return data_frame(self.to_rows())

    def plot(self, ax: Axes | None = None, label: str | None = None, **line: Any) -> Axes:
        """Draws the distance at all shifts over depth; call it again for another network.

        Args:
            ax: Matplotlib axes to draw on; `None` makes a figure.
            label: name for the legend; `None` is the model's.
            **line: further arguments of `Axes.plot`, such as `color`.

        Returns:
            The axes; `.figure.savefig(path)` saves them.

        Examples:
            >>> layer = LayerConsistency("conv", (1, 1), aligned=0.0, any_shift=0.1)
            >>> result = FeatureConsistency((layer,), 50, {"model": "net"})
            >>> result.plot().lines[0].get_ydata().tolist()
            [0.1]
        """
        depth = np.linspace(0, 1, len(self.layers))
        distances = [layer.any_shift for layer in self.layers]
        with drawing(ax, label, size=(8, 4.5)) as ax:
            name = label or self.settings["model"]
            ax.plot(depth, distances, label=name, **{"lw": 2, "marker": ".", **line})
            ax.set(
                xlabel="depth (0: first layer, 1: last)", ylabel="relative distance", ylim=(0, None)
            )
            ax.grid(alpha=0.3)
        return ax


def feature_consistency(
    model: keras.Model,
    images: Any,
    layers: Any = None,
    max_shift: int = 4,
    *,
    shifts: int = 5,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = True,
) -> FeatureConsistency:
    """Measures, for each layer, how far its feature map is from moving with the image.

    The map of a shifted image is compared with the shifted map of the image, where both are known
    (with "wrap", everywhere). The distance is relative: 0 if the maps are the same, about 1.4 if
    they have nothing in common. At shifts that the layer's strides divide, only the border can
    make a difference; at all shifts, subsampling does, too, unless it is anti-aliased or chooses
    its grid by the image.

    Args:
        model: a Functional or Sequential `keras.Model` of images `(batch, height, width,
            channels)`.
        images: as in `shift_consistency`; labels are not used.
        layers: the layers to measure, or their names, also in nested models; `None` measures every
            layer that outputs a feature map of more than one pixel.
        max_shift: in pixels, at least 1 and smaller than the images. A layer of larger strides is
            measured at shifts of its strides.
        shifts: number of random shifts for each kind of measurement, at least 1.
        fill_mode: what comes in at the border, as in `shift_images`.
        fill_value: the constant, in the images' units.
        batch_size: number of images in a batch, for an array of images; it does not change results.
        seed: integer, at least 0, of the shifts; the same on every backend.
        progress: whether to show a bar, on a terminal or in a notebook, after more than 3 seconds.

    Returns:
        A `FeatureConsistency`.

    Raises:
        ValueError: for an argument out of range, a layer that outputs no feature map, a model that
            is neither Functional nor Sequential or gives NaN, images that do not fit it.

    Examples:
        >>> images, _ = keras_gappos.data.load("digits", "test", limit=4)
        >>> model = keras_gappos.models.resnet(18, (8, 8, 1), num_classes=10, width=4)
        >>> result = feature_consistency(model, images / 255, ["stem_conv"], max_shift=2)
        >>> result.layers[0].strides
        (1, 1)

    Source: Zhang, arXiv 1904.11486, section 4.2 (internal features); the measure at all shifts is
    this package's.
    """
    check_graph(model)
    check_channels_last(model)
    max_shift, shifts = integer("max_shift", max_shift, 1), integer("shifts", shifts, 1)
    rng = np.random.default_rng(integer("seed", seed, 0))
    batch_size = integer("batch_size", batch_size, 1)
    chosen = _choose(model, layers)
    batches = iterate_batches(images, None, batch_size)
    first, _ = next(batches)
    _check_sizes(model, first.shape[1:], max_shift)
    measured = with_outputs_of(model, [layer for layer, _ in chosen])
    compile_as(model, measured)
    plan = _plan(rng, np.array([strides for _, strides in chosen]), max_shift, shifts)
    sums, num_images = np.zeros((2, len(chosen))), 0
    num_batches = count_batches(images, batch_size)
    num_steps = None if num_batches is None else num_batches * len(plan)
    with ProgressBar("feature consistency", num_steps, enabled=progress) as bar:
        for x, _ in itertools.chain([(first, None)], batches):
            maps = _maps(measured, x)
            for kind, counted, offset in plan:
                offsets = np.tile(np.int32(offset), (len(x), 1))
                moved = _maps(measured, shift_images(x, offsets, fill_mode, fill_value))
                for i in np.flatnonzero(counted):
                    pair, strides = (maps[i], moved[i]), chosen[i][1]
                    apart = nearest_distance(*pair, offset, strides, fill_mode == "wrap")
                    sums[kind, i] += apart.sum()
                bar.advance()
            num_images += len(x)
    aligned, any_shift = sums / (shifts * num_images)
    return FeatureConsistency(
        tuple(
            LayerConsistency(layer.name, strides, float(one), float(other))
            for (layer, strides), one, other in zip(chosen, aligned, any_shift)
        ),
        num_images,
        {
            "max_shift": max_shift,
            "shifts": shifts,
            "fill_mode": fill_mode,
            "fill_value": fill_value if fill_mode == "constant" else None,
            "image_shape": list(first.shape[1:]),
            "seed": seed,
            "model": model.name,
            "backend": keras.backend.backend(),
            "keras_version": keras.__version__,
        },
    )


def nearest_distance(
    one: np.ndarray,
    other: np.ndarray,
    offset: Sequence[int],
    strides: tuple[int, int],
    circular: bool,
) -> np.ndarray:
    """The relative distance between feature maps of images and of the shifted images.

    Args:
        one: float array `(batch, height, width, channels)`, the maps of the images.
        other: the maps of the shifted images, of the same shape.
        offset: the shift of the images, in pixels (down, right).
        strides: step of the maps' pixels, in pixels of the image.
        circular: whether what leaves a map at one side comes in at the other. If not, only what
            both maps show is compared.

    Returns:
        Array `(batch,)`: of the shifts of `one` by the whole numbers next to `offset / strides`,
        the smallest distance `|other - shifted| / sqrt((|other|^2 + |shifted|^2) / 2)`; 0 where
        both are 0.
    """
    near = [{shift // step, -(-shift // step)} for shift, step in zip(map(int, offset), strides)]
    every = [_distance(one, other, shift, circular) for shift in itertools.product(*near)]
    return np.min(every, axis=0)


def _distance(one, other, shift, circular):
    if circular:
        one = np.roll(one, shift, (1, 2))
    else:
        height, width = one.shape[1:3]
        (here, there), (across, along) = (_overlap(*pair) for pair in zip(shift, (height, width)))
        one, other = one[:, here, across], other[:, there, along]
    apart, size = (np.einsum("nhwc,nhwc->n", x, x) for x in (other - one, one))
    size = (size + np.einsum("nhwc,nhwc->n", other, other)) / 2
    return np.sqrt(apart / np.where(size > 0, size, 1))


def _overlap(shift, length):
    """What of an axis is still seen after a shift: before it, and after it."""
    if shift < 0:
        return slice(-shift, length), slice(0, length + shift)
    return slice(0, length - shift), slice(shift, length)


def _maps(measured, x):
    """The feature maps of a batch, float32."""
    _, *maps = measured.predict_on_batch(x)
    maps = [np.asarray(each, "float32") for each in maps]
    for each in maps:
        check_numbers(each)
    return maps


def _choose(model, layers):
    """`(layer, strides)` of each layer to measure."""
    known = feature_map_strides(model)
    if layers is None:
        if not known:
            raise ValueError(
                "`model` must have a layer that outputs a feature map (batch, height, width, "
                f"channels) of more than one pixel. Received: {model.name!r}"
            )
        return known
    strides_of, chosen = dict(known), []
    for wanted in [layers] if isinstance(layers, (str, keras.layers.Layer)) else layers:
        layer = find_layer(model, wanted, "layers")[-1]
        if layer not in strides_of:
            raise ValueError(
                "`layers` must output feature maps (batch, height, width, channels) of more than "
                f"one pixel, on a grid that the network's strides make. Received: {layer.name!r}"
            )
        chosen.append((layer, strides_of[layer]))
    if not chosen:
        raise ValueError(f"`layers` must name one or more. Received: layers={layers!r}")
    return chosen


def _check_sizes(model, image_shape, max_shift):
    check_image_shape(model, image_shape)
    if max_shift >= min(image_shape[:2]):
        raise ValueError(
            f"`max_shift` must be smaller than the images, {image_shape[0]}x{image_shape[1]}. "
            f"Received: max_shift={max_shift}"
        )


def _plan(rng, steps, max_shift, shifts):
    """`(kind, counted, offset)` of each shift: 0 for aligned ones, of layers of one stride; 1."""
    plan = []
    for strides in np.unique(steps, axis=0):
        counted = (steps == strides).all(axis=1)
        for _ in range(shifts):
            most = np.maximum(max_shift // strides, 1)
            offset = strides * rng.integers(1, most + 1) * rng.choice([-1, 1], 2)
            plan.append((0, counted, offset))
    for _ in range(shifts):
        offset = rng.integers(1, max_shift + 1, 2) * rng.choice([-1, 1], 2)
        plan.append((1, np.full(len(steps), True), offset))
    return plan
