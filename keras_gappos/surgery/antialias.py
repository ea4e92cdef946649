"""Anti-alias an existing network: blur before each subsampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras

from keras_gappos.arguments import one_of
from keras_gappos.layers import BlurPool2D, Pad2D
from keras_gappos.surgery.copies import in_turn, rebuild_copy
from keras_gappos.surgery.graph import free_name
from keras_gappos.surgery.windows import (
    CONVOLUTIONS,
    POOLS,
    dense_sides,
    hidden_error,
    hidden_in,
    is_same,
    same_sides,
    subsamples,
    window_of,
)
from keras_gappos.surgery.wiring import layers_in, wirings

PADDING = (keras.layers.ZeroPadding2D, Pad2D)
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

    Examples:
        >>> model = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None)
        >>> smooth = antialias(model)
        >>> smooth.get_layer("Conv1_blur").input.shape, smooth.get_layer("Conv1_blur").output.shape
        ((None, 64, 64, 16), (None, 32, 32, 16))

    Source: Zhang, arXiv 1904.11486.
    """
    BlurPool2D(kernel_size, padding=padding)  # raises for invalid arguments
    wired = wirings(model)
    layers = _layers_to_convert(wired, patches, tuple(skip))
    replacements: dict[int, Callable] = {}
    for wiring in wired:
        for call in wiring.graph.calls:
            layer = call.layer
            if id(layer) not in layers:
                continue
            pad, window = _full_padding(call, wiring)
            if pad is not None:
                replacements[id(pad.layer)] = _widened(window)
            blur = BlurPool2D(
                kernel_size,
                layer.strides,
                padding,
                data_format="channels_last",
                window=window,
                dtype=layer.dtype_policy,
                name=free_name(wiring.model, f"{layer.name}_blur"),
            )
            wrap = _wrap(call, wiring) if padding == "circular" else None
            replacements.update(_conversion(layer, blur, _last_pointwise(call, wiring), wrap))

    def replace(layer, copy):
        return replacements.get(id(layer), lambda layer, copy: None)(layer, copy)

    return rebuild_copy(model, replace)


def _conversion(layer, blur, last, wrap):
    """What replaces a layer, and the last pointwise one behind it: `id` to `(layer, copy)`."""

    def dense(layer, copy):
        dense = copy(layer, strides=(1, 1))
        return dense if wrap is None else in_turn(wrap, dense)

    if max(window_of(layer)) == 1:
        if isinstance(layer, POOLS):  # it picks pixels, no more
            return {id(layer): lambda layer, copy: blur}
        return {id(layer): lambda layer, copy: in_turn(blur, dense(layer, copy))}
    if last is layer:
        return {id(layer): lambda layer, copy: in_turn(dense(layer, copy), blur)}
    return {id(layer): dense, id(last): lambda layer, copy: in_turn(copy(layer), blur)}


def _widened(window):
    """What replaces a padding layer whose layer now needs the padding of strides 1."""
    return lambda layer, copy: copy(layer, padding=dense_sides(window))


def _last_pointwise(call, wiring):
    """The last of the normalizations and activations behind a convolution, or itself."""
    last = call
    if isinstance(call.layer, CONVOLUTIONS):
        while (reader := wiring.only_reader(last)) and _is_pointwise(reader.layer):
            last = reader
    return last.layer


def _full_padding(call, wiring):
    """A padding layer to widen before a layer, and the window that says where it samples.

    Layers of padding "same" sample where that padding centers their windows, and so do layers after
    a padding layer that pads just as "same" would. Widened to the padding of strides 1, it leaves
    the map that is blurred as large as the layer's input, with the border where it was.
    """
    window = window_of(call.layer)
    if is_same(call.layer):
        return None, window
    pad = wiring.padding_before(call, PADDING)
    if pad is None or pad.layer.padding != same_sides(pad, call.layer):
        return None, None
    return pad, window


def _wrap(call, wiring):
    """For a pool without padding whose windows tile the map: what wraps the map for strides 1."""
    window = window_of(call.layer)
    if is_same(call.layer) or max(window) == 1:
        return None
    if wiring.padding_before(call, PADDING) or same_sides(call, call.layer) != ((0, 0), (0, 0)):
        return None
    name = free_name(wiring.model, f"{call.layer.name}_pad")
    sides = tuple((0, taps - 1) for taps in window)
    return Pad2D(sides, "circular", data_format="channels_last", name=name)


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


def _layers_to_convert(wired, patches, skip):
    """The layers to convert by `id`, if all of them can be."""
    layers = layers_in(wired)
    strided = {key: layer for key, layer in layers.items() if subsamples(layer)}
    hidden = {key: names for key, each in layers.items() if (names := hidden_in(each, subsamples))}
    names = [layers[key].name for key in (*strided, *hidden)]
    for name in skip:
        one_of("skip", name, names)
    for key, inside in hidden.items():
        if (name := layers[key].name) not in skip:
            remedy = f"Build it from layers of the model, or leave it with skip=[{name!r}]."
            raise hidden_error(layers[key], inside, remedy)
    chosen = {
        key: layer
        for key, layer in strided.items()
        if layer.name not in skip and (patches or not _is_patch_embedding(layer))
    }
    for key, layer in chosen.items():
        called = wired[0].called[key]
        if called > 1 or layer.data_format == "channels_first":
            wrong = (
                'has data_format="channels_first"' if called == 1 else f"is called {called} times"
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
