"""How fast do the experiments train, beside stock Keras and PyTorch?

    python benchmarks/train.py --precision mixed_bfloat16

About 4 minutes on 2 cores; `--output timings.json` writes every round. Times one training step of a
ResNet-18 (forward, backward, SGD with Nesterov momentum), alternately, on the same random images:

- ours: the copy of the network that the experiments train, on TensorFlow with fused batch
  normalization;
- stock: the network itself, in `train_on_batch`;
- PyTorch, if torch is installed: the same network in eager mode, channels last, with autocast for
  mixed_bfloat16.

Prints images per second and ratios to ours. Mixed precision is faster on processors with bfloat16
instructions and slower on others: time both. On a fast device, raise `--steps` until a block takes
about a second.
"""

import dataclasses
import importlib.util
import pathlib
import sys
from typing import Literal

import keras
import numpy as np
import tyro
from keras import ops
from timing import alternate, check, compare, in_words, training_step, write

import keras_gappos as kg
from keras_gappos.experiments.engine.devices import use_devices

sys.path.append(str(pathlib.Path(__file__).parents[1]))
from tests.zoo.pytorch_networks import OUTPUTS, pytorch_resnet


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time a ResNet-18's training step in this package, in stock Keras and in PyTorch."""

    rounds: int = 10
    """Timed blocks of each."""
    steps: int = 3
    """Training steps in one block."""
    batch_size: int = 128
    """Images in one step."""
    width: int = 32
    """Channels of the first stage."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    stem: Literal["cifar", "canvas"] = "cifar"
    """First layer: a 3x3 convolution of stride 1, or GAPNet's, 7x7 of stride 2."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Precision of the arithmetic, in all of them."""
    output: pathlib.Path | None = None
    """JSON file for all timings."""


def main(settings):
    check(settings)
    keras.config.set_dtype_policy(settings.precision)
    rng = np.random.default_rng(0)
    shape = (settings.batch_size, settings.image_size, settings.image_size, 3)
    batches = [
        (rng.random(shape, "float32"), rng.integers(OUTPUTS, size=shape[0])) for _ in range(4)
    ]
    contestants = {"ours": keras_step(settings, batches, use_devices("none").clone)}
    contestants["stock Keras"] = keras_step(settings, batches, lambda network: network)
    if importlib.util.find_spec("torch"):
        contestants["PyTorch"] = pytorch_step(settings, batches)
    else:
        print("torch is not installed: no comparison with PyTorch")
    seconds = alternate(contestants, settings.rounds, settings.steps, "training steps")
    rows = []
    for name, values in seconds.items():
        rate = float(settings.batch_size / np.median(values))
        print(f"{name}: {rate:.0f} images/s", flush=True)
        row = {"what": f"training step, {name}", "images_per_second": rate}
        if name != "ours":
            row |= compare(values, seconds["ours"])
            print(f"  its time over ours: {in_words(row)}", flush=True)
        rows.append({**row, "seconds_per_step": values.tolist()})
    write(settings, __file__, rows)


def keras_step(settings, batches, copied):
    """A function that makes one training step of what `copied` returns for a fresh network."""
    keras.utils.set_random_seed(0)
    shape = (settings.image_size, settings.image_size, 3)
    model = copied(kg.models.resnet(18, shape, OUTPUTS, width=settings.width, stem=settings.stem))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), loss)
    on_device = [tuple(map(ops.convert_to_tensor, batch)) for batch in batches]
    return training_step(model, on_device)


def pytorch_step(settings, batches):
    """A function that makes one training step of the same network in PyTorch."""
    import itertools

    import torch

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = pytorch_resnet("authors", 18, settings.width, settings.stem, ("linear",))
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)
    on_device = itertools.cycle(
        (
            torch.from_numpy(images.transpose(0, 3, 1, 2))
            .to(device)
            .contiguous(memory_format=torch.channels_last),
            torch.from_numpy(labels).to(device),
        )
        for images, labels in batches
    )
    low = settings.precision == "mixed_bfloat16"

    def step():
        images, labels = next(on_device)
        with torch.autocast(device, torch.bfloat16, enabled=low):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main(tyro.cli(Settings))
