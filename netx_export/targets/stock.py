"""Profile ``"stock"``: what unmodified lava-dl 0.6.0 loads and computes, on the CPU and on Loihi 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..neurons import LIF, Readout
from .base import BlockRule
from .loihi import Loihi, mixing_problems

if TYPE_CHECKING:
    from ..lowering.job import Job
    from ..network import Connection, FixedPointNetwork, Layer

_USE = "use profile='loihi' or 'extended'"


class Stock(Loihi):
    """Chains of what profile ``"loihi"`` has."""

    name = "stock"
    delays_messages = False
    layout = "stock"
    processes = "lava-dl"
    neurons = (LIF, Readout)

    # networks

    def weight_problems(self, weight: np.ndarray) -> Iterator[str]:
        """Weights beyond 8 bits, of which the lowest bit is lost unless it is 0."""
        low, high, most = int(weight.min()), int(weight.max()), self.limits
        assert most.even_weight_min is not None and most.even_weight_max is not None
        fits = low >= most.weight_min and high <= most.weight_max
        even = low >= most.even_weight_min and high <= most.even_weight_max and not (weight & 1).any()
        if not fits and not even:
            yield (
                f"weights {low}..{high} are out of range; {most.weight_min}..{most.weight_max} are "
                f"allowed, or even ones in {most.even_weight_min}..{most.even_weight_max}"
            )

    def layer_problems(self, layer: Layer) -> Iterator[str]:
        """What unmodified lava-dl cannot compute."""
        from ..network import Conv, Identity

        for connection in layer.connections:
            for part in ("scale", "bias", "gate"):
                if getattr(connection, part) is not None:
                    yield f"a connection's {part} is not possible in profile 'stock'; {_USE}"
            if isinstance(connection.synapse, Identity):
                yield f"Identity is not possible in profile 'stock'; {_USE}"
            if isinstance(connection.synapse, Conv) and connection.delay is not None:
                yield f"delays of a conv are not possible in profile 'stock'; {_USE}"
        yield from self.neuron_problems(layer)

    def network_problems(self, net: FixedPointNetwork) -> Iterator[str]:
        """What unmodified lava-dl would refuse, or compute differently."""
        from ..network import INPUT, BiasInput, Dense

        previous = INPUT
        for layer in net.layers:
            first, *others = layer.connections
            loops = [c for c in others if c.source == layer.name and isinstance(c.synapse, Dense)]
            if first.source != previous or len(loops) != len(others) or len(loops) > 1:
                yield f"{layer.name}: stock lava-dl builds chains only; {_USE}"
            else:
                if isinstance(first.synapse, BiasInput) and np.any(layer.neuron.bias):
                    yield (
                        f"{layer.name}: an input layer of stock lava-dl has no bias beside its input; use 0"
                    )
                yield from _dense_problems(net, layer, loops)
            previous = layer.name

    # models

    def block_rules(self) -> Mapping[type, BlockRule]:
        """Skip connections, too."""
        from lava_bsnn import block

        return {
            **super().block_rules(),
            block.SpikingBlock: _spiking_problems,
            block.Residual: _residual_problems,
        }

    # runs

    def backend_problems(self, net: FixedPointNetwork, backend: str, *, alone: bool) -> Iterator[str]:
        """Messages that stock Lava keeps across resets, and inputs that the chip cannot take."""
        if backend not in ("stock", "loihi2"):
            return
        yield from mixing_problems(net, "backend 'lava' or 'lava-fused'", alone)
        if backend == "loihi2":
            yield from _threshold_problems(net, self.limits.threshold_max)
        if backend == "loihi2" and net.input.enters_as_bias:
            yield "loihi2: inputs that enter as biases cannot be streamed to the chip; train without them"


def _threshold_problems(net: FixedPointNetwork, top: int) -> Iterator[str]:
    """Thresholds that are out of reach in Lava, and out of range on the chip."""
    for layer in net.layers:
        neuron = layer.neuron
        if isinstance(neuron, Readout) and neuron.threshold > top:
            yield (
                f"{layer.name}: a threshold of {neuron.threshold} does not fit the chip's 17 bits; use {top}"
            )


def _dense_problems(net: FixedPointNetwork, layer: Layer, loops: list[Connection]) -> Iterator[str]:
    from ..network import Dense
    from ..network.synapses import weight_of

    first = layer.connections[0]
    if not isinstance(first.synapse, Dense):
        if layer.name == net.output.name and layer.neuron.reads_out:
            yield f"{layer.name}: a readout must be dense; use block.Readout"
        return
    weights = [weight for c in (first, *loops) if (weight := weight_of(c.synapse)) is not None]
    low, high = min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)
    if low == high == 0:
        yield f"{layer.name}: all weights are zero; stock lava-dl refuses the layer"
    elif high <= 0 and -low & (-low - 1) == 0:
        yield (
            f"{layer.name}: no weight is positive and the lowest, {low}, is a power of two; "
            "stock lava-dl clips it; change it by one"
        )
    if loops and any(connection.delay is not None for connection in layer.connections):
        yield f"{layer.name}: delays of a recurrent layer; stock lava-dl mixes them up"
    delay, shape = first.delay, first.synapse.weight.shape
    if delay is not None and delay.ndim == 2 and shape[0] == shape[1]:
        yield f"{layer.name}: delays of inputs; stock lava-dl takes them for those of neurons"


def _spiking_problems(module: Any, job: Job) -> Iterator[str]:
    from lava_bsnn import block

    from .loihi import spiking_problems

    yield from spiking_problems(module, job)
    if module.delay is None or not module.delay.steps.any():
        return
    if not isinstance(module, block.Dense):
        yield (
            f"{module.label}: axonal delays of a {type(module).__name__} cannot be exported in profile "
            f"'stock', lava-dl ignores them; {_USE}"
        )
    elif module.norm is not None:
        yield (
            f"{module.label}: axonal delays with norm cannot be exported in profile 'stock': lava-dl delays "
            f"the weighted input, but not the biases that norm becomes; use norm=None, or {_USE[4:]}"
        )


def _residual_problems(module: Any, job: Job) -> Iterator[str]:
    yield f"{module.label}: skip connections cannot be exported in profile 'stock'; {_USE}"
