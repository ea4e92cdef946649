"""The layer calls that a network is made of."""

import keras


class RecordedGraph:
    """The calls that a network is made of, so that some of them can be made again.

    Args:
        model: a Functional or Sequential `keras.Model`.
        replaced: a model that is one of its layers, or `None`.
        by: models to call instead of it, one after the other.

    Attributes:
        inputs, outputs: lists of symbolic tensors.
    """

    def __init__(self, model, replaced=None, by=()):
        self._calls = []

        def call(layer, *args, **kwargs):
            if layer is not replaced:
                return self._record(layer, args, kwargs)
            tensors = keras.tree.flatten(args[0] if args else kwargs["inputs"])
            kwargs = {key: value for key, value in kwargs.items() if key == "training"}
            for part in by:
                tensors = self._record(part, [_packed(tensors)], kwargs)
                tensors = keras.tree.flatten(tensors)
            return tensors

        # Calling the layers once more gives tensors of this graph alone, even where layers are
        # also used elsewhere.
        graph = keras.Model(model.inputs, model.outputs)
        graph = keras.models.clone_model(
            graph,
            input_tensors=graph.input,
            clone_function=lambda layer: layer,
            call_function=call,
        )
        self.inputs, self.outputs = graph.inputs, graph.outputs

    def _record(self, layer, args, kwargs):
        outputs = layer(*args, **kwargs)
        self._calls.append((layer, args, kwargs, keras.tree.flatten(outputs)))
        return outputs

    def tensors_of(self, layer):
        """What a layer is given, and what it gives: two lists of symbolic tensors.

        Raises:
            ValueError: if it is not called exactly once.
        """
        calls = [call for call in self._calls if call[0] is layer]
        if len(calls) != 1:
            raise ValueError(
                "`latent` must be a layer that is called once, and its output used. "
                f"Received: {layer.name!r}, called {len(calls)} times"
            )
        _, args, kwargs, outputs = calls[0]
        return _tensors((args, kwargs)), outputs

    def others_needed_after(self, tensor):
        """The tensors that do not depend on `tensor`, but are used with those that do.

        Raises:
            ValueError: if no output depends on `tensor`.
        """
        depends, others = {id(tensor)}, {}
        for _, args, kwargs, outputs in self._calls:
            arguments = _tensors((args, kwargs))
            if not any(id(argument) in depends for argument in arguments):
                continue
            others.update({id(a): a for a in arguments if id(a) not in depends})
            depends.update(map(id, outputs))
        if not any(id(output) in depends for output in self.outputs):
            raise ValueError(
                "The outputs of `model` must depend on the feature map that `latent` means. "
                f"Received: a feature map of shape {tuple(tensor.shape)}, on which none depends"
            )
        others.update({id(o): o for o in self.outputs if id(o) not in depends})
        return list(others.values())

    def outputs_with(self, tensor, replacement, others=None):
        """The outputs, calling again each layer that depends on a tensor.

        Args:
            tensor: one of this graph.
            replacement: what is used in its place.
            others: dictionary from the `id` of each tensor of `others_needed_after(tensor)` to
                what is used in its place; `None` leaves them.
        """
        known = {**(others or {}), id(tensor): replacement}
        depends = {id(tensor)}
        for layer, args, kwargs, outputs in self._calls:
            if not any(id(argument) in depends for argument in _tensors((args, kwargs))):
                continue
            args, kwargs = keras.tree.map_structure(
                lambda value: known.get(id(value), value), (list(args), kwargs)
            )
            again = keras.tree.flatten(layer(*args, **kwargs))
            known.update(zip(map(id, outputs), again, strict=True))
            depends.update(map(id, outputs))
        return [known.get(id(output), output) for output in self.outputs]


def _tensors(structure):
    flat = keras.tree.flatten(structure)
    return [value for value in flat if isinstance(value, keras.KerasTensor)]


def _packed(tensors):
    return tensors[0] if len(tensors) == 1 else tensors
