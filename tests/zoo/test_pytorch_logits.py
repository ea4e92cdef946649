"""The networks compute with PyTorch's weights what PyTorch computes with them."""

import numpy as np
import pytest

from keras_gappos.models import gapnet, permutenet, resnet
from keras_gappos.zoo import load_pytorch_weights
from tests.zoo.pytorch_networks import OUTPUTS, pytorch_resnet, state_dict

torch = pytest.importorskip("torch")

PARITIES = {
    "resnet18": (
        lambda size: resnet(18, (*size, 3), OUTPUTS, 8, "imagenet"),
        ("torchvision", 18, 8, "imagenet", ("fc",)),
    ),
    "resnet34": (
        lambda size: resnet(34, (*size, 3), OUTPUTS, 4, "imagenet"),
        ("torchvision", 34, 4, "imagenet", ("fc",)),
    ),
    "resnet50": (
        lambda size: resnet(50, (*size, 3), OUTPUTS, 8, "imagenet"),
        ("torchvision", 50, 8, "imagenet", ("fc",)),
    ),
    "cifar stem": (
        lambda size: resnet(18, (*size, 3), OUTPUTS, 8, "cifar"),
        ("authors", 18, 8, "cifar", ("linear",)),
    ),
    "antialiased 18": (
        lambda size: resnet(18, (*size, 3), OUTPUTS, 8, "imagenet", "blur"),
        ("antialiased", 18, 8, "imagenet", ("fc",)),
    ),
    "antialiased 50": (
        lambda size: resnet(50, (*size, 3), OUTPUTS, 8, "imagenet", "blur"),
        ("antialiased", 50, 8, "imagenet", ("fc",)),
    ),
    "gapnet": (
        lambda size: gapnet((*size, 3), OUTPUTS, width=8),
        ("authors", 18, 8, "canvas", ("pre_classifier", "linear_location")),
    ),
    "permutenet": (
        lambda size: permutenet((*size, 3), OUTPUTS, width=8, mode="fixed", seed=1),
        ("authors", 18, 8, "canvas", ("linear_location",)),
    ),
}


@pytest.mark.parametrize("size", [(96, 96), (75, 98)], ids=str)
@pytest.mark.parametrize("case", PARITIES)
def test_the_logits_are_pytorchs(tmp_path, case, size):
    build, arguments = PARITIES[case]
    network, model = pytorch_resnet(*arguments), build(size)
    torch.save(
        {"net": {f"module.{k}": v for k, v in network.state_dict().items()}, "acc": 1.0},
        tmp_path / "weights.pth",
    )
    report = load_pytorch_weights(model, tmp_path / "weights.pth")
    assert sorted([*report.used, *report.left_over]) == sorted(network.state_dict())
    images = np.random.default_rng(1).normal(size=(2, *size, 3)).astype("float32")
    images_first = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    permutation = None
    if case == "permutenet":
        permutation = model.get_layer("permutation").get_weights()[0]
    with torch.no_grad():
        theirs = network(images_first, permutation).numpy()
    ours = model.predict(images, verbose=0)
    assert np.ptp(theirs[0]) > 0.01  # not the bias alone
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_arrays_of_these_tests_have_the_keys_and_shapes_of_pytorchs_networks():
    for _, (layout, depth, width, stem, heads) in PARITIES.values():
        size = 3 if stem == "cifar" else 7
        arrays = state_dict(layout, depth, width, size, heads)
        network = pytorch_resnet(layout, depth, width, stem, heads)
        theirs = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        assert {key: value.shape for key, value in arrays.items()} == theirs
