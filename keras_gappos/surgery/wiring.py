"""Which call of a graph reads what another one outputs."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import keras

from keras_gappos.surgery.graph import Call, Graph, Layer, graph_inputs
from keras_gappos.surgery.latent import check_graph


@dataclasses.dataclass
class Wiring:
    """The readers and writers of a graph's tensors.

    Args:
        model: the model.
        graph: its graph.
        called: how often each layer is called in all graphs together, by its `id`.
    """

    model: keras.Model
    graph: Graph
    called: collections.Counter

    def __post_init__(self):
        self._readers: dict[int, list[Any]] = collections.defaultdict(list)
        self._writers: dict[int, Call] = {}
        for call in self.graph.calls:
            self._writers.update({id(tensor): call for tensor in call.outputs})
            for tensor in call.inputs:
                self._readers[id(tensor)].append(call)
        for tensor in self.graph.outputs:
            self._readers[id(tensor)].append(None)

    def readers(self, call: Call) -> list[Call | None]:
        """The calls that read what a call outputs; `None` for each output of the model."""
        return [reader for tensor in call.outputs for reader in self._readers[id(tensor)]]

    def only_reader(self, call: Call) -> Call | None:
        """The only call that reads what a call outputs, if its layer is called only once."""
        readers = self.readers(call)
        if len(readers) != 1 or readers[0] is None or self.called[id(readers[0].layer)] > 1:
            return None
        return readers[0]

    def padding_before(self, call: Call, kinds: tuple[type[Layer], ...]) -> Call | None:
        """The call of a layer of these types that pads the input of this call, and nothing else."""
        writer = self._writers.get(id(call.inputs[0]))
        if writer is None or not isinstance(writer.layer, kinds):
            return None
        alone = self.called[id(writer.layer)] == 1 and self.only_reader(writer) is call
        return writer if alone else None


def layers_in(wired: list[Wiring]) -> dict[int, Layer]:
    """The layers and operations of models by `id`, nested models left out."""
    layers = (call.layer for wiring in wired for call in wiring.graph.calls)
    return {id(layer): layer for layer in layers if not graph_inputs(layer)}


def wirings(model: keras.Model) -> list[Wiring]:
    """The wiring of a model and of each model that is a layer of it, each once.

    Raises:
        ValueError: if `model` is neither Functional nor a built Sequential.
    """
    graphs: dict[int, tuple[keras.Model, Graph]] = {}

    def visit(model):
        if id(model) not in graphs:
            graphs[id(model)] = model, Graph(model)
            for call in graphs[id(model)][1].calls:
                if graph_inputs(call.layer):
                    visit(call.layer)

    check_graph(model)
    visit(model)
    called = collections.Counter(
        id(call.layer) for _, graph in graphs.values() for call in graph.calls
    )
    return [Wiring(model, graph, called) for model, graph in graphs.values()]
