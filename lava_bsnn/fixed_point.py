"""The one definition of the integer arithmetic of training, simulation and Lava processes.

Units: one synaptic weight step is ``1 << 6`` membrane steps (Loihi's alignment). For a
current-based leaky integrate-and-fire neuron (hard reset to 0):

    u[t] = decay(u[t-1], current_decay) + (a[t] << 6)                wraps at 24 bits
    v[t] = decay(v[t-1], voltage_decay) + u[t] + (bias << 6)         clips to +-(2^23 - 1)
    s[t] = v[t] > (threshold << 6)                                   then v <- 0 where s

with ``decay(x, d) = x * (4096 - d) / 4096`` rounded towards zero. Every function takes
numpy arrays or torch tensors of any shape, computes in int64, and returns int64. The
reference is ``lava.proc.lif.models.PyLifModelBitAcc`` of lava-nc 0.10.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)
else:
    Array = TypeVar("Array")

STATE_BITS = 24
"""Width of current and membrane potential, sign included."""
STATE_MAX = (1 << (STATE_BITS - 1)) - 1
"""Largest membrane potential; the smallest is its negative."""
ALIGN_BITS = 6
"""Left shift of synaptic input, bias and threshold into membrane steps."""
DECAY_BITS = 12
"""Width of a decay; ``NO_MEMORY = 1 << DECAY_BITS`` forgets everything in one step."""
NO_MEMORY = 1 << DECAY_BITS


def _int64(x: Any) -> Any:
    if isinstance(x, (int, np.integer)):
        return int(x)
    if isinstance(x, np.ndarray):
        return x.astype(np.int64, copy=False)
    return x.long()


def decay(state: Array, amount: int | Array) -> Array:
    """Return ``state * (4096 - amount) / 4096``, rounded towards zero.

    Args:
        state: integer current or membrane potential.
        amount: decay in 0..4096; 4096 leaves 0, 0 leaves the state as it is.
    """
    product = _int64(state) * (NO_MEMORY - _int64(amount))
    return (product + (product < 0) * (NO_MEMORY - 1)) >> DECAY_BITS


def wrap(current: Array) -> Array:
    """Wrap a current once at 24 bits: above 2^23, and at or below -2^23."""
    half = 1 << (STATE_BITS - 1)
    current = _int64(current)
    return current - (current > half) * (2 * half) + (current <= -half) * (2 * half)


def integrate(
    current: Array,
    potential: Array,
    activation: Array,
    *,
    current_decay: int | Array,
    voltage_decay: int | Array,
    bias: int | Array = 0,
) -> tuple[Array, Array]:
    """Return the current and the membrane potential after one step, before any reset.

    Args:
        current: u[t-1], membrane steps.
        potential: v[t-1], membrane steps.
        activation: a[t], weighted input in weight steps.
        current_decay: 0..4096; 4096 means that the current has no memory.
        voltage_decay: 0..4096.
        bias: mantissa in weight steps, broadcast against ``potential``.
    """
    current = wrap(decay(current, current_decay) + (_int64(activation) << ALIGN_BITS))
    potential = decay(potential, voltage_decay) + current + (_int64(bias) << ALIGN_BITS)
    return current, potential.clip(-STATE_MAX, STATE_MAX)


def fire(potential: Array, threshold: int | Array) -> tuple[Array, Array]:
    """Return the spikes (bool), strictly above ``threshold << 6``, and the reset potential."""
    spikes = potential > (_int64(threshold) << ALIGN_BITS)
    return spikes, potential * ~spikes


def lif_step(
    current: Array,
    potential: Array,
    activation: Array,
    *,
    threshold: int | Array,
    current_decay: int | Array,
    voltage_decay: int | Array,
    bias: int | Array = 0,
) -> tuple[Array, Array, Array]:
    """Return current, membrane potential after reset, and spikes (bool) of one step."""
    current, potential = integrate(
        current,
        potential,
        activation,
        current_decay=current_decay,
        voltage_decay=voltage_decay,
        bias=bias,
    )
    spikes, potential = fire(potential, threshold)
    return current, potential, spikes


def quantize_potential(potential: Array, bits: int, shift: int) -> Array:
    """Return the potential as a ``bits``-wide memory with step ``2^shift`` holds it.

    ``clip(round_half_up(v / 2^m), -(2^(k-1)-1), 2^(k-1)-1) << m`` with k = ``bits`` in
    2..24 and m = ``shift`` (Q-SNN eq. 10 with alpha_u = (2^(k-1)-1) << m).
    """
    largest = (1 << (bits - 1)) - 1
    half = (1 << shift) >> 1
    return ((_int64(potential) + half) >> shift).clip(-largest, largest) << shift
