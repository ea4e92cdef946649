"""Position channels and class channels of one backbone, told apart.

A network is trained to name the CLASS of images that lie on random cells of a black grid; its
backbone is never trained on location. Then the backbone is frozen, and a second head of the same
kind learns to name the cell from the same feature map. The backbone's channels are ranked by how
much position they carry, and by how much of the class; the best N of each ranking are switched off,
and both heads are scored. Position channels should cost the location more than random ones do, and
the class channels the class. That is so where the heads see the pooled channels and nothing else,
as a ResNet's dense layer does. GAPNet's is a convolution: on a small map it sees the border, and
with it the place, in any channel.

    keras-gappos run probe

takes a few minutes on handwritten digits. The GAPNet of the location experiment on CIFAR-10, whose
weights that experiment leaves:

    keras-gappos run probe --networks gapnet --dataset cifar10 --width 64 \
        --weights results/location/weights/gapnet_class_3x3.weights.h5

Source: Islam et al., ICCV 2021; the paper ranks and switches off, on segmentation networks.
"""

import dataclasses

import keras

from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine.experiment import TRAIN_COST, Experiment, Job
from keras_gappos.experiments.engine.results import find_row
from keras_gappos.experiments.location.run import compiled_task
from keras_gappos.experiments.probe import report, zoo_entry
from keras_gappos.experiments.probe.networks import (
    build_network,
    feature_layer,
    with_location_head,
)
from keras_gappos.experiments.probe.scores import (
    RANKINGS,
    accuracy,
    rank,
    rank_correlations,
    sweep,
)
from keras_gappos.experiments.probe.settings import SHARES, ProbeSettings
from keras_gappos.zoo.loading import load_given_weights

_HEAD_TRAIN_COST = 1.5  # with the backbone frozen
_RANK_COST = 4  # three rankings, one of them with two views of every image
_HEAD_COST = 0.1  # of a pass: what comes after the feature map


class Probe(Experiment):
    """Position channels and class channels of one backbone, told apart."""

    # A row has `network`, `ranking`, `count` (channels off), `task` ("location" or "class"),
    # `accuracy` and `chance` in percent. Rankings are "position", by flips; "cell" and "class", by
    # the share of the variance that the cell, or the class, explains; "most_active"; and "random",
    # with means over the draws, and `accuracy_draws` and `accuracy_std` besides. A network's last
    # row, of ranking "none", has its class accuracy with all channels on, `location_accuracy`,
    # `rank_correlations` between the rankings, `channels`, the feature map's `map_size`,
    # `head_epochs`, and the files `weights` and `rankings`, by task and name.
    name = "probe"
    Settings = ProbeSettings
    keys = ("network", "task")
    report = report
    zoo_entry = zoo_entry

    def check(self):
        """Checks `counts` on a network of its own, too; the size of its images does not matter."""
        super().check()
        if self.settings.counts is not None:
            self._counts(self.build({"network": self.settings.networks[0]}, (32, 32, 3), 2))

    def plan(self):
        """A job for each network."""
        work = sum(self._work.values())
        names = self.settings.networks
        return [Job({"network": name, "ranking": "none"}, name, work) for name in names]

    @property
    def _work(self):
        """The work of each part of a job, in passes over an image."""
        settings, images = self.settings, self.data
        count, ranked = len(images.train_images), len(images.train_images[: settings.rank_images])
        sets = (len(RANKINGS) + 1 + settings.draws) * len(settings.counts or SHARES)
        tested = settings.test_passes * len(images.test_images)
        return {
            "class": 0 if settings.weights else TRAIN_COST * settings.epochs * count,
            "location": _HEAD_TRAIN_COST * settings.head_epochs * count,
            "rank": _RANK_COST * ranked,
            "sweep": 2 * (1 + _HEAD_COST * sets) * tested,
        }

    def build(self, key, image_shape, num_classes):
        """A backbone with a head for the key's task, by default the class."""
        task = key.get("task", "class")
        return build_network(self.settings, key["network"], task, image_shape, num_classes)

    def train(self, job, network):
        """Trains the network for the class, or loads the weights given."""
        settings = self.settings
        self._counts(network)  # an error here costs no training
        if settings.weights is not None:
            kind = f"a {network.name} of the same depth, width and classes"
            load_given_weights(network, settings.weights, kind)
            return {"epochs": 0}
        return {"epochs": self._fit(job, network, "class", settings.epochs, settings.learning_rate)}

    def _counts(self, network):
        return self.settings.counts_of(feature_layer(network).output.shape[-1])

    def _fit(self, job, network, task, epochs, learning_rate):
        settings, images = self.settings, self.data
        batches = TrainingBatches(
            images.train_images,
            images.train_labels,
            settings.batch_size,
            settings.flip,
            settings.seed,
        )
        return self.fit(
            dataclasses.replace(job, name=f"{job.name} {task}"),
            network,
            lambda copy: compiled_task(settings, copy, task, settings.grid_size, learning_rate),
            batches,
            epochs,
            self._work[task] / epochs,
            part=task,
        )

    def score(self, job, network):
        """The intact network's entries; the rows of its sweep are put beside it."""
        settings, images, name = self.settings, self.data, job.key["network"]
        keras.utils.set_random_seed(settings.seed + 1)
        twin = with_location_head(settings, name, network, images.image_shape)
        head_epochs = self._fit(
            job, twin, "location", settings.head_epochs, settings.head_learning_rate
        )
        rankings = rank(settings, network, images)
        self.display.advance(self._work["rank"])
        self.display.log(f"{name}: ranked the channels")
        networks, rows = {"location": twin, "class": network}, []
        for task, model in networks.items():
            found = sweep(settings, model, task, images, rankings, self._counts(network))
            self.display.advance(self._work["sweep"] / 2)
            rows += [{"network": name, "task": task, **row} for row in found]
        self.folder.hold(rows)
        intact = {task: find_row(rows, {"task": task, "count": 0}) for task in networks}
        _, *map_size, channels = feature_layer(network).output.shape
        return {
            **intact["class"],
            **job.key,
            "head_epochs": head_epochs,
            "location_accuracy": intact["location"]["accuracy"],
            "rank_correlations": rank_correlations(rankings),
            "channels": channels,
            "map_size": map_size,
            "rank_images": rankings["position"].num_images,
            "weights": {
                task: self.save_weights(
                    model, f"{name}_{task}_{settings.grid_size}x{settings.grid_size}"
                )
                for task, model in networks.items()
            },
            "rankings": self.save_rankings(rankings, name),
        }

    def measure(self, key, network):
        """Accuracy at the key's task, on fresh random cells."""
        return {"accuracy": accuracy(self.settings, network, key["task"], self.data)}

    @classmethod
    def weights_files(cls, row):
        """The two networks of a backbone, one for each task."""
        files = row["weights"].items() if "weights" in row else ()
        return [({"network": row["network"], "task": task}, path) for task, path in files]

    @staticmethod
    def summarize(row):
        """The accuracies."""
        return f"{row['location_accuracy']:.1f} % cell, {row['accuracy']:.1f} % class"
