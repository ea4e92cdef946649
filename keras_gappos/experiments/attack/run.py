"""The paper's attack on segmentation: switch a network's position channels off.

A DeepLabv3 is trained, its channels are ranked on the training images by how much position they
carry, overall and for the left and the right half, and the best N are switched off: overall ones
should cost far more than as many random ones, left ones the left half more than the right. On
shapes, an embedded data set, in minutes; on the street scenes of CamVid, without and with flips in
training, which teach a network that left and right are the same:

    keras-gappos run attack
    keras-gappos run attack --dataset camvid --size 180 240 --width 32 --epochs 120

Source: Islam et al., ICCV 2021, the section on targeting position-encoding channels.
"""

import functools
import io

import keras
import numpy as np

from keras_gappos.analysis import ablate, mean_color, rank_channels
from keras_gappos.experiments.attack import report, zoo_entry
from keras_gappos.experiments.attack.data import ImagesInOrder, distinct_scenes, load_segmentation
from keras_gappos.experiments.attack.networks import (
    build_network,
    compile_for_training,
    training_batches,
)
from keras_gappos.experiments.attack.scores import intact_scores, sweep_rows
from keras_gappos.experiments.attack.settings import AttackSettings
from keras_gappos.experiments.engine.effects import largest_effect
from keras_gappos.experiments.engine.experiment import TRAIN_COST, Experiment, Job
from keras_gappos.experiments.engine.results import find_row
from keras_gappos.files import write_bytes
from keras_gappos.zoo.loading import load_given_weights

RANKINGS = ("overall", "left", "right")
_NETWORK = "a DeepLabv3 of the same depth, width, stem and classes"
_RANK_COST = 6  # three rankings, each of two views of every image
_HEAD_COST = 0.5  # of a pass: what comes after the feature map
_BATCH = 8  # images at a time, where nothing is trained
_EXAMPLES = 3  # images of the figure


