"""Leaky integrate-and-fire neuron with hard reset."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import distributed, functional
from ..errors import OptionError, check_option
from ..fixed_point import ALIGN_BITS, NO_MEMORY, STATE_BITS, STATE_MAX
from ..functional.drive import Drive
from ..functional.dynamics import Memory, Spiking
from ..functional.membrane import FixedPointMembrane, check_membrane_bits
from ..functional.recurrent import Feedback, State, recurrent_lif
from ..functional.surrogate import Derivative
from ..functional.time import from_time_major, time_major
from ..waiting import is_at_hand
from .decays import Decays

_MOMENTUM = 0.1
_SLAYER_WIDTH, _SLAYER_FACTOR = 100, 0.1
"""What ``tau_grad`` and ``scale_grad`` are multiplied with in ``slayer.neuron.cuba``."""


class LIF(Decays):
    """Leaky integrate-and-fire neuron with hard reset, and a memory of k bits on request.

    ``c[t] = (1 - current_decay) c[t-1] + I[t]``, ``u[t] = (1 - voltage_decay) Q(v[t-1]) + c[t]``,
    ``s[t] = u[t] >= threshold``, ``v[t] = u[t] (1 - s[t])`` (AGMM eq. 1-4, Q-SNN eq. 12, with
    tau = 1 - voltage_decay). Q is the identity unless ``membrane_bits`` is given. With the
    default ``current_decay=1`` the current has no memory. The parameters of
    ``slayer.neuron.cuba.Neuron`` are accepted under the same names.

    Args:
        threshold: firing threshold, > 0.
        current_decay: fraction of current lost per step, 0..1, a multiple of 1/4096.
        voltage_decay: fraction of membrane potential lost per step, 0..1, likewise.
        tau_grad: width of SLAYER's surrogate gradient, as in SLAYER; selects ``surrogate="slayer"``.
        scale_grad: factor on it, likewise.
        scale: weight steps per unit of current, each of 64 membrane steps; the grid of
            ``membrane_mode="matched"``.
        norm: SLAYER norm class applied to the current; blocks have ``norm`` of their own.
        dropout: module applied to the spikes.
        shared_param: one pair of decays for all neurons; False for a pair per channel, which a decay
            given as (least, largest) draws its first values from; a number other than 0 and 1 from within
            1 % of it.
        persistent_state: carry the state from one forward call to the next, detached.
        requires_grad: learn both decays.
        surrogate: name in ``functional.SURROGATES``, a callable, or ``"slayer"``: SLAYER's gradient, which
            is exponential, and takes no notice of the reset. None for ``"slayer"`` where ``tau_grad`` or
            ``scale_grad`` is given, else ``"triangular"``.
        gamma: width of the surrogates other than SLAYER's.
        detach_reset: let no gradient flow through the reset.
        membrane_bits: bits of the stored potential, 2..24; None for floating point.
        strict: fire only above the threshold, not at it (Q-SNN's program).
        membrane_mode: ``"paper"``: alpha_u is the layer's maximum, taken anew at each step
            in training and as its running mean in evaluation. ``"authors"``: the hyperbolic tangent of the
            potential is quantised, with its layer's maximum of batch and step in evaluation, too (Q-SNN's
            program; on a device only after :func:`lava_bsnn.training.finetune`). ``"matched"``: the device's
            integers of :mod:`lava_bsnn.fixed_point`, with a power-of-two step, in training
            and evaluation alike.
        membrane_when: ``"stored"`` quantises what is kept for the next step (eq. 12);
            ``"before_spike"`` quantises before the spike is decided (algorithm 1).
        membrane_shift: matched mode: log2 of the step in membrane steps; by default the
            least that reaches the threshold.

    Raises:
        OptionError: a parameter is out of range or not supported.
    """

    def __init__(
        self,
        threshold: float = 1.0,
        current_decay: float | tuple[float, float] = 1.0,
        voltage_decay: float | tuple[float, float] = 0.5,
        tau_grad: float | None = None,
        scale_grad: float | None = None,
        scale: int = 1 << 6,
        norm: Any = None,
        dropout: torch.nn.Module | None = None,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
        graded_spike: bool = False,
        *,
        surrogate: str | Derivative | None = None,
        gamma: float = 1.0,
        detach_reset: bool = False,
        strict: bool = False,
        membrane_bits: int | None = None,
        membrane_mode: str = "paper",
        membrane_when: str = "stored",
        membrane_shift: int | None = None,
    ) -> None:
        if not 0 < threshold < float("inf"):
            raise OptionError(f"LIF: threshold={threshold!r} is not allowed; use a number > 0")
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
            raise OptionError(f"LIF: scale={scale!r} is not allowed; use an integer >= 1")
        if dropout is not None and not callable(dropout):
            raise OptionError(f"LIF: dropout={dropout!r} is not allowed; use a module")
        for name, width in (("tau_grad", tau_grad), ("scale_grad", scale_grad), ("gamma", gamma)):
            if width is not None and not width > 0:
                raise OptionError(f"LIF: {name}={width!r} is not allowed; use a number > 0")
        if graded_spike:
            raise OptionError("LIF: graded_spike=True is not supported; leave it at its default")
        check_option("LIF", "membrane_mode", membrane_mode, ("paper", "authors", "matched"))
        check_option("LIF", "membrane_when", membrane_when, ("stored", "before_spike"))
        if membrane_mode == "authors" and membrane_when != "stored":
            raise OptionError(
                f"LIF: membrane_when={membrane_when!r} is not allowed with membrane_mode='authors'; "
                "use 'stored'"
            )
        slayers = tau_grad is not None or scale_grad is not None
        surrogate = surrogate or ("slayer" if slayers else "triangular")
        if slayers and surrogate != "slayer":
            raise OptionError(
                f"LIF: tau_grad and scale_grad are those of surrogate='slayer', not of {surrogate!r}; "
                "leave surrogate out, or give gamma in their place"
            )
        super().__init__(
            threshold=1.0,
            p_scale=NO_MEMORY,
            w_scale=scale,
            s_scale=scale << ALIGN_BITS,
            norm=norm,
            dropout=dropout,
            persistent_state=persistent_state,
            shared_param=shared_param,
            requires_grad=requires_grad,
        )
        self._threshold = float(threshold)  # the base class truncates to 1 / scale
        self.surrogate = surrogate if isinstance(surrogate, str) else getattr(surrogate, "__name__", "own")
        self.ignore_reset = surrogate == "slayer"
        self._derivative = functional.surrogate_derivative("exponential" if self.ignore_reset else surrogate)
        self.gamma, self.scale_grad = float(gamma), 1.0
        if self.ignore_reset:
            self.gamma = _SLAYER_WIDTH * float(1 if tau_grad is None else tau_grad) * self._threshold
            self.scale_grad = _SLAYER_FACTOR * float(1 if scale_grad is None else scale_grad)
        self.detach_reset = detach_reset
        self.strict = strict
        self.membrane_bits = None if membrane_bits is None else check_membrane_bits(membrane_bits)
        self.membrane_mode = membrane_mode
        self.membrane_when = membrane_when
        self._set_decays("LIF", current_decay=current_decay, voltage_decay=voltage_decay)
        self.register_buffer("current_state", torch.zeros(1), persistent=False)
        self.register_buffer("voltage_state", torch.zeros(1), persistent=False)
        self.register_buffer("spike_state", torch.zeros(1), persistent=False)  # sent at last
        if membrane_bits is not None and membrane_mode != "matched":
            self.register_buffer("membrane_scale", torch.zeros(()))  # alpha_u; 0 before training
        self.membrane_shift = membrane_shift
        if membrane_bits is not None and membrane_mode == "matched":
            self._prepare_matched(membrane_bits)

    def _prepare_matched(self, bits: int) -> None:
        if np.min(self.cx_current_decay) < NO_MEMORY or self.membrane_when != "stored":
            raise OptionError(
                "LIF: membrane_mode='matched' needs current_decay=1 and membrane_when='stored', "
                "as the device computes; use membrane_mode='paper' otherwise"
            )
        if self.w_scale & (self.w_scale - 1):
            raise OptionError(
                f"LIF: scale={self.w_scale} is not allowed with membrane_mode='matched'; use a power of two, "
                "of which floating point holds every step"
            )
        steps = self._threshold * (self.w_scale << ALIGN_BITS)
        if not 1 <= steps <= STATE_MAX:
            raise OptionError(
                f"LIF: threshold={self._threshold} is {steps:.4g} membrane steps with scale={self.w_scale}; "
                f"membrane_mode='matched' needs 1..{STATE_MAX}; change threshold or scale"
            )
        if self.membrane_shift is None:
            largest = (1 << (bits - 1)) - 1
            self.membrane_shift = 0
            while largest << self.membrane_shift < steps:
                self.membrane_shift += 1
        if not 0 <= self.membrane_shift <= 22:
            raise OptionError(f"LIF: membrane_shift={self.membrane_shift} is not allowed; use 0..22")
        self.current_decay_fraction.requires_grad_(False)  # the grid has no current with a memory

    mantissas: bool = False
    """Whether in matched mode the threshold is a mantissa, as of Loihi's own neurons."""

    def match_device(self, scale: int | None = None) -> None:
        """Go over to ``membrane_mode="matched"``, unless it is on; without ``membrane_bits``, with 24 bits.

        Args:
            scale: weight steps per unit of current, a power of two; None for the neuron's own.

        Raises:
            OptionError: an option has no matched form, or the threshold leaves the grid.
        """
        if self.fixed_point() is not None:
            return
        if scale is not None:
            self.w_scale, self.s_scale = scale, scale << ALIGN_BITS
        bits = self.membrane_bits or STATE_BITS
        alpha = self.membrane_range
        if self.membrane_shift is None and alpha > 0:  # the power of two nearest to the trained step
            step = alpha * (self.w_scale << ALIGN_BITS) / ((1 << (bits - 1)) - 1)
            self.membrane_shift = max(0, min(22, round(math.log2(step))))
        self._prepare_matched(bits)
        self.membrane_bits, self.membrane_mode = bits, "matched"

    @property
    def membrane_range(self) -> float:
        """Largest potential that a memory of k bits learned to hold (alpha_u); 0 without one."""
        return float(getattr(self, "membrane_scale", 0.0))

    def extra_repr(self) -> str:
        text = (
            f"threshold={self.threshold}, current_decay={_text(self.cx_current_decay)}, "
            f"voltage_decay={_text(self.cx_voltage_decay)}"
        )
        if self.membrane_bits is not None:
            text += f", membrane_bits={self.membrane_bits}, membrane_mode={self.membrane_mode!r}"
        return f"{text}, strict=True" if self.strict else text

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.voltage_decay_fraction.device

    @property
    def device_params(self) -> dict[str, Any]:
        """Parameters under SLAYER's names; the threshold is rounded to 1 / scale."""
        return {
            "type": "CUBA",
            "iDecay": self.cx_current_decay,
            "vDecay": self.cx_voltage_decay,
            "vThMant": round(self.threshold * self.w_scale),
            "refDelay": 1,
            "gradedSpike": False,
        }

    def reset_state(self) -> None:
        """Forget the state that ``persistent_state`` carries."""
        self.current_state = torch.zeros(1, device=self.device)
        self.voltage_state = torch.zeros(1, device=self.device)
        self.spike_state = torch.zeros(1, device=self.device)

    def _state(self, state: Tensor, like: Tensor) -> Tensor:
        if self.persistent_state and state.shape == like.shape:
            return state
        return like.new_zeros(())

    @property
    def unit(self) -> int | None:
        """Membrane steps per unit of current in matched mode, else None."""
        exact = self.fixed_point()
        return None if exact is None else exact.unit

    def fixed_point(self) -> FixedPointMembrane | None:
        """Integer arithmetic of a neuron in matched mode, else None."""
        if self.membrane_bits is None or self.membrane_mode != "matched":
            return None
        assert self.membrane_shift is not None
        decay = self.cx_voltage_decay
        if not isinstance(decay, int):
            axes = 0 if self.shape is None else len(self.shape) - 1
            decay = torch.from_numpy(decay).to(self.device).view(-1, *[1] * axes)
        return FixedPointMembrane(
            bits=self.membrane_bits,
            shift=self.membrane_shift,
            unit=self.w_scale << ALIGN_BITS,
            threshold=(
                self.device_threshold(self._threshold * self.w_scale) << ALIGN_BITS
                if self.mantissas
                else self.device_threshold(self._threshold * (self.w_scale << ALIGN_BITS))
            ),
            voltage_decay=decay,
        )

    def device_threshold(self, steps: float, slip: float = 0.0) -> int:
        """Integer above which a device fires for a threshold of ``steps``, which may be off by ``slip``."""
        return math.floor(steps + slip) if self.strict else math.ceil(steps - slip) - 1

    def _memory(self, maxima: list[Tensor]) -> Memory | None:
        if self.membrane_bits is None or self.membrane_mode == "matched":
            return None
        squash = self.membrane_mode == "authors"

        def scale(potential: Tensor) -> Tensor:
            if squash and not self.training:
                return potential.abs().amax().clamp(min=1e-6)
            at_hand = is_at_hand(self.membrane_scale)
            if not self.training and at_hand and self.membrane_scale > 0:
                alpha: Tensor = self.membrane_scale
                return alpha
            alpha = potential.abs().amax().clamp(min=1e-6)
            if not self.training and not at_hand:
                return torch.where(self.membrane_scale > 0, self.membrane_scale, alpha)
            alpha = distributed.largest(alpha)
            maxima.append(alpha)
            return alpha

        before_spike = self.membrane_when == "before_spike"
        return Memory(bits=self.membrane_bits, scale=scale, before_spike=before_spike, squash=squash)

    @property
    def takes_drives(self) -> bool:
        """Whether :meth:`forward` takes a :class:`~lava_bsnn.functional.drive.Drive` as it is."""
        known = not self.strict and self.membrane_mode != "authors"  # to kernels
        return known and not self.filters_current and self.norm is None and self.unit is None

    def _spikes_of(self, drive: Drive) -> Tensor:
        """Spikes ``[T, N, ...]``."""
        like = drive.images[0]
        self._prepare(like.shape[1:])
        maxima: list[Tensor] = []
        keep, before = self._retain("voltage_decay", like.dim() - 2), self._state(self.voltage_state, like)
        spikes, _, stored = functional.lif(
            drive, keep, before, self._how(maxima), with_potential=False, with_stored=self.persistent_state
        )
        self._follow(maxima)
        if stored is not None and self.persistent_state:
            self.voltage_state = stored
        return spikes

    def _prepare(self, shape: torch.Size) -> None:
        if self.shape is None:
            self.shape = shape
        if self.requires_grad:
            self.clamp()

    def _follow(self, maxima: list[Tensor]) -> None:
        """Move the running scale of the stored potential."""
        if self.training and maxima:
            mean = torch.stack(maxima).mean().detach()
            moved = self.membrane_scale.lerp(mean.to(self.membrane_scale.dtype), _MOMENTUM)
            self.membrane_scale.copy_(torch.where(self.membrane_scale == 0, mean, moved))

    def _how(self, maxima: list[Tensor]) -> Spiking:
        return Spiking(
            threshold=self.threshold,
            derivative=self._derivative,
            gamma=self.gamma,
            scale=self.scale_grad,
            detach_reset=self.detach_reset,
            ignore_reset=self.ignore_reset,
            strict=self.strict,
            memory=self._memory(maxima),
            fixed_point=self.fixed_point(),
        )

    def _run(
        self, x: Tensor, feedback: Feedback | None = None, *, with_potential: bool = True
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Current, membrane potential before reset, and spikes, all ``[T, N, ...]``."""
        self._prepare(x.shape[1:-1])
        current, axes = time_major(x), x.dim() - 3
        if self.filters_current and feedback is None:
            current = functional.leaky_integrate(
                current, self._retain("current_decay", axes), self._state(self.current_state, x[..., 0])
            )
        if self.norm is not None:
            current = time_major(self.norm(from_time_major(current).contiguous()))
        maxima: list[Tensor] = []
        how = self._how(maxima)
        keep, before = self._retain("voltage_decay", axes), self._state(self.voltage_state, x[..., 0])
        if feedback is None:
            spikes, potential, stored = functional.lif(
                current,
                keep,
                before,
                how,
                with_potential=with_potential,
                with_stored=self.persistent_state,
            )
        else:
            keeps = (self._retain("current_decay", axes), keep)
            start = tuple(
                self._state(part, x[..., 0]).expand(x.shape[:-1])
                for part in (self.current_state, self.voltage_state, self.spike_state)
            )
            state = State(current=start[0], potential=start[1], spikes=start[2])
            spikes, current, potential, state = recurrent_lif(current, feedback, *keeps, state, how)
            stored = state.potential.detach()
        self._follow(maxima)
        if stored is not None and self.persistent_state:
            self.current_state = current[-1].detach().clone()
            self.voltage_state = stored
            if feedback is not None:
                self.spike_state = spikes[-1].detach().clone()
        return current, potential, spikes

    def dynamics(self, x: Tensor, feedback: Feedback | None = None) -> tuple[Tensor, Tensor]:
        """Return current and membrane potential before reset, each ``[N, ..., T]``.

        The potential carries no gradient; train through :meth:`forward`.
        """
        current, potential, _ = self._run(x, feedback)
        assert potential is not None
        return from_time_major(current), from_time_major(potential)

    def forward(self, x: Tensor | Drive, feedback: Feedback | None = None) -> Tensor:
        """Return the spikes (0 or 1) for input currents ``[N, ..., T]``, in the same shape.

        Args:
            x: currents, or where :attr:`takes_drives`, what makes them.
            feedback: how the spikes feed the neurons themselves, for currents ``[N, C, T]``.
        """
        spikes = (
            self._spikes_of(x) if isinstance(x, Drive) else self._run(x, feedback, with_potential=False)[2]
        )
        spikes = from_time_major(spikes)
        return spikes if self.drop is None else self.drop(spikes)


def _text(decay: Any) -> str:
    return f"{decay}/4096" if isinstance(decay, int) else f"{decay.min()}..{decay.max()}/4096 per channel"
