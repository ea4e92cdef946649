"""Take the weights of a ResNet that PyTorch has trained into a Keras network.

    python examples/import_pytorch_weights.py resnet50.pth --model resnet --depth 50 --outputs 1000

The file is a state dict: of torchvision (as above; antialiased-cnns: with `--downsampling blur`),
or of the paper's authors (`--model gapnet --outputs 9`, or `permutenet`); from `torch.save`, or
.safetensors. It prints what became of each key, and writes `resnet50.weights.h5` into this folder,
for `load_weights` on any backend. 10 seconds; needs `pip install 'keras-gappos[pytorch]'`.
"""

import dataclasses
import pathlib
import sys
from typing import Literal

import tyro

from keras_gappos import models
from keras_gappos.files import replacing
from keras_gappos.zoo import load_pytorch_weights


@dataclasses.dataclass(frozen=True)
class Settings:
    """Import the weights of a ResNet from PyTorch."""

    file: tyro.conf.Positional[pathlib.Path]
    """The state dict."""
    model: Literal["gapnet", "permutenet", "resnet"] = "resnet"
    """The network that they are for."""
    outputs: int = 1000
    """Its number of logits."""
    depth: Literal[18, 34, 50] = 18
    width: int = 64
    """Channels of the first stage."""
    stem: Literal["cifar", "canvas", "imagenet"] = "imagenet"
    downsampling: Literal["stride", "blur", "polyphase"] = "stride"
    """This and the stem are a resnet's alone: the others have "canvas" and "stride"."""


def main(settings):
    shape, outputs, depth = (None, None, 3), settings.outputs, settings.depth
    if settings.model == "resnet":
        rest = settings.width, settings.stem, settings.downsampling
        model = models.resnet(depth, shape, outputs, *rest)
    else:
        model = getattr(models, settings.model)(shape, outputs, depth, settings.width)
    report = load_pytorch_weights(model, settings.file)
    target = pathlib.Path(f"{settings.file.stem}.weights.h5")
    with replacing(target) as temporary:
        model.save_weights(temporary)
    print(f"{report}\n{len(report.used)} keys used, {len(report.left_over)} left over: {target}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Settings))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{pathlib.Path(__file__).name}: {error}")
