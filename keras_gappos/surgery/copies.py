"""A copy of a model, with weights of its own, in which some layers are replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_gappos.surgery.graph import Layer, graph_inputs, rebuild
from keras_gappos.surgery.latent import check_graph


def rebuild_copy(
    model: keras.Model, replace: Callable[[Layer, Callable], Callable | None]
) -> keras.Model:
    """Returns a copy of a model, with some layers replaced.

    Args:
        model: a Functional or Sequential `keras.Model`; it stays as it is.
        replace: function `(layer, copy)` that returns what to call in the layer's place, or `None`
            for a plain copy. `copy(layer, **changes)` returns a layer of the same configuration but
            for `changes`, which gets the layer's weights. It is not asked about nested models,
            whose layers are copied in turn.

    Returns:
        A Functional `keras.Model`, not compiled, that shares no weights with `model`.

    Raises:
        ValueError: if `model` has no graph, or a layer cannot be made from its configuration.
    """
    check_graph(model)
    pairs: list[tuple[Any, Any]] = []

    def copy(layer, **changes):
        try:
            twin = type(layer).from_config({**layer.get_config(), **changes})
        except (NotImplementedError, TypeError, ValueError) as error:
            if not layer.weights and not changes:
                return layer  # such as a Lambda; shared, it can do no harm
            raise ValueError(
                "The layers of `model` must be made from their `get_config`. Received: "
                f"{layer.name!r}, a {type(layer).__name__}: {error}"
            ) from error
        pairs.append((layer, twin))
        return twin

    def replacement(layer):
        if graph_inputs(layer) or not isinstance(layer, keras.layers.Layer):
            return None  # operations have no weights
        new = replace(layer, copy)
        return copy(layer) if new is None else new

    new = rebuild(model, replacement)
    for layer, twin in pairs:
        twin.set_weights(layer.get_weights())
        if isinstance(twin, keras.layers.Normalization):
            twin.finalize_state()  # takes the mean and variance from the weights
    return new


def in_turn(first: Callable, *others: Callable) -> Callable:
    """A function of the arguments of the first, whose result goes through the others."""

    def call(*args, **kwargs):
        x = first(*args, **kwargs)
        for function in others:
            x = function(x)
        return x

    return call
