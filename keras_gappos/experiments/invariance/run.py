"""The paper's AugShift tables: how often does a classifier answer the same when its input moves?

The plain ResNet-18, BlurPool, APS, AugShift, and AugShift on BlurPool: each is trained with the
same budget on randomly shifted images, which are random crops after padding, and scored by top-1
accuracy and shift consistency, by random pairs and exactly. On CIFAR-10:

    keras-gappos run invariance

The paper has 93.1 % top-1 and 90.8 % consistency for ResNet-18, 92.5 and 92.5 for BlurPool, 92.1
and 94.8 for AugShift; with `--dataset cifar100` 72.6 and 70.1, 72.4 and 78.2, 72.6 and 85.6. A GPU
is needed for the defaults; `--precision mixed_bfloat16` suits it. With

    keras-gappos run invariance --width 16 --epochs 8 --precision mixed_bfloat16 \
        --consistency-weights 1 --consistency-images 2000 --methods resnet18 augshift

the plain network takes 20 minutes on 2 CPU cores and reaches 82.2 and 89.6, AugShift takes 27 and
reaches 82.8 and 90.2.

Source: Islam et al., ICCV 2021, section 4.
"""

import keras
import numpy as np

from keras_gappos.analysis import shift_consistency
from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine.experiment import TRAIN_COST, Experiment, Job
from keras_gappos.experiments.invariance import report, zoo_entry
from keras_gappos.experiments.invariance.methods import METHODS
from keras_gappos.experiments.invariance.networks import build_network, trained_model
from keras_gappos.experiments.invariance.settings import InvarianceSettings
from keras_gappos.tuning.objective import best_first, is_collapsed, score_above_floor

_TEST_BATCHES = 4  # training batches in one test batch, which keeps no gradients


