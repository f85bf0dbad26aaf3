"""Leaky integrate-and-fire neurons with hard reset: Loihi's, and wider or narrower ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lava_bsnn import fixed_point
from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY
from lava_bsnn.limits import LIMITS

from ..content import Content, holds
from .kind import Kernel, Lowered, Neuron, PerChannel, State, integer, per_channel

if TYPE_CHECKING:
    from ..lowering.drive import Drive

TOP = LIMITS.potential_max
BIAS = (LIMITS.bias_min, LIMITS.bias_max, " (13 bit)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Membrane(Content):
    """A stored potential of ``bits`` bits with step ``2^shift`` (Q-SNN eq. 10, 12).

    Attributes:
        bits: 2..24.
        shift: 0..22.
    """

    bits: int = integer(LIMITS.membrane_bits_min, LIMITS.membrane_bits_max)
    shift: int = integer(0, LIMITS.membrane_shift_max)


@dataclass(frozen=True, kw_only=True, eq=False)
class LIF(Neuron):
    """Leaky integrate-and-fire neurons with hard reset.

    Attributes:
        threshold: spikes where v is strictly above ``threshold << exponent``.
        bias: added to v at each step, behind the current's decay.
        current_decay: 0..4096, or one per channel or neuron.
        voltage_decay: likewise.
        membrane: width of the potential kept for the next step; None for all 24 bits.
        exponent: 6 or 0.
        wraps: currents beyond 24 bits may come, which wrap once per step, as those of Lava's processes do;
            else a network refuses what could send such.
    """

    threshold: PerChannel = holds("value", 0, TOP, mantissa=(0, LIMITS.threshold_max, ""))
    bias: PerChannel = holds("value", -TOP, TOP, default=0, mantissa=BIAS)
    current_decay: PerChannel = per_channel(0, LIMITS.decay_max, default=NO_MEMORY)
    voltage_decay: PerChannel = per_channel(0, LIMITS.decay_max, default=0)
    membrane: Membrane | None = holds("node", types=("Membrane",), default=None, optional=True)
    exponent: int = holds("int", 0, ALIGN_BITS, default=ALIGN_BITS, optional=True)
    wraps: bool = holds("bool", default=False, optional=True)

    states: ClassVar[tuple[str, ...]] = ("u", "v")

    def step(self, state: State, current: Any, time: int, injected: Any = 0) -> tuple[State, Any, Any]:
        """See :func:`lava_bsnn.fixed_point.integrate` and :func:`lava_bsnn.fixed_point.fire`."""
        memory, before = integrated(self, state, current, injected)
        messages, after = fixed_point.fire(before, self.threshold, exponent=self.exponent)
        if self.membrane is not None:
            after = fixed_point.quantize_potential(after, self.membrane.bits, self.membrane.shift)
        return (memory, after), messages, before

    def compiled(self, table: Callable[[Any, Any], np.ndarray], *, injects: bool) -> Kernel | None:
        """See :func:`netx_export.simulator.kernels.lif`."""
        return lif_kernel(self, self.threshold, self.membrane, table, injects)

    @classmethod
    def lower(cls, module: Any, drive: Drive) -> Lowered:
        """Make neurons of a :class:`lava_bsnn.neuron.LIF`.

        A k-bit membrane leaves no choice of the unit, as its step must be a power of two; nor does matched
        mode, which was trained with a unit of its own.

        Raises:
            ExportError: 24 bits do not hold the currents, or the membrane has no step.
        """
        decays = {"current_decay": module.cx_current_decay, "voltage_decay": module.cx_voltage_decay}
        exact, membrane = module.fixed_point(), None
        if exact is not None:
            drive.check_matched(exact.unit, module.threshold)
            unit, threshold = exact.unit, exact.threshold
            membrane = Membrane(bits=exact.bits, shift=exact.shift)
        else:
            largest = drive.largest_unit(module.threshold, 1 / drive.share_of_a_step(module.cx_current_decay))
            if module.membrane_bits is None:
                unit = drive.best_unit(largest)
            else:
                unit, membrane = _membrane(drive.label, module, largest)
            threshold = module.device_threshold(unit * module.threshold, slip=1e-6)
        return Lowered(cls(threshold=threshold, membrane=membrane, exponent=0, **decays), float(unit))

    @classmethod
    def with_mantissas(cls, module: Any, scale: float, bias: np.ndarray) -> Neuron:
        """Neurons that fire where the module's do."""
        decays = {"current_decay": module.cx_current_decay, "voltage_decay": module.cx_voltage_decay}
        return cls(threshold=module.device_threshold(scale), bias=bias, **decays)

    @classmethod
    def module_problems(cls, module: Any) -> Iterator[str]:
        """A norm of SLAYER in front of the neurons, and a memory that no device has."""
        if module.norm is not None:
            yield "norm in neuron_params cannot be exported; use the block's norm='batch'"
        if module.membrane_bits is not None and module.membrane_mode == "authors":
            yield (
                "membrane_mode='authors' stores hyperbolic tangents, which no device computes; use "
                "training.finetune(model, ...) or training.match_device(model) first"
            )


def _membrane(label: str, module: Any, largest: float) -> tuple[float, Membrane]:
    """The unit with which a trained range has a step that is a power of two, and the membrane."""
    bits, alpha = module.membrane_bits, module.membrane_range
    levels = (1 << (bits - 1)) - 1
    shift = math.floor(math.log2(0.99 * largest * alpha / levels)) if alpha > 0 else -1
    shift = min(shift, (TOP // levels).bit_length() - 1)
    if shift < 0:
        raise ExportError(
            f"{label}: a membrane of {bits} bits and range {alpha:.3g} has no step of a "
            "power of two here; train the model first, or use fewer bits"
        )
    return (levels << shift) / alpha, Membrane(bits=bits, shift=shift)


def integrated(neuron: Any, state: State, current: Any, injected: Any) -> tuple[Any, Any]:
    """Current and potential before any reset."""
    memory, potential = state
    return fixed_point.integrate(
        memory,
        potential,
        current,
        current_decay=neuron.current_decay,
        voltage_decay=neuron.voltage_decay,
        bias=(neuron.bias + injected) * (1 << neuron.exponent),
        exponent=0,
    )


def lif_kernel(
    neuron: Any,
    threshold: PerChannel | None,
    membrane: Membrane | None,
    table: Callable[[Any, Any], np.ndarray],
    injects: bool,
) -> Kernel | None:
    """The kernel of integrators, which has one pair of decays; a threshold of None is never reached."""
    from ..simulator import kernels

    if np.ndim(neuron.current_decay) or np.ndim(neuron.voltage_decay):
        return None
    unit = 1 << neuron.exponent
    never = threshold is None
    parameters = table(
        np.asarray(neuron.bias) * unit, kernels.NEVER if never else np.asarray(threshold) * unit
    )
    bound, shift = (0, 0) if membrane is None else ((1 << (membrane.bits - 1)) - 1, membrane.shift)
    memory = 0 if injects else NO_MEMORY - neuron.current_decay  # biases are not filtered
    factors = np.array([memory, NO_MEMORY - neuron.voltage_decay, bound, shift], dtype=np.int32)

    def run(
        weighted: np.ndarray, state: State, messages: np.ndarray, potentials: np.ndarray, first: int
    ) -> None:
        kernels.lif(weighted, parameters, factors, *state, messages, potentials)

    return run
