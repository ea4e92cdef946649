"""The base of the hypermodels of image classifiers: search space, batches, failures."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import keras_tuner
import numpy as np

from keras_gappos.arguments import check_class_labels, check_images, integer
from keras_gappos.data.batches import TrainingBatches
from keras_gappos.tuning.space import narrow


class ClassifierHyperModel(keras_tuner.HyperModel):
    """Base class of hypermodels that train on arrays of images and labels.

    A subclass implements `make_network`, `make_model`, `make_optimizer` and `learning_rate`. Its
    space must have `Choices` of `batch_size`, and may have `flip`.

    Args:
        full_space: dictionary of names to the dimensions of `keras_gappos.tuning.space`.
        space: narrows it; see `keras_gappos.tuning.space.narrow`.
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of classes, at least 2.
        seed: integer, at least 0, for the weights, batches and flips of every trial.
        jit_compile: as in `keras.Model.compile`.
        epochs: passes over the training images, unless `fit` sets it.
        name: the hypermodel's name.

    Attributes:
        from_logits: whether the networks return logits; otherwise probabilities.
    """

    from_logits = True

    def __init__(
        self, full_space, space, image_shape, num_classes, seed, jit_compile, epochs, name
    ):
        super().__init__(name=name)
        self.space = narrow(full_space, space)
        self.image_shape = image_shape
        self.num_classes = integer("num_classes", num_classes, 2)
        self.seed = integer("seed", seed, 0, below=2**32 - 1)
        self.jit_compile = jit_compile
        self.epochs = integer("epochs", epochs, 1)

    @property
    def identity(self):
        """A dictionary that identifies a search with this hypermodel."""
        return {
            "image_shape": self.image_shape,
            "num_classes": self.num_classes,
            "hypermodel_seed": self.seed,
            **{
                f"space {name}": str(dimension if dimension.searched else dimension.default)
                for name, dimension in self.space.items()
            },
        }

    def values(self, hp):
        """The settings of a trial by name, registered in its `keras_tuner.HyperParameters`."""
        return {name: dimension.declare(hp, name) for name, dimension in self.space.items()}

    def build(self, hp):
        """Builds and compiles the model of a trial.

        Args:
            hp: the trial's `keras_tuner.HyperParameters`.

        Returns:
            A compiled `keras.Model` for images and labels. Its optimizer is built, so that a
            checkpoint's momenta can be loaded.
        """
        keras.utils.set_random_seed(self.seed)
        values = self.values(hp)
        model = self.make_model(values, self.network_of(hp, values))
        self._compile(model, self.make_optimizer(values))
        model.optimizer.build(model.trainable_variables)
        return model

    def network_of(self, hp, values):
        """The network of a trial; `values` are its settings."""
        return self.make_network(values)

    def make_network(self, values):
        """The network of these settings, for images or canvases."""
        raise NotImplementedError

    def make_model(self, values, network):
        """The uncompiled model that trains the network."""
        raise NotImplementedError

    def make_optimizer(self, values):
        """The optimizer; `fit` sets its learning rate."""
        raise NotImplementedError

    def learning_rate(self, values, steps):
        """The learning rate or schedule for `steps` training steps."""
        raise NotImplementedError

    def callbacks(self, images):
        """Callbacks that add metrics on these validation images to the logs."""
        return []

    def fit(
        self,
        hp,
        model,
        x,
        y,
        validation_data=None,
        epochs=None,
        initial_epoch=0,
        callbacks=(),
        **kwargs,
    ):
        """Trains the model of a trial; `Tuner.search` passes its arguments on.

        Args:
            hp: the trial's `keras_tuner.HyperParameters`.
            model: the result of `build`, with or without loaded weights.
            x: float images `(n, height, width, channels)`, preprocessed for the network.
            y: integer labels `(n,)`.
            validation_data: `(images, labels)` to score on after each epoch.
            epochs: passes over the images, including those before `initial_epoch`; `None` is the
                hypermodel's `epochs`.
            initial_epoch: passes that the model was already trained for.
            callbacks: Keras callbacks; their logs have the trial's metrics.
            **kwargs: other arguments of `keras.Model.fit`, except `batch_size`.

        Returns:
            The `keras.callbacks.History`.

        Raises:
            keras_tuner.errors.FatalValueError: a `ValueError` for invalid data; ends the search.
            keras_tuner.errors.FailedTrialError: if the loss becomes infinite or NaN.
        """
        values = self.values(hp)
        try:
            epochs = self.epochs if epochs is None else integer("epochs", epochs, 1)
            initial_epoch = integer("initial_epoch", initial_epoch, 0, below=epochs)
            (images, labels), validation_data = self.checked(x, y, validation_data)
            _reject_batch_size(kwargs)
        except ValueError as error:  # KerasTuner would continue with the next trial
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        batches = TrainingBatches(
            images, labels, values["batch_size"], values.get("flip", False), self.seed
        )
        self._begin_at(model, values, initial_epoch * len(batches), epochs * len(batches))
        return model.fit(
            batches,
            shuffle=False,  # `batches` are shuffled by our seed
            validation_data=validation_data,
            validation_batch_size=values["batch_size"],
            epochs=epochs,
            initial_epoch=initial_epoch,
            callbacks=[
                batches.callback,
                _EndAtDivergence(values),
                *self.callbacks(validation_data[0]),
                *callbacks,
            ],
            **kwargs,
        )

    def _begin_at(self, model, values, step, steps):
        """Sets the schedule of `steps` steps and starts at `step`; keeps the momenta."""
        model.optimizer.learning_rate = self.learning_rate(values, steps)
        model.optimizer.iterations.assign(step)
        # Compile again: a traced training step would use the previous schedule.
        self._compile(model, model.optimizer)

    def _compile(self, model, optimizer):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=self.from_logits)
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=self.jit_compile)

    def checked(self, x, y, validation_data):
        """Validates the data of `fit`, and returns them as arrays.

        Args:
            x, y, validation_data: as in `fit`.

        Returns:
            A list of two pairs of images and labels: training and validation.

        Raises:
            ValueError: if they do not match each other, the hypermodel or its space.
        """
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            raise ValueError(
                "`validation_data` must be (images, labels), to score the trials on. Received: "
                f"{type(validation_data).__name__}"
            )
        pairs = [tuple(map(np.asarray, pair)) for pair in ((x, y), validation_data)]
        for images, labels in pairs:
            if images.ndim != 4 or images.shape[1:] != self.image_shape:
                raise ValueError(
                    f"Images must be of shape (n, {', '.join(map(str, self.image_shape))}). "
                    f"Received: images of shape {images.shape}"
                )
            check_images(images)
            if labels.ndim != 1:
                raise ValueError(
                    "Labels must be integers of shape (n,), not one-hot. Received: labels of shape "
                    f"{labels.shape}"
                )
            check_class_labels(labels, len(images), self.num_classes)
        check_batch_sizes(self.space["batch_size"].values, len(pairs[0][0]))
        return pairs


def check_batch_sizes(sizes: Sequence[int], count: int) -> None:
    """Raises a `ValueError` if one of the batch sizes is more than `count` training images."""
    if max(sizes) > count:
        raise ValueError(
            "`batch_size` must not exceed the number of training images: use more images, or "
            f"narrow the search space. Received: batch_size of up to {max(sizes)}, {count} images"
        )


def check_image_shape(name: str, shape: Sequence[int] | None) -> tuple[int, ...]:
    """Returns `(height, width, channels)` as a tuple of integers.

    Raises:
        ValueError: for anything else; the message names the argument.
    """
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ValueError(f"`{name}` must be (height, width, channels). Received: {name}={shape!r}")
    return tuple(integer(name, side, 1) for side in shape)


def _reject_batch_size(arguments):
    if "batch_size" in arguments:
        raise ValueError(
            "`batch_size` is a setting of the trials: narrow the search space, for instance by "
            f"space={{'batch_size': 32}}. Received: batch_size={arguments['batch_size']}"
        )


class _EndAtDivergence(keras.callbacks.Callback):
    """Fails the trial at the first step whose loss is infinite or NaN."""

    def __init__(self, values):
        super().__init__()
        self._values = values

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._check(logs, "loss", f"in epoch {self._epoch + 1}, at step {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs, "val_loss", f"after epoch {epoch + 1}")

    def _check(self, logs, name, when):
        loss = (logs or {}).get(name, 0.0)
        if not np.isfinite(loss):
            settings = ", ".join(f"{key}={value}" for key, value in self._values.items())
            raise keras_tuner.errors.FailedTrialError(
                f"The training diverged: {name} is {loss} {when}, with {settings}"
            )
