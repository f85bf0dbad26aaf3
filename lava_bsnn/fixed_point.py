"""The one definition of the integer arithmetic of training, simulation and Lava processes.

Units: one synaptic weight step is ``1 << 6`` membrane steps (Loihi's alignment). For a
current-based leaky integrate-and-fire neuron (hard reset to 0):

    u[t] = decay(u[t-1], current_decay) + (a[t] << 6)                wraps at 24 bits
    v[t] = decay(v[t-1], voltage_decay) + u[t] + (bias << 6)         clips to +-(2^23 - 1)
    s[t] = v[t] > (threshold << 6)                                   then v <- 0 where s

with ``decay(x, d) = x * (4096 - d) / 4096`` rounded towards zero. The reference is
``lava.proc.lif.models.PyLifModelBitAcc`` of lava-nc 0.10.0. Beyond Loihi's neuron there are
the multi-threshold neuron (:func:`multi_threshold_step`), the gate of AGMM (:func:`gate`),
the mixing of time steps (:func:`mix`), and memories of k bits (:func:`quantize_potential`).
Factors of these are in 1/4096. Every function takes numpy arrays or torch tensors of any
shape, computes in int64, and returns int64.
"""

from __future__ import annotations

import math
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
WEIGHT_MAX = 127
"""Largest magnitude of an 8-bit weight that both signs reach."""
WIDE_WEIGHT_MAX = 2047
"""Largest magnitude of a 12-bit weight, which real weights become where the arithmetic is ours."""
DECAY_BITS = 12
"""Width of a decay; ``NO_MEMORY = 1 << DECAY_BITS`` forgets everything in one step."""
NO_MEMORY = 1 << DECAY_BITS
READOUT_MAX = ((1 << 17) - 1) << ALIGN_BITS
"""Largest potential of a readout, beyond which a neuron of the highest threshold, 17 bits, would fire."""
ONE = 1 << DECAY_BITS
"""The factor 1 of gates, mixing matrices, and kept potentials."""
GATE_INPUT_BITS = 8
"""Fractional bits of the number whose sigmoid the gate looks up."""
GATE_LIMIT = 8 << GATE_INPUT_BITS
"""The gate's table covers [-8, 8); numbers outside are clipped to its ends."""
SIGMOID = np.array(
    [
        math.floor(ONE / (1 + math.exp(-index / (1 << GATE_INPUT_BITS))) + 0.5)
        for index in range(-GATE_LIMIT, GATE_LIMIT)
    ],
    dtype=np.int64,
)
"""Sigmoid in 1/4096 for numbers in 1/256, at most 0.0007 from the sigmoid of the exact number."""


def int64(x: Any) -> Any:
    """Return a number, array or tensor as int64."""
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
    return _times_towards_zero(state, NO_MEMORY - int64(amount))


def _times_towards_zero(state: Array, factor: int | Array) -> Array:
    product = int64(state) * int64(factor)
    return (product + (product < 0) * (ONE - 1)) >> DECAY_BITS


def wrap(current: Array) -> Array:
    """Wrap a current once at 24 bits: above 2^23, and at or below -2^23."""
    half = 1 << (STATE_BITS - 1)
    current = int64(current)
    return current - (current > half) * (2 * half) + (current <= -half) * (2 * half)


def integrate(
    current: Array,
    potential: Array,
    activation: Array,
    *,
    current_decay: int | Array,
    voltage_decay: int | Array,
    bias: int | Array = 0,
    exponent: int = ALIGN_BITS,
) -> tuple[Array, Array]:
    """Return the current and the membrane potential after one step, before any reset.

    Args:
        current: u[t-1], membrane steps.
        potential: v[t-1], membrane steps.
        activation: a[t], weighted input in weight steps.
        current_decay: 0..4096; 4096 means that the current has no memory.
        voltage_decay: 0..4096.
        bias: mantissa in weight steps, broadcast against ``potential``.
        exponent: ``log2`` of the membrane steps per step of ``activation`` and ``bias``; 6 for
            weight steps.
    """
    activation = int64(activation) << exponent
    if isinstance(current_decay, int) and current_decay == NO_MEMORY:
        current = wrap(activation)
    else:
        current = wrap(decay(current, current_decay) + activation)
    potential = decay(potential, voltage_decay) + current + (int64(bias) << exponent)
    return current, potential.clip(-STATE_MAX, STATE_MAX)


