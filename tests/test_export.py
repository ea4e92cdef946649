"""Every layer and network, exported, answers in another runtime as in Keras."""

import functools

import keras
import numpy as np
import pytest

from keras_gappos import layers, models, surgery

pytestmark = pytest.mark.tensorflow

FORMATS = ("tf_saved_model", "onnx", "litert")
LAYERS = {
    "polyphase": lambda maps, **other: layers.AdaptivePolyphasePool2D()(maps),
    "polyphase_3_l1": lambda maps, **other: layers.AdaptivePolyphasePool2D(3, 1)(maps),
    "polyphase_l3": lambda maps, **other: layers.AdaptivePolyphasePool2D(2, 3)(maps),
    "polyphase_inf": lambda maps, **other: layers.AdaptivePolyphasePool2D(2, "inf")(maps),
    "blur_reflect": lambda maps, **other: layers.BlurPool2D()(maps),
    "blur_replicate": lambda maps, **other: layers.BlurPool2D(3, 3, "replicate")(maps),
    "blur_zero": lambda maps, **other: layers.BlurPool2D(5, 2, "zero")(maps),
    "blur_circular": lambda maps, **other: layers.BlurPool2D(5, 2, "circular")(maps),
    "learned_polyphase": lambda maps, **other: layers.LearnablePolyphasePool2D()(maps),
    "pad_zeros": lambda maps, **other: layers.Pad2D((1, 2))(maps),
    "pad_reflect": lambda maps, **other: layers.Pad2D(((1, 0), (2, 3)), "reflect")(maps),
    "pad_replicate": lambda maps, **other: layers.Pad2D(((1, 0), (2, 3)), "replicate")(maps),
    "pad_circular": lambda maps, **other: layers.Pad2D(((1, 0), (2, 19)), "circular")(maps),
    "blur_window": lambda maps, **other: layers.BlurPool2D(4, (2, 1), window=3)(maps),
    "mask": lambda maps, **other: layers.ChannelMask([1])(maps),
    "permutation": lambda maps, **other: layers.ChannelPermutation("fixed", seed=1)(maps),
    "standardization": lambda maps, **other: layers.ImageStandardization((0.5,) * 4, (2.0,) * 4)(
        maps
    ),
    "resize": lambda maps, like, **other: layers.ResizeLike()(maps, like),
    "shift": lambda maps, **other: layers.RandomShift(2, seed=1)(maps, training=False),
    "grid": lambda maps, images, cell, **other: layers.GridPlacement(2)(images, cell),
}
NETWORKS = {
    "resnet_stride": lambda: models.resnet(18, (16, 16, 3), 5, width=4),
    "resnet_blur": lambda: models.resnet(18, (32, 32, 3), 5, width=4, downsampling="blur"),
    "resnet_polyphase": lambda: models.resnet(
        18, (16, 16, 3), 5, width=4, downsampling="polyphase"
    ),
    "resnet_learned_polyphase": lambda: models.resnet(
        18, (16, 16, 3), 5, 4, downsampling="learned_polyphase", padding="circular", blur_kernel=3
    ),
    "gapnet": lambda: models.gapnet((16, 16, 3), 9, width=4),
    "permutenet": lambda: models.permutenet((16, 16, 3), 9, width=4, mode="fixed", seed=1),
    "deeplabv3": lambda: models.deeplabv3((None, None, 3), 5, depth=18, width=4),
    "mobilenet_antialiased_circular": lambda: surgery.set_padding(
        surgery.antialias(
            keras.applications.MobileNetV2(
                alpha=0.35,
                weights=None,
                input_tensor=keras.Input((64, 64, 3), name="images"),
                classes=5,
            ),
            padding="circular",
        ),
        "circular",
    ),
}


def runner(model, format, folder):
    """The exported model: a function of a dictionary of arrays by the inputs' names."""
    path = str(folder / {"tf_saved_model": "model", "onnx": "m.onnx", "litert": "m.tflite"}[format])
    if format == "tf_saved_model":
        import tensorflow as tf

        model.export(path, format=format, verbose=False)
        loaded = tf.saved_model.load(path)  # which owns the weights

        def run(inputs):
            return loaded.signatures["serve"](
                **{name: tf.constant(array) for name, array in inputs.items()}
            )
    elif format == "onnx":
        pytest.importorskip("tf2onnx", reason="needs the [export] extra")
        runtime = pytest.importorskip("onnxruntime", reason="needs the [export] extra")
        model.export(path, format=format, verbose=False)
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(inputs):
            return dict(zip(names, session.run(None, inputs)))
    else:
        litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs [export]")
        model.export(path, format=format, verbose=False)
        interpreter = litert.Interpreter(path)

        def run(inputs):
            # No reference to the interpreter's memory may remain while it is resized.
            details = interpreter.get_signature_runner().get_input_details()
            indices = {name: detail["index"] for name, detail in details.items()}
            for name, array in inputs.items():
                interpreter.resize_tensor_input(indices[name], array.shape)
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner()(**inputs)

    return run


def check_exported(model, inputs, format, folder):
    """Asserts equal outputs for batches of 3 and 1."""
    expected = model.predict(inputs, verbose=0)  # also, ONNX export needs a model that was called
    run = runner(model, format, folder)
    for count in (3, 1):
        got = run({name: array[:count] for name, array in inputs.items()})
        if not isinstance(expected, dict):
            (got,) = got.values()
            np.testing.assert_allclose(got, expected[:count], rtol=1e-4, atol=1e-4)
            continue
        assert set(got) == set(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(got[name], array[:count], rtol=1e-4, atol=1e-4, err_msg=name)


@functools.cache
def all_layers(height, width):
    """A model with the outputs of all layers."""
    inputs = {
        "maps": keras.Input((height, width, 4), name="maps"),
        "images": keras.Input((3, 2, 1), name="images"),
        "cell": keras.Input((), dtype="int32", name="cell"),
        "like": keras.Input((height and 13, width and 11, 1), name="like"),
    }
    outputs = {name: layer(**inputs) for name, layer in LAYERS.items()}
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((9, 8), id="fixed"),
        pytest.param((None, None), id="unknown", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_layers_answer_as_in_keras(format, size, tmp_path):
    random = np.random.default_rng(0)
    inputs = {
        "maps": random.random((3, 9, 8, 4), "float32"),
        "images": random.random((3, 3, 2, 1), "float32"),
        "cell": np.array([0, 3, 1], "int32"),
        "like": random.random((3, 13, 11, 1), "float32"),
    }
    check_exported(all_layers(*size), inputs, format, tmp_path)


def test_all_layers_are_checked():
    kinds = {type(layer) for layer in all_layers(9, 8).layers}
    public = {getattr(layers, name) for name in layers.__all__}
    assert {kind for kind in public if isinstance(kind, type)} <= kinds


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_answer_as_in_keras(name, format, tmp_path):
    model = network(name)
    shape = [n or 32 for n in model.input_shape[1:]]
    images = np.random.default_rng(0).random((3, *shape), "float32")
    check_exported(model, {model.inputs[0].name: images}, format, tmp_path)


@functools.cache
def network(name):
    return NETWORKS[name]()
