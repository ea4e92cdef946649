"""A Functional model's layer calls, recorded and made again with some layers replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

Layer = Any  # a `keras.layers.Layer`, or an operation such as `ops.mean` makes on symbolic tensors


def rebuild(model: keras.Model, replace: Callable[[Layer], Callable | None]) -> keras.Model:
    """Returns a model of the same layers and weights, with some layers replaced.

    Models that are layers of `model` are rebuilt, too, if something in them is replaced; all other
    layers are shared with `model`, which stays as it is.

    Args:
        model: a Functional or Sequential `keras.Model`.
        replace: function of a layer. It returns `None` to keep the layer, or what to call in its
            place with the layer's arguments: another layer, or a function that calls several. It
            is asked once for each layer, so a layer that is called twice has one replacement.

    Returns:
        A Functional `keras.Model`, not compiled, with the model's name and structure of inputs and
        outputs.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
        >>> before = keras.layers.Rescaling(0.5)
        >>> halved = rebuild(
        ...     model, lambda layer: (lambda x: layer(before(x))) if layer.name == "dense" else None
        ... )
        >>> [type(layer).__name__ for layer in halved.layers]
        ['InputLayer', 'Rescaling', 'Dense']
    """
    replacements: dict[int, Callable] = {}

    def replacement(layer):
        if id(layer) not in replacements:
            new = replace(layer)
            if new is None and graph_inputs(layer):
                inner = (part for part in layer.layers if not _is_input(part))
                if any([replacement(part) is not part for part in inner]):
                    new = build(layer)
            replacements[id(layer)] = layer if new is None else new
        return replacements[id(layer)]

    def build(model):
        graph = Graph(model, lambda layer, *args, **kwargs: replacement(layer)(*args, **kwargs))
        return graph.model_of(graph.outputs)

    return build(model)


def graph_inputs(layer: Layer) -> list | None:
    """The inputs of a Functional or built Sequential model; `None` for everything else."""
    return getattr(layer, "inputs", None) if isinstance(layer, keras.Model) else None


def with_outputs_of(model: keras.Model, layers: Sequence[Layer]) -> keras.Model:
    """Returns a model of the same layers and weights that also outputs what some layers do.

    Args:
        model: a Functional or Sequential `keras.Model`; it stays as it is.
        layers: layers of it, or of models that are its layers. Of a layer that is called several
            times, the last call counts.

    Returns:
        A Functional `keras.Model` from the inputs to a list: the outputs, in the structure of the
        model's, and the output of each of `layers`.

    Raises:
        ValueError: if a layer is not called on the way to the model's outputs.
    """
    wanted, found = set(map(id, layers)), {}

    def call(layer, *args, **kwargs):
        inner = [part for part in layers if part is not layer and _contains(layer, part)]
        if inner:
            outputs, *tensors = with_outputs_of(layer, inner)(*args, **kwargs)
            found.update(zip(map(id, inner), tensors))
        else:
            outputs = layer(*args, **kwargs)
        if id(layer) in wanted:
            found[id(layer)] = outputs
        return outputs

    graph = Graph(model, call)
    for layer in layers:
        if id(layer) not in found:
            raise ValueError(
                f"The outputs of `model` must depend on {layer.name!r}. Received: {model.name!r}, "
                "whose outputs do not"
            )
    outputs = graph.outputs[0]
    if len(graph.outputs) > 1 or isinstance(getattr(model, "output", None), dict):
        outputs = keras.tree.pack_sequence_as(model.output, graph.outputs)
    return keras.Model(graph.input, [outputs, *(found[id(layer)] for layer in layers)])


def _contains(model, layer):
    """Whether a layer is in a nested model, at any depth."""
    inner = model.layers if graph_inputs(model) else []
    return any(part is layer or _contains(part, layer) for part in inner)


def free_name(model: keras.Model, name: str) -> str:
    """Returns `name`, with a number appended if a layer of the model has it."""
    taken = {layer.name for layer in model.layers}
    numbered = (f"{name}_{number}" for number in range(1, len(taken) + 1))
    return name if name not in taken else next(new for new in numbered if new not in taken)


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer; `outputs` is a flat list of symbolic tensors."""

    layer: Layer
    args: tuple
    kwargs: dict
    outputs: list

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The symbolic tensors among the arguments."""
        flat = keras.tree.flatten((self.args, self.kwargs))
        return [value for value in flat if isinstance(value, keras.KerasTensor)]


class Graph:
    """The layer calls of a model, recorded so that some of them can be made again.

    Args:
        model: a Functional or Sequential `keras.Model`; it stays as it is.
        call: function `(layer, *args, **kwargs)` that returns the layer's outputs; the default
            calls the layer.

    Attributes:
        calls: list of `Call`, in an order in which each follows those that it depends on.
        inputs, outputs: flat lists of symbolic tensors.
    """

    def __init__(self, model: keras.Model, call: Callable | None = None):
        self._model = model
        self.calls: list[Call] = []

        def record(layer, *args, **kwargs):
            outputs = (call or _call)(layer, *args, **kwargs)
            self.calls.append(Call(layer, args, kwargs, keras.tree.flatten(outputs)))
            return outputs

        # Calling the layers once more gives tensors of this graph alone, even where layers are
        # also used elsewhere.
        graph = keras.Model(model.inputs, model.outputs)
        graph = keras.models.clone_model(
            graph,
            input_tensors=graph.input,
            clone_function=lambda layer: layer,
            call_function=record,
        )
        self.inputs, self.outputs = graph.inputs, graph.outputs

    @property
    def input(self) -> Any:
        """The only input, or the list of inputs, as `keras.Model` takes it."""
        return self.inputs[0] if len(self.inputs) == 1 else self.inputs

    def model_of(self, outputs: list) -> keras.Model:
        """A model from this graph's inputs to `outputs`, structured and named like the original."""
        if isinstance(self._model, keras.Sequential):
            return keras.Model(self.inputs[0], outputs[0], name=self._model.name)
        inputs = keras.tree.pack_sequence_as(self._model.input, self.inputs)
        outputs = keras.tree.pack_sequence_as(self._model.output, outputs)
        return keras.Model(inputs, outputs, name=self._model.name)

    def call_of(self, layer: Layer, argument: str = "latent") -> Call:
        """The only call of a layer.

        Args:
            layer: the layer.
            argument: the argument that means the layer, for the error.

        Raises:
            ValueError: if the layer is not called exactly once.
        """
        calls = [call for call in self.calls if call.layer is layer]
        if len(calls) != 1:
            raise ValueError(
                f"`{argument}` must be a layer that is called once, and its output used. "
                f"Received: {layer.name!r}, called {len(calls)} times"
            )
        return calls[0]

    def others_needed_after(self, tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
        """The tensors that do not depend on `tensor` but are used together with some that do.

        Raises:
            ValueError: if no output depends on `tensor`.
        """
        depends, others = {id(tensor)}, {}
        for call in self._calls_after(depends):
            others.update({id(value): value for value in call.inputs if id(value) not in depends})
        if not any(id(output) in depends for output in self.outputs):
            raise ValueError(
                "The outputs of `model` must depend on the tensor that is to be changed or read. "
                f"Received: one of shape {tuple(tensor.shape)}, on which none depends"
            )
        others.update({id(value): value for value in self.outputs if id(value) not in depends})
        return list(others.values())

    def outputs_with(self, tensor: Any, new: Any, others: Iterable[tuple[Any, Any]] = ()) -> list:
        """The outputs computed with `new` in place of `tensor`.

        Only layers that depend on `tensor` are called.

        Args:
            tensor: a tensor of this graph.
            new: what to use in its place.
            others: pairs of a tensor that does not depend on `tensor`, and what to use in its
                place.
        """
        known = {id(tensor): new, **{id(other): stand_in for other, stand_in in others}}
        for call in self._calls_after({id(tensor)}):
            args, kwargs = keras.tree.map_structure(
                lambda value: known.get(id(value), value), (list(call.args), call.kwargs)
            )
            outputs = keras.tree.flatten(call.layer(*args, **kwargs))
            known.update(zip(map(id, call.outputs), outputs, strict=True))
        return [known.get(id(output), output) for output in self.outputs]

    def _calls_after(self, depends):
        """Yields the calls that depend on tensors, and adds their outputs to the set of `id`s."""
        for call in self.calls:
            if not depends.isdisjoint(map(id, call.inputs)):
                yield call
                depends.update(map(id, call.outputs))


def _call(layer, *args, **kwargs):
    return layer(*args, **kwargs)


def _is_input(layer):
    return isinstance(layer, keras.layers.InputLayer)


def in_inference(model: keras.Model) -> keras.Model:
    """A model of the same weights, inputs and outputs, in inference however it is called.

    Args:
        model: a Functional model, or a Sequential one with an Input.
    """
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name),
        model.input,
    )
    served = keras.Model(inputs, model(inputs, training=False), name=model.name)
    served(inputs)  # ONNX export refuses a model that was never called
    return served
