"""The paper's first table: can a network name the cell of an image, and its class?

{GAPNet, PermuteNet} x {location, class} x grid sizes, each trained and scored on images put on a
random cell of a black grid. At the defaults, the paper's, on CIFAR-10:

    keras-gappos run location

GAPNet should reach 100 % location and about 82 % class at both grids, PermuteNet 79 % and 21 %
location and 74 % and 70 % class at 3x3 and 7x7.

Source: Islam et al., ICCV 2021, table 1.
"""

import pathlib
import shutil

import keras
import numpy as np

from keras_gappos import layers, models, training
from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine.data import load_images
from keras_gappos.experiments.engine.devices import use_devices
from keras_gappos.experiments.engine.display import ShowProgress
from keras_gappos.experiments.engine.precision import dtype_policy
from keras_gappos.experiments.engine.results import ResultFolder, find_row, read_results
from keras_gappos.experiments.engine.runner import Job, fit_with_backup, run_jobs, save_weights
from keras_gappos.experiments.location.report import make_table, write_report
from keras_gappos.experiments.location.settings import LocationSettings

_TRAIN_COST = 3  # a training step costs about three test steps
_EXAMPLES = 4  # canvases with their predicted cells that go into each row, for the figure


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
    devices = use_devices(settings.distribute, settings.batch_size)
    folder = ResultFolder(settings.output_dir, "location", settings, devices=devices)
    with folder.lock():
        images = load_images(settings)
        with dtype_policy(settings.precision):
            run_jobs(
                folder,
                _plan(settings, images),
                lambda job, display: _train_and_score(settings, job, images, folder, display),
                lambda row: f"{row['accuracy']:.2f} %",
                lambda: write_report(
                    folder.path, folder.content, images.test_images, settings.show_images
                ),
                make_table,
                console,
            )
        shutil.rmtree(folder.path / "backup", ignore_errors=True)
    return folder.rows


def _plan(settings, images):
    keys = [
        {"network": network, "task": task, "grid_size": grid_size}
        for grid_size in settings.grids
        for task in settings.tasks
        for network in settings.networks
    ]
    name = "{network} {task} {grid_size}x{grid_size}"
    return [Job(key, name.format(**key), _work(settings, key, images)) for key in keys]


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


def score(settings, key, network, images, callbacks=()):
    """Scores a trained network, whose own random draws do not matter: those of the seed are used.

    Args:
        settings: a `LocationSettings`.
        key: dictionary with `network`, `task` and `grid_size`.
        network: the trained network.
        images: an `ImageData`.
        callbacks: Keras callbacks for `evaluate`.

    Returns:
        A list: the accuracy of each test pass, in percent.
    """
    shape, num_classes = images.image_shape, images.num_classes
    fresh = build_network(settings, **key, image_shape=shape, num_classes=num_classes)
    fresh.set_weights(network.get_weights())  # all but the states of random generators
    task = training.GridTask(fresh, key["grid_size"], key["task"], seed=settings.seed)
    task.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return [
        100
        * task.evaluate(
            images.test_images,
            images.test_labels,
            batch_size=settings.batch_size,
            verbose=0,
            callbacks=list(callbacks),
            return_dict=True,
        )["accuracy"]
        for _ in range(settings.passes_of(key["grid_size"]))
    ]


def _work(settings, key, images):
    """The work of one row, in test pixels over image pixels."""
    train = _TRAIN_COST * settings.epochs_of(key["task"]) * len(images.train_images)
    test = settings.passes_of(key["grid_size"]) * len(images.test_images)
    return (train + test) * key["grid_size"] ** 2


def _train_and_score(settings, job, images, folder, display):
    key = job.key
    task_name, grid_size = key["task"], key["grid_size"]
    keras.utils.set_random_seed(settings.seed)
    shape, num_classes = images.image_shape, images.num_classes
    network = build_network(settings, **key, image_shape=shape, num_classes=num_classes)
    step = settings.batch_size * grid_size**2
    progress = ShowProgress(display, _TRAIN_COST * step, step, job.name)
    backup = fit_with_backup(
        network,
        lambda copy: _grid_task(settings, key, copy),
        folder,
        job,
        display,
        _batches(settings, images, folder.devices),
        epoch_work=_TRAIN_COST * len(images.train_images) * grid_size**2,
        epochs=settings.epochs_of(task_name),
        callbacks=[progress] if settings.target_accuracy is None else [_StopAt(settings), progress],
    )
    accuracies = score(settings, key, network, images, [progress])
    name = f"{network.name}_{task_name}_{grid_size}x{grid_size}"
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
        "weights": save_weights(network, folder, name),
        "image_shape": list(shape),
        "num_classes": num_classes,
        "mean": images.mean,
        "std": images.std,
    }
    if task_name == "location":
        row["examples"] = _examples(network, images.test_images, grid_size, settings.seed)
    return row


def _batches(settings, images, devices):
    """The training data; several processes must all shuffle it alike, and divide full batches."""
    arrays = images.train_images, images.train_labels
    if devices.processes > 1:
        return TrainingBatches(*arrays, settings.batch_size, False, settings.seed)
    return {"x": arrays[0], "y": arrays[1], "batch_size": settings.batch_size}


def _grid_task(settings, key, network):
    """The network, ready to be trained for its row."""
    task = training.GridTask(
        network, key["grid_size"], key["task"], flip=settings.flip, seed=settings.seed
    )
    task.compile(
        keras.optimizers.Adam(settings.learning_rate, beta_1=0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=settings.keras_jit_compile,
    )
    return task


class _StopAt(keras.callbacks.Callback):
    """Ends the training after an epoch with at least the settings' `target_accuracy` accuracy."""

    def __init__(self, settings):
        super().__init__()
        self.accuracy = settings.target_accuracy / 100

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
