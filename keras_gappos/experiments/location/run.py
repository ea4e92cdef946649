"""The paper's first table: can a network name the cell of an image, and its class?

{GAPNet, PermuteNet} x {location, class} x grid sizes, each trained and scored on images put on a
random cell of a black grid. At the defaults, the paper's, on CIFAR-10:

    keras-gappos run location

Which padding carries position:

    keras-gappos run location --padding zeros reflect replicate circular

GAPNet should reach 100 % location and about 82 % class at both grids, PermuteNet 79 % and 21 %
location and 74 % and 70 % class at 3x3 and 7x7.

Source: Islam et al., ICCV 2021, table 1; for the padding Islam et al., IJCV 2024, arXiv 2101.12322,
and Kayhan and van Gemert, CVPR 2020.
"""

import keras
import numpy as np

from keras_gappos import layers, models, training
from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine.display import ShowProgress
from keras_gappos.experiments.engine.experiment import TRAIN_COST, Experiment, Job
from keras_gappos.experiments.location import report, zoo_entry
from keras_gappos.experiments.location.settings import LocationSettings

_EXAMPLES = 4  # canvases with their predicted cells that go into each row, for the figure


class Location(Experiment):
    """The paper's first table: location and class accuracy of GAPNet and PermuteNet."""

    # A row has `network, task, grid_size, padding, accuracy` (percent, mean over the test passes),
    # `accuracy_std` (over the passes), `chance` (percent) and, for location, `examples`.
    name = "location"
    Settings = LocationSettings
    keys = ("network", "task", "grid_size", "padding")
    report = report
    zoo_entry = zoo_entry

    def plan(self):
        """A job for each padding, grid size, task and network."""
        settings = self.settings
        keys = [
            {"network": network, "task": task, "grid_size": grid_size, "padding": padding}
            for padding in settings.padding
            for grid_size in settings.grids
            for task in settings.tasks
            for network in settings.networks
        ]
        return [Job(key, _name(key), self._work(key)) for key in keys]

    def _work(self, key):
        """The work of one row, in test pixels over image pixels."""
        settings, images = self.settings, self.data
        train = TRAIN_COST * settings.epochs_of(key["task"]) * len(images.train_images)
        test = settings.passes_of(key["grid_size"]) * len(images.test_images)
        return (train + test) * key["grid_size"] ** 2

    def build(self, key, image_shape, num_classes):
        """A GAPNet or PermuteNet for canvases of the key's grid size."""
        return build_network(self.settings, **key, image_shape=image_shape, num_classes=num_classes)

    def train(self, job, network):
        """Trains on images that lie on random cells."""
        settings, images = self.settings, self.data
        task, grid_size = job.key["task"], job.key["grid_size"]
        epoch_work = TRAIN_COST * len(images.train_images) * grid_size**2
        epochs = settings.epochs_of(task)
        batches = TrainingBatches(
            images.train_images,
            images.train_labels,
            settings.batch_size,
            flip=False,  # the task mirrors on the device
            seed=settings.seed,
        )
        stop = [] if settings.target_accuracy is None else [_StopAt(settings.target_accuracy)]
        epochs = self.fit(
            job,
            network,
            lambda copy: compiled_task(settings, copy, task, grid_size, flip=settings.flip),
            batches,
            epochs,
            epoch_work,
            stop,
        )
        return {"epochs": epochs, "dataset": settings.dataset, "width": settings.width}

    def score(self, job, network):
        """The accuracy, and examples for the figure."""
        step = self.settings.batch_size * job.key["grid_size"] ** 2
        progress = ShowProgress(self.display, 0, step, job.name)
        accuracies = self._accuracies(job.key, network, [progress])
        row = {
            "accuracy": float(np.mean(accuracies)),
            "accuracy_std": float(np.std(accuracies)),
            "chance": 100 / network.output_shape[-1],
            "test_passes": len(accuracies),
            "weights": self.save_weights(network, _name(job.key).replace(" ", "_")),
        }
        if job.key["task"] == "location":
            row["examples"] = self._examples(network, job.key["grid_size"])
        return row

    def measure(self, key, network):
        """The accuracy of a model card."""
        return {"accuracy": float(np.mean(self._accuracies(key, network)))}

    def _accuracies(self, key, network, callbacks=()):
        """The accuracy of each test pass, in percent, on the random draws of the seed alone."""
        settings, images = self.settings, self.data
        fresh = self.build(key, images.image_shape, images.num_classes)
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

    def _examples(self, network, grid_size):
        """A few test images, the cell each is put on, and the cell that the network names."""
        images = self.data.test_images
        chosen = np.arange(min(_EXAMPLES, len(images)))
        rng = np.random.default_rng(self.settings.seed)
        cells = np.resize(rng.permutation(grid_size**2)[: len(chosen)], len(chosen))
        canvases = layers.GridPlacement(grid_size)(images[chosen], cells)
        # One by one, as each call of a PermuteNet draws one permutation for all its images.
        predicted = [int(np.argmax(network.predict(one[None], verbose=0))) for one in canvases]
        return [
            {"image": int(image), "cell": int(cell), "predicted": predicted}
            for image, cell, predicted in zip(chosen, cells, predicted)
        ]

    @staticmethod
    def summarize(row):
        """The accuracy."""
        return f"{row['accuracy']:.2f} %"


def _name(key):
    """A row's network in a few words."""
    name = "{network} {task} {grid_size}x{grid_size}".format(**key)
    return name if key["padding"] == "zeros" else f"{name} {key['padding']}"


def build_network(settings, network, task, grid_size, image_shape, num_classes, padding="zeros"):
    """Builds an untrained GAPNet or PermuteNet for canvases.

    Args:
        settings: settings with a `depth`, a `width` and a `seed`.
        network: "gapnet" or "permutenet".
        task: "location" or "class".
        grid_size: cells along each side of the canvas.
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of image classes.
        padding: how its convolutions pad.
    """
    height, width, channels = image_shape
    canvas = (grid_size * height, grid_size * width, channels)
    outputs = grid_size**2 if task == "location" else num_classes
    arguments = {"depth": settings.depth, "width": settings.width, "padding": padding}
    if network == "permutenet":
        arguments["seed"] = settings.seed + 1
    return getattr(models, network)(canvas, outputs, **arguments)


def compiled_task(settings, network, task, grid_size, learning_rate=None, flip=False):
    """Returns a network compiled for training on images that lie on random cells.

    Args:
        settings: settings with a `learning_rate`, a `seed` and a `keras_jit_compile`.
        network: the network.
        task: "location" or "class".
        grid_size: cells along each side of the canvas.
        learning_rate: of Adam; `None` is the settings'.
        flip: whether to mirror half of the images.
    """
    grid_task = training.GridTask(network, grid_size, task, flip=flip, seed=settings.seed)
    grid_task.compile(
        keras.optimizers.Adam(learning_rate or settings.learning_rate, beta_1=0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=settings.keras_jit_compile,
    )
    return grid_task


class _StopAt(keras.callbacks.Callback):
    """Ends the training after an epoch with at least this accuracy, in percent."""

    def __init__(self, accuracy):
        super().__init__()
        self.accuracy = accuracy / 100

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = logs["accuracy"] >= self.accuracy
