"""Neurons, and what stands in front of them: gates and the mixing of time steps.

Thresholds and biases are one integer or one per channel ``[C]``. With ``exponent`` 6 they
are mantissas in weight steps, as on Loihi; with 0 they are in membrane steps (see
:mod:`lava_bsnn.fixed_point`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY, ONE

from . import limits
from .content import OPTIONAL, Content

PerChannel = int | np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Membrane(Content):
    """A stored potential of ``bits`` bits with step ``2^shift`` (Q-SNN eq. 10, 12).

    Attributes:
        bits: 2..24.
        shift: 0..22.
    """

    bits: int
    shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class LIF(Content):
    """Leaky integrate-and-fire neurons with hard reset.

    Attributes:
        threshold: spikes where v is strictly above ``threshold << exponent``.
        bias: added to v at each step, behind the current's decay.
        current_decay: 0..4096.
        voltage_decay: 0..4096.
        membrane: width of the potential kept for the next step; None for all 24 bits.
        exponent: 6 or 0.
    """

    threshold: PerChannel
    bias: PerChannel = 0
    current_decay: int = NO_MEMORY
    voltage_decay: int = 0
    membrane: Membrane | None = field(default=None, metadata=OPTIONAL)
    exponent: int = field(default=ALIGN_BITS, metadata=OPTIONAL)

    max_message = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiThreshold(Content):
    """Neurons with L thresholds and soft reset, which send spike counts 0..L (LM-HT eq. 8-11).

    See :func:`lava_bsnn.fixed_point.multi_threshold_step`. All values are in membrane steps.

    Attributes:
        threshold: theta > 0.
        levels: L, 1..255.
        initial: v[-1].
        lam: factor on the kept potential in 1/4096, one or one per step ``[T]``.
        bias: added to m at each step.
    """

    threshold: PerChannel
    levels: int
    initial: PerChannel = 0
    lam: int | np.ndarray = ONE
    bias: PerChannel = 0

    exponent = 0

    @property
    def max_message(self) -> int:
        """L."""
        return self.levels


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout(Content):
    """Integrators that never spike; their potential is the running sum of the logits.

    Attributes:
        bias: per class and step.
        exponent: 6 or 0.
    """

    bias: PerChannel
    exponent: int = field(default=ALIGN_BITS, metadata=OPTIONAL)

    threshold = limits.THRESHOLD_MAX
    current_decay = NO_MEMORY
    voltage_decay = 0
    membrane = None
    max_message = 0


Neuron = LIF | MultiThreshold | Readout


@dataclass(frozen=True, kw_only=True, eq=False)
class Gate(Content):
    """Gate of AGMM on the current of one connection; see :func:`lava_bsnn.fixed_point.gate`.

    Attributes:
        multiplier: ``[T]`` or ``[T, C]``: alpha, times the unit of the current, times 256, over
            the number of averaged values, times ``2^shift``.
        shift: 0..48.
        per: ``"channel"``: mean over height and width; ``"layer"``: also over channels. A dense
            layer averages over its features.
    """

    multiplier: np.ndarray
    shift: int
    per: str = "channel"

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.multiplier)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix(Content):
    """Mixing of time steps in front of the neurons (T-GIM); see :func:`lava_bsnn.fixed_point.mix`.

    Attributes:
        omega: ``[T, T]`` in 1/4096; row t makes step t.
    """

    omega: np.ndarray

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.omega)

    @property
    def causal(self) -> bool:
        """Whether no step needs a later one."""
        return not np.triu(self.omega, 1).any()

    @property
    def latency(self) -> int:
        """Steps for which the neurons wait, none, or T - 1 until the window is complete."""
        return 0 if self.causal else self.num_steps - 1
