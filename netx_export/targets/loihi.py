"""Profile ``"loihi"``: graphs of unmodified lava-nc processes that have a model on Loihi 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY, ONE, STATE_BITS
from lava_bsnn.limits import LIMITS, LOIHI

from ..content import domains
from ..neurons import LIF, MultiThreshold, Readout, kind_of
from .base import BlockRule, Target

if TYPE_CHECKING:
    from ..lowering.job import Job
    from ..network import FixedPointNetwork, Layer

_USE = "use profile='extended'"
_STEP = 1 << ALIGN_BITS


class Loihi(Target):
    """Graphs of convolutions, dense layers and identities with Loihi's neurons, one threshold per layer.

    Neurons of one threshold and soft reset are a process that is known on the CPU only.
    """

    name = "loihi"
    limits = LOIHI
    counts_signs = False
    has_gates = False
    processes = "lava-nc"
    neurons: tuple[type, ...] = (LIF, Readout, MultiThreshold)

    # networks

    def layer_problems(self, layer: Layer) -> Iterator[str]:
        """What the processes do not compute."""
        from ..network import BiasInput, Conv, Identity

        for connection in layer.connections:
            synapse, scale = connection.synapse, connection.scale
            for part in ("bias", "gate"):
                if getattr(connection, part) is not None:
                    yield f"a connection's {part} is not possible in profile {self.name!r}; {_USE}"
            if scale is not None and not (isinstance(synapse, Identity) and is_mantissa(scale)):
                yield (
                    f"a connection's scale is not possible in profile {self.name!r}, except of an Identity: "
                    f"64 times 1..{self.limits.one_sign_max}, times a power of two; {_USE}"
                )
            if isinstance(synapse, Conv) and connection.delay is not None:
                yield f"delays of a conv are not possible in profile {self.name!r}; {_USE}"
            if isinstance(synapse, BiasInput):
                yield f"inputs that enter as biases are not possible in profile {self.name!r}; {_USE}"
        yield from self.neuron_problems(layer)

    def neuron_problems(self, layer: Layer) -> Iterator[str]:
        """Neurons that Loihi does not have."""
        neuron, where = layer.neuron, f"in profile {self.name!r}"
        if layer.mix is not None:
            yield f"a mixing of time steps is not possible {where}; {_USE}"
        if not isinstance(neuron, self.neurons):
            yield f"{type(neuron).__name__} is not possible {where}; {_USE}"
            return
        for field, domain in domains(type(neuron)):
            if domain.kind == "value" and np.ndim(getattr(neuron, field.name)) > 1:
                yield f"a {field.name} per neuron is not possible {where}; {_USE}"
        if isinstance(neuron, MultiThreshold):
            for reason in soft_reset_problems(neuron):
                yield f"this soft reset is not possible {where}: {reason}; {_USE}"
            return
        assert isinstance(neuron, (LIF, Readout))
        if neuron.membrane is not None or neuron.exponent != ALIGN_BITS:
            yield f"k-bit membranes and exponent 0 are not possible {where}; {_USE}"
        if neuron.wraps:
            yield f"currents that wrap are not possible {where}; {_USE}"
        for name in ("threshold", "current_decay", "voltage_decay"):
            if not isinstance(getattr(neuron, name), int):
                yield f"a {name} per channel is not possible {where}; {_USE}"
        if not isinstance(neuron.bias, np.ndarray):
            channels = layer.shape[0]
            yield f"bias {neuron.bias} is one number; {where} give one per channel ({channels},)"

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
        """Convolutions that would have to wait for a longer path."""
        from ..network import Conv

        for layer in net.layers:
            if net.persistent and isinstance(layer.neuron, MultiThreshold):
                yield f"{layer.name}: soft reset adds up for ever in a stream; use LIF neurons, or {_USE[4:]}"
            for connection in layer.connections:
                wait = net.balancing_delay(layer, connection)
                if wait and isinstance(connection.synapse, Conv):
                    yield (
                        f"{layer.name}: the convolution of {connection.source!r} meets a path that is {wait} "
                        "longer, and lava-nc has none with delays; put as many relays in front"
                    )
                longest = wait + (0 if connection.delay is None else int(connection.delay.max()))
                if longest > self.limits.delay_max:
                    yield (
                        f"{layer.name}: {connection.source!r} waits for {longest} steps; at most "
                        f"{self.limits.delay_max} are possible"
                    )

    def largest_sum(self, layer: Layer) -> int | None:
        """A soft reset is a second sum beside the potential, which is never reset."""
        if isinstance(layer.neuron, MultiThreshold):
            return self.limits.potential_max - 2 * self.limits.soft_threshold_max
        return super().largest_sum(layer)

    # models

    def block_rules(self) -> Mapping[type, BlockRule]:
        """Gates without calibration, and other neurons than Loihi's."""
        from lava_bsnn import block

        return {block.SpikingBlock: spiking_problems}

    def chain_problems(self, job: Job) -> Iterator[str]:
        """Poolings without neuron that cannot become a part of the block behind them."""
        from ..lowering.pooling import behind, is_bare_pool, rows

        for row in rows(job.blocks):
            for index, pool in enumerate(row):
                if not is_bare_pool(pool):
                    continue
                following = behind(row, index)
                if following is None:
                    yield f"{pool.label}: a pooling without neuron cannot be the last block; add a Readout"
                elif is_bare_pool(following):
                    yield f"{following.label}: two poolings in a row; use one of the product's size"
                else:
                    yield from _pool_problems(pool, following)

    def lower(self, job: Job) -> tuple[Layer, ...]:
        """See :mod:`netx_export.lowering.mantissas`."""
        from ..lowering.mantissas import lower_to_mantissas

        return lower_to_mantissas(job)

    # runs

    def backend_problems(self, net: FixedPointNetwork, backend: str, *, alone: bool) -> Iterator[str]:
        """Graphs for lava-dl, messages that outlive a reset, and neurons that are not known on the chip."""
        if backend == "stock":
            yield (
                f"unmodified lava-dl computes networks of profile 'stock' only, not {self.name!r}; use "
                "backend 'lava', which builds unmodified processes of lava-nc"
            )
        if backend in ("lava", "loihi2"):
            yield from mixing_problems(net, "backend 'lava-fused'", alone)
        soft = [layer.name for layer in net.layers if isinstance(layer.neuron, MultiThreshold)]
        if backend == "loihi2" and soft:
            yield (
                f"{', '.join(soft)}: neurons with soft reset are an ATRLIF, of which no model on the chip is "
                "known; use LIF neurons"
            )


