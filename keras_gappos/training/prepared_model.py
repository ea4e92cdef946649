"""Train a model on batches that are rewritten, at random, on the device."""

from __future__ import annotations

import contextlib

import keras
from keras import ops

from keras_gappos.arguments import integer
from keras_gappos.layers.seed_generator import SeedGenerator
from keras_gappos.surgery.graph import in_inference


class PreparedModel(keras.Model):
    """Base of the models that rewrite each batch and then train as stock Keras does.

    A subclass says how in `prepare`; everything else (optimizer, losses, metrics, loss scaling,
    sample weights, callbacks, distribution) is Keras' own, since `train_step` and `test_step` hand
    the rewritten batch to `keras.Model`. `call`, and with it `predict`, is the inner model's.

    Args:
        model: the model to train: a Functional one, or a Sequential one with an Input, of one
            input.
        seed: integer, or `None` for other draws at each construction. Draws go on from epoch to
            epoch; where they stand is saved with the weights.

    Raises:
        ValueError: if `model` is none of these, or `seed` out of range.
    """

    def __init__(self, model: keras.Model, seed: int | None = None, **kwargs):
        # With the classifier's own dtype policy, which decides on loss scaling and on input casts.
        super().__init__(**{"dtype": getattr(model, "dtype_policy", None), **kwargs})
        if not _is_graph_of_one_input(model):
            raise ValueError(
                "`model` must be a Functional model, or a Sequential one with an Input, of one "
                "input. A subclassed model becomes one by `keras.Model(x, model.call(x))`, where x "
                f"is a `keras.Input`. Received: model={model!r}"
            )
        self.model = model
        self.seed = None if seed is None else integer("seed", seed, 0, below=2**32)
        self.seed_generator = SeedGenerator(self.seed)
        self.build(model.input_shape)

    def build(self, input_shape):
        """Nothing to make: the inner model has its weights."""
        self.built = True

    @property
    def output_names(self):
        """The inner model's; Keras matches losses and metrics that are given by name with them."""
        return self.model.output_names

    def prepare(self, x, y, sample_weight, training):
        """Rewrites one batch; the subclass's own.

        Draw from `self.seed_generator`, with `keras.random` and `keras.ops` only.

        Args:
            x, y, sample_weight: tensors of one batch; `y` and `sample_weight` may be `None`.
            training: whether it is for a training step.

        Returns:
            `(x, y, sample_weight)` as the inner model shall see them.
        """
        return x, y, sample_weight

    def call(self, inputs, training=None):
        """The inner model's outputs."""
        return self.model(inputs, training=training)

    def train_step(self, *args):
        """One step of stock Keras on the prepared batch."""
        return super().train_step(*self._prepare_step(args, training=True))

    def test_step(self, *args):
        """One test step of stock Keras on the prepared batch."""
        return super().test_step(*self._prepare_step(args, training=False))

    def _prepare_step(self, args, training):
        """Prepares the data in a step's arguments: `(data,)`, and under JAX `(state, data)`."""
        *state, data = args
        if not state:
            return (self._prepare_data(data, training),)
        # JAX: variables are read from, and their new values go back into, the state.
        trainable, non_trainable, *others = state[0]
        variables = self.trainable_variables + self.non_trainable_variables
        mapping = list(zip(variables, [*trainable, *non_trainable]))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            data = self._prepare_data(data, training)
        non_trainable = [
            old if (new := scope.get_current_value(variable)) is None else new
            for variable, old in zip(self.non_trainable_variables, non_trainable)
        ]
        return (trainable, non_trainable, *others), data

    def _prepare_data(self, data, training):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return keras.utils.pack_x_y_sample_weight(*self.prepare(x, y, sample_weight, training))

    # Before the first step Keras may trace `__call__`, `compute_metrics` and `compute_loss` with
    # the shapes of a batch as it came, to build losses and metrics (sparse or one-hot? how many
    # outputs?); then it makes the training or test function. `_is_building` is true in that span,
    # and the trace sees a prepared batch. No draw of a trace changes the state.
    _is_building = False

    @contextlib.contextmanager
    def _building(self, value=True):
        before, self._is_building = self._is_building, value
        try:
            yield
        finally:
            self._is_building = before

    def _trace(self, compute, x, y, sample_weight):
        with self._building(False):
            x, y, sample_weight = self.prepare(x, y, sample_weight, training=True)
            return compute(x, y, self(x, training=False), sample_weight)

    def __call__(self, *args, **kwargs):
        """The outputs, by `call`."""
        return ops.zeros(()) if self._is_building else super().__call__(*args, **kwargs)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """As `keras.Model.compute_metrics`, on a prepared batch."""
        if self._is_building:
            return self._trace(self.compute_metrics, x, y, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As `keras.Model.compute_loss`, on a prepared batch."""
        if self._is_building:
            return self._trace(self.compute_loss, x, y, sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def make_train_function(self, force=False):
        """As `keras.Model.make_train_function`."""
        self._is_building = False
        return super().make_train_function(force)

    def make_test_function(self, force=False):
        """As `keras.Model.make_test_function`."""
        self._is_building = False
        return super().make_test_function(force)

    def fit(self, *args, **kwargs):
        """As `keras.Model.fit`, on batches as `prepare` takes them."""
        with self._building():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """As `keras.Model.evaluate`, on batches as `prepare` takes them."""
        with self._building():
            return super().evaluate(*args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        """As `keras.Model.train_on_batch`, on a batch as `prepare` takes it."""
        with self._building():
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        """As `keras.Model.test_on_batch`, on a batch as `prepare` takes it."""
        with self._building():
            return super().test_on_batch(*args, **kwargs)

    def export(self, *args, **kwargs):
        """As the inner model's `export`, in inference: stock Keras serves random augmentation."""
        return in_inference(self.model).export(*args, **kwargs)

    def save_own_variables(self, store):
        """Saves where the random draws stand; the inner model saves itself."""
        self.seed_generator.save(store)

    def load_own_variables(self, store):
        """Restores where the random draws stand."""
        self.seed_generator.load(store)

    def get_config(self):
        """The arguments that make this model again, the inner model's configuration included."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "model": keras.saving.serialize_keras_object(self.model),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the model of a configuration; new weights."""
        model = keras.saving.deserialize_keras_object(
            config["model"], custom_objects=custom_objects
        )
        return cls(**{**config, "model": model})


def _is_graph_of_one_input(model):
    """Whether it is a built Functional or Sequential model; a subclass has no `inputs`."""
    is_built = isinstance(model, keras.Model) and model.built
    return is_built and len(getattr(model, "inputs", None) or ()) == 1
