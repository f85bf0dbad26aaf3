"""Profile ``"stock"``: what unmodified lava-dl 0.6.0 loads and computes, on the CPU and on Loihi 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY, STATE_BITS
from lava_bsnn.limits import LOIHI

from ..neurons import LIF, Readout, kind_of
from .base import BlockRule, Target

if TYPE_CHECKING:
    from ..lowering.job import Job
    from ..network import Connection, FixedPointNetwork, Layer

_USE = "use profile='extended'"


class Stock(Target):
    """Chains of convolutions and dense layers with Loihi's neurons, one threshold and one scale per layer."""

    name = "stock"
    limits = LOIHI
    counts_signs = False
    layout = "stock"
    on_lava_dl = True

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

        neuron = layer.neuron
        for connection in layer.connections:
            for part in ("scale", "bias", "gate"):
                if getattr(connection, part) is not None:
                    yield f"a connection's {part} is not possible in profile 'stock'; {_USE}"
            if isinstance(connection.synapse, Identity):
                yield f"Identity is not possible in profile 'stock'; {_USE}"
            if isinstance(connection.synapse, Conv) and connection.delay is not None:
                yield f"delays of a conv are not possible in profile 'stock'; {_USE}"
        if layer.mix is not None:
            yield f"a mixing of time steps is not possible in profile 'stock'; {_USE}"
        if not isinstance(neuron, (LIF, Readout)):
            yield f"{type(neuron).__name__} is not possible in profile 'stock'; {_USE}"
            return
        if neuron.membrane is not None or neuron.exponent != ALIGN_BITS:
            yield f"k-bit membranes and exponent 0 are not possible in profile 'stock'; {_USE}"
        if not isinstance(neuron.threshold, int):
            yield f"a threshold per channel is not possible in profile 'stock'; {_USE}"
        if not isinstance(neuron.bias, np.ndarray):
            channels = layer.shape[0]
            yield f"bias {neuron.bias} is one number; in profile 'stock' give one per channel ({channels},)"

    def sum_problems(self, net: FixedPointNetwork, layer: Layer) -> Iterator[str]:
        """Currents that would wrap."""
        from ..network.checks import current_bound

        worst = int(current_bound(net, layer).max()) >> ALIGN_BITS
        if worst > self.limits.activation_max:
            yield (
                f"sum|w| * largest input = {worst} overflows the 24-bit current; "
                f"at most {self.limits.activation_max} is allowed; use fewer input bits or smaller weights"
            )

    def network_problems(self, net: FixedPointNetwork) -> Iterator[str]:
        """What unmodified lava-dl would refuse, or compute differently."""
        from ..network import INPUT, BiasInput, Dense

        previous = INPUT
        for layer in net.layers:
            first, *others = layer.connections
            loops = [c for c in others if c.source == layer.name and isinstance(c.synapse, Dense)]
            if first.source != previous or len(loops) != len(others) or len(loops) > 1:
                yield f"{layer.name}: stock lava-dl builds chains only; remove the skip connection"
            else:
                if isinstance(first.synapse, BiasInput) and np.any(layer.neuron.bias):
                    yield (
                        f"{layer.name}: an input layer of stock lava-dl has no bias beside its input; use 0"
                    )
                yield from _dense_problems(net, layer, loops)
            previous = layer.name

    # models

    def block_rules(self) -> Mapping[type, BlockRule]:
        """Skip connections, gates without calibration, and other neurons than Loihi's."""
        from lava_bsnn import block

        return {block.Residual: _residual_problems, block.SpikingBlock: _spiking_problems}

    def chain_problems(self, job: Job) -> Iterator[str]:
        """Poolings without neuron that cannot become a part of the block behind them."""
        from ..lowering.pooling import behind, is_bare_pool

        blocks: list[Any] = job.blocks
        for index, pool in enumerate(blocks):
            if not is_bare_pool(pool):
                continue
            following = behind(blocks, index)
            if following is None:
                yield f"{pool.label}: a pooling without neuron cannot be the last block; add a Readout"
            elif is_bare_pool(following):
                yield f"{following.label}: two poolings in a row; use one of the product's size"
            else:
                yield from _pool_problems(pool, following)

    def lower(self, job: Job) -> tuple[Layer, ...]:
        """See :mod:`netx_export.lowering.stock`."""
        from ..lowering.stock import lower_stock

        return lower_stock(job)

    # runs

    def backend_problems(self, net: FixedPointNetwork, backend: str) -> Iterator[str]:
        """Messages that stock Lava keeps across resets, and inputs that the chip cannot take."""
        if backend not in ("stock", "loihi2"):
            return
        kept = [
            layer.name
            for layer in net.layers
            if any(c.source == layer.name or c.delay is not None for c in layer.connections)
        ]
        if kept and not net.persistent:
            yield (
                f"{', '.join(kept)}: stock Lava keeps messages in delays and recurrent synapses across "
                "resets, so that samples mix; use backend 'lava' or 'lava-fused', which clear them"
            )
        elif kept and (early := _early(net)):
            yield (
                f"{', '.join(early)}: biases make spikes before a stream arrives, which stock Lava keeps in "
                f"delays and recurrent synapses of {', '.join(kept)}; use backend 'lava' or 'lava-fused'"
            )
        if backend == "loihi2" and net.input.enters_as_bias:
            yield "loihi2: inputs that enter as biases cannot be streamed to the chip; train without them"


