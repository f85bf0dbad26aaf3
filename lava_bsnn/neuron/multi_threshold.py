"""Multi-threshold neurons, the mixing of time steps in front of them, and QCFS."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import functional
from .._slayer import neuron_base
from ..errors import OptionError, ShapeError, check_option
from ..fixed_point import ALIGN_BITS, ONE
from ..functional.drive import Drive
from ..functional.multi_threshold import FixedPointMultiThreshold
from ..functional.time import from_time_major, time_major
from ..functional.weights import straight_through

_MATCHED_STEPS = 64
"""Least number of weight steps per threshold in matched mode."""
LEAST_THRESHOLD = 1e-3
"""Where learned thresholds are kept, or where they began if that is less; none below 0 has a meaning."""


class MultiThresholdLIF(neuron_base.Neuron):
    """Neuron with L equidistant thresholds and soft reset (M-HT, LM-HT eq. 8-11).

    ``m[t] = lam v[t-1] + I[t]``, ``s[t] = clip(floor(m[t] / theta), 0, L)``,
    ``v[t] = m[t] - theta s[t]``; gradients as in
    :func:`lava_bsnn.functional.multi_threshold`. One step equals L steps of an IF neuron with
    the input spread evenly (lemma 4.1).

    Args:
        levels: L >= 1.
        threshold: theta > 0.
        initial: v[-1], in thresholds; 1/2 for conversion from QCFS (theorem 4.4).
        learn_lam: learn ``lam = sigmoid(a) + 0.5``, a initially 0; otherwise lam is 1.
        learn_threshold: learn theta (from QCFS); it is kept at ``LEAST_THRESHOLD`` or above.
        scaled: give ``theta * s`` instead of the integer s.
        num_steps: time steps T of the mixing in front of the neuron; None for no mixing.
        num_frames: steps F that come in, of which the mixing makes T; None for T.
        mix: mode of that :class:`TemporalMix`; with it the neuron is LM-HT.
        persistent_state: carry v from one forward call to the next, detached.
        scale: weight steps per unit of current, a power of two: compute in the device's integers (matched
            mode), with theta rounded to 1/64 of a weight step, lam and the mixing to 1/4096; None for
            floating point.

    Raises:
        OptionError: a parameter is out of range.
    """

    def __init__(
        self,
        levels: int = 2,
        threshold: float = 1.0,
        *,
        initial: float = 0.0,
        learn_lam: bool = True,
        learn_threshold: bool = False,
        scaled: bool = False,
        num_steps: int | None = None,
        mix: str = "full",
        num_frames: int | None = None,
        persistent_state: bool = False,
        scale: int | None = None,
    ) -> None:
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
            raise OptionError(f"MultiThresholdLIF: levels={levels!r} is not allowed; use 1 or more")
        if not threshold > 0:
            raise OptionError(f"MultiThresholdLIF: threshold={threshold!r} is not allowed; use > 0")
        whole = isinstance(scale, int) and not isinstance(scale, bool) and scale >= 1
        if scale is not None and (not whole or scale & (scale - 1)):  # float32 holds k / unit exactly
            raise OptionError(
                f"MultiThresholdLIF: scale={scale!r} is not allowed; use a power of two >= 1, or None"
            )
        super().__init__(threshold=1.0, persistent_state=persistent_state)
        del self._threshold
        self.least = min(LEAST_THRESHOLD, float(threshold)) if learn_threshold else 0.0
        self.levels = levels
        self.initial = float(initial)
        self.scaled = scaled
        self.scale = scale
        self.mix = None
        if num_steps is not None:
            self.mix = TemporalMix(num_steps, mix, num_frames=num_frames, persistent_state=persistent_state)
        elif num_frames is not None:
            raise OptionError(
                f"MultiThresholdLIF: num_frames={num_frames} is of a mixing; give num_steps, too"
            )
        self.theta = torch.nn.Parameter(torch.tensor(float(threshold)), requires_grad=learn_threshold)
        self.lam_logit = torch.nn.Parameter(torch.zeros(())) if learn_lam else None
        self.register_buffer("voltage_state", torch.zeros(1), persistent=False)

    def extra_repr(self) -> str:
        lam = ", ".join(f"{value:.4g}" for value in self.lam.detach().unique().tolist())
        text = f"levels={self.levels}, threshold={self.threshold:.4g}, lam={lam}"
        return text if self.scale is None else f"{text}, scale={self.scale}"

    @property
    def threshold(self) -> float:
        """theta; in matched mode, a whole number of membrane steps."""
        theta, unit = _kept(self.theta, self.least), self.unit
        return theta if unit is None else self._steps(theta, unit) / unit

    mantissas: bool = False
    """Whether in matched mode half the threshold is a mantissa, as of Loihi's own neurons."""

    def _steps(self, theta: float, unit: float) -> int:
        step = 2 << ALIGN_BITS if self.mantissas else 1
        return max(1, round(unit * theta / step)) * step

    @property
    def unit(self) -> int | None:
        """Membrane steps per unit of current in matched mode, else None."""
        return None if self.scale is None else self.scale << ALIGN_BITS

    def match_device(self, scale: int | None = None) -> None:
        """Go over to matched mode, unless it is on.

        Args:
            scale: weight steps per unit of current, a power of two; None for at least 64 per threshold.

        Raises:
            OptionError: the threshold is not a number > 0.
        """
        theta = _kept(self.theta, self.least)
        if not 0 < theta < math.inf:
            raise OptionError(f"MultiThresholdLIF: threshold={theta} is not allowed; use > 0")
        if self.scale is None:
            self.scale = scale or 1 << max(0, math.ceil(math.log2(_MATCHED_STEPS / self.threshold)))

    def on_grid(self, unit: float) -> FixedPointMultiThreshold:
        """The device's integers for ``unit`` membrane steps per unit of current."""
        theta = self._steps(self.threshold, unit)
        return FixedPointMultiThreshold(
            unit=unit,
            threshold=theta,
            initial=round(theta * self.initial),
            levels=self.levels,
            lam=(self.lam.detach().double() * ONE).round().long(),
            omega=None if self.mix is None else self.mix.on_grid(),
        )

    def fixed_point(self) -> FixedPointMultiThreshold | None:
        """Integer arithmetic of a neuron in matched mode, else None."""
        return None if self.unit is None else self.on_grid(self.unit)

    def _theta(self) -> Tensor:
        if self.scale is None:
            return self.theta
        return straight_through(torch.full_like(self.theta, self.threshold), self.theta)

    @property
    def lam(self) -> Tensor:
        """Factor on the kept potential, in 0.5..1.5."""
        if self.lam_logit is None:
            return self.theta.new_ones(())
        return torch.sigmoid(self.lam_logit) + 0.5

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.theta.device

    def reset_state(self) -> None:
        """Forget the state that ``persistent_state`` carries."""
        self.voltage_state = torch.zeros(1, device=self.device)
        if self.mix is not None:
            self.mix.reset_state()

    @property
    def takes_drives(self) -> bool:
        """Whether :meth:`forward` takes a :class:`~lava_bsnn.functional.drive.Drive` as it is."""
        return self.mix is None and self.unit is None

    def _mixed(self, x: Tensor) -> Tensor:
        return x if self.mix is None else self.mix(x, self.fixed_point())

    def _run(self, current: Tensor | Drive, *, with_membrane: bool) -> tuple[Tensor | None, Tensor]:
        """Membrane potential and spikes ``[T, N, ...]`` for currents in time-major order."""
        _keep(self.theta, self.least)
        exact = self.fixed_point()
        if exact is None:
            state = self.theta.detach() * self.initial
        else:
            state = torch.full_like(self.theta, exact.initial / exact.unit)
        shape = (current.images if isinstance(current, Drive) else current).shape[1:]
        if self.persistent_state and self.voltage_state.shape == shape:
            state = self.voltage_state
        spikes, membrane, v = functional.multi_threshold(
            current,
            self.lam,
            self._theta(),
            state,
            self.levels,
            exact,
            with_membrane=with_membrane,
            with_stored=self.persistent_state,
        )
        if v is not None and self.persistent_state:
            self.voltage_state = v
        return membrane, spikes

    def dynamics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed input current and the membrane potential m, each ``[N, ..., T]``."""
        current = self._mixed(x)
        membrane, _ = self._run(time_major(current), with_membrane=True)
        assert membrane is not None
        return current, from_time_major(membrane)

    def forward(self, x: Tensor | Drive) -> Tensor:
        """Return spike counts 0..L (times theta if ``scaled``) for currents ``[N, ..., T]``.

        Args:
            x: currents, or where :attr:`takes_drives`, what makes them.
        """
        current = x if isinstance(x, Drive) else time_major(self._mixed(x))
        spikes = from_time_major(self._run(current, with_membrane=False)[1])
        return spikes * self._theta() if self.scaled else spikes


class TemporalMix(torch.nn.Module):
    """Temporal-global information matrix: ``I[t] = sum_j omega[t, j] x[j]`` (T-GIM, LM-HT eq. 12).

    Stands in front of a :class:`MultiThresholdLIF`, behind any shortcut. In front of the first neuron of
    a network it can make T steps of F event frames.

    Args:
        num_steps: time steps T.
        mode: ``"full"``: ``omega = 2 sigmoid(.) / F``, initially 1/F everywhere, sees all
            steps; ``"causal"``: its lower triangle, sees past and present;
            ``"identity"``: nothing is mixed, nothing is learned.
        num_frames: steps F that come in; None for T. Others than T need mode ``"full"``.
        persistent_state: let consecutive calls carry on where the last one ended, in
            ``"causal"`` mode up to T steps in all; ``"full"`` needs all steps at once.

    Raises:
        OptionError: an unknown mode, no steps, or F steps that only mode ``"full"`` takes.
        ShapeError: in ``forward``, another number of steps.
    """

    past: Tensor

    def __init__(
        self,
        num_steps: int,
        mode: str = "full",
        *,
        num_frames: int | None = None,
        persistent_state: bool = False,
    ) -> None:
        super().__init__()
        check_option("TemporalMix", "mode", mode, ("full", "causal", "identity"))
        num_frames = num_steps if num_frames is None else num_frames
        for name, value in (("num_steps", num_steps), ("num_frames", num_frames)):
            if value < 1:
                raise OptionError(f"TemporalMix: {name}={value} is not allowed; use 1 or more")
        if num_frames != num_steps and mode != "full":
            raise OptionError(
                f"TemporalMix: num_frames={num_frames} with num_steps={num_steps} needs mode='full', "
                f"not {mode!r}"
            )
        self.num_steps, self.num_frames = num_steps, num_frames
        self.mode = mode
        logits = torch.zeros(num_steps, num_frames)
        self.logits = None if mode == "identity" else torch.nn.Parameter(logits)
        self.persistent_state = persistent_state
        self.register_buffer("past", torch.zeros(0), persistent=False)

    def extra_repr(self) -> str:
        frames = "" if self.num_frames == self.num_steps else f"num_frames={self.num_frames}, "
        return f"num_steps={self.num_steps}, {frames}mode={self.mode!r}"

    @property
    def omega(self) -> Tensor:
        """The matrix ``[T, F]``; row t makes step t."""
        if self.logits is None:
            return torch.eye(self.num_steps)
        return functional.mixing_matrix(self.logits, self.mode)

    def on_grid(self) -> Tensor | None:
        """The matrix in 1/4096, int64; None if nothing is mixed."""
        return None if self.logits is None else (self.omega.detach().double() * ONE).round().long()

    def forward(self, x: Tensor, exact: FixedPointMultiThreshold | None = None) -> Tensor:
        """Mix currents ``[N, ..., F]`` to ``[N, ..., T]``; in integers with ``exact``."""
        streams = self.persistent_state and self.mode != "full"
        if self.logits is None and streams:
            return x
        steps = seen = time_major(x)
        if streams and self.past.shape[1:] == steps.shape[1:]:
            seen = torch.cat([self.past, steps])
        if len(seen) > self.num_frames or (len(seen) < self.num_frames and not streams):
            hint = "; call reset_state() before the next sample" if streams else ""
            name = "num_steps" if self.num_frames == self.num_steps else "num_frames"
            raise ShapeError(
                f"TemporalMix: input of {len(seen)} steps does not fit; use {self.num_frames} ({name}){hint}"
            )
        if self.logits is None:
            return x
        if streams:
            self.past = seen.detach()
        rows = slice(len(seen) - len(steps), len(seen)) if streams else slice(None)
        mixed = (self.omega[rows, : len(seen)] @ seen.flatten(1)).unflatten(1, steps.shape[1:])
        if exact is not None and exact.omega is not None:
            mixed = straight_through(exact.mix(seen.detach(), exact.omega[rows, : len(seen)]), mixed)
        return from_time_major(mixed)

    def reset_state(self) -> None:
        """Forget the steps that ``persistent_state`` carries."""
        self.past = self.past.new_zeros(0)


class QCFS(torch.nn.Module):
    """Quantisation-clip-floor-shift activation of an ANN (LM-HT eq. 7), as a block's neuron.

    Args:
        levels: n >= 1.
        threshold: theta, learned; it is kept at ``LEAST_THRESHOLD`` or above.
        scale_gradient: divide theta's gradient by ``sqrt(features * levels)``, as that of a learned step
            size (LSQ, Esser et al. 2020); otherwise it is the sum over all features, whose steps can
            take theta through 0 in deep networks.
    """

    def __init__(self, levels: int = 4, threshold: float = 1.0, *, scale_gradient: bool = False) -> None:
        super().__init__()
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
            raise OptionError(f"QCFS: levels={levels!r} is not allowed; use 1 or more")
        if not threshold > 0:
            raise OptionError(f"QCFS: threshold={threshold!r} is not allowed; use a number > 0")
        self.levels = levels
        self.scale_gradient = scale_gradient
        self.least = min(LEAST_THRESHOLD, float(threshold))
        self.theta = torch.nn.Parameter(torch.tensor(float(threshold)))

    @property
    def threshold(self) -> float:
        """theta."""
        return _kept(self.theta, self.least)

    def extra_repr(self) -> str:
        text = f"levels={self.levels}, threshold={self.threshold:.4g}"
        return f"{text}, scale_gradient=True" if self.scale_gradient else text

    def forward(self, x: Tensor) -> Tensor:
        """Return activations in ``[0, theta]`` for any ``x``, ``[N, ...]``."""
        _keep(self.theta, self.least)
        theta: Tensor = self.theta
        if self.scale_gradient:
            scaled = theta / math.sqrt(math.prod(x.shape[1:]) * self.levels)
            theta = straight_through(theta.detach(), scaled)
        return functional.qcfs(x, theta, self.levels)


def _keep(theta: torch.nn.Parameter, least: float) -> None:
    """Move a threshold that a step has taken below its least value back to it."""
    if least:
        theta.data.clamp_(min=least)


def _kept(theta: torch.nn.Parameter, least: float) -> float:
    """A threshold as the next forward pass has it."""
    value = float(theta.detach())
    return max(value, least) if least else value