def is_mantissa(scale: np.ndarray) -> bool:
    """Whether a scale in membrane steps is 64 times mantissas of 8 bits of one sign, times a power of two."""
    whole, exponent = mantissas(scale)
    return bool(((whole << exponent) * _STEP == scale).all() and (whole > 0).all())


def mantissas(scale: np.ndarray) -> tuple[np.ndarray, int]:
    """Mantissas and the common exponent of the scale of an identity."""
    steps = scale.astype(np.int64) // _STEP
    exponent = max(0, int(steps.max()).bit_length() - LOIHI.one_sign_max.bit_length())
    return steps >> exponent, exponent


def mixing_problems(net: FixedPointNetwork, remedy: str, alone: bool) -> Iterator[str]:
    """Messages that unmodified synapses keep: across resets, or since before the only sample arrived."""
    kept = [
        layer.name
        for layer in net.layers
        if any(c.source == layer.name or c.delay is not None for c in layer.connections)
    ]
    if kept and not alone:
        yield (
            f"{', '.join(kept)}: stock Lava keeps messages in delays and recurrent synapses across "
            f"resets, so that samples mix; use {remedy}, which clears them"
        )
    elif kept and (early := _early(net)):
        yield (
            f"{', '.join(early)}: biases make spikes before the first step arrives, which stock Lava keeps "
            f"in delays and recurrent synapses of {', '.join(kept)}; use {remedy}"
        )


def _early(net: FixedPointNetwork) -> list[str]:
    """Layers that send while the pipeline fills, before the first step of the input reaches them."""
    if not net.latency or not any(np.any(layer.neuron.bias) for layer in net.layers):
        return []
    from ..simulator.stepper import stream

    sent = stream(net, np.zeros((*net.input.shape, net.latency), dtype=np.int32)).messages
    return [layer.name for layer in net.layers if sent[layer.name][..., : net.depth(layer.name)].any()]