def _early(net: FixedPointNetwork) -> list[str]:
    """Layers that send while the pipeline fills, before the first step of the input reaches them."""
    if not net.latency or not any(np.any(layer.neuron.bias) for layer in net.layers):
        return []
    from ..simulator.stepper import stream

    sent = stream(net, np.zeros((*net.input.shape, net.latency), dtype=np.int32)).messages
    return [layer.name for layer in net.layers if sent[layer.name][..., : net.depth(layer.name)].any()]


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


def _residual_problems(module: Any, job: Job) -> Iterator[str]:
    yield f"{module.label}: skip connections cannot be exported in profile 'stock'; {_USE}"


def _spiking_problems(module: Any, job: Job) -> Iterator[str]:
    from ..lowering.rules import spiking_problems

    yield from spiking_problems(module, job)
    label, neuron = module.label, module.neuron
    if module.modulation is not None and job.calibration is None:
        yield (
            f"{label}: modulation {type(module.modulation).__name__} cannot be exported in profile 'stock'; "
            "use profile='extended', or calibration=inputs (--calibration N) for constant gates"
        )
    kind = None if neuron is None else kind_of(neuron)
    if kind is not None and kind is not LIF:
        yield f"{label}: neuron {type(neuron).__name__} cannot be exported in profile 'stock'; {_USE}"
    if kind is not LIF:
        return
    bits = neuron.membrane_bits
    if bits is not None and bits < STATE_BITS and not job.ignore_membrane:
        yield (
            f"{label}: a membrane of {bits} bits cannot be exported in profile 'stock', whose neurons have "
            f"{STATE_BITS}; use profile='extended', train with membrane_bits={STATE_BITS} or None, or accept "
            "other spikes with ignore_membrane=True"
        )
    if neuron.cx_current_decay < NO_MEMORY and module.norm is not None:
        yield (
            f"{label}: current_decay < 1 with norm cannot be exported, since the device adds biases "
            "behind the current filter; use current_decay=1 or norm=None"
        )


def _pool_problems(pool: Any, module: Any) -> Iterator[str]:
    """Why a pooling cannot become a part of the block behind it."""
    from lava_bsnn import block

    kernel = pool.synapse.kernel_size[:2]
    if pool.synapse.stride[:2] != kernel or pool.synapse.padding[:2] != (0, 0):
        yield (
            f"{pool.label}: overlapping or padded pooling without neuron cannot be merged into "
            f"{module.label}; use stride=kernel_size and padding=0"
        )
    if isinstance(module, (block.Dense, block.Readout)):
        return
    if isinstance(module, block.Pool) or module.synapse.dilation[:2] != (1, 1):
        yield f"{module.label}: cannot follow a pooling without neuron; use dilation=1 or a neuron"
        return
    (_, height, width), (_, pooled_height, pooled_width) = pool.input_shape, pool.shape
    if (height, width) != (pooled_height * kernel[0], pooled_width * kernel[1]):
        yield (
            f"{pool.label}: input {height}x{width} is not a multiple of the window {kernel}; "
            "pad or crop it for export"
        )
