"""What the hypermodels of image classifiers share: the search space, the batches, the failures."""

import keras
import keras_tuner
import numpy as np

from keras_gappos.arguments import check_class_labels, check_images, integer
from keras_gappos.data.batches import TrainingBatches
from keras_gappos.tuning.space import narrow


class ClassifierHyperModel(keras_tuner.HyperModel):
    """Base of the hypermodels whose trials train on arrays of images and labels.

    A subclass says what is trained in `make_model`, `make_optimizer` and `learning_rate`. Its space
    has a `batch_size`, of `Choices`, and may have a `flip`.

    Args:
        full_space: dictionary of names to the dimensions of `keras_gappos.tuning.space`.
        space: narrows it; see `keras_gappos.tuning.space.narrow`.
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of the labels' classes, at least 2.
        seed: integer, at least 0, of the weights, the batches and the flips of every trial.
        jit_compile: as Keras' `compile` takes it.
        epochs: passes over the training images where `fit` is not told how many.
        name: the hypermodel's name.
    """

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
        """What identifies a search with this hypermodel, a dictionary."""
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
        """The settings of a trial, entered in its `keras_tuner.HyperParameters`.

        Returns:
            A dictionary of names to values.
        """
        return {name: dimension.declare(hp, name) for name, dimension in self.space.items()}

    def build(self, hp):
        """Builds and compiles the model of a trial.

        Args:
            hp: the trial's `keras_tuner.HyperParameters`.

        Returns:
            A `keras.Model` that is fitted on plain images and labels. Its optimizer is built, so
            that a checkpoint's momenta can be loaded.
        """
        keras.utils.set_random_seed(self.seed)
        values = self.values(hp)
        model = self.make_model(values)
        self._compile(model, self.make_optimizer(values))
        model.optimizer.build(model.trainable_variables)
        return model

    def make_model(self, values):
        """The uncompiled model of these settings, for labels of integers; it gives logits."""
        raise NotImplementedError

    def make_optimizer(self, values):
        """The optimizer, whose learning rate `fit` sets."""
        raise NotImplementedError

    def learning_rate(self, values, steps):
        """The learning rate, or its schedule, of a training of `steps` steps."""
        raise NotImplementedError

    def callbacks(self, images):
        """Callbacks for these validation images that enter metrics into the logs."""
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
        """Trains the model of a trial; `Tuner.search` hands its arguments on to here.

        Args:
            hp: the trial's `keras_tuner.HyperParameters`.
            model: what `build` gave; its weights, and the optimizer's, may have been loaded.
            x: images `(n, height, width, channels)`, floats, as the network takes them.
            y: labels `(n,)`, integers.
            validation_data: `(images, labels)` to score on after each epoch.
            epochs: passes over the images, those before `initial_epoch` included; `None` is the
                hypermodel's own.
            initial_epoch: passes that the model's weights have had already.
            callbacks: Keras callbacks; the trial's metrics are in their logs.
            **kwargs: as `keras.Model.fit` takes them; the batch size is the trial's.

        Returns:
            The `keras.callbacks.History`.

        Raises:
            keras_tuner.errors.FatalValueError: for data that do not fit, which ends a search; it is
                a `ValueError`.
            keras_tuner.errors.FailedTrialError: if the loss becomes infinite or NaN.
        """
        values = self.values(hp)
        try:
            epochs = self.epochs if epochs is None else integer("epochs", epochs, 1)
            initial_epoch = integer("initial_epoch", initial_epoch, 0, below=epochs)
            (images, labels), validation_data = self.checked(x, y, validation_data)
            _refuse_batch_size(kwargs)
        except ValueError as error:  # for which KerasTuner would go on with the next trial
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        batches = TrainingBatches(
            images, labels, values["batch_size"], values.get("flip", False), self.seed
        )
        self._begin_at(model, values, initial_epoch * len(batches), epochs * len(batches))
        return model.fit(
            batches,
            shuffle=False,  # it would be Keras' own, which no seed of ours tells
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
        """Puts the optimizer, with the momenta it has, at `step` of a training of `steps`."""
        model.optimizer.learning_rate = self.learning_rate(values, steps)
        model.optimizer.iterations.assign(step)
        # A training step that Keras has traced already has the former schedule in it.
        self._compile(model, model.optimizer)

    def _compile(self, model, optimizer):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=self.jit_compile)

    def checked(self, x, y, validation_data):
        """Data that `fit` takes, as arrays.

        Args:
            x, y, validation_data: as in `fit`.

        Returns:
            A list of two pairs of images and labels.

        Raises:
            ValueError: for data that do not fit each other, the hypermodel or its space.
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
        count, largest = len(pairs[0][0]), max(self.space["batch_size"].values)
        if largest > count:  # one trial or another would get it
            raise ValueError(
                "`batch_size` must not exceed the number of training images: use more images, or "
                f"narrow the search space. Received: batch_size of up to {largest}, {count} images"
            )
        return pairs


def check_image_shape(name, shape):
    """Returns `(height, width, channels)` as a tuple of integers.

    Raises:
        ValueError: if it is anything else; the message names the argument.
    """
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ValueError(f"`{name}` must be (height, width, channels). Received: {name}={shape!r}")
    return tuple(integer(name, side, 1) for side in shape)


def _refuse_batch_size(arguments):
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
