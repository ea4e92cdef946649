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

import pathlib
import shutil

import keras
import numpy as np

from keras_gappos.analysis import ablate, mean_color, rank_channels
from keras_gappos.experiments.attack.data import ImagesInOrder, load_segmentation
from keras_gappos.experiments.attack.networks import (
    build_network,
    compile_for_training,
    training_batches,
)
from keras_gappos.experiments.attack.report import make_table, write_report
from keras_gappos.experiments.attack.scores import intact_scores, largest_effect, sweep_rows
from keras_gappos.experiments.attack.settings import AttackSettings
from keras_gappos.experiments.engine.devices import use_devices
from keras_gappos.experiments.engine.display import ShowProgress
from keras_gappos.experiments.engine.precision import dtype_policy
from keras_gappos.experiments.engine.results import ResultFolder, find_row, read_results
from keras_gappos.experiments.engine.runner import Job, fit_with_backup, run_jobs, save_weights
from keras_gappos.files import replacing
from keras_gappos.zoo.loading import load_given_weights

RANKINGS = ("overall", "left", "right")
_NETWORK = "a DeepLabv3 of the same depth, width, stem and classes"
_TRAIN_COST = 3  # a training step costs about three passes
_RANK_COST = 6  # three rankings, each of two views of every image
_HEAD_COST = 0.5  # of a pass: what comes after the feature map
_BATCH = 8  # images at a time, where nothing is trained
_EXAMPLES = 3  # images of the figure


def run(settings, console=None):
    """Trains, ranks and sweeps what is not yet in the output folder; writes table and figure.

    Args:
        settings: an `AttackSettings`.
        console: a `rich.console.Console` to show progress on, or `None` for standard output.

    Returns:
        The rows: dictionaries with `flip`, `ranking` ("overall", "left", "right", "random",
        "most_active"), `count`, `region` ("whole", "left", "right"), and in percent `miou`, of the
        classes that the truth has there, pixel `accuracy` and `iou`, a list; for "random", means
        over the draws, `miou_draws` and `miou_std`, too. The row of a network as it was trained,
        of ranking "none", count 0 and region "whole", also has `effect_count`, where overall
        channels cost most beyond random ones, `channels`, `parameters`, `epochs`, `seconds`, the
        images' numbers and shape, and the files `weights`, `predictions` and `rankings`.

    Raises:
        ValueError: for data that do not fit the settings, or an output folder of other settings.
        OSError: if the output folder cannot be written.
    """
    devices = use_devices(settings.distribute, settings.batch_size)
    folder = ResultFolder(settings.output_dir, "attack", settings, devices=devices)
    with folder.lock():
        images = load_segmentation(settings)
        with dtype_policy(settings.precision):
            run_jobs(
                folder,
                _plan(settings, images),
                lambda job, display: _train_and_attack(settings, job, images, folder, display),
                lambda row: f"{row['miou']:.2f} mIoU",
                lambda: write_report(
                    folder.path,
                    folder.content,
                    images.info,
                    images.test_images,
                    settings.show_images,
                ),
                make_table,
                console,
            )
        shutil.rmtree(folder.path / "backup", ignore_errors=True)
    return folder.rows


def load_network(output_dir, flip=False):
    """Loads a trained network from the folder of a finished experiment.

    It takes images in [0, 1], and gives logits `(batch, height, width, classes)`.

    Args:
        output_dir: the experiment's output folder.
        flip: whether to load the network that was trained with flips.

    Returns:
        A Functional `keras.Model`.

    Raises:
        ValueError: if the folder has no such network.
    """
    output_dir = pathlib.Path(output_dir).expanduser()
    content = read_results(output_dir / "results.json")
    row = find_row(content["rows"], _intact(flip))
    if row is None:
        raise ValueError(f"{output_dir} has no finished network of flip={flip}")
    recorded = {k: tuple(v) if isinstance(v, list) else v for k, v in content["settings"].items()}
    settings = AttackSettings(**{**recorded, "weights": None})
    network = build_network(settings, row["image_shape"], row["num_classes"])
    network.load_weights(output_dir / row["weights"])
    return network


def score(network, images):
    """`miou` and `accuracy` of a trained network, in percent.

    Args:
        network: the trained network.
        images: a `SegmentationData`.
    """
    batches = ImagesInOrder(images.test_images, images.test_masks, _BATCH)
    return intact_scores(network, batches, images.test_masks, images.info.ignore_class)


def _intact(flip):
    """The key of the row that is made last, when the rows of its sweep are there, too."""
    return {"flip": flip, "ranking": "none", "count": 0, "region": "whole"}


def _plan(settings, images):
    work = _training_work(settings, images) + _RANK_COST * _num_ranked(settings, images)
    sets = (len(RANKINGS) + 1 + settings.draws) * len(settings.counts_of(512))
    work += (1 + _HEAD_COST * sets) * len(images.test_images)
    names = {False: "without flips", True: "with flips"}
    return [Job(_intact(flip), names[flip], work) for flip in settings.trainings]


def _training_work(settings, images):
    epochs = 0 if settings.weights else settings.epochs
    return _TRAIN_COST * epochs * len(images.train_images)


def _num_ranked(settings, images):
    return len(images.train_images[: settings.rank_images])