def fire(potential: Array, threshold: int | Array, *, exponent: int = ALIGN_BITS) -> tuple[Array, Array]:
    """Return the spikes (bool), strictly above ``threshold << exponent``, and the reset potential."""
    spikes = potential > (int64(threshold) << exponent)
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
    return ((int64(potential) + half) >> shift).clip(-largest, largest) << shift


def multi_threshold_step(
    potential: Array,
    current: Array,
    *,
    threshold: int | Array,
    levels: int,
    lam: int = ONE,
) -> tuple[Array, Array, Array]:
    """Return spike counts 0..L, potential before and potential after the soft reset, of one step.

    ``m = lam * v / 4096`` towards zero ``+ I``, clipped to +-(2^23 - 1);
    ``s = clip(floor(m / theta), 0, L)``; ``v = m - theta * s`` (LM-HT eq. 8-11).

    Args:
        potential: v[t-1], membrane steps.
        current: I[t], membrane steps.
        threshold: theta > 0, membrane steps, broadcast against ``potential``.
        levels: L >= 1.
        lam: factor on the kept potential in 1/4096.
    """
    membrane = (_times_towards_zero(potential, lam) + int64(current)).clip(-STATE_MAX, STATE_MAX)
    theta = int64(threshold)
    spikes = _floor_divide(membrane, theta).clip(0, levels)
    return spikes, membrane, membrane - theta * spikes


def _floor_divide(x: Array, y: int | Array) -> Array:
    return x // y if isinstance(x, np.ndarray) else x.div(y, rounding_mode="floor")


def gate(current: Array, multiplier: int | Array, shift: int, *, axes: tuple[int, ...]) -> Array:
    """Gate currents by the sigmoid of their mean (AGMM eq. 11).

    ``z = clip((sum(X) * multiplier) / 2^shift, -2048, 2047)``, ``(X * SIGMOID[z]) / 4096``, both
    quotients rounded half up. The multiplier folds alpha, the unit of the current, the
    division by the number of values, and the 256 steps per unit of z.

    Args:
        current: X, membrane steps; all values over which the mean goes.
        multiplier: integer, broadcast against the sums (which keep their axes with size 1).
        shift: 0 or more.
        axes: axes of the mean.
    """
    x: Any = int64(current)
    total = x.sum(axes, keepdims=True)
    z = ((total * int64(multiplier) + ((1 << shift) >> 1)) >> shift).clip(-GATE_LIMIT, GATE_LIMIT - 1)
    table: Any = SIGMOID if isinstance(x, np.ndarray) else x.new_tensor(SIGMOID)
    result: Array = (x * table[z + GATE_LIMIT] + ONE // 2) >> DECAY_BITS
    return result


def mix(currents: Array, omega: Array) -> Array:
    """Mix time steps: ``I[t] = sum_j omega[t, j] X[j] / 4096``, rounded half up (LM-HT eq. 12).

    Args:
        currents: X, ``[T', ...]``, membrane steps.
        omega: ``[T, T']`` in 1/4096; row t makes step t.
    """
    x: Any = int64(currents)
    flat, rows = x.reshape(len(x), -1), int64(omega)
    if isinstance(x, np.ndarray):
        total: Any = rows @ flat
    else:  # exact below 2^53; GPUs have no product of integer matrices
        total = (rows.double() @ flat.double()).long()
    mixed: Array = (total + ONE // 2) >> DECAY_BITS
    return mixed.reshape((-1, *x.shape[1:]))
