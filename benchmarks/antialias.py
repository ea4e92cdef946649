"""What does an anti-aliased ResNet50 cost, beside the plain one?

    python benchmarks/antialias.py

About 5 minutes on 2 cores; `--output timings.json` writes every round.

- A training step and an inference step of `keras.applications.ResNet50`, converted by
  `surgery.antialias`, over the plain network's; all of it, and with its stem left as it is
  (`skip=["conv1_conv"]`). Beside each, the ratio of multiplications in convolutions, and with the
  matrix products of the blurs.
- The seconds that the conversion takes.
"""

import dataclasses
import pathlib
import time

import keras
import numpy as np
import tyro
from timing import alternate, check, compare, in_words, training_step, write

import keras_gappos as kg


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time an anti-aliased ResNet50 against the plain one."""

    rounds: int = 20
    """Steps of each network."""
    batch_size: int = 4
    """Images in one batch."""
    size: int = 128
    """Height and width of the images."""
    output: pathlib.Path | None = None
    """JSON file for all timings."""


def main(settings):
    check(settings)
    keras.utils.set_random_seed(0)
    shape = (settings.size, settings.size, 3)
    plain = keras.applications.ResNet50(input_shape=shape, weights=None, classifier_activation=None)
    start = time.perf_counter()
    networks = {"plain": plain, "anti-aliased": kg.surgery.antialias(plain)}
    conversion = time.perf_counter() - start
    networks["but for its stem"] = kg.surgery.antialias(plain, skip=["conv1_conv"])
    print(f"conversion: {conversion:.1f} s")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for network in networks.values():
        network.compile(keras.optimizers.SGD(1e-3), loss)
    rows = [{"what": "conversion", "seconds": conversion}]
    write(settings, __file__, rows + time_steps(settings, networks, shape))


def time_steps(settings, networks, shape):
    rng = np.random.default_rng(0)
    x = rng.random((settings.batch_size, *shape), "float32")
    y = rng.integers(1000, size=settings.batch_size)
    steps = {
        "training": {name: training_step(net, [(x, y)]) for name, net in networks.items()},
        "inference": {
            name: lambda network=network: network.predict_on_batch(x)
            for name, network in networks.items()
        },
    }
    convolutions, products = multiplications(networks["plain"])
    rows = []
    for kind, contestants in steps.items():
        seconds = alternate(contestants, settings.rounds, 1, kind)
        for name in list(networks)[1:]:
            comparison = compare(seconds[name], seconds["plain"])
            more, blurs = multiplications(networks[name])
            expected = more / convolutions, (more + blurs) / (convolutions + products)
            print(f"{kind}, {name} / plain: {in_words(comparison)}")
            print(f"     multiplications: {expected[0]:.3f}, with blurs {expected[1]:.3f}")
            rows.append({"what": f"{kind}, {name} / plain", **comparison, "expected": expected})
    return rows


def multiplications(model):
    """Of one image: in convolutions, and in the matrix products of blurs."""
    convolutions = blurs = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            convolutions += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
        elif isinstance(layer, kg.layers.BlurPool2D):
            (height, width, channels), (rows, columns) = (
                layer.input.shape[1:],
                layer.output.shape[1:3],
            )
            blurs += channels * (rows * height * width + rows * columns * width)
    return convolutions, blurs


if __name__ == "__main__":
    main(tyro.cli(Settings))
