"""A user's own network as the network of a search's trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import keras
import keras_tuner

from keras_gappos import training
from keras_gappos.decisions import read_head

Network: TypeAlias = "keras.Model | Callable[[keras_tuner.HyperParameters], keras.Model]"


class OwnNetwork:
    """Makes the network of each trial; the first one here, so that errors show at once.

    Args:
        network: a built classifier, which is copied with its weights, or a function of a
            `keras_tuner.HyperParameters` that returns one.
        reserved: names of the settings that the function must not declare.

    Attributes:
        input_shape: `(height, width, channels)` of one image, `None` for a free size.
        num_classes: number of classes.
        parameters: number of weights, for the default settings.
        from_logits: whether its outputs are logits, rather than a softmax's probabilities.

    Raises:
        ValueError: for anything else, or a network that `AugShift` does not take.
    """

    def __init__(self, network: Network, reserved: Iterable[str]) -> None:
        if not callable(network):
            raise ValueError(
                "`network` must be a `keras.Model` or a function of a "
                f"`keras_tuner.HyperParameters`. Received: network={network!r}"
            )
        self._network = network
        hp = keras_tuner.HyperParameters()
        made = self(hp)
        if taken := sorted(hp.values.keys() & set(reserved)):
            raise ValueError(
                "`network` must not declare the settings of `AugShiftHyperModel`: use other names "
                f"in it, and `space` for these. Received: a network that declares {taken}"
            )
        training.AugShift(made, max_shift=0)  # which says what it does not take
        head = read_head(keras.Model(made.inputs, made.outputs)).kind
        if len(made.output_shape) != 2 or (made.output_shape[-1] or 0) < 2 or head == "labels":
            raise ValueError(
                "`network` must give logits or a softmax's probabilities (batch, classes), of at "
                f"least 2 classes. Received: output shape {made.output_shape}"
                f"{', after a sigmoid' if head == 'labels' else ''}"
            )
        self.input_shape, self.num_classes = made.input_shape[1:], made.output_shape[-1]
        self.parameters, self.from_logits = made.count_params(), head == "logits"

    def image_shape(self, given: Sequence[int] | None) -> Sequence[int]:
        """The shape of an image: `given`, which must fit, or the network's own for `None`."""
        if given is None:
            return self.input_shape
        sides = zip(self.input_shape, given)
        if len(given) != 3 or any(side not in (None, other) for side, other in sides):
            raise ValueError(
                f"`input_shape` must fit the network, whose images are {self.input_shape}. "
                f"Received: input_shape={given!r}"
            )
        return given

    def classes(self, given: int | None) -> int:
        """The number of classes: the network's own, which `given` must be unless it is `None`."""
        if given not in (None, self.num_classes):
            raise ValueError(
                "`num_classes` must be the number of the network's outputs, "
                f"{self.num_classes}. Received: num_classes={given!r}"
            )
        return self.num_classes

    def __call__(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """A network for these settings."""
        if isinstance(self._network, keras.Model):
            network = keras.models.clone_model(self._network)
            network.set_weights(self._network.get_weights())
            return network
        network = self._network(hp)
        if not isinstance(network, keras.Model):
            raise ValueError(
                f"`network` must return a `keras.Model`. Received: {type(network).__name__}"
            )
        if network.compiled:
            warnings.warn(
                "The loss and the optimizer that `network` was compiled with are not used: "
                "override `make_optimizer` of the hypermodel for another optimizer.",
                stacklevel=2,
            )
        return network
