import functools
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_gappos.models import deeplabv3, resnet
from keras_gappos.models.resnet import backbone
from tests.models.test_resnet import assert_close, images, outputs_of, randomized


@functools.cache
def narrow(output_stride=16):
    return randomized(deeplabv3((None, None, 3), 5, 18, 2, output_stride))


def dilated_conv(x, kernel, rate):
    """A 3x3 convolution with holes, tap by tap; zeros beyond the border."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (rate, rate), (rate, rate), (0, 0)))
    return sum(
        padded[:, i * rate : i * rate + height, j * rate : j * rate + width] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


def test_has_the_parameters_of_torchvision():
    # Its deeplabv3_resnet50 of 21 classes has 42,004,074, of which 2,365,205 are in a second,
    # auxiliary classifier that ours has not.
    model = deeplabv3((None, None, 3), 21)
    count = sum(math.prod(w.shape) for w in model.trainable_variables)
    assert count == 42_004_074 - 2_365_205
    assert model.name == "deeplabv3_resnet50"


def test_weights_are_the_same_for_both_output_strides_and_those_of_the_resnet():
    fine, coarse = narrow(8), narrow(16)
    described = [[(w.path, tuple(w.shape)) for w in model.weights] for model in (fine, coarse)]
    assert described[0] == described[1]
    plain = resnet(18, (None, None, 3), 5, width=2, stem="imagenet")
    backbone_weights = [(w.path, tuple(w.shape)) for w in plain.weights[:-2]]
    assert described[0][: len(backbone_weights)] == backbone_weights


@pytest.mark.parametrize("output_stride, rates", [(8, (12, 24, 36)), (16, (6, 12, 18))])
def test_rates_and_dilations_follow_the_output_stride(output_stride, rates):
    model = narrow(output_stride)
    assert tuple(model.get_layer(f"aspp{i}_conv").dilation_rate[0] for i in (1, 2, 3)) == rates
    features, _ = outputs_of(model, ["features", "latent"], images(1, 33, 65, 3))
    assert features.shape[1:3] == (math.ceil(33 / output_stride), math.ceil(65 / output_stride))


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_dilated_backbone_gives_the_features_of_the_strided_one_and_those_between(
    depth, output_stride
):
    strided, dilated = (
        randomized(keras.Model(*backbone(depth, (75, 98, 3), 2, "imagenet", output_stride=stride)))
        for stride in (None, output_stride)
    )
    dilated.set_weights(strided.get_weights())
    x = images(1, 75, 98, 3)
    step = 32 // output_stride
    features = ops.convert_to_numpy(dilated(x))
    assert features.shape[1:3] == (math.ceil(75 / output_stride), math.ceil(98 / output_stride))
    assert_close(features[:, ::step, ::step], ops.convert_to_numpy(strided(x)))


def test_the_first_block_of_a_dilated_stage_keeps_the_dilation_before_its_stride():
    model = keras.Model(*backbone(50, (32, 32, 3), 2, "imagenet", output_stride=8))
    rates = [
        model.get_layer(f"stage{stage}_block{block}_conv2").dilation_rate[0]
        for stage in (2, 3, 4)
        for block in (1, 2)
    ]
    assert rates == [1, 1, 1, 2, 2, 4]


@pytest.mark.parametrize("branch, rate", [(1, 12), (3, 36)])
def test_a_branch_equals_numpy_also_where_its_rate_exceeds_the_map(branch, rate):
    model = narrow(8)
    names = ["features", f"aspp{branch}_relu"]
    features, ours = outputs_of(model, names, images(2, 70, 130, 3))
    (kernel,) = model.get_layer(f"aspp{branch}_conv").get_weights()
    gain, offset, mean, variance = model.get_layer(f"aspp{branch}_bn").get_weights()
    x = dilated_conv(features, kernel, rate)
    expected = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gain + offset, 0)
    assert_close(ours, expected)
    if rate == 36:
        assert_close(x, features @ kernel[1, 1])


def test_every_branch_sees_the_features_and_the_latent_is_their_mean():
    model = narrow(16)
    features = model.get_layer("features").output
    seen_by = {
        layer.name
        for layer in model.layers
        for tensor in keras.tree.flatten(layer.input)
        if tensor is features
    }
    branches = {"aspp0_conv", "aspp1_conv", "aspp2_conv", "aspp3_conv", "latent", "aspp4_resize"}
    assert seen_by == branches
    maps, latent = outputs_of(model, ["features", "latent"], images(2, 40, 40, 3))
    np.testing.assert_allclose(latent, maps.mean((1, 2)), rtol=1e-4, atol=1e-5)
    pools = [x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    assert [layer.name for layer in pools] == ["latent"]


@pytest.mark.parametrize("size", [(64, 64), (45, 70), (7, 9)])
def test_gives_a_class_for_each_pixel_of_images_of_any_size(size):
    logits = ops.convert_to_numpy(narrow(16)(images(2, *size, 3)))
    assert logits.shape == (2, *size, 5)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


def test_known_and_unknown_sizes_give_the_same():
    fixed = deeplabv3((45, 70, 3), 5, 18, 2)
    fixed.set_weights(narrow(16).get_weights())
    assert fixed.output_shape == (None, 45, 70, 5)
    x = images(1, 45, 70, 3)
    np.testing.assert_allclose(fixed(x), narrow(16)(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_saves_and_loads(tmp_path):
    model, x = narrow(16), images(1, 40, 33, 3)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(model(x), reloaded(x), rtol=1e-5, atol=1e-5)


@pytest.mark.tensorflow
def test_ignored_pixels_alone_teach_nothing_and_others_do():
    model = deeplabv3((32, 32, 3), 5, 18, 2, output_stride=8)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=5)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    x, ignored = images(2, 32, 32, 3), np.full((2, 32, 32), 5)
    kernels = [w for w in model.trainable_variables if w.path.endswith("kernel")]
    before = [w.numpy() for w in kernels]
    model.train_on_batch(x, ignored)
    for old, new in zip(before, kernels):
        np.testing.assert_array_equal(old, new.numpy())
    model.train_on_batch(x, np.where(np.arange(32) < 16, ignored, 1))
    for old, new in zip(before, kernels):
        # A 3x3 kernel whose rate exceeds the map learns in its center alone.
        assert (old != new.numpy()).any(), new.path


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = deeplabv3((32, 48, 3), 5, 18, 2)
    assert model.get_layer("features").output.dtype == "bfloat16"
    assert model.get_layer("aspp4_resize").output.dtype == "bfloat16"
    assert model.output.dtype == "float32"
    assert ops.dtype(model(images(1, 32, 48, 3))) == "float32"


def test_a_small_stem_needs_less_dilation():
    model = deeplabv3((16, 24, 3), 5, 18, 2, output_stride=8, stem="cifar")
    assert model.get_layer("features").output.shape == (None, 2, 3, 16)
    assert model.get_layer("stage4_block2_conv2").dilation_rate == (1, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"output_stride": 32}, r"`output_stride` must be one of \(8, 16\).*=32"),
        ({"stem": "cifar"}, r"`output_stride` must be one of \[1, 2, 4, 8\] for stem='cifar'.*=16"),
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1"),
        ({"depth": 101}, r"`depth` must be one of \(18, 34, 50\)"),
        ({"width": 0}, "`width` must be an integer of at least 1"),
        ({"input_shape": (32, 32)}, "`input_shape` must be"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        deeplabv3(**{"input_shape": (32, 32, 3), "num_classes": 5, "width": 2, **arguments})
