"""The paper's first table: can a network name the cell of an image, and its class?

{GAPNet, PermuteNet} x {location, class} x grid sizes, each trained and scored on images put on a
random cell of a black grid. At the defaults, the paper's, on CIFAR-10:

    keras-gappos run location

GAPNet should reach 100 % location and about 82 % class at both grids, PermuteNet 79 % and 21 %
location and 74 % and 70 % class at 3x3 and 7x7.

Source: Islam et al., ICCV 2021, table 1.
"""

import dataclasses
import pathlib
import shutil

import keras
import numpy as np

from keras_gappos import data, layers, models, training
from keras_gappos.experiments.backup import EpochBackup
from keras_gappos.experiments.display import RunDisplay, ShowProgress
from keras_gappos.experiments.location_report import make_table, write_report
from keras_gappos.experiments.location_settings import LocationSettings
from keras_gappos.experiments.results import ResultFolder, find_row, read_results, replacing

_TRAIN_COST = 3  # a training step costs about three test steps
_EXAMPLES = 4  # canvases with their predicted cells that go into each row, for the figure


@dataclasses.dataclass(frozen=True)
class _Data:
    """Images float32 `(n, height, width, channels)`, labels int64 `(n,)`."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: list
    std: list


def run(settings, console=None):
    """Trains and scores what is not yet in the output folder, and writes table and figure.

    Args:
        settings: a `LocationSettings`.
        console: a `rich.console.Console` to show progress on, or `None` for standard output.

    Returns:
        The rows: dictionaries with `network, task, grid_size, accuracy` (percent, mean over the
        test passes), `accuracy_std` (over the passes), `chance` (percent), `epochs`, `seconds`,
        `weights`, the inputs' `mean` and `std`, and for location `examples`.

    Raises:
        ValueError: for data that do not fit the settings, or an output folder of other settings.
        OSError: if the output folder cannot be written.
    """
    folder = ResultFolder(settings.output_dir, "location", settings)
    with folder.lock():
        images = _load_data(settings)
        _run(settings, folder, images, console)
        shutil.rmtree(folder.path / "backup", ignore_errors=True)
    return folder.rows


def _run(settings, folder, images, console):
    plan = [
        {"network": network, "task": task, "grid_size": grid_size}
        for grid_size in settings.grids
        for task in settings.tasks
        for network in settings.networks
    ]
    total = sum(_work(settings, key, images) for key in plan)
    with _precision(settings.precision), RunDisplay(total, make_table, console) as display:
        for key in plan:
            name = "{network} {task} {grid_size}x{grid_size}".format(**key)
            display.show(folder.rows, name)
            if folder.find(**key):
                display.log(f"{name}: finished earlier")
                display.skip(_work(settings, key, images))
                continue
            row = _train_and_score(settings, key, images, folder, display, name)
            folder.add(row)
            write_report(folder.path, folder.content, images.test_images, settings.show_images)
            shutil.rmtree(_backup_dir(folder, row), ignore_errors=True)
            display.log(f"{name}: {row['accuracy']:.2f} % in {row['seconds']:.0f} s")
    write_report(folder.path, folder.content, images.test_images, settings.show_images)


def build_network(settings, network, task, grid_size, image_shape, num_classes):
    """Builds the untrained network of one row.

    Args:
        settings: a `LocationSettings`.
        network, task, grid_size: which row.
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of image classes.
    """
    height, width, channels = image_shape
    canvas = (grid_size * height, grid_size * width, channels)
    outputs = grid_size**2 if task == "location" else num_classes
    arguments = {"depth": settings.depth, "width": settings.width}
    if network == "permutenet":
        arguments["seed"] = settings.seed + 1
    return getattr(models, network)(canvas, outputs, **arguments)


def load_network(output_dir, network, task, grid_size):
    """Loads a trained network from the folder of a finished experiment.

    It takes canvases of images in [0, 1] from which the row's `mean` was subtracted and that were
    then divided by its `std`; around the image a canvas is 0.

    Args:
        output_dir: the experiment's output folder.
        network, task, grid_size: which row.

    Returns:
        A Functional `keras.Model`.

    Raises:
        ValueError: if the folder has no such row.
    """
    output_dir = pathlib.Path(output_dir).expanduser()
    content = read_results(output_dir / "results.json")
    key = {"network": network, "task": task, "grid_size": grid_size}
    row = find_row(content["rows"], key)
    if row is None:
        raise ValueError(f"{output_dir} has no finished row of {key}")
    settings = LocationSettings(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in content["settings"].items()}
    )
    model = build_network(
        settings, network, task, grid_size, row["image_shape"], row["num_classes"]
    )
    model.load_weights(output_dir / row["weights"])
    return model


def _load_data(settings):
    def load(split, limit):
        images, labels = data.load(settings.dataset, split, settings.data_dir, limit)
        return images.astype("float32") / 255, labels

    train_images, train_labels = load("train", settings.train_images)
    test_images, test_labels = load("test", settings.test_images)
    if len(train_images) < settings.batch_size:
        raise ValueError(
            f"There must be at least one batch of training images. Received: {len(train_images)} "
            f"images, batch_size={settings.batch_size}"
        )
    channels = train_images.shape[-1]
    mean, std = np.zeros(channels), np.ones(channels)
    if settings.normalize:
        mean = train_images.mean((0, 1, 2), dtype="float64")
        std = np.maximum(train_images.std((0, 1, 2), dtype="float64"), 1e-6)
    mean, std = mean.round(6), std.round(6)
    for images in (train_images, test_images):
        images -= mean.astype("float32")
        images /= std.astype("float32")
    return _Data(train_images, train_labels, test_images, test_labels, mean.tolist(), std.tolist())


def _work(settings, key, images):
    """The work of one row, in test pixels over image pixels."""
    train = _TRAIN_COST * settings.epochs_of(key["task"]) * len(images.train_images)
    test = settings.passes_of(key["grid_size"]) * len(images.test_images)
    return (train + test) * key["grid_size"] ** 2


def _train_and_score(settings, key, images, folder, display, name):
    task_name, grid_size = key["task"], key["grid_size"]
    keras.utils.set_random_seed(settings.seed)
    num_classes = int(max(images.train_labels.max(), images.test_labels.max())) + 1
    shape = images.train_images.shape[1:]
    network = build_network(settings, **key, image_shape=shape, num_classes=num_classes)
    task = training.GridTask(network, grid_size, task_name, flip=settings.flip, seed=settings.seed)
    task.compile(
        keras.optimizers.Adam(settings.learning_rate, beta_1=0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    step = settings.batch_size * grid_size**2
    progress = ShowProgress(display, _TRAIN_COST * step, step, name)
    epochs = settings.epochs_of(task_name)
    backup = EpochBackup(_backup_dir(folder, key), task)
    epoch_cost = _TRAIN_COST * len(images.train_images) * grid_size**2
    display.skip(epoch_cost * backup.epochs)
    if not backup.stopped:
        _fit(settings, task, images, epochs, [progress, backup])
    display.skip(epoch_cost * (epochs - backup.epochs))
    accuracies = [
        100
        * task.evaluate(
            images.test_images,
            images.test_labels,
            batch_size=settings.batch_size,
            verbose=0,
            callbacks=[progress],
            return_dict=True,
        )["accuracy"]
        for _ in range(settings.passes_of(grid_size))
    ]
    weights = f"weights/{network.name}_{task_name}_{grid_size}x{grid_size}.weights.h5"
    with replacing(folder.path / weights) as temporary:
        network.save_weights(temporary)
    row = {
        **key,
        "accuracy": float(np.mean(accuracies)),
        "accuracy_std": float(np.std(accuracies)),
        "chance": 100 / network.output_shape[-1],
        "epochs": backup.epochs,
        "train_images": len(images.train_images),
        "test_images": len(images.test_images),
        "test_passes": len(accuracies),
        "parameters": network.count_params(),
        "seconds": round(backup.seconds, 1),
        "weights": weights,
        "image_shape": list(shape),
        "num_classes": num_classes,
        "mean": images.mean,
        "std": images.std,
    }
    if task_name == "location":
        row["examples"] = _examples(network, images.test_images, grid_size, settings.seed)
    return row


def _fit(settings, task, images, epochs, callbacks):
    """Trains the epochs that are not in the backup, the last of `callbacks`, yet."""
    if settings.stop_at is not None:
        callbacks = [_StopAt(settings.stop_at / 100), *callbacks]
    task.fit(
        images.train_images,
        images.train_labels,
        batch_size=settings.batch_size,
        initial_epoch=callbacks[-1].epochs,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
    )


class _StopAt(keras.callbacks.Callback):
    """Ends the training after an epoch with at least this accuracy, in [0, 1]."""

    def __init__(self, accuracy):
        super().__init__()
        self.accuracy = accuracy

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = logs["accuracy"] >= self.accuracy


def _examples(network, images, grid_size, seed):
    """A few test images, the cell each is put on, and the cell that the network names."""
    chosen = np.arange(min(_EXAMPLES, len(images)))
    cells = np.random.default_rng(seed).permutation(grid_size**2)[: len(chosen)]
    cells = np.resize(cells, len(chosen))
    canvases = layers.GridPlacement(grid_size)(images[chosen], cells)
    # One by one, as each call of a PermuteNet draws one permutation for all its images.
    predicted = [int(np.argmax(network.predict(canvas[None], verbose=0))) for canvas in canvases]
    return [
        {"image": int(image), "cell": int(cell), "predicted": predicted}
        for image, cell, predicted in zip(chosen, cells, predicted)
    ]


def _backup_dir(folder, key):
    return folder.backup / "{network}_{task}_{grid_size}".format(**key)


class _precision:
    """Sets Keras' dtype policy, and puts the former one back."""

    def __init__(self, policy):
        self.policy, self.former = policy, keras.config.dtype_policy()

    def __enter__(self):
        keras.config.set_dtype_policy(self.policy)

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.former)
