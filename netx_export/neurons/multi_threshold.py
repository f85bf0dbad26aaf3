"""Neurons with several thresholds and soft reset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_bsnn import fixed_point
from lava_bsnn.fixed_point import ALIGN_BITS, ONE
from lava_bsnn.limits import LIMITS

from .kind import Kernel, Lowered, Neuron, PerChannel, State, integer, per_channel, per_step

if TYPE_CHECKING:
    from ..lowering.drive import Drive

_TOP = LIMITS.potential_max


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiThreshold(Neuron):
    """Neurons with L thresholds and soft reset, which send spike counts 0..L (LM-HT eq. 8-11).

    See :func:`lava_bsnn.fixed_point.multi_threshold_step`. All values are in membrane steps.

    Attributes:
        threshold: theta > 0.
        levels: L, 1..255.
        initial: v[-1].
        lam: factor on the kept potential in 1/4096, one or one per step ``[T]``.
        bias: added to m at each step.
    """

    threshold: PerChannel = per_channel(1, _TOP)
    levels: int = integer(1, LIMITS.levels_max)
    initial: PerChannel = per_channel(-_TOP, _TOP, default=0)
    lam: int | np.ndarray = per_step(0, LIMITS.factor_max, default=ONE)
    bias: PerChannel = per_channel(-_TOP, _TOP, default=0)

    @property
    def label(self) -> str:
        """With L."""
        return f"M-HT L={self.levels}"

    @property
    def max_message(self) -> int:  # type: ignore[override]
        """L."""
        return self.levels

    def start(self, zeros: Any) -> State:
        """The initial potential."""
        return (zeros + self.initial,)

    def step(self, state: State, current: Any, time: int, injected: Any = 0) -> tuple[State, Any, Any]:
        """See :func:`lava_bsnn.fixed_point.multi_threshold_step`."""
        messages, before, after = fixed_point.multi_threshold_step(
            state[0],
            current + (self.bias + injected),
            threshold=self.threshold,
            levels=self.levels,
            lam=self.lam if isinstance(self.lam, int) else int(self.lam[time % len(self.lam)]),
        )
        return (after,), messages, before

    def compiled(self, table: Callable[[Any, Any], np.ndarray], *, injects: bool) -> Kernel | None:
        """See :func:`netx_export.simulator.kernels.multi_threshold`."""
        from ..simulator import kernels

        parameters = table(np.asarray(self.bias), np.asarray(self.threshold))
        lam, levels = np.atleast_1d(self.lam).astype(np.int32), self.levels

        def run(
            weighted: np.ndarray, state: State, messages: np.ndarray, potentials: np.ndarray, first: int
        ) -> None:
            kernels.multi_threshold(weighted, parameters, lam, levels, first, *state, messages, potentials)

        return run

    @classmethod
    def lower(cls, module: Any, drive: Drive) -> Lowered:
        """Make neurons, and the mixing in front of them, of a :class:`lava_bsnn.neuron.MultiThresholdLIF`.

        Raises:
            ExportError: 24 bits do not hold the currents.
        """
        from ..network.front import Mix

        exact = module.fixed_point()
        if exact is None:
            omega = None if module.mix is None else module.mix.on_grid()
            gain = 1.0 if omega is None else max(1.0, float(omega.abs().sum(1).max()) / ONE)
            exact = module.on_grid(drive.best_unit(drive.largest_unit(module.threshold, gain)))
        else:
            drive.check_matched(exact.unit, module.threshold)
        lam = exact.lam.cpu().numpy()
        made = cls(
            threshold=exact.threshold,
            levels=exact.levels,
            initial=exact.initial,
            lam=int(lam) if lam.ndim == 0 else lam,
        )
        mix = None if exact.omega is None else Mix(omega=exact.omega.cpu().numpy())
        return Lowered(made, float(exact.unit), mix)

    @classmethod
    def with_mantissas(cls, module: Any, scale: float, bias: np.ndarray) -> Neuron:
        """Neurons whose half threshold is a mantissa, as those of one threshold are on Loihi."""
        threshold = max(1, round(scale / 2)) << (ALIGN_BITS + 1)
        return cls(
            threshold=threshold,
            levels=module.levels,
            initial=round(threshold * module.initial),
            bias=bias << ALIGN_BITS,
        )
