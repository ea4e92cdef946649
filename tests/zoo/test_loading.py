import os
import pickle

import h5py
import keras
import numpy as np
import pytest

from keras_gappos import zoo
from keras_gappos.layers import place_on_grid
from keras_gappos.zoo.loading import BUILDERS, build, load_weights, outputs_of
from tests.zoo.entries import (
    GRID_ARGUMENTS,
    add_files,
    entry,
    file_of,
    permutenet_entry,
    with_files,
)


def sample_of(zoo_folder, model):
    with np.load(zoo_folder / model.files["sample"].path) as sample:
        return sample["inputs"], sample["outputs"]


def put_weights(zoo_folder, model, content):
    """Puts other bytes in the place of a model's weights; the entry that has their digest."""
    path = zoo_folder / model.files["weights"].path
    path.write_bytes(content)
    return with_files(model, model.files | {"weights": file_of(zoo_folder, path)})


def test_a_model_answers_as_it_did(zoo_folder, register):
    model = add_files(zoo_folder, entry())
    register(model, add_files(zoo_folder, entry("other.digits"), seed=1))
    network = zoo.load("resnet18.digits")
    inputs, outputs = sample_of(zoo_folder, model)
    np.testing.assert_allclose(network(inputs), outputs, atol=1e-5)
    assert np.abs(zoo.load("other.digits")(inputs) - outputs).max() > 1e-2
    assert not network.compiled


RAW = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype("uint8")


def test_a_model_with_preprocessing_takes_raw_images(zoo_folder, register, tmp_path):
    model = add_files(zoo_folder, entry())
    register(model)
    expected = zoo.load(model.name).predict(model.preprocess(RAW), verbose=0)
    network = zoo.load(model.name, preprocessing=True)
    network.save(tmp_path / "model.keras")
    for one in (network, keras.saving.load_model(tmp_path / "model.keras")):
        for images in (RAW, RAW.astype("float32")):
            np.testing.assert_allclose(one.predict(images, verbose=0), expected, atol=1e-5)


def test_a_grids_network_with_preprocessing_places_the_images(zoo_folder, register):
    model = entry("gapnet.digits", builder="gapnet", arguments=GRID_ARGUMENTS, grid_size=2)
    register(model := add_files(zoo_folder, model))
    cells = np.arange(5, dtype="int32") % 4
    canvases = place_on_grid(model.preprocess(RAW), cells, 2)
    expected = zoo.load(model.name).predict(canvases, verbose=0)
    network = zoo.load(model.name, preprocessing=True)
    np.testing.assert_allclose(network.predict([RAW, cells], verbose=0), expected, atol=1e-5)


BY_BUILDER = {
    "resnet": lambda: entry(),
    "gapnet": lambda: entry(
        "gapnet.digits", builder="gapnet", arguments=GRID_ARGUMENTS, grid_size=2
    ),
    "permutenet": permutenet_entry,
    "deeplabv3": lambda: entry(
        "deeplabv3.digits",
        builder="deeplabv3",
        arguments={"input_shape": (16, 16, 1), "num_classes": 4, "depth": 18, "width": 2},
        image_shape=(16, 16, 1),
    ),
}


@pytest.mark.parametrize("builder", BY_BUILDER)
def test_a_new_last_layer_is_untrained_and_all_else_pretrained(zoo_folder, register, builder):
    register(model := add_files(zoo_folder, BY_BUILDER[builder]()))
    pretrained = zoo.load(model.name)
    network = zoo.load(model.name, num_classes=7)
    assert network.output_shape == (*pretrained.output_shape[:-1], 7)
    for layer in network.layers:
        old, new = pretrained.get_layer(layer.name).get_weights(), layer.get_weights()
        if layer.name == BUILDERS[builder].head:
            assert new[0].shape[-1] == 7
        else:
            assert all(np.array_equal(*pair) for pair in zip(new, old, strict=True)), layer.name


@pytest.mark.parametrize("builder", BY_BUILDER)
def test_without_its_top_a_network_gives_its_feature_map(zoo_folder, register, builder):
    register(model := add_files(zoo_folder, BY_BUILDER[builder]()))
    pretrained = zoo.load(model.name)
    features = zoo.load(model.name, include_top=False)
    images = np.random.default_rng(0).random((2, *pretrained.input_shape[1:]), "float32")
    top = pretrained.get_layer(BUILDERS[builder].top)
    expected = keras.Model(pretrained.input, top.input)(images)
    assert len(expected.shape) == 4
    np.testing.assert_array_equal(features(images), expected)
    assert not any(layer.name == BUILDERS[builder].head for layer in features.layers)


