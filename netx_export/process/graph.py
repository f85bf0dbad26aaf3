"""The processes of an extended network, layer by layer, and how they are connected."""

from __future__ import annotations

from typing import Any

from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from netx_export.network import INPUT, BiasInput, FixedPointNetwork, Layer
from netx_export.process.neuron import Neurons
from netx_export.process.synapse import ConnectionProcess
from netx_export.simulator.state import Clock


class LayerBlock(AbstractProcess):
    """A layer: synapses and neurons.

    Args:
        net: the network.
        layer: one of its layers.
        clock: of the layer.
        clears: at a reset, forget what is under way in delays and recurrent synapses.

    Attributes:
        inp: port of the first connection; ``inp1``, ``inp2``... of the others.
        out: what the neurons send.
        sources: port by port, the layer that feeds it, or ``"input"``.
        synapses, neuron: processes.
    """

    def __init__(self, *, net: FixedPointNetwork, layer: Layer, clock: Clock, clears: bool) -> None:
        super().__init__(layer=layer)
        self.shape = layer.shape[::-1]
        self.neuron = Neurons(layer=layer, clock=clock)
        self.out = OutPort(shape=self.shape)
        self.neuron.s_out.connect(self.out)
        shapes = net.shapes
        self.synapses: list[ConnectionProcess] = []
        self.sources: list[tuple[str, InPort]] = []
        for index, connection in enumerate(layer.connections):
            port = InPort(shape=shapes[connection.source][::-1])
            target = self.neuron.bias_in
            if not isinstance(connection.synapse, BiasInput):
                wait = net.balancing_delay(layer, connection)
                source = shapes[connection.source]
                synapse = ConnectionProcess(
                    layer=layer, index=index, source=source, wait=wait, clock=clock, clears=clears
                )
                synapse.a_out.connect(self.neuron.a_in)
                self.synapses.append(synapse)
                target = synapse.s_in
            if connection.source == layer.name:
                self.neuron.s_out.connect(target)
                continue
            setattr(self, f"inp{len(self.sources) or ''}", port)
            self.sources.append((connection.source, port))
            port.connect(target)


@implements(proc=LayerBlock, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyLayerBlockModel(AbstractSubProcessModel):
    """Nothing but its processes, which the compiler finds by their connections."""

    def __init__(self, _: Any) -> None:
        pass


class Graph:
    """Layers and what feeds them.

    Attributes:
        layers: processes in the network's order.
        inputs: ports that the network's input feeds.
        out: what the last layer sends.
    """

    def __init__(self, net: FixedPointNetwork, interval: int | None, offset: int, clears: bool) -> None:
        self.layers: list[LayerBlock] = []
        self.inputs: list[InPort] = []
        blocks: dict[str, LayerBlock] = {}
        for layer in net.layers:
            clock = Clock.of(net, layer, interval, offset)
            block = LayerBlock(net=net, layer=layer, clock=clock, clears=clears)
            for source, port in block.sources:
                if source == INPUT:
                    self.inputs.append(port)
                else:
                    blocks[source].out.connect(port)
            blocks[layer.name] = block
            self.layers.append(block)
        self.out = self.layers[-1].out
