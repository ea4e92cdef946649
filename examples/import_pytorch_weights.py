"""Load the weights of a PyTorch ResNet into a Keras network.

    python examples/import_pytorch_weights.py

loads random weights with the keys and shapes of a small torchvision ResNet-18: 102 keys are used,
and `bn1.num_batches_tracked` is left over. 10 seconds.

    python examples/import_pytorch_weights.py resnet50.pth --depth 50

loads a state dict: of torchvision (as here; of antialiased-cnns with `--downsampling blur`), or of
the paper's authors (`--model gapnet --outputs 9`, or `permutenet`); saved by `torch.save`, or as
.safetensors. It needs `pip install 'keras-gappos[pytorch]'`. Both print how each key was used, and
write a `.weights.h5` file into this folder, for `load_weights` on any backend.
"""

import dataclasses
import pathlib
import sys
from typing import Literal

import numpy as np
import tyro

from keras_gappos import models
from keras_gappos.files import replacing
from keras_gappos.zoo import load_pytorch_weights
from keras_gappos.zoo.pytorch_weights import assign_weights


@dataclasses.dataclass(frozen=True)
class Settings:
    """Import the weights of a ResNet from PyTorch."""

    file: tyro.conf.Positional[pathlib.Path | None] = None
    """The state dict; None makes a small random one."""
    model: Literal["gapnet", "permutenet", "resnet"] = "resnet"
    """The network of the weights."""
    outputs: int = 1000
    """Number of logits."""
    depth: Literal[18, 34, 50] = 18
    width: int = 64
    """Channels of the first stage."""
    stem: Literal["cifar", "canvas", "imagenet"] = "imagenet"
    downsampling: Literal["stride", "blur", "polyphase"] = "stride"
    """For a resnet, like the stem; the other models have the stem "canvas" and strides."""


def random_state_dict(outputs, width):
    """Weights of a ResNet-18, named and shaped as in torchvision."""
    rng = np.random.default_rng(0)
    weights = {}

    def add(name, *shape):
        weights[name] = rng.uniform(0.1, 1.0, shape).astype("float32")

    def add_conv(name, norm, outputs, inputs, size):
        add(f"{name}.weight", outputs, inputs, size, size)
        for part in ("weight", "bias", "running_mean", "running_var"):
            add(f"{norm}.{part}", outputs)

    add_conv("conv1", "bn1", width, 3, 7)
    inputs = width
    for stage in range(4):
        channels = width * 2**stage
        for block in (f"layer{stage + 1}.0", f"layer{stage + 1}.1"):
            add_conv(f"{block}.conv1", f"{block}.bn1", channels, inputs, 3)
            add_conv(f"{block}.conv2", f"{block}.bn2", channels, channels, 3)
            if inputs != channels:
                add_conv(f"{block}.downsample.0", f"{block}.downsample.1", channels, inputs, 1)
            inputs = channels
    add("fc.weight", outputs, inputs)
    add("fc.bias", outputs)
    add("bn1.num_batches_tracked")  # no Keras layer has one
    return weights


def main(settings):
    shape, depth = (None, None, 3), settings.depth
    if settings.file is None:
        model = models.resnet(18, shape, 10, width=8, stem="imagenet")
        report, target = assign_weights(model, random_state_dict(10, 8)), "small_resnet18"
    else:
        if settings.model == "resnet":
            rest = settings.width, settings.stem, settings.downsampling
            model = models.resnet(depth, shape, settings.outputs, *rest)
        else:
            builder = getattr(models, settings.model)
            model = builder(shape, settings.outputs, depth, settings.width)
        report, target = load_pytorch_weights(model, settings.file), settings.file.stem
    target = pathlib.Path(f"{target}.weights.h5")
    with replacing(target) as temporary:
        model.save_weights(temporary)
    print(f"{report}\n{len(report.used)} keys used, {len(report.left_over)} left over: {target}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Settings))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{pathlib.Path(__file__).name}: {error}")
