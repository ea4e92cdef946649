"""The networks compute with timm's weights what timm's networks compute with them."""

import numpy as np
import pytest

from keras_gappos.models import resnet
from keras_gappos.zoo import load_pytorch_weights
from keras_gappos.zoo.pytorch_weights import assign_weights
from tests.zoo.pytorch_networks import state_dict

# timm's network: depth, and how ours halves feature maps.
NETWORKS = {
    "resnet18": (18, "stride"),
    "resnet34": (34, "stride"),
    "resnet50": (50, "stride"),
    "resnetaa50": (50, "timm_average"),
    "resnetblur50": (50, "timm_blur"),
}


def build(name, size=(64, 96), **arguments):
    depth, downsampling = NETWORKS[name]
    return resnet(depth, (*size, 3), 5, stem="imagenet", downsampling=downsampling, **arguments)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_of_timms_weights_are_used(name):
    """In timm they have torchvision's names; its blurs and means have none."""
    weights = state_dict("torchvision", NETWORKS[name][0])
    report = assign_weights(build(name, width=4), weights)
    assert {key.rsplit(".", 1)[1] for key in report.left_over} == {"num_batches_tracked"}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), (75, 98)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_are_timms(tmp_path, name, size):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    if name == "resnetaa50" and size == (75, 98):
        pytest.skip("timm's own cannot add the shortcut of an odd size")
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                torch.nn.init.uniform_(values, 0.5, 1.5)
    expected = state_dict("torchvision", NETWORKS[name][0], width=64)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    assert shapes == {key: value.shape for key, value in expected.items()}
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = build(name, size)
    load_pytorch_weights(model, tmp_path / "weights.pth")
    images = np.random.default_rng(1).normal(size=(2, *size, 3)).astype("float32")
    with torch.no_grad():
        logits = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    ours = model.predict(images, verbose=0)
    assert np.abs(ours - logits).max() <= 1e-3 * np.abs(logits).max()
