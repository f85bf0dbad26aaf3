"""Readouts: integrators whose potential is the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY
from lava_bsnn.limits import LIMITS

from ..content import holds
from .kind import Kernel, Neuron, PerChannel, State
from .lif import BIAS, TOP, integrated, lif_kernel


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout(Neuron):
    """Integrators that never spike; their potential is the sum of the logits, which may leak.

    Attributes:
        bias: per class and step.
        exponent: 6 or 0.
        voltage_decay: 0..4096, or one per class; 0 for the sum of a whole sample, 4096 for the logits of
            each step.
        current_decay: likewise; 4096 for a current without memory.
        threshold: mantissa that files and Lava's neurons get. The highest of 17 bits could be reached by a
            sum that fills 24 bits, which is refused; one beyond cannot, so that sums may saturate as in
            SLAYER's ``Affine``.
        wraps: see :class:`LIF`.
    """

    bias: PerChannel = holds("value", -TOP, TOP, mantissa=BIAS)
    exponent: int = holds("int", 0, ALIGN_BITS, default=ALIGN_BITS, optional=True)
    voltage_decay: PerChannel = holds("value", 0, LIMITS.decay_max, default=0, optional=True)
    current_decay: PerChannel = holds("value", 0, LIMITS.decay_max, default=NO_MEMORY, optional=True)
    threshold: int = holds(
        "int", LIMITS.threshold_max, LIMITS.unreachable_max, default=LIMITS.threshold_max, optional=True
    )
    wraps: bool = holds("bool", default=False, optional=True)

    states: ClassVar[tuple[str, ...]] = ("u", "v")
    membrane = None
    max_message = 0
    reads_out: ClassVar[bool] = True

    def step(self, state: State, current: Any, time: int, injected: Any = 0) -> tuple[State, Any, Any]:
        """See :func:`lava_bsnn.fixed_point.integrate`."""
        memory, before = integrated(self, state, current, injected)
        return (memory, before), before > TOP, before

    def compiled(self, table: Callable[[Any, Any], np.ndarray], *, injects: bool) -> Kernel | None:
        """See :func:`netx_export.simulator.kernels.lif`."""
        return lif_kernel(self, None, None, table, injects)