class Attack(Experiment):
    """The paper's attack: a segmentation network without its position channels."""

    # A row has `flip`, `ranking` ("overall", "left", "right", "random", "most_active"), `count`,
    # `region` ("whole", "left", "right"), and in percent `miou`, of the classes that the truth has
    # there, pixel `accuracy` and `iou`, a list; for "random", means over the draws, `miou_draws`
    # and `miou_std`, too. The row of a network as it was trained, of ranking "none", count 0 and
    # region "whole", also has `effect_count`, where overall channels cost most beyond random ones,
    # `channels`, and the files `weights`, `predictions` and `rankings`.
    name = "attack"
    Settings = AttackSettings
    keys = ("flip",)
    report = report
    zoo_entry = zoo_entry

    @functools.cached_property
    def data(self):
        """The images and masks, a `SegmentationData`."""
        return load_segmentation(self.settings)

    def check(self):
        """Checks `counts` on a network of its own, too; the size of its images does not matter."""
        super().check()
        if self.settings.counts is not None:
            self._counts(self.build({}, (64, 64, 3), 2))

    def plan(self):
        """A job for each network: without and with flips in its training."""
        settings, images = self.settings, self.data
        epochs = 0 if settings.weights else settings.epochs
        work = TRAIN_COST * epochs * len(images.train_images) + _RANK_COST * self._num_ranked
        work += self._sweep_work
        names = {False: "without flips", True: "with flips"}
        # This row is made last, when the rows of its sweep are there, too.
        intact = {"ranking": "none", "count": 0, "region": "whole"}
        return [Job({"flip": flip, **intact}, names[flip], work) for flip in settings.trainings]

    @property
    def _num_ranked(self):
        return len(self.data.train_images[: self.settings.rank_images])

    @property
    def _sweep_work(self):
        settings = self.settings
        sets = (len(RANKINGS) + 1 + settings.draws) * len(settings.counts_of(512))
        return (1 + _HEAD_COST * sets) * len(self.data.test_images)

    def build(self, key, image_shape, num_classes):
        """A DeepLabv3."""
        return build_network(self.settings, image_shape, num_classes)

    def train(self, job, network):
        """Trains the network, or loads the weights given."""
        settings, images = self.settings, self.data
        self._counts(network)  # an error here costs no training
        if settings.weights is not None:
            load_given_weights(network, settings.weights, _NETWORK)
            return {"epochs": 0}
        batches = training_batches(settings, images, job.key["flip"])
        steps = settings.epochs * len(batches)
        epochs = self.fit(
            job,
            network,
            lambda copy: compile_for_training(settings, copy, images.info.ignore_class, steps),
            batches,
            settings.epochs,
            TRAIN_COST * len(images.train_images),
        )
        return {"epochs": epochs}

    def _channels(self, network):
        return network.get_layer(self.settings.latent).output.shape[-1]

    def _counts(self, network):
        channels = self._channels(network)
        counts = self.settings.counts_of(channels)
        if max(counts) > channels or max(counts) < 1:
            raise ValueError(
                f"`counts` must be in [0, {channels}], the channels of the feature map, and one be "
                f"above 0. Received: counts={self.settings.counts}"
            )
        return counts

    def score(self, job, network):
        """The intact network's entries; the rows of its sweep are put beside it."""
        flip = job.key["flip"]
        rankings = self._rank(network)
        rows = [{"flip": flip, **row} for row in self._sweep(network, rankings)]
        effect_count, _ = largest_effect(rows, "miou", "overall", region="whole")
        name = "flips" if flip else "no_flips"
        row = {
            **find_row(rows, {"ranking": "overall", "count": 0, "region": "whole"}),
            **job.key,
            "effect_count": effect_count,
            "channels": self._channels(network),
            "rank_images": self._num_ranked,
            "weights": self.save_weights(network, f"deeplabv3_{name}"),
            "rankings": self.save_rankings(rankings, name),
            "predictions": self._save_predictions(network, rankings, effect_count, name),
        }
        # Last of all: they are written with the row, so that on disk are all of these rows or none.
        self.folder.hold(rows)
        return row

    def measure(self, key, network):
        """mIoU and pixel accuracy of the whole network."""
        images = self.data
        batches = ImagesInOrder(images.test_images, images.test_masks, _BATCH)
        scores = intact_scores(network, batches, images.test_masks, images.info.ignore_class)
        return {"miou": scores["miou"], "pixel_accuracy": scores["accuracy"]}

    def _rank(self, network):
        """Dictionary from ranking to `ChannelRanking`, made on training images."""
        settings, images = self.settings, self.data
        ranked = images.train_images[: settings.rank_images]
        mean = mean_color(ranked) / 255
        rankings = {}
        for region in RANKINGS:
            rankings[region] = rank_channels(
                network,
                ImagesInOrder(ranked, images.train_masks[: len(ranked)], _BATCH),
                region,
                settings.latent,
                method="flip" if region == "overall" else settings.method,
                divide_by_activity=settings.divide_by_activity,
                mean=mean,
                progress=False,
            )
            self.display.advance(_RANK_COST / len(RANKINGS) * len(ranked))
            self.display.log(f"ranked the channels: {region}")
        return rankings

    def _sweep(self, network, rankings):
        settings, images = self.settings, self.data
        batch_work = self._sweep_work / -(-len(images.test_images) // _BATCH)
        batches = ImagesInOrder(
            images.test_images,
            images.test_masks,
            _BATCH,
            batch_end=lambda: self.display.advance(batch_work),
        )
        return sweep_rows(
            network,
            batches,
            images.test_masks,
            rankings,
            self._counts(network),
            settings.latent,
            settings.draws,
            settings.seed,
            images.info.ignore_class,
        )

    def _save_predictions(self, network, rankings, count, name):
        """Saves the classes that the network gives a few test images, before and after.

        No photograph is in the file: `index` says which test images they are.
        """
        images = self.data
        index = distinct_scenes(images.test_masks, _EXAMPLES)
        x = images.test_images[index].astype("float32") / 255
        maps = {"index": index, "truth": images.test_masks[index], "before": _classes(network, x)}
        for region, ranking in rankings.items():
            ablated = ablate(network, ranking.channels[:count], self.settings.latent)
            maps[region] = _classes(ablated, x)
        path = f"predictions/{name}.npz"
        content = io.BytesIO()
        np.savez_compressed(content, **maps)
        write_bytes(self.folder.path / path, content.getbuffer())
        return path

    @staticmethod
    def summarize(row):
        """The mIoU."""
        return f"{row['miou']:.2f} mIoU"


def _classes(network, images):
    # Called, not `predict`, which compiles a network for these few images.
    return keras.ops.convert_to_numpy(network(images, training=False)).argmax(-1).astype("uint8")
