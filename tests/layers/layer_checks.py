"""What every layer of the package owes, in one runner."""

import json
import pathlib
import tempfile

import keras
import numpy as np
from keras import ops


def run_layer_test(
    layer_class,
    init_arguments,
    inputs,
    expected_output_shape,
    dtypes=("float16", "float32"),
    differentiable=True,
    random=False,
    tolerance=1e-2,
):
    """Asserts all that a layer owes whatever it computes.

    Args:
        layer_class: the layer's class.
        init_arguments: its arguments, as far as possible none at its default; with a seed where
            the layer is random, so that two fresh layers give the same outputs.
        inputs: tuple of arrays, the layer's inputs for a batch of at least 3 samples. Small whole
            numbers, which all of `dtypes` can tell.
        expected_output_shape: of the outputs for `inputs`, the batch included.
        dtypes: dtypes of the first input that the outputs keep.
        differentiable: whether a gradient passes to the first input.
        random: whether the layer draws while it is called. TensorFlow under XLA draws other
            numbers than without, so that there only equal seeds can be compared.
        tolerance: how far outputs in half precision may be from those in float32.
    """

    def new_layer(**kwargs):
        return layer_class(**init_arguments, **kwargs)

    expected = to_numpy(new_layer()(*inputs))
    assert expected.shape == expected_output_shape
    _check_symbolic_spec(new_layer(), inputs, expected)
    _check_config(new_layer(), init_arguments, inputs, expected)
    _check_save_and_clone(new_layer, inputs, expected)
    _check_batch_sizes(new_layer(), inputs, expected)
    np.testing.assert_allclose(_predict(new_layer(), inputs), expected, rtol=1e-5)
    compiled = _predict(new_layer(), inputs, jit_compile=True)
    twin = _predict(new_layer(), inputs, jit_compile=True) if random else expected
    np.testing.assert_allclose(compiled, twin, rtol=1e-5)
    _check_dtypes(new_layer, inputs, expected, dtypes, tolerance)
    if differentiable:
        _check_gradient(new_layer(), inputs, expected)


def functional_model(layer, inputs):
    """The layer between Keras inputs of unknown batch size that fit the arrays `inputs`."""
    symbolic = [keras.Input(array.shape[1:], dtype=array.dtype.name) for array in inputs]
    return keras.Model(packed(symbolic), layer(*symbolic))


def packed(inputs):
    """Inputs as Keras models take them: one alone, several in a list."""
    return list(inputs) if len(inputs) > 1 else inputs[0]


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def _check_symbolic_spec(layer, inputs, expected):
    shapes = [array.shape for array in inputs]
    assert tuple(layer.compute_output_shape(*shapes)) == expected.shape
    symbolic = functional_model(layer, inputs).outputs[0]
    assert symbolic.shape == (None, *expected.shape[1:])
    assert symbolic.dtype == expected.dtype.name


def _check_config(layer, init_arguments, inputs, expected):
    config = json.loads(json.dumps(layer.get_config()))
    assert {key: config[key] for key in init_arguments} == init_arguments
    twin = layer.__class__.from_config(config)
    assert json.loads(json.dumps(twin.get_config())) == config
    np.testing.assert_array_equal(to_numpy(twin(*inputs)), expected)


def _check_save_and_clone(new_layer, inputs, expected):
    model = functional_model(new_layer(), inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        reloaded = keras.saving.load_model(path)
    cloned = keras.models.clone_model(model)
    for one in (model, reloaded, cloned):
        np.testing.assert_array_equal(to_numpy(one(packed(inputs))), expected)


def _check_batch_sizes(layer, inputs, expected):
    model = functional_model(layer, inputs)
    assert len(expected) % 2, "a last batch of 1 is wanted"
    assert model.predict(packed(inputs), batch_size=2, verbose=0).shape == expected.shape
    one = model(packed([array[:1] for array in inputs]))
    assert tuple(one.shape) == (1, *expected.shape[1:])


def _predict(layer, inputs, jit_compile=False):
    model = functional_model(layer, inputs)
    model.compile(jit_compile=jit_compile)
    return model.predict(packed(inputs), batch_size=len(inputs[0]), verbose=0)


def _check_dtypes(new_layer, inputs, expected, dtypes, tolerance):
    first, *others = inputs
    for dtype in dtypes:
        outputs = new_layer()(ops.cast(first, dtype), *others)
        assert keras.backend.standardize_dtype(outputs.dtype) == dtype
        rounded = to_numpy(ops.cast(ops.cast(expected, dtype), "float32"))
        outputs = to_numpy(ops.cast(outputs, "float32"))
        np.testing.assert_allclose(outputs, rounded, rtol=tolerance, atol=tolerance)

    layer = new_layer(dtype="mixed_float16")
    outputs = layer(ops.cast(first, "float16"), *others)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    assert all(weight.dtype != "float16" for weight in layer.weights)
    np.testing.assert_allclose(to_numpy(outputs), expected, rtol=tolerance, atol=tolerance)


def _check_gradient(layer, inputs, expected):
    """One step of training, compiled by XLA, reaches the weights before the layer."""
    model = functional_model(layer, inputs)
    dense = keras.layers.Dense(inputs[0].shape[-1])
    first, *others = model.inputs
    model = keras.Model(packed(model.inputs), layer(dense(first), *others))
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=True)
    before = dense.get_weights()
    model.fit(packed(inputs), expected + 1, batch_size=len(expected), epochs=1, verbose=0)
    for old, new in zip(before, dense.get_weights(), strict=True):
        assert np.isfinite(new).all()
        assert np.any(new != old)
