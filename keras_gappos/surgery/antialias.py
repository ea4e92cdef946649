"""Anti-alias an existing network: blur before each subsampling."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_gappos.arguments import one_of
from keras_gappos.layers import BlurPool2D
from keras_gappos.surgery.copies import graphs_in, rebuild_copy
from keras_gappos.surgery.graph import Call, Graph, Layer, free_name, graph_inputs
from keras_gappos.surgery.windows import (
    CONVOLUTIONS,
    POOLS,
    is_same,
    layers_inside,
    same_padding,
    subsamples,
    window_of,
)

ACTIVATIONS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


def antialias(
    model: keras.Model,
    kernel_size: int = 4,
    padding: str = "reflect",
    patches: bool = False,
    skip: Iterable[str] = (),
) -> keras.Model:
    """Returns a network of the same weights that blurs its maps before it subsamples them.

    Each convolution and pool with strides, also in nested models, is evaluated at every pixel and
    followed by a `BlurPool2D` of these strides: after a convolution behind the normalizations and
    activations that follow it, after a pool at once. A 1x1 convolution comes after the blur, which
    is the same and cheaper. Outputs and maps keep their sizes, and with `kernel_size=1` their
    values.

    Args:
        model: a Functional or Sequential `keras.Model`, channels last; it stays as it is.
        kernel_size: taps of the blur along each axis, 1 (no blur) to 7.
        padding: how the blur continues a map beyond its border, as in `BlurPool2D`.
        patches: whether to convert convolutions whose strides are their kernel size, too, such as
            the patch embeddings of ConvNeXt and of vision transformers.
        skip: names of layers to leave as they are, such as a stem whose cost matters.

    Returns:
        A Functional `keras.Model`, not compiled. Its weights are copies, so that fine-tuning it
        does not change `model`. Layers keep their names; the blur of `"conv"` is `"conv_blur"`.

    Raises:
        ValueError: for an invalid argument; if no layer subsamples; for a layer that subsamples
            and is called more than once, takes channels first, or is inside of a layer that has no
            graph; for a map too small to reflect.

    Example:
        >>> model = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None)
        >>> smooth = antialias(model)
        >>> smooth.get_layer("Conv1_blur").input.shape, smooth.get_layer("Conv1_blur").output.shape
        ((None, 64, 64, 16), (None, 32, 32, 16))

    Source: Zhang, arXiv 1904.11486.
    """
    BlurPool2D(kernel_size, padding=padding)  # raises for invalid arguments
    graphs = graphs_in(model)
    calls = [call for _, graph in graphs for call in graph.calls]
    layers = _layers_to_convert(calls, patches, tuple(skip))
    called = collections.Counter(id(call.layer) for call in calls)

    replacements: dict[int, Callable] = {}
    for owner, graph in graphs:
        wiring = _Wiring(graph, called)
        for call in graph.calls:
            layer = call.layer
            if id(layer) not in layers:
                continue
            pad, window = wiring.full_padding(call)
            blur = BlurPool2D(
                kernel_size,
                layer.strides,
                padding,
                data_format="channels_last",
                window=window,
                dtype=layer.dtype_policy,
                name=free_name(owner, f"{layer.name}_blur"),
            )
            replacements.update(_conversion(layer, blur, wiring.last_pointwise(call)))
            if pad is not None:
                replacements[id(pad.layer)] = _widened(window)

    def replace(layer, copy):
        return replacements.get(id(layer), lambda layer, copy: None)(layer, copy)

    return rebuild_copy(model, replace)


def _conversion(layer, blur, last):
    """What replaces a layer, and the last pointwise one behind it: `id` to `(layer, copy)`."""

    def stride_1(layer, copy):
        return copy(layer, strides=(1, 1))

    if max(window_of(layer)) == 1:
        if isinstance(layer, POOLS):  # it picks pixels, no more
            return {id(layer): lambda layer, copy: blur}
        return {id(layer): lambda layer, copy: _in_turn(blur, stride_1(layer, copy))}
    if last is layer:
        return {id(layer): lambda layer, copy: _in_turn(stride_1(layer, copy), blur)}
    return {id(layer): stride_1, id(last): lambda layer, copy: _in_turn(copy(layer), blur)}


def _in_turn(first, second):
    return lambda *args, **kwargs: second(first(*args, **kwargs))


def _widened(window):
    """What replaces a padding layer whose layer now needs the padding of strides 1."""
    sides = tuple(same_padding(1, taps) for taps in window)
    return lambda layer, copy: copy(layer, padding=sides)


@dataclasses.dataclass
class _Wiring:
    """Who reads what in a graph; `called` counts the calls of layers by `id`, in all graphs."""

    graph: Graph
    called: collections.Counter

    def __post_init__(self):
        self._readers: dict[int, list[Any]] = collections.defaultdict(list)
        self._writer: dict[int, Call] = {}
        for call in self.graph.calls:
            self._writer.update({id(tensor): call for tensor in call.outputs})
            for tensor in call.inputs:
                self._readers[id(tensor)].append(call)
        for tensor in self.graph.outputs:
            self._readers[id(tensor)].append(None)

    def only_reader(self, call: Call) -> Call | None:
        """The only call that reads what `call` outputs, if its layer is called only once."""
        readers = [reader for tensor in call.outputs for reader in self._readers[id(tensor)]]
        if len(readers) != 1 or readers[0] is None or self.called[id(readers[0].layer)] > 1:
            return None
        return readers[0]

    def last_pointwise(self, call: Call) -> Layer:
        """The last of the normalizations and activations behind a convolution, or itself."""
        last = call
        if isinstance(call.layer, CONVOLUTIONS):
            while (reader := self.only_reader(last)) and _is_pointwise(reader.layer):
                last = reader
        return last.layer

    def full_padding(self, call: Call) -> tuple[Call | None, tuple[int, int] | None]:
        """A padding layer to widen before a layer, and the window that says where it samples.

        Layers of padding "same" sample where that padding centers their windows, and so do layers
        after a padding layer that pads just as "same" would. Widened to the padding of strides 1,
        it leaves the map that is blurred as large as the layer's input: the border is where it was.
        """
        window = window_of(call.layer)
        if is_same(call.layer):
            return None, window
        pad = self._writer.get(id(call.inputs[0]))
        if (
            pad is None
            or type(pad.layer) is not keras.layers.ZeroPadding2D
            or self.called[id(pad.layer)] > 1
            or self.only_reader(pad) is not call
        ):
            return None, None
        lengths, strides = pad.inputs[0].shape[1:3], call.layer.strides
        if None in lengths or pad.layer.padding != tuple(
            map(same_padding, lengths, window, strides)
        ):
            return None, None
        return pad, window


def _is_pointwise(layer):
    """Whether a layer is a normalization or activation that treats each pixel alike."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.axis in (-1, 3)
    if isinstance(layer, keras.layers.LayerNormalization):
        return layer.axis in (-1, 3, [-1], [3])
    if isinstance(layer, keras.layers.PReLU):
        return {1, 2} <= set(layer.shared_axes or ())
    if isinstance(layer, keras.layers.Activation):
        return layer.activation in vars(keras.activations).values()
    return isinstance(layer, ACTIVATIONS)


