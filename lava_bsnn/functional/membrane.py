"""Membrane potentials of k bits, in floating point (Q-SNN) and in Loihi's integers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import fixed_point
from ..errors import OptionError
from . import matched
from .weights import straight_through


def check_membrane_bits(bits: int) -> int:
    """Return ``bits`` if it is in 2..24; raise :class:`OptionError` otherwise."""
    if isinstance(bits, bool) or bits not in range(2, fixed_point.STATE_BITS + 1):
        raise OptionError(f"membrane_bits={bits!r} is not allowed; use 2..{fixed_point.STATE_BITS}")
    return bits


def round_to_levels(u: Tensor, bits: int, scale: float | Tensor) -> Tensor:
    """Value of Q-SNN eq. 10 without its gradient; see :func:`quantize_membrane`."""
    levels = (1 << (bits - 1)) - 1
    scale = torch.as_tensor(scale, dtype=u.dtype, device=u.device)
    steps = torch.floor((u / scale).clamp(-1, 1) * levels + 0.5)
    return steps * (scale / levels)


def quantize_membrane(u: Tensor, bits: int, scale: float | Tensor) -> Tensor:
    """Quantise a membrane potential to ``bits`` bits.

    Forward: ``alpha / n * round(n * clip(u / alpha, -1, 1))`` with ``n = 2^(bits-1) - 1`` and
    alpha = ``scale`` (Q-SNN eq. 10); halves are rounded up, as in
    :func:`lava_bsnn.fixed_point.quantize_potential`.
    Gradient: straight-through where ``|u| <= alpha``, else 0.

    Args:
        u: potential, any shape.
        bits: 2..24.
        scale: alpha_u > 0, one number per layer.
    """
    check_membrane_bits(bits)
    bound = float(scale)
    if not bound > 0:
        raise OptionError(f"quantize_membrane: scale={bound} is not allowed; use a number > 0")
    return straight_through(round_to_levels(u, bits, scale), u * (u.detach().abs() <= bound))


@dataclass(frozen=True, kw_only=True)
class FixedPointMembrane:
    """Integer arithmetic of one layer of neurons, as the device runs it.

    Attributes:
        bits: width of the stored potential, 2..24.
        shift: the stored potential's step is ``2^shift`` membrane steps.
        unit: membrane steps per unit of current, a power of two.
        threshold: in membrane steps; fires strictly above.
        voltage_decay: 0..4096; or int64 per channel, to be broadcast against the potential.
    """

    bits: int
    shift: int
    unit: int
    threshold: int
    voltage_decay: int | Tensor

    @property
    def limit(self) -> float:
        """Largest stored potential, in units of current."""
        return (((1 << (self.bits - 1)) - 1) << self.shift) / self.unit

    @property
    def fires_above(self) -> float:
        """Potential in units of current above which they fire, a membrane step below the threshold."""
        return self.threshold / self.unit

    def run(self, current: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Spikes and potential before reset ``[T, N, ...]``, and the final stored potential.

        Currents are rounded to membrane steps; everything behind is exact.
        """
        if matched.knows(current, self.voltage_decay):
            return matched.forward(current, state, **vars(self))
        scale = self.unit
        potential, spikes = torch.empty_like(current), torch.empty_like(current)
        v = (state * scale).round().long().expand(current.shape[1:])
        for t in range(len(current)):
            v = self._integrated(v, (current[t] * scale).round().long())
            potential[t] = v / scale
            fired, v = fixed_point.fire(v, self.threshold, exponent=0)
            spikes[t] = fired
            v = fixed_point.quantize_potential(v, self.bits, self.shift)
        return spikes, potential, (v / scale).to(current.dtype)

    def _integrated(self, v: Tensor, current: Tensor) -> Tensor:
        """Potential before reset, membrane steps, int64."""
        _, after = fixed_point.integrate(
            torch.zeros_like(v),
            v,
            current,
            current_decay=fixed_point.NO_MEMORY,
            voltage_decay=self.voltage_decay,
            exponent=0,
        )
        return after

    def integrate(self, stored: Tensor, current: Tensor) -> Tensor:
        """Potential before reset of one step, in units of current, float64.

        Args:
            stored: potential, in units of current.
            current: membrane steps.
        """
        return self._integrated((stored.double() * self.unit).round().long(), current.long()) / self.unit

    def stored(self, potential: Tensor) -> Tensor:
        """What is kept of a potential behind the reset, both in units of current."""
        steps = (potential.detach().double() * self.unit).round().long()
        return (fixed_point.quantize_potential(steps, self.bits, self.shift) / self.unit).to(potential.dtype)