def soft_reset_problems(neuron: MultiThreshold) -> Iterator[str]:
    """Why an ATRLIF cannot be neurons with soft reset."""
    threshold, initial, bias = (np.asarray(v) for v in (neuron.threshold, neuron.initial, neuron.bias))
    if neuron.levels != 1:
        yield f"levels={neuron.levels}, needs 1: windows of more need uniform inputs"
    if (np.asarray(neuron.lam) != ONE).any():
        yield f"lam={neuron.lam}, needs {ONE}"
    low, high, top = int(threshold.min()), int(threshold.max()), LOIHI.soft_threshold_max
    if low != high or low % (2 * _STEP) or low > top:
        yield f"thresholds {low}..{high}, needs one multiple of {2 * _STEP}, at most {top}"
    if initial.min() != initial.max() or initial.min() < 0 or initial.max() > low:
        yield f"initial={neuron.initial}, needs one number in 0..{low}"
    low, high = LOIHI.bias_min, LOIHI.bias_max
    if bias_exponent(bias) is None:
        yield f"bias {bias.min()}..{bias.max()}, needs {low}..{high}, or {_STEP} times those"


def bias_exponent(bias: Any) -> int | None:
    """Exponent of the biases of a soft reset, in membrane steps; None if no mantissas of 13 bits fit."""
    for exponent in LIMITS.exponents:
        whole = np.asarray(bias) >> exponent
        if (
            whole << exponent == bias
        ).all() and LOIHI.bias_min <= whole.min() <= whole.max() <= LOIHI.bias_max:
            return exponent
    return None


def spiking_problems(module: Any, job: Job) -> Iterator[str]:
    """What Loihi's neurons do not compute of a block with a synapse."""
    from lava_bsnn.modulation import AGMM

    from ..lowering import rules

    yield from rules.spiking_problems(module, job)
    label, neuron, where = module.label, module.neuron, f"in profile {job.target.name!r}"
    if isinstance(module.modulation, AGMM) and job.calibration is None:
        yield (
            f"{label}: modulation AGMM cannot be exported {where}; "
            "use profile='extended', or calibration=inputs (--calibration N) for constant gates"
        )
    kind = None if neuron is None else kind_of(neuron)
    if kind is not None and kind not in job.target.neurons:  # type: ignore[attr-defined]
        yield f"{label}: neuron {type(neuron).__name__} cannot be exported {where}; {_USE}"
    elif kind is MultiThreshold:
        if neuron.levels > 1 or (neuron.mix is not None and neuron.mix.logits is not None):
            yield (
                f"{label}: L={neuron.levels} thresholds with mixing of steps cannot be exported {where}; "
                f"{_USE}, or single_threshold=True"
            )
        lam = neuron.lam.detach().double()
        if ((lam * ONE).round() != ONE).any():
            yield f"{label}: a leak lam={lam.min():.4g} cannot be exported {where}; {_USE}"
    if kind is not LIF:
        return
    bits = neuron.membrane_bits
    if bits is not None and bits < STATE_BITS and not job.ignore_membrane:
        yield (
            f"{label}: a membrane of {bits} bits cannot be exported {where}, whose neurons have "
            f"{STATE_BITS}; use profile='extended', train with membrane_bits={STATE_BITS} or None, or accept "
            "other spikes with ignore_membrane=True"
        )
    for name in ("current_decay", "voltage_decay"):
        if not isinstance(getattr(neuron, f"cx_{name}"), int):
            yield f"{label}: a {name} per channel (shared_param=False) cannot be exported {where}; {_USE}"
    if np.min(neuron.cx_current_decay) < NO_MEMORY and module.norm is not None:
        yield (
            f"{label}: current_decay < 1 with norm cannot be exported, since the device adds biases "
            "behind the current filter; use current_decay=1, norm=None, or profile='extended'"
        )


def _pool_problems(pool: Any, module: Any) -> Iterator[str]:
    """Why a pooling cannot become a part of the block behind it."""
    from lava_bsnn import block

    if isinstance(module, block.Residual):
        yield (
            f"{pool.label}: a pooling without neuron cannot become a part of {module.label}, a skip, behind "
            "it; give it neuron_params"
        )
        return
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
