"""Position channels and class channels of one backbone, told apart.

A network is trained to name the CLASS of images that lie on random cells of a black grid: nobody
tells its backbone where they lie. Then the backbone is frozen, and a second head of the same kind
learns to name the cell from the same feature map. The backbone's channels are ranked by how much
position they carry, and by how much of the class; the best N of each ranking are switched off, and
both heads are scored. Position channels should cost the location more than random ones do, and the
class channels the class. That is so where the heads see the pooled channels and nothing else, as a
ResNet's dense layer does. GAPNet's is a convolution: on a small map it sees the border, and with it
the place, in any channel.

    keras-gappos run channels

takes a few minutes on handwritten digits. The GAPNet of the location experiment on CIFAR-10, whose
weights that experiment leaves:

    keras-gappos run channels --networks gapnet --dataset cifar10 --width 64 \
        --weights results/location/weights/gapnet_class_3x3.weights.h5

Source: Islam et al., ICCV 2021; the paper ranks and switches off, on segmentation networks.
"""

import pathlib
import shutil

import keras

from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine.data import load_images
from keras_gappos.experiments.engine.devices import use_devices
from keras_gappos.experiments.engine.display import ShowProgress
from keras_gappos.experiments.engine.precision import dtype_policy
from keras_gappos.experiments.engine.results import ResultFolder, find_row, read_results
from keras_gappos.experiments.engine.runner import Job, fit_with_backup, run_jobs, save_weights
from keras_gappos.experiments.probe.networks import (
    build_network,
    compiled_task,
    feature_layer,
    with_location_head,
)
from keras_gappos.experiments.probe.report import make_table, write_report
from keras_gappos.experiments.probe.scores import (
    RANKINGS,
    rank,
    rank_correlations,
    save_rankings,
    sweep,
)
from keras_gappos.experiments.probe.settings import SHARES, ChannelsSettings
from keras_gappos.zoo.loading import load_given_weights

_TRAIN_COST = 3  # a training step costs about three passes
_HEAD_TRAIN_COST = 1.5  # with the backbone frozen
_RANK_COST = 4  # three rankings, one of them with two views of every image
_HEAD_COST = 0.1  # of a pass: what comes after the feature map


def run(settings, console=None):
    """Trains, ranks and sweeps what is not yet in the output folder; writes table and figure.

    Args:
        settings: a `ChannelsSettings`.
        console: a `rich.console.Console` to show progress on, or `None` for standard output.

    Returns:
        The rows: dictionaries with `network`, `ranking`, `count` (channels off), `task` ("location"
        or "class"), `accuracy` and `chance` in percent. Rankings are "position", by flips; "cell"
        and "class", by the share of the variance that the cell, or the class, explains;
        "most_active"; and "random", with means over the draws, and `accuracy_draws` and
        `accuracy_std` besides. A network's last row, of ranking "none", has its class accuracy with
        all channels on, `location_accuracy`, `rank_correlations` between the rankings, `channels`,
        the feature map's `map_size`, `parameters`, `epochs`, `head_epochs`, `seconds`, the images'
        numbers, shape, `mean` and `std`, and the files `weights` and `rankings`, by task and name.

    Raises:
        ValueError: for data that do not fit the settings, or an output folder of other settings.
        OSError: if the output folder cannot be written.
    """
    devices = use_devices(settings.distribute, settings.batch_size)
    folder = ResultFolder(settings.output_dir, "channels", settings, devices=devices)
    with folder.lock():
        images = load_images(settings)
        with dtype_policy(settings.precision):
            run_jobs(
                folder,
                _plan(settings, images),
                lambda job, display: _train_and_sweep(settings, job, images, folder, display),
                lambda row: f"{row['location_accuracy']:.1f} % cell, {row['accuracy']:.1f} % class",
                lambda: write_report(folder.path, folder.content),
                make_table,
                console,
            )
        shutil.rmtree(folder.path / "backup", ignore_errors=True)
    return folder.rows


def load_network(output_dir, network="gapnet", task="class"):
    """Loads one of the two networks on a backbone from the folder of a finished experiment.

    Args:
        output_dir: the experiment's output folder.
        network: `"gapnet"`, `"resnet"` or `"permutenet"`.
        task: `"class"` or `"location"`: with which head.

    Returns:
        A Functional `keras.Model` from canvases of images, less the row's `mean` and divided by its
        `std`, to logits.

    Raises:
        ValueError: if the folder has no such network.
    """
    output_dir = pathlib.Path(output_dir).expanduser()
    content = read_results(output_dir / "results.json")
    row = find_row(content["rows"], {"network": network, "ranking": "none"})
    if row is None or task not in row["weights"]:
        raise ValueError(f"{output_dir} has no finished network={network!r}, task={task!r}")
    recorded = {k: tuple(v) if isinstance(v, list) else v for k, v in content["settings"].items()}
    settings = ChannelsSettings(**{**recorded, "weights": None})
    model = build_network(settings, network, task, row["image_shape"], row["num_classes"])
    model.load_weights(output_dir / row["weights"][task])
    return model


