"""How the channels of a backbone are ranked, and what switching them off costs."""

import keras
import numpy as np

from keras_gappos.analysis import ablation_sweep, rank_channels, rank_channels_by_label
from keras_gappos.data.batches import GridBatches
from keras_gappos.experiments.probe.networks import feature_layer

RANKINGS = ("position", "cell", "class")
_BATCH = 64  # images at a time


def rank(settings, network, images):
    """Ranks the backbone's channels on training images, each on a random cell.

    Args:
        settings: a `ProbeSettings`.
        network: a network on the backbone.
        images: an `ImageData`.

    Returns:
        Dictionary from ranking to `ChannelRanking`: "position", the paper's, by the difference
        between canvases and mirrored ones; "cell" and "class", by the share of a channel's variance
        that the image's cell, or its class, explains. "position" sees the channels' size and the
        mirrored image itself, too; "cell" and "class" are the same measure of two things.
    """
    count, latent = settings.rank_images, feature_layer(network)
    x, y = images.train_images[:count], images.train_labels[:count]
    num_labels = {"cell": settings.grid_size**2, "class": images.num_classes}

    def canvases(task):
        return GridBatches(x, y, settings.grid_size, task, _BATCH, (settings.seed, 0))

    by_label = {
        name: rank_channels_by_label(
            network,
            canvases("location" if name == "cell" else "class"),
            None,
            num,
            latent,
            progress=False,
        )
        for name, num in num_labels.items()
    }
    flips = rank_channels(network, canvases("class"), latent=latent, progress=False)
    return {"position": flips, **by_label}


def sweep(settings, network, task, images, rankings, counts):
    """Accuracy with channels off, on test images, each on random cells.

    Args:
        settings, images: as in `rank`.
        network: a network on the backbone, with the head of the task.
        task: "location" or "class".
        rankings: dictionary from name to `ChannelRanking`.
        counts: numbers of channels to switch off.

    Returns:
        A list of dictionaries with `ranking` (the given ones, "random", "most_active"), `count`,
        `accuracy` and `chance`, in percent; those of "random" have `accuracy_draws` and
        `accuracy_std` besides.
    """
    rows = ablation_sweep(
        network,
        _test_batches(settings, task, images),
        None,
        rankings,
        counts,
        latent=feature_layer(network),
        draws=settings.draws,
        seed=settings.seed,
        progress=False,
    )
    chance = 100 / network.output_shape[-1]
    renamed = [
        {key.replace("top1", "accuracy"): value for key, value in row.items() if key != "region"}
        for row in rows
    ]
    return [{**row, "chance": chance} for row in renamed]


def accuracy(settings, network, task, images):
    """Accuracy with all channels on, in percent; arguments as in `sweep`."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(loss=loss, metrics=["accuracy"])
    batches = _test_batches(settings, task, images)
    return 100 * network.evaluate(batches, verbose=0, return_dict=True)["accuracy"]


def _test_batches(settings, task, images):
    arrays = images.test_images, images.test_labels
    seed, passes = (settings.seed, 1), settings.test_passes
    return GridBatches(*arrays, settings.grid_size, task, _BATCH, seed, passes)


def rank_correlations(rankings):
    """Spearman's rank correlation between each two rankings, by "one/other".

    Args:
        rankings: dictionary from name to `ChannelRanking` of the same channels.
    """
    names = list(rankings)
    # The place of each channel; channels of equal scores have places, too, by their index.
    places = np.argsort([rankings[name].channels for name in names], axis=1)
    table = np.corrcoef(places)
    return {
        f"{one}/{other}": round(float(table[i, j]), 4)
        for i, one in enumerate(names)
        for j, other in enumerate(names)
        if i < j
    }