def test_another_image_size_gives_the_same_convolutions(zoo_folder, register):
    register(model := add_files(zoo_folder, entry()))
    images = np.random.default_rng(0).random((2, 16, 24, 1), "float32")
    fixed = zoo.load(model.name, input_shape=(16, 24, 1))(images)
    free = zoo.load(model.name, input_shape=(None, None, 1))
    np.testing.assert_allclose(free(images), fixed, atol=1e-5)
    np.testing.assert_allclose(
        free(images[:, :8, :8]), zoo.load(model.name)(images[:, :8, :8]), atol=1e-5
    )
    raw = (255 * images).astype("uint8")
    prepared = zoo.load(model.name, input_shape=(16, 24, 1), preprocessing=True)
    expected = zoo.load(model.name, input_shape=(16, 24, 1))(model.preprocess(raw))
    np.testing.assert_allclose(prepared(raw), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1"),
        ({"num_classes": 3, "include_top": False}, "`num_classes` needs the top"),
        ({"input_shape": (8, 8, 3)}, r"`input_shape` must be \(height, width, 1\)"),
        ({"input_shape": (8, 8)}, r"`input_shape` must be \(height, width, 1\)"),
    ],
)
def test_arguments_that_do_not_fit_are_named_before_weights_are_fetched(
    register, arguments, message
):
    register(entry())  # of no files
    with pytest.raises(ValueError, match=message):
        zoo.load(entry().name, **arguments)


def test_a_grid_of_another_size_cannot_prepare_images(zoo_folder, register):
    model = entry("gapnet.digits", builder="gapnet", arguments=GRID_ARGUMENTS, grid_size=2)
    register(add_files(zoo_folder, model))
    with pytest.raises(ValueError, match="`preprocessing` puts images of the pretrained size"):
        zoo.load(model.name, input_shape=(32, 32, 1), preprocessing=True)


def test_of_a_permutenet_the_latent_vector_is_compared(zoo_folder, register):
    model = add_files(zoo_folder, permutenet_entry())
    register(model)
    network = zoo.load(model.name)
    inputs, outputs = sample_of(zoo_folder, model)
    latent = outputs_of(model, network, inputs)
    assert latent.shape == outputs.shape == (2, 16)
    np.testing.assert_allclose(latent, outputs, atol=1e-5)
    assert network.output_shape == (None, 4)


def test_float16_weights_fill_a_float32_network(zoo_folder, register):
    model = add_files(zoo_folder, entry())
    with h5py.File(zoo_folder / model.files["weights"].path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        for name in names:
            values = file[name][()].astype("float16")
            del file[name]
            file[name] = values
    path = zoo_folder / model.files["weights"].path
    register(put_weights(zoo_folder, model, path.read_bytes()))
    network = zoo.load(model.name)
    assert {keras.backend.standardize_dtype(w.dtype) for w in network.weights} == {"float32"}
    inputs, outputs = sample_of(zoo_folder, model)
    np.testing.assert_allclose(network(inputs), outputs, rtol=0.05, atol=0.01)


def test_weights_of_another_model_are_rejected_and_both_are_named(zoo_folder, register):
    wide = add_files(zoo_folder, entry("wide.digits", arguments={**entry().arguments, "width": 3}))
    model = add_files(zoo_folder, entry())
    content = (zoo_folder / wide.files["weights"].path).read_bytes()
    mistaken = put_weights(zoo_folder, model, content)
    register(wide, mistaken)
    with pytest.raises(ValueError, match=r"of 'wide.digits', not of 'resnet18.digits'"):
        zoo.load("resnet18.digits")


def test_weights_of_a_network_that_is_not_of_the_zoo(tmp_path, register):
    register()
    path = tmp_path / "a.weights.h5"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]).save_weights(path)
    with pytest.raises(ValueError, match=r"a model outside this zoo, not of 'resnet18.digits'"):
        load_weights(build(entry()), path, "resnet18.digits")


def test_a_builder_that_the_package_does_not_have():
    with pytest.raises(ValueError, match=r"`builder` must be one of .*'eval', of resnet18.digits"):
        build(entry(builder="eval"))


class Trap:
    """Pickled, it is a call that makes a folder once it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def pickled(tmp_path):
    return pickle.dumps(Trap(tmp_path / "trapped"))


def with_lambda(tmp_path):
    trap = keras.layers.Lambda(lambda x, path=str(tmp_path / "trapped"): (os.mkdir(path), x)[1])
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, trap(inputs))
    model.save(tmp_path / "model.keras")
    (tmp_path / "trapped").rmdir()  # building the model has sprung it
    return (tmp_path / "model.keras").read_bytes()


@pytest.mark.parametrize("content", [pickled, with_lambda, lambda _: b""])
def test_nothing_in_a_file_is_run(zoo_folder, tmp_path, register, content):
    model = add_files(zoo_folder, entry())
    register(put_weights(zoo_folder, model, content(tmp_path)))
    with pytest.raises(
        (ValueError, OSError), match=r"model.weights.h5.*'resnet18.digits'"
    ) as error:
        zoo.load(model.name)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "trapped").exists()


def test_an_unknown_name_suggests_the_nearest(register):
    register(entry())
    with pytest.raises(ValueError, match=r"Did you mean 'resnet18.digits'"):
        zoo.load("resnet.digits")


def test_a_part_of_a_weights_file(tmp_path, register):
    register()
    path = tmp_path / "a.weights.h5"
    build(entry()).save_weights(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match=r"'resnet18.digits'"):
        load_weights(build(entry()), path, "resnet18.digits")