class Invariance(Experiment):
    """The paper's AugShift tables: accuracy and shift consistency of AugShift and its rivals."""

    # A row has `method`, `split` ("test"; "validation" for the consistency weights on trial), what
    # `measure` returns, `images_seen` in training, and `consistency_weight` of AugShift.
    name = "invariance"
    Settings = InvarianceSettings
    keys = ("method",)
    extendable = ("methods",)
    report = report
    zoo_entry = zoo_entry

    def check(self):
        """Checks the images of the weights' trials, too."""
        super().check()
        if self.settings.train_images is not None:
            self._check_search(self.settings.train_images)

    def plan(self):
        """The jobs: the weights on trial come before the first AugShift, and that comes early."""
        settings = self.settings
        self._check_images()
        self._check_search(len(self.data.train_images))
        jobs, trials = [], settings.weights_on_trial
        for method in (method for method in METHODS if method in settings.methods):
            if METHODS[method].views == 2:
                for weight in trials:
                    key = {
                        "method": "augshift",
                        "split": "validation",
                        "consistency_weight": weight,
                    }
                    name = f"augshift, consistency weight {weight:g} on trial"
                    jobs.append(Job(key, name, self._work(key)))
                trials = ()
            key = {"method": method, "split": "test"}
            jobs.append(Job(key, method, self._work(key)))
        return jobs

    def _check_images(self):
        settings, images = self.settings, self.data
        side = min(images.image_shape[:2])
        for name in ("max_shift", "train_shift"):
            if (getattr(settings, name) or 0) >= side:
                raise ValueError(
                    f"`{name}` must be smaller than the image, in [1, {side}). Received: "
                    f"{name}={getattr(settings, name)}, images of shape {images.image_shape}"
                )

    def _check_search(self, train_images):
        settings = self.settings
        needed = settings.validation_images + (settings.search_images or settings.batch_size)
        if settings.weights_on_trial and train_images < needed:
            raise ValueError(
                "`validation_images` and `search_images` must fit into the training images. "
                f"Received: validation_images={settings.validation_images}, "
                f"search_images={settings.search_images}, batch_size={settings.batch_size}, "
                f"{train_images} training images"
            )

    def _split(self, key):
        """`(train images, train labels, scored images, scored labels, epochs)` of a job."""
        settings, images = self.settings, self.data
        train, labels = images.train_images, images.train_labels
        if key["split"] == "test":
            epochs = METHODS[key["method"]].epochs(settings.epochs)
            return train, labels, images.test_images, images.test_labels, epochs
        first_held_out = len(train) - settings.validation_images
        used = settings.search_images or first_held_out
        held_out = slice(first_held_out, None)
        parts = train[:used], labels[:used], train[held_out], labels[held_out]
        return *parts, settings.search_epochs

    def _work(self, key):
        """The work of one job, in test images."""
        settings = self.settings
        train, _, scored, _, epochs = self._split(key)
        cost = TRAIN_COST * METHODS[key["method"]].cost
        return cost * len(train) * epochs + settings.passes_over(len(scored))

    def build(self, key, image_shape, num_classes):
        """The classifier of a method."""
        return build_network(self.settings, key["method"], image_shape, num_classes)

    def train(self, job, network):
        """Trains in the method's own way."""
        settings, method = self.settings, job.key["method"]
        train, labels, _, _, epochs = self._split(job.key)
        targets = keras.utils.to_categorical(labels, self.data.num_classes)
        batches = TrainingBatches(train, targets, settings.batch_size, settings.flip, settings.seed)
        weight, steps = self._consistency_weight(job.key), epochs * len(batches)
        epochs = self.fit(
            job,
            network,
            lambda copy: trained_model(settings, method, copy, weight, steps),
            batches,
            epochs,
            TRAIN_COST * METHODS[method].cost * len(train),
        )
        row = {
            "epochs": epochs,
            "train_images": len(train),
            "images_seen": METHODS[method].cost * epochs * len(train),
        }
        return row if weight is None else {**row, "consistency_weight": weight}

    def _consistency_weight(self, key):
        """The weight of AugShift's consistency term: on trial, chosen, given, or `None`."""
        settings = self.settings
        if METHODS[key["method"]].views < 2:
            return None
        if "consistency_weight" in key:
            return key["consistency_weight"]
        if not settings.weights_on_trial:
            return settings.consistency_weights[0]
        trials = [row for row in self.folder.rows if row["split"] == "validation"]
        return choose_weight(trials, settings.weight_tolerance)

    def score(self, job, network):
        """Accuracy and consistency."""
        settings, is_final = self.settings, job.key["split"] == "test"
        scored = len(self._split(job.key)[2])
        row = {
            **self.measure(job.key, network),
            "dataset": settings.dataset,
            "depth": settings.depth,
            "width": settings.width,
            "chance": 100 / self.data.num_classes,
            "test_images": scored,
            "consistency_images": min(scored, settings.consistency_images or scored),
        }
        self.display.advance(settings.passes_over(scored))
        if is_final:
            row["weights"] = self.save_weights(network, job.key["method"])
        return row

    def measure(self, key, network):
        """Accuracy and consistency of a trained network.

        Returns:
            A dictionary with `top1`, `consistency_random`, `consistency_circular` (of the same
            random pairs, but circular shifts), `consistency_exact`, `accuracy_over_shifts` (mean
            over all shifts) and `worst_case` (worst-case accuracy: correct under all of them), in
            percent, the standard errors `consistency_*_stderr` in percentage points,
            `num_predicted_classes` (predicted at all), and `accuracy_map` (a row for each shift
            down, a column for each shift right).
        """
        settings = self.settings
        _, _, images, labels, _ = self._split(key)
        batch_size = _TEST_BATCHES * settings.batch_size

        def measured(protocol, count=None, **arguments):
            return shift_consistency(
                network,
                images[:count],
                protocol,
                settings.max_shift,
                labels=labels[:count],
                batch_size=batch_size,
                seed=settings.seed,
                progress=False,
                **arguments,
            )

        outputs = network.predict(images, batch_size=batch_size, verbose=0)
        random = measured("random", pairs=settings.pairs)
        circular = measured("random", pairs=settings.pairs, fill_mode="wrap")
        exact = measured("exact", settings.consistency_images)
        return {
            "top1": 100 * float(np.mean(outputs.argmax(-1) == labels)),
            "consistency_random": random.consistency,
            "consistency_random_stderr": random.to_dict()["stderr"],
            "consistency_circular": circular.consistency,
            "consistency_circular_stderr": circular.to_dict()["stderr"],
            "consistency_exact": exact.consistency,
            "consistency_exact_stderr": exact.to_dict()["stderr"],
            "accuracy_over_shifts": exact.accuracy,
            "worst_case": exact.worst_case,
            "num_predicted_classes": random.num_predicted_classes,
            "accuracy_map": np.round(exact.accuracy_map, 2).tolist(),
        }

    @staticmethod
    def summarize(row):
        """Accuracy and consistency."""
        return f"{row['top1']:.2f} % top-1, {row['consistency_exact']:.2f} % consistent"


def choose_weight(rows, tolerance):
    """The consistency weight of the most consistent row among those that are accurate enough.

    Args:
        rows: validation rows, with `consistency_weight`, `top1`, `consistency_exact` and, except in
            older results, `num_predicted_classes`.
        tolerance: how far `top1` may be below the best one, in percentage points.

    Returns:
        The weight; of two that are equally consistent, the smaller one. Never that of a network
        that has collapsed to one class, unless all have.
    """
    top1, consistencies = ([row[name] for row in rows] for name in ("top1", "consistency_exact"))
    weights = [row["consistency_weight"] for row in rows]
    scores = score_above_floor(top1, consistencies, tolerance, list(map(is_collapsed, rows)))
    return weights[best_first(scores, weights)[0]]
