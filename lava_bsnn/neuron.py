"""Spiking neurons that derive from ``slayer.neuron.base.Neuron``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import functional
from ._slayer import neuron_base, quantize
from .errors import OptionError
from .fixed_point import NO_MEMORY
from .functional.surrogate import Derivative
from .functional.time import from_time_major, time_major


class LIF(neuron_base.Neuron):
    """Leaky integrate-and-fire neuron with hard reset.

    ``c[t] = (1 - current_decay) c[t-1] + I[t]``, ``u[t] = (1 - voltage_decay) v[t-1] + c[t]``,
    ``s[t] = u[t] >= threshold``, ``v[t] = u[t] (1 - s[t])`` (AGMM eq. 1-4 with
    tau = 1 - voltage_decay). With the default ``current_decay=1`` the current has no memory.
    The parameters of ``slayer.neuron.cuba.Neuron`` are accepted under the same names.

    Args:
        threshold: firing threshold, > 0.
        current_decay: fraction of current lost per step, 0..1, a multiple of 1/4096.
        voltage_decay: fraction of membrane potential lost per step, 0..1, likewise.
        tau_grad: width gamma of the surrogate gradient.
        scale_grad: factor on the surrogate gradient.
        norm: SLAYER norm class applied to the current; blocks have ``norm`` of their own.
        dropout: module applied to the spikes.
        persistent_state: carry the state from one forward call to the next, detached.
        requires_grad: learn both decays.
        surrogate: name in ``functional.SURROGATES`` or a callable.
        detach_reset: let no gradient flow through the reset.

    Raises:
        OptionError: a parameter is out of range or not supported.
    """

    def __init__(
        self,
        threshold: float = 1.0,
        current_decay: float = 1.0,
        voltage_decay: float = 0.5,
        tau_grad: float = 1.0,
        scale_grad: float = 1.0,
        scale: int = 1 << 6,
        norm: Any = None,
        dropout: torch.nn.Module | None = None,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
        graded_spike: bool = False,
        *,
        surrogate: str | Derivative = "triangular",
        detach_reset: bool = False,
    ) -> None:
        for name, value in (("current_decay", current_decay), ("voltage_decay", voltage_decay)):
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise OptionError(f"LIF: {name}={value!r} is not allowed; use a number in 0..1")
        if not threshold > 0:
            raise OptionError(f"LIF: threshold={threshold!r} is not allowed; use a number > 0")
        if not tau_grad > 0:
            raise OptionError(f"LIF: tau_grad={tau_grad!r} is not allowed; use a number > 0")
        if not shared_param or graded_spike:
            option = "graded_spike=True" if graded_spike else "shared_param=False"
            raise OptionError(f"LIF: {option} is not supported; leave it at its default")
        self._derivative = functional.surrogate_derivative(surrogate)
        super().__init__(
            threshold=1.0,
            p_scale=NO_MEMORY,
            w_scale=scale,
            s_scale=scale << 6,
            norm=norm,
            dropout=dropout,
            persistent_state=persistent_state,
            shared_param=True,
            requires_grad=requires_grad,
        )
        self._threshold = float(threshold)  # the base class truncates to 1 / scale
        self.gamma = float(tau_grad)
        self.scale_grad = float(scale_grad)
        self.detach_reset = detach_reset
        self.current_decay = torch.nn.Parameter(
            torch.tensor([self.p_scale * current_decay]), requires_grad=requires_grad
        )
        self.voltage_decay = torch.nn.Parameter(
            torch.tensor([self.p_scale * voltage_decay]), requires_grad=requires_grad
        )
        self.register_buffer("current_state", torch.zeros(1), persistent=False)
        self.register_buffer("voltage_state", torch.zeros(1), persistent=False)

    def extra_repr(self) -> str:
        return (
            f"threshold={self.threshold}, current_decay={self.cx_current_decay}/4096, "
            f"voltage_decay={self.cx_voltage_decay}/4096"
        )

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.voltage_decay.device

    @property
    def cx_current_decay(self) -> int:
        """Current decay of the device, 0..4096."""
        return int(self.current_decay.round().clamp(0, self.p_scale))

    @property
    def cx_voltage_decay(self) -> int:
        """Voltage decay of the device, 0..4096."""
        return int(self.voltage_decay.round().clamp(0, self.p_scale))

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

    def _retain(self, decay: Tensor) -> Tensor:
        return 1.0 - quantize(decay.clamp(0, self.p_scale)) / self.p_scale

    def _state(self, state: Tensor, like: Tensor) -> Tensor:
        if self.persistent_state and state.shape == like.shape:
            return state
        return state.new_zeros(())

    def _slope(self, distance: Tensor, gamma: float) -> Tensor:
        slope = self._derivative(distance, gamma)
        return slope if self.scale_grad == 1 else slope * self.scale_grad

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Current, membrane potential before reset, and spikes, all ``[T, N, ...]``."""
        current = time_major(x)
        if self.requires_grad or self.cx_current_decay < self.p_scale:
            current = functional.leaky_integrate(
                current, self._retain(self.current_decay), self._state(self.current_state, x[..., 0])
            )
        if self.norm is not None:
            current = time_major(self.norm(from_time_major(current).contiguous()))
        spikes, potential = functional.lif(
            current,
            self._retain(self.voltage_decay),
            self._state(self.voltage_state, x[..., 0]),
            threshold=self.threshold,
            derivative=self._slope,
            gamma=self.gamma,
            detach_reset=self.detach_reset,
        )
        if self.persistent_state:
            self.current_state = current[-1].detach().clone()
            self.voltage_state = (potential[-1] * (1 - spikes[-1])).detach()
        return current, potential, spikes

    def dynamics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return current and membrane potential before reset, each ``[N, ..., T]``.

        The potential carries no gradient; train through :meth:`forward`.
        """
        current, potential, _ = self._run(x)
        return from_time_major(current), from_time_major(potential)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (0 or 1) for input currents ``[N, ..., T]``, in the same shape."""
        spikes = from_time_major(self._run(x)[2])
        return spikes if self.drop is None else self.drop(spikes)
