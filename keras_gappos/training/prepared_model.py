"""Train a model on batches that are rewritten, at random, on the device."""

from __future__ import annotations

import keras
from keras import ops

from keras_gappos.arguments import integer
from keras_gappos.layers.seed_generator import SeedGenerator


class PreparedModel(keras.Model):
    """Base of the models that rewrite each batch and then train as stock Keras does.

    A subclass says how in `prepare`; everything else (optimizer, losses, metrics, loss scaling,
    sample weights, callbacks, distribution) is Keras' own, since `train_step` and `test_step` hand
    the rewritten batch to `keras.Model`. `call`, and with it `predict`, is the inner model's.

    Args:
        model: the model to train: a Functional one, or a Sequential one with an Input; one input
            and one output.
        seed: integer, or `None` for other draws at each construction. Draws go on from epoch to
            epoch; where they stand is saved with the weights.

    Raises:
        ValueError: if `model` is none of these, or `seed` out of range.
    """

    def __init__(self, model: keras.Model, seed: int | None = None, **kwargs):
        # With the classifier's own dtype policy, which decides on loss scaling and on input casts.
        super().__init__(**{"dtype": getattr(model, "dtype_policy", None), **kwargs})
        if not _is_graph_of_one_input_and_output(model):
            raise ValueError(
                "`model` must be a Functional model, or a Sequential one with an Input, of one "
                f"input and one output. Received: model={model!r}"
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

    def _symbolic_build(self, iterator=None, data_batch=None):
        # Keras builds losses and metrics (sparse or one-hot? how many outputs?) from the shapes
        # of a first batch. They must see a prepared one; the draw for it is taken back.
        parts = (self._compile_loss, self._compile_metrics, self.optimizer)
        if all(part is None or part.built for part in parts):
            return super()._symbolic_build(iterator, data_batch)
        if data_batch is None:
            _, _, batches = next(iter(iterator))
            data_batch = batches[0] if isinstance(batches, (list, tuple)) else next(batches)
        state = ops.convert_to_numpy(self.seed_generator.state)
        data_batch = keras.tree.map_structure(ops.convert_to_tensor, data_batch, none_is_leaf=False)
        prepared = self._prepare_data(data_batch, training=True)
        self.seed_generator.state.assign(state)
        return super()._symbolic_build(data_batch=prepared)

    def export(self, *args, **kwargs):
        """As the inner model's `export`."""
        return self.model.export(*args, **kwargs)

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


def _is_graph_of_one_input_and_output(model):
    """Whether it is a built Functional or Sequential model; a subclass has no `inputs`."""
    if not isinstance(model, keras.Model) or not model.built:
        return False
    return all(len(getattr(model, end, None) or ()) == 1 for end in ("inputs", "outputs"))
