"""What is AugShift's term worth at equal compute, and which variant of it is worth most?

    python benchmarks/augshift_variants.py --data-dir DATA_DIR --output variants.json

DATA_DIR is a folder of TensorFlow Datasets. Each variant has the same compute, `passes` forward and
backward passes over the training images, and one learning rate schedule over all of it. Scored on
held-out training images; the test images are never read. A variant takes 6 to 10 minutes on 2
cores; rows are written as they are made, and the same command resumes with those that are missing.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Literal

import keras
import numpy as np
import tyro
from keras import ops

import keras_gappos as kg
from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine.fused_batch_norm import with_fused_batch_norm
from keras_gappos.experiments.engine.results import environment
from keras_gappos.files import replacing
from keras_gappos.training.augshift import AugShift, _copies, _OfTwoCopies
from keras_gappos.training.optimizers import annealed_learning_rate

MAX_SHIFT = 4  # pixels


@dataclasses.dataclass(frozen=True)
class Variant:
    """How the compute is spent: passes on one random shift, then on pairs of shifts.

    Attributes:
        pairs: passes that are spent on pairs; a pair of an image takes two.
        weight: of the consistency term.
        distance: of the two copies: `"latent"` (mean squared difference, the paper's),
            `"normalized"` (squared distance of latents of length 1), or `"outputs"` (symmetric KL
            divergence of the probabilities).
        stop_gradient: whether the second copy is a target without a gradient.
    """

    pairs: int
    weight: float = 1.0
    distance: str = "latent"
    stop_gradient: bool = False


VARIANTS = {
    "one shift": Variant(0),
    "AugShift": Variant(14),
    "AugShift, weight 10": Variant(14, 10),
    "late, weight 1": Variant(6),
    "late, weight 10": Variant(6, 10),
    "late, weight 30": Variant(6, 30),
    "last pass, weight 10": Variant(2, 10),
    "late, normalized, weight 1": Variant(6, 1, "normalized"),
    "late, outputs, weight 1": Variant(6, 1, "outputs"),
    "late, outputs, weight 3": Variant(6, 3, "outputs"),
    "last pass, outputs, weight 3": Variant(2, 3, "outputs"),
    "late, outputs, weight 3, stop-gradient": Variant(6, 3, "outputs", True),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compare variants of AugShift at equal compute."""

    data_dir: str
    """Folder of TensorFlow Datasets."""
    output: pathlib.Path
    """JSON file for the rows; rows that it has are not made again."""
    datasets: tuple[Literal["cifar10", "cifar100"], ...] = ("cifar10", "cifar100")
    seeds: tuple[int, ...] = (0, 1)
    variants: tuple[str, ...] = tuple(VARIANTS)
    passes: int = 14
    """Passes over the training images, in forward passes of one image; even."""
    train_images: int = 10_000
    validation_images: int = 4000
    """The last images of the training set."""
    width: int = 16
    batch_size: int = 128
    """Images that go through the network in a step, copies included."""
    learning_rate: float = 0.1
    precision: Literal["float32", "mixed_bfloat16"] = "mixed_bfloat16"


class Offset(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule from some step on."""

    def __init__(self, schedule, first):
        self.schedule, self.first = schedule, first

    def __call__(self, step):
        """The learning rate of a step."""
        return self.schedule(step + self.first)


class Pairs(AugShift):
    """AugShift with another distance between the copies."""

    distance, stop_gradient = "latent", False

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The compiled loss, and the consistency term of the variant."""
        if not isinstance(y_pred, _OfTwoCopies):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        outputs, latents = y_pred
        loss = keras.Model.compute_loss(self, x, y, outputs, sample_weight, training)
        first, second = _copies(outputs if self.distance == "outputs" else latents)
        if self.stop_gradient:
            second = ops.stop_gradient(second)
        return loss + self.consistency_weight * self._distance(first, second)

    def _distance(self, first, second):
        if self.distance == "outputs":
            gap = ops.log_softmax(first) - ops.log_softmax(second)
            return ops.mean(ops.sum((ops.softmax(first) - ops.softmax(second)) * gap, -1)) / 2
        if self.distance == "normalized":
            first, second = (ops.normalize(each, axis=-1) for each in (first, second))
            return ops.mean(ops.sum(ops.square(first - second), -1))
        return ops.mean(ops.square(first - second))


def train(settings, variant, seed, images, labels, classes):
    """Trains a network; returns it."""
    keras.utils.set_random_seed(seed)
    network = kg.models.resnet(18, (32, 32, 3), classes, width=settings.width)
    copy = with_fused_batch_norm(network)
    steps = settings.passes * len(images) // settings.batch_size
    schedule = annealed_learning_rate(settings.learning_rate, settings.batch_size, steps, 0.2)
    pairs = min(variant.pairs, settings.passes) // 2
    done = 0
    for views, epochs in ((1, settings.passes - 2 * pairs), (2, pairs)):
        if not epochs:
            continue
        batches = TrainingBatches(images, labels, settings.batch_size // views, True, seed + done)
        if views == 1:
            inputs = keras.Input((32, 32, 3))
            shift = kg.layers.RandomShift(MAX_SHIFT, seed=seed)
            model = keras.Model(inputs, copy(shift(inputs)))
        else:
            model = Pairs(copy, MAX_SHIFT, variant.weight, seed=seed)
            model.distance, model.stop_gradient = variant.distance, variant.stop_gradient
        optimizer = keras.optimizers.SGD(
            Offset(schedule, done), momentum=0.9, nesterov=True, weight_decay=5e-3
        )
        optimizer.exclude_from_weight_decay(var_names=[r"\b(gamma|beta|bias)\b"])
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        history = model.fit(batches, epochs=epochs, verbose=0)
        if not np.isfinite(history.history["loss"][-1]):
            raise FloatingPointError(f"the training of {variant} diverged")
        done += epochs * len(batches)
    network.set_weights(copy.get_weights())
    return network


def main(settings):
    keras.config.set_dtype_policy(settings.precision)
    content = {"rows": []}
    if settings.output.exists():
        content = json.loads(settings.output.read_text())
    content |= {"command": " ".join(sys.argv), "environment": environment()}
    have = {(row["dataset"], row["variant"], row["seed"]) for row in content["rows"]}
    for dataset in settings.datasets:
        images, labels = kg.data.load(dataset, "train", settings.data_dir)
        train_images = images[: settings.train_images].astype("float32")
        mean, std = train_images.mean((0, 1, 2)), train_images.std((0, 1, 2))
        train_images = (train_images - mean) / std
        held_out = slice(len(images) - settings.validation_images, None)
        validation = (images[held_out].astype("float32") - mean) / std
        train_labels, true = labels[: settings.train_images], labels[held_out]
        classes = int(labels.max()) + 1
        for seed in settings.seeds:
            for name in settings.variants:
                if (dataset, name, seed) in have:
                    continue
                network = train(settings, VARIANTS[name], seed, train_images, train_labels, classes)
                top1 = float((network.predict(validation, verbose=0).argmax(-1) == true).mean())
                measured = kg.analysis.shift_consistency(
                    network, validation, max_shift=MAX_SHIFT, labels=true, progress=False
                )
                row = {"dataset": dataset, "variant": name, "seed": seed, "top1": 100 * top1}
                row |= {"consistency": measured.consistency, "accuracy": measured.accuracy}
                content["rows"].append(row | {"worst_case": measured.worst_case})
                with replacing(settings.output) as path:
                    path.write_text(json.dumps(content, indent=1))
                print(
                    f"{dataset:9} {name:40} seed {seed}: top-1 {100 * top1:.1f}, consistency "
                    f"{measured.consistency:.1f} ± {measured.stderr:.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(tyro.cli(Settings))
