import sys

import numpy as np
import pytest
from keras import ops

from keras_gappos.models import deeplabv3, gapnet, permutenet, resnet
from keras_gappos.zoo import load_pytorch_weights
from keras_gappos.zoo.pytorch_weights import assign_weights
from tests.zoo.pytorch_networks import OUTPUTS, state_dict

GAPNET = {"layout": "authors", "heads": ("pre_classifier", "linear_location")}
PERMUTENET = {"layout": "authors", "heads": ("linear_location",)}
# What PyTorch saved, the network it is for, and some of the pairs that must be found.
CASES = {
    "gapnet": (
        lambda: gapnet((None, None, 3), OUTPUTS, width=4),
        GAPNET,
        {
            "conv1.weight": "stem_conv/kernel",
            "layer2.0.shortcut.0.weight": "stage2_block1_shortcut_conv/kernel",
            "layer2.0.shortcut.1.running_var": "stage2_block1_shortcut_bn/moving_variance",
            "pre_classifier.bias": "class_conv/bias",
        },
    ),
    "permutenet": (
        lambda: permutenet((None, None, 3), OUTPUTS, width=4),
        PERMUTENET,
        {
            "layer4.1.bn2.running_mean": "stage4_block2_bn2/moving_mean",
            "linear_location.weight": "logits/kernel",
        },
    ),
    "torchvision 18": (
        lambda: resnet(18, (None, None, 3), OUTPUTS, width=4, stem="imagenet"),
        {"layout": "torchvision"},
        {
            "bn1.weight": "stem_bn/gamma",
            "layer4.0.downsample.0.weight": "stage4_block1_shortcut_conv/kernel",
            "layer4.0.downsample.1.bias": "stage4_block1_shortcut_bn/beta",
            "fc.weight": "logits/kernel",
        },
    ),
    "torchvision 34": (
        lambda: resnet(34, (None, None, 3), OUTPUTS, width=4, stem="imagenet"),
        {"layout": "torchvision", "depth": 34},
        {"layer3.5.conv2.weight": "stage3_block6_conv2/kernel"},
    ),
    "torchvision 50": (
        lambda: resnet(50, (None, None, 3), OUTPUTS, width=4, stem="imagenet"),
        {"layout": "torchvision", "depth": 50},
        {
            "layer1.0.downsample.0.weight": "stage1_block1_shortcut_conv/kernel",
            "layer3.5.conv3.weight": "stage3_block6_conv3/kernel",
        },
    ),
    "antialiased 18": (
        lambda: resnet(18, (None, None, 3), OUTPUTS, 4, "imagenet", "blur"),
        {"layout": "antialiased"},
        {
            "layer1.0.conv2.weight": "stage1_block1_conv2/kernel",
            "layer2.0.conv2.1.weight": "stage2_block1_conv2/kernel",
            "layer2.0.downsample.1.weight": "stage2_block1_shortcut_conv/kernel",
            "layer2.0.downsample.2.weight": "stage2_block1_shortcut_bn/gamma",
        },
    ),
    "antialiased 50": (
        lambda: resnet(50, (None, None, 3), OUTPUTS, 4, "imagenet", "blur"),
        {"layout": "antialiased", "depth": 50},
        {
            "layer1.0.downsample.1.weight": "stage1_block1_shortcut_bn/gamma",
            "layer2.0.conv3.1.weight": "stage2_block1_conv3/kernel",
            "layer2.0.downsample.2.running_mean": "stage2_block1_shortcut_bn/moving_mean",
        },
    ),
}


def values_of(model):
    return {v.path: ops.convert_to_numpy(v) for layer in model.layers for v in layer.weights}


def in_keras_layout(array):
    return np.einsum({4: "oihw->hwio", 2: "oi->io", 1: "o->o"}[array.ndim], array)


@pytest.mark.parametrize("case", CASES)
def test_every_variable_gets_the_weight_that_pytorch_calls_so(case):
    build, arguments, pairs = CASES[case]
    model, weights = build(), state_dict(**arguments)
    report = assign_weights(model, weights)
    assert pairs.items() <= report.used.items()
    values = values_of(model)
    random = {path for path in values if "seed_generator" in path}
    assert sorted(report.used.values()) == sorted(values.keys() - random)
    for key, path in report.used.items():
        np.testing.assert_array_equal(values[path], in_keras_layout(weights[key]), key)
    # Each key is in the report once, and what is left over is nothing that was trained.
    assert sorted([*report.used, *report.left_over]) == sorted(weights)
    trained = [k for k in report.left_over if not k.endswith(("num_batches_tracked", ".filt"))]
    dead = ["linear_location.weight", "linear_location.bias"] if case == "gapnet" else []
    assert trained == dead


def test_checkpoints_in_their_wrappings():
    plain = state_dict(**PERMUTENET)
    behind_module = {f"module.{key}": value for key, value in plain.items()}
    for wrapped in (
        behind_module,
        {"net": behind_module, "acc": 99.0, "epoch": 3},
        {"state_dict": plain, "best_acc1": np.array(70.0)},
        {"epoch": 1, "model": behind_module},
    ):
        model = permutenet((None, None, 3), OUTPUTS, width=4)
        report = assign_weights(model, wrapped)
        assert sorted([*report.used, *report.left_over]) == sorted(plain)
        kernel = model.get_layer("logits").get_weights()[0]
        np.testing.assert_array_equal(kernel, plain["linear_location.weight"].T)


def test_the_report_has_a_line_for_each_key():
    build, arguments, _ = CASES["gapnet"]
    lines = str(assign_weights(build(), state_dict(**arguments))).splitlines()
    assert len(lines) == len(state_dict(**arguments))
    assert lines[0] == "conv1.weight -> stem_conv/kernel"
    assert lines[-1] == "linear_location.bias left over"