def _layers_to_convert(calls, patches, skip):
    """The layers to convert by `id`, if all of them can be."""
    found = {id(call.layer): call.layer for call in calls if not graph_inputs(call.layer)}
    opaque = {
        key: inside
        for key, layer in found.items()
        if not subsamples(layer)
        and (inside := [part.name for part in layers_inside(layer) if subsamples(part)])
    }
    strided = {key: layer for key, layer in found.items() if subsamples(layer)}
    names = [found[key].name for key in (*strided, *opaque)]
    for name in skip:
        one_of("skip", name, names)
    called = collections.Counter(id(call.layer) for call in calls)
    for key, inside in opaque.items():
        if (name := found[key].name) not in skip:
            raise ValueError(
                "Layers that subsample must be in a Functional or Sequential model. Received: "
                f"{name!r}, a {type(found[key]).__name__} that contains {inside}. Build it from "
                f"layers of the model, or leave it with skip=[{name!r}]."
            )
    chosen = {
        key: layer
        for key, layer in strided.items()
        if layer.name not in skip and (patches or not _is_patch_embedding(layer))
    }
    for key, layer in chosen.items():
        if called[key] > 1 or layer.data_format == "channels_first":
            wrong = (
                'has data_format="channels_first"'
                if called[key] == 1
                else f"is called {called[key]} times"
            )
            raise ValueError(
                "Layers that subsample must be called once and take channels last. Received: "
                f"{layer.name!r}, which {wrong}. Replace it, or leave it with "
                f"skip=[{layer.name!r}]."
            )
    if not chosen:
        raise ValueError(
            "`model` must have a convolution or pool with strides to convert. Received: "
            f"{names}, patches={patches}, skip={list(skip)}"
        )
    return chosen


def _is_patch_embedding(layer):
    kernel = window_of(layer)
    return isinstance(layer, CONVOLUTIONS) and kernel == tuple(layer.strides) and min(kernel) > 1