def _train_and_attack(settings, job, images, folder, display):
    """The intact network's row; those of its sweep are put beside it, to be written at once."""
    flip = job.key["flip"]
    keras.utils.set_random_seed(settings.seed)
    network = build_network(settings, images.image_shape, images.info.num_classes)
    channels = network.get_layer(settings.latent).output.shape[-1]
    counts = _checked_counts(settings, channels)
    backup = _train(settings, job, images, folder, display, network)
    rankings = _rank(settings, images, network, display)
    rows = _sweep(settings, job, images, network, rankings, counts, display)
    rows = [{"flip": flip, **row} for row in rows]
    effect_count, _ = largest_effect(rows)
    name = "flips" if flip else "no_flips"
    whole = find_row(rows, {"ranking": "overall", "count": 0, "region": "whole"})
    row = {
        **whole,
        **job.key,
        "effect_count": effect_count,
        "channels": channels,
        "parameters": network.count_params(),
        "epochs": 0 if backup is None else backup.epochs,
        "seconds": 0.0 if backup is None else round(backup.seconds, 1),
        "train_images": len(images.train_images),
        "rank_images": _num_ranked(settings, images),
        "test_images": len(images.test_images),
        "image_shape": list(images.image_shape),
        "num_classes": images.info.num_classes,
        "class_names": list(images.info.class_names),
        "weights": save_weights(network, folder, f"deeplabv3_{name}"),
        "rankings": _save_rankings(rankings, folder, name),
        "predictions": _save_predictions(
            network, images, rankings, effect_count, settings.latent, folder, name
        ),
    }
    # Last of all: they are written with the row, so that on disk are all of these rows or none.
    folder.hold(rows)
    return row


def _checked_counts(settings, channels):
    counts = settings.counts_of(channels)
    if max(counts) > channels or max(counts) < 1:
        raise ValueError(
            f"`counts` must be in [0, {channels}], the channels of the feature map, and one be "
            f"above 0. Received: counts={settings.counts}"
        )
    return counts


def _train(settings, job, images, folder, display, network):
    """Trains the network, or loads its weights; returns the `EpochBackup`, or `None`."""
    if settings.weights is not None:
        load_given_weights(network, settings.weights, _NETWORK)
        return None
    batches = training_batches(settings, images, job.key["flip"])
    steps = settings.epochs * len(batches)
    epoch_work = _TRAIN_COST * len(images.train_images)
    progress = ShowProgress(display, epoch_work / len(batches), 0, job.name)
    return fit_with_backup(
        network,
        lambda copy: compile_for_training(settings, copy, images.info.ignore_class, steps),
        folder,
        job,
        display,
        batches,
        epoch_work=epoch_work,
        epochs=settings.epochs,
        callbacks=[progress],
    )


def _rank(settings, images, network, display):
    """Dictionary from ranking to `ChannelRanking`, made on training images."""
    ranked = images.train_images[: settings.rank_images]
    mean = mean_color(ranked) / 255
    rankings = {}
    for region in RANKINGS:
        method = "flip" if region == "overall" else settings.method
        batches = ImagesInOrder(ranked, images.train_masks[: len(ranked)], _BATCH)
        rankings[region] = rank_channels(
            network,
            batches,
            region,
            settings.latent,
            method=method,
            divide_by_activity=settings.divide_by_activity,
            mean=mean,
            progress=False,
        )
        display.advance(_RANK_COST / len(RANKINGS) * len(ranked))
        display.log(f"ranked the channels: {region}")
    return rankings


def _sweep(settings, job, images, network, rankings, counts, display):
    work = job.work - _training_work(settings, images)
    work -= _RANK_COST * _num_ranked(settings, images)
    num_batches = -(-len(images.test_images) // _BATCH)
    batches = ImagesInOrder(
        images.test_images,
        images.test_masks,
        _BATCH,
        batch_end=lambda: display.advance(work / num_batches),
    )
    return sweep_rows(
        network,
        batches,
        images.test_masks,
        rankings,
        counts,
        settings.latent,
        settings.draws,
        settings.seed,
        images.info.ignore_class,
    )


def _save_rankings(rankings, folder, name):
    """Saves the rankings in the folder; returns the files' paths inside of it."""
    (folder.path / "rankings").mkdir(exist_ok=True)
    paths = {region: f"rankings/{name}_{region}.json" for region in rankings}
    for region, ranking in rankings.items():
        ranking.to_json(folder.path / paths[region])
    return paths


def _save_predictions(network, images, rankings, count, latent, folder, name):
    """Saves the classes that the network gives a few test images, before and after.

    No photograph is in the file: `index` says which test images they are.
    """
    last = len(images.test_images) - 1
    index = np.unique(np.linspace(0, last, _EXAMPLES + 2).astype(int)[1:-1])
    x = images.test_images[index].astype("float32") / 255
    maps = {"index": index, "truth": images.test_masks[index], "before": _classes(network, x)}
    for region, ranking in rankings.items():
        maps[region] = _classes(ablate(network, ranking.channels[:count], latent), x)
    path = f"predictions/{name}.npz"
    with replacing(folder.path / path) as temporary:
        np.savez_compressed(temporary, **maps)
    return path


def _classes(network, images):
    # Called, not `predict`, which compiles a network for these few images.
    return keras.ops.convert_to_numpy(network(images, training=False)).argmax(-1).astype("uint8")
