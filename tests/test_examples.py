import importlib.util
import pathlib

import keras
import keras_tuner
import numpy as np
import pytest
from keras import layers

import keras_gappos as kg

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def load_example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pytorch_weights_are_loaded_without_a_file_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = load_example("import_pytorch_weights")
    example.main(example.Settings())
    assert "102 keys used, 1 left over" in capsys.readouterr().out
    model = example.models.resnet(18, (None, None, 3), 10, width=8, stem="imagenet")
    model.load_weights("small_resnet18.weights.h5")
    expected = example.random_state_dict(10, 8)["fc.weight"].T
    np.testing.assert_array_equal(model.get_layer("logits").get_weights()[0], expected)


@pytest.mark.slow
def test_a_search_around_a_network_of_the_users_own_gives_its_best(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = load_example("tune_your_own_network")
    monkeypatch.setattr(example, "TRAIN", 64)
    assert example.build(keras_tuner.HyperParameters()).input_shape == (None, 32, 32, 1)

    def build(hp):
        convolution = layers.Conv2D(hp.Choice("filters", [3, 5]), 3, strides=4)
        stack = [convolution, layers.GlobalAveragePooling2D(), layers.Dense(10)]
        return keras.Sequential([keras.Input((32, 32, 1)), *stack])

    best, settings = example.tune(build, *example.digits("train", limit=96), trials=1, epochs=1)
    assert best.model.layers[0].filters == settings["filters"]
    assert best.max_shift == settings["max_shift"] in range(2, 5)


def test_a_network_of_the_users_own_is_saved_without_the_channels_that_rank_first(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    example = load_example("find_position_channels")
    stack = [layers.Conv2D(20, 3, strides=8), layers.GlobalAveragePooling2D(name="gap")]
    network = keras.Sequential([keras.Input((None, None, 3)), *stack])  # its size is not known
    example.rank_network(network)
    lines = capsys.readouterr().out.splitlines()
    images = np.random.default_rng(0).random((2, 40, 40, 3))
    for region, line in zip(("overall", "left", "right"), lines, strict=True):
        first, second = map(int, line.split("best first: ")[1].split()[:2])
        saved = keras.saving.load_model(f"without_{region}_channels.keras")
        off = ~saved.predict(images, verbose=0).any(axis=0)
        assert set(np.flatnonzero(off)) == {first, second}


@pytest.mark.slow
def test_a_fine_tuned_network_takes_raw_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = load_example("finetune_from_the_zoo")
    images, labels = example.digits("train")
    assert images.shape == (1397, 32, 32, 3)
    assert images.dtype == "uint8" and not images[:, :4].any()
    monkeypatch.setattr(example, "digits", lambda split: (images[:64], labels[:64]))
    example.main()
    assert [len(line.split()) for line in capsys.readouterr().out.splitlines()[2:]] == [3, 4]
    network = keras.saving.load_model("finetuned.keras")
    assert network.predict(images[:2], verbose=0).shape == (2, 10)


@pytest.mark.slow
def test_an_anti_aliased_network_is_fine_tuned_and_saved(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = load_example("antialias_your_model")
    assert kg.surgery.antialias(example.mobilenet(1), 3).output_shape == (None, 10)

    def small(channels):
        conv = layers.Conv2D(8, 3, strides=4, name="conv")
        stack = [
            conv,
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
        return keras.Sequential([keras.Input((32, 32, channels)), *stack])

    monkeypatch.setattr(example, "mobilenet", small)
    example.main(epochs=2, limit=64)
    rows = [line.split()[-2:] for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(rows) == 3 and all(0 <= float(percent) <= 100 for row in rows for percent in row)
    smooth = keras.saving.load_model("antialiased_mobilenet.keras")
    assert smooth.get_layer("conv_blur").kernel_size == 3