def _plan(settings, images):
    work = sum(_work(settings, images).values())
    return [Job({"network": name, "ranking": "none"}, name, work) for name in settings.networks]


def _work(settings, images):
    """The work of each part of a job, in passes over an image."""
    count, ranked = len(images.train_images), len(images.train_images[: settings.rank_images])
    sets = (len(RANKINGS) + 1 + settings.draws) * len(settings.counts or SHARES)
    return {
        "class": 0 if settings.weights else _TRAIN_COST * settings.epochs * count,
        "location": _HEAD_TRAIN_COST * settings.head_epochs * count,
        "rank": _RANK_COST * ranked,
        "sweep": 2 * (1 + _HEAD_COST * sets) * settings.test_passes * len(images.test_images),
    }


def _train_and_sweep(settings, job, images, folder, display):
    """The intact network's row; those of its sweep are put beside it, to be written at once."""
    name, work = job.key["network"], _work(settings, images)
    shape, num_classes = images.image_shape, images.num_classes
    keras.utils.set_random_seed(settings.seed)
    network = build_network(settings, name, "class", shape, num_classes)
    _, height, width, channels = feature_layer(network).output.shape
    counts = settings.counts_of(channels)
    epochs, seconds = 0, 0.0
    if settings.weights is None:
        epochs, seconds = _train(settings, name, network, "class", images, folder, display, work)
    else:
        kind = f"a {network.name} of the same depth, width and classes"
        load_given_weights(network, settings.weights, kind)
    keras.utils.set_random_seed(settings.seed + 1)
    twin = with_location_head(settings, name, network, shape)
    head_epochs, head_seconds = _train(
        settings, name, twin, "location", images, folder, display, work
    )
    rankings = rank(settings, network, images)
    display.advance(work["rank"])
    display.log(f"{name}: ranked the channels")
    networks, rows = {"location": twin, "class": network}, []
    for task, model in networks.items():
        found = sweep(settings, model, task, images, rankings, counts)
        display.advance(work["sweep"] / 2)
        rows += [{"network": name, "task": task, **row} for row in found]
    folder.hold(rows)
    intact = {task: find_row(rows, {"task": task, "count": 0}) for task in networks}
    return {
        **intact["class"],
        **job.key,
        "location_accuracy": intact["location"]["accuracy"],
        "rank_correlations": rank_correlations(rankings),
        "channels": channels,
        "map_size": [height, width],
        "parameters": network.count_params(),
        "epochs": epochs,
        "head_epochs": head_epochs,
        "seconds": round(seconds + head_seconds, 1),
        "train_images": len(images.train_images),
        "rank_images": rankings["position"].num_images,
        "test_images": len(images.test_images),
        "image_shape": list(shape),
        "num_classes": num_classes,
        "mean": images.mean,
        "std": images.std,
        "weights": {
            task: save_weights(model, folder, _file_name(settings, name, task))
            for task, model in networks.items()
        },
        "rankings": save_rankings(rankings, folder, name),
    }


def _train(settings, name, network, task, images, folder, display, work):
    """Trains a network for one task; returns how many epochs, and seconds, it has taken."""
    epochs, learning_rate = {
        "class": (settings.epochs, settings.learning_rate),
        "location": (settings.head_epochs, settings.head_learning_rate),
    }[task]
    batches = TrainingBatches(
        images.train_images, images.train_labels, settings.batch_size, settings.flip, settings.seed
    )
    epoch_work = work[task] / epochs
    key = {"network": name, "task": task}
    title = f"{name} {task}"
    backup = fit_with_backup(
        network,
        lambda copy: compiled_task(settings, copy, task, learning_rate),
        folder,
        Job(key, title, work[task]),
        display,
        batches,
        epoch_work=epoch_work,
        epochs=epochs,
        callbacks=[ShowProgress(display, epoch_work / len(batches), 0, title)],
    )
    return backup.epochs, backup.seconds


def _file_name(settings, network, task):
    return f"{network}_{task}_{settings.grid_size}x{settings.grid_size}"