def test_a_fixed_permutation_stays():
    model = permutenet((None, None, 3), OUTPUTS, width=4, mode="fixed", seed=3)
    (before,) = model.get_layer("permutation").get_weights()
    assign_weights(model, state_dict(**PERMUTENET))
    np.testing.assert_array_equal(model.get_layer("permutation").get_weights()[0], before)


def without(weights, key):
    return {name: value for name, value in weights.items() if name != key}


def resnet18(**arguments):
    return resnet(18, (None, None, 3), OUTPUTS, **{"width": 4, "stem": "imagenet", **arguments})


def torchvision(**arguments):
    return state_dict("torchvision", **arguments)


# Why they do not belong together: the network, what PyTorch saved, the error.
MISMATCHES = {
    "missing key": (
        resnet18,
        lambda: without(torchvision(), "layer3.1.bn2.running_var"),
        r"stage3_block2_bn2/moving_variance, for weights without layer3.1.bn2.running_var;",
    ),
    "wider": (
        lambda: resnet18(width=6),
        torchvision,
        r"conv1.weight of shape \(4, 3, 7, 7\), for stem_conv/kernel of shape \(7, 7, 3, 6\)",
    ),
    "other outputs, found last": (
        lambda: resnet(18, (None, None, 3), 7, width=4, stem="imagenet"),
        torchvision,
        r"fc.weight of shape \(5, 32\), for logits/kernel of shape \(32, 7\)",
    ),
    "other stem": (lambda: resnet18(stem="cifar"), torchvision, r"\(4, 3, 7, 7\).*\(3, 3, 3, 4\)"),
    "deeper weights": (
        resnet18,
        lambda: torchvision(depth=34),
        r"'resnet18', which does not use layer1.2.conv1.weight \(80 such keys\)",
    ),
    "deeper network": (
        lambda: resnet(34, (None, None, 3), OUTPUTS, width=4, stem="imagenet"),
        torchvision,
        r"'resnet34' with stage1_block3_conv1/kernel, for weights without layer1.2.conv1.weight",
    ),
    "bottlenecks": (resnet18, lambda: torchvision(depth=50), r"layer1.0.conv1.weight of shape"),
    "no head of a GAPNet": (
        CASES["gapnet"][0],
        torchvision,
        "'gapnet' with class_conv/kernel, for weights without pre_classifier.weight",
    ),
    "a GAPNet's dense layer was never trained": (
        CASES["permutenet"][0],
        lambda: state_dict(**GAPNET),
        "'permutenet', which does not use pre_classifier.weight",
    ),
    "BlurPools for strides": (
        resnet18,
        lambda: state_dict("antialiased"),
        r"BlurPools.*kernel sizes \[\], for weights with \[4, 4, 4, 4, 4, 4, 4\]",
    ),
    "not one of our networks": (
        lambda: deeplabv3((None, None, 3), OUTPUTS, depth=18, width=4),
        torchvision,
        "`model` must be a resnet, gapnet or permutenet.*a layer 'aspp",
    ),
    "an empty file": (resnet18, dict, "without conv1.weight; they have 0 keys"),
    "a list": (resnet18, lambda: [np.zeros(3)], "must be a dictionary. Received: <class 'list'>"),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_all_or_nothing(case):
    build, weights, message = MISMATCHES[case]
    model = build()
    before = values_of(model)
    with pytest.raises(ValueError, match=message):
        assign_weights(model, weights())
    for path, value in values_of(model).items():
        np.testing.assert_array_equal(value, before[path], path)


def test_blur_filters_of_another_size():
    weights = state_dict("antialiased")
    weights["maxpool.1.filt"] = np.ones((4, 1, 3, 3))
    with pytest.raises(ValueError, match=r"for weights with \[3, 4, 4, 4, 4, 4, 4\]"):
        assign_weights(resnet18(downsampling="blur"), weights)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"`path` must be a file.*{path.name}"):
            load_pytorch_weights(resnet18(), path)


@pytest.mark.parametrize(
    "name, package", [("weights.pth", "torch"), ("weights.safetensors", "safetensors")]
)
def test_what_to_install(tmp_path, monkeypatch, name, package):
    model = resnet18()  # before torch is gone: it may be the backend
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(b"")
    message = rf"{name} needs {package}: pip install 'keras-gappos\[pytorch\]'"
    with pytest.raises(ImportError, match=message):
        load_pytorch_weights(model, tmp_path / name)


def test_a_safetensors_file(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    weights = torchvision()
    save_file(weights, tmp_path / "resnet18.safetensors")
    model, same = resnet18(), resnet18()
    report = load_pytorch_weights(model, str(tmp_path / "resnet18.safetensors"))
    assert report.used == assign_weights(same, weights).used
    for value, expected in zip(model.get_weights(), same.get_weights()):
        np.testing.assert_array_equal(value, expected)
    content = (tmp_path / "resnet18.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="`path` must be a complete safetensors file"):
        load_pytorch_weights(model, tmp_path / "half.safetensors")


@pytest.mark.parametrize("content", [b"", b"\0damaged", b"hello world\n"])
def test_a_file_that_torch_has_not_saved(tmp_path, content):
    pytest.importorskip("torch")
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"`path` must be a complete torch\.save.* file"):
        load_pytorch_weights(resnet18(), tmp_path / "weights.pth")


def test_nothing_in_a_file_is_run(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")  # a pickled object
    with pytest.raises(ValueError, match=r"`path` must be a torch\.save"):
        load_pytorch_weights(resnet18(), tmp_path / "module.pth")
