import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_gappos.zoo import registry
from tests.zoo.entries import entry


def test_round_trip_in_any_order():
    models = [entry("b.digits"), entry("a.digits")]
    text = registry.format_registry(models)
    assert text == registry.format_registry(models[::-1])
    assert registry.parse_registry(text) == {model.name: model for model in models}


def test_entries_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry().name = "other"


def test_names_and_patterns(monkeypatch):
    models = {name: entry(name) for name in ("b.cifar10", "a.digits", "a.cifar10")}
    monkeypatch.setattr(registry, "_models", lambda: models)
    assert registry.list_models() == ["a.cifar10", "a.digits", "b.cifar10"]
    assert registry.list_models("*cifar10*") == ["a.cifar10", "b.cifar10"]
    assert registry.list_models("none*") == []
    assert registry.info("a.digits") == models["a.digits"]
    registry.info("a.digits").metrics["top1"] = 0.0  # a copy's
    assert registry.info("a.digits").metrics["top1"] == 90.0
    with pytest.raises(ValueError, match=r"name='a.cifar100'. Did you mean 'a.cifar10'"):
        registry.info("a.cifar100")
    with pytest.raises(ValueError, match=r"name='A.CIFAR10'. Did you mean 'a.cifar10'"):
        registry.info("A.CIFAR10")
    with pytest.raises(ValueError, match=r"name='resnet\.'\.$"):
        registry.info("resnet.")


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("gapnet", "gapnet_resnet18.digits"),
        ("permutenet", "permutenet_resnet18.digits"),
        ("augshift_resnet18", "augshift_resnet18.cifar10"),
        ("augshift_resnet.cifar10", "augshift_resnet18.cifar10"),
        ("", None),
        ("zzz", None),
    ],
)
def test_the_nearest_name_has_what_was_asked_in_it(asked, near):
    names = [
        f"{a}_resnet18.{b}"
        for a, b in zip(
            ("gapnet", "permutenet", "augshift", "aps"), ("digits", "digits", "cifar10", "cifar10")
        )
    ]
    assert registry.nearest(asked, names) == near


@pytest.mark.parametrize("content", [{"models": [{"unknown": 1}]}, {"networks": {}}], ids=str)
def test_a_newer_registry_says_so(content):
    with pytest.raises(ValueError, match=r"format 2.*Upgrade keras-gappos"):
        registry.parse_registry(json.dumps({"format": 2, **content}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"format": 1}',
        '{"format": 0, "models": []}',
        '{"format": 1.5, "models": []}',
        '{"format": 1, "models": null}',
        '{"format": 1, "models": {"a": 1}}',
        '{"format": 1, "models": [{}]}',
    ],
)
def test_a_damaged_registry_says_so(text):
    with pytest.raises(ValueError, match="damaged"):
        registry.parse_registry(text)


def test_an_entry_with_other_keys():
    with pytest.raises(ValueError, match="must have the keys"):
        registry.parse_registry(json.dumps({"format": 1, "models": [{"name": "x"}]}))


def test_preprocess():
    model = entry()
    images = np.array([0, 255, 51], "uint8").reshape(3, 1, 1, 1)
    expected = np.array([-0.5, 1.5, -0.1], "float32")
    np.testing.assert_allclose(model.preprocess(images).ravel(), expected, atol=1e-6)
    np.testing.assert_allclose(model.preprocess(images / 255).ravel(), expected, atol=1e-6)
    assert model.preprocess(images).dtype == np.float32
    for bad in (images.astype("float32"), -(images / 255), np.full((1, 1, 1, 1), np.nan)):
        with pytest.raises(ValueError, match=r"floats in \[0, 1\]"):
            model.preprocess(bad)
    with pytest.raises(ValueError, match="height, width, 1"):
        model.preprocess(np.zeros((2, 8, 8, 3), "uint8"))


def test_preprocess_takes_tensors_too_and_works_in_tf_data():
    tf = pytest.importorskip("tensorflow")
    model = entry()
    raw = np.array([0, 255, 51, 10], "uint8").reshape(4, 1, 1, 1)
    expected = model.preprocess(raw)
    for images in (raw, (raw / 255).astype("float32")):
        tensor = keras.ops.convert_to_tensor(images)
        outputs = model.preprocess(tensor)
        assert keras.ops.is_tensor(outputs)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(outputs), expected, atol=1e-6)
        dataset = tf.data.Dataset.from_tensor_slices(images)
        for mapped in (
            dataset.batch(4).map(model.preprocess),
            dataset.map(model.preprocess).batch(4),
        ):
            np.testing.assert_allclose(next(mapped.as_numpy_iterator()), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"floats in \[0, 1\]"):
        model.preprocess(keras.ops.convert_to_tensor(raw.astype("float32")))


def test_the_input_of_a_grids_network():
    assert entry(grid_size=3).input_shape == (24, 24, 1)


def test_the_seed_is_one_of_the_settings():
    assert entry(settings={"seed": 7}).seed == 7
