"""Machine code of the simulators: currents and neurons, in 32-bit integers.

:mod:`lava_bsnn.fixed_point` is the definition; these kernels are tested to equal it. 32 bits
suffice since :mod:`netx_export.network.checks` bounds every sum by 24 bits, or by 31 where currents wrap;
products with a decay or a gate are split in two.

Arrays are ``[N, T, width]``; a row holds one step's neurons in H, W, C order. Weighted input comes from
:mod:`netx_export.simulator.events`. Kernels release the GIL, start no threads, and are safe in forked
processes. Numba compiles them at their first call and keeps the machine code beside this file or in the
user's cache folder.
"""

from __future__ import annotations

import numpy as np

from lava_bsnn.fixed_point import DECAY_BITS, GATE_LIMIT, ONE, STATE_BITS, STATE_MAX

from .machine_code import kernel

NEVER = (1 << 31) - 1
"""A threshold that no membrane potential exceeds."""

_FULL, _HALF, _TOP = 1 << STATE_BITS, 1 << (STATE_BITS - 1), STATE_MAX
_LOW = ONE - 1


@kernel
def currents(weighted, affine, multiplier, gating, sigmoid, total, start, adds):
    """Write or add the currents of one connection; see :func:`lava_bsnn.fixed_point.gate`.

    Args:
        weighted: int16, int32 or messages ``[N, T, width]``, or ``[N, 1, width]`` for input that is constant.
        affine: int32 ``(scale, offset)`` ``[2, channels]``, membrane steps.
        multiplier: int64 ``[steps of the sample, 1 or channels]`` of a gate; no rows where there is none.
        gating: int64 ``(shift, whether the mean goes over channels, too)``.
        sigmoid: :data:`lava_bsnn.fixed_point.SIGMOID`.
        total: int32 ``[N, T, neurons]``.
        start: step of the sample at which ``total`` starts; steps beyond those of the gate count anew.
        adds: add to ``total``, which is overwritten otherwise.
    """
    scale, offset = affine[0], affine[1]
    channels = np.uint64(len(scale))
    size = np.uint64(total.shape[2])
    pixels = size // channels
    gated = len(multiplier) > 0
    sums = np.zeros(channels, dtype=np.int64)
    opening = np.full(channels, ONE, dtype=np.int32)
    shift = gating[0]
    half = (np.int64(1) << shift) >> np.int64(1)
    for n in range(total.shape[0]):
        for t in range(total.shape[1]):
            x, y = weighted[n, t if weighted.shape[1] > 1 else 0], total[n, t]
            if gated:
                sums[:] = 0
                for pixel in range(np.uint64(0), size, channels):
                    for c in range(channels):
                        sums[c] += x[pixel + c]
                for c in range(channels):
                    sums[c] = sums[c] * scale[c] + np.int64(pixels) * offset[c]
                everything = sums.sum()
                factors = multiplier[(start + t) % len(multiplier)]
                for c in range(channels):
                    mean = everything if gating[1] else sums[c]
                    z = (mean * factors[c if len(factors) > 1 else np.uint64(0)] + half) >> shift
                    z = min(max(z, np.int64(-GATE_LIMIT)), np.int64(GATE_LIMIT - 1))
                    opening[c] = sigmoid[np.uint64(z + np.int64(GATE_LIMIT))]
            for pixel in range(np.uint64(0), size, channels):
                for c in range(channels):
                    a = np.int32(np.int32(np.int32(x[pixel + c]) * scale[c]) + offset[c])
                    if gated:
                        high = np.int32(np.int32(a >> DECAY_BITS) * opening[c])
                        low = np.int32(np.int32(np.int32(a & _LOW) * opening[c]) + np.int32(ONE // 2))
                        a = np.int32(high + np.int32(low >> DECAY_BITS))
                    y[pixel + c] = np.int32(y[pixel + c] + a) if adds else a


@kernel
def mix(total, omega, mixed):
    """Mix the steps of currents; see :func:`lava_bsnn.fixed_point.mix`.

    Args:
        total: int32 ``[N, F, neurons]``.
        omega: int64 ``[T, F]``.
        mixed: int32 ``[N, T, neurons]``, overwritten.
    """
    half, size = np.int64(ONE // 2), np.uint64(total.shape[2])
    for n in range(total.shape[0]):
        for t in range(omega.shape[0]):
            y = mixed[n, t]
            row = np.full(total.shape[2], half, dtype=np.int64)
            for j in range(omega.shape[1]):
                factor, x = omega[t, j], total[n, j]
                for p in range(size):
                    row[p] += factor * x[p]
            for p in range(size):
                y[p] = np.int32(row[p] >> np.int64(DECAY_BITS))


@kernel
def _times_towards_zero(x, factor):
    """``x * factor / 4096`` towards zero, for 24-bit x and factors up to 8 * 4096, or 31-bit x and 4096."""
    size = np.int32(abs(x))
    high = np.int32(np.int32(size >> DECAY_BITS) * factor)
    low = np.int32(np.int32(np.int32(size & _LOW) * factor) >> DECAY_BITS)
    product = np.int32(high + low)
    return np.int32(-product) if x < 0 else product


@kernel
def _clip(x):
    return min(max(x, np.int32(-_TOP)), np.int32(_TOP))


@kernel
def lif(weighted, parameters, factors, u, v, messages, potentials):
    """Leaky integrate-and-fire neurons over all steps; see :func:`lava_bsnn.fixed_point.lif_step`.

    Args:
        weighted: int16 or int32 ``[N, T, width]``, or ``[N, 1, width]`` for input that is constant.
        parameters: int32 ``(scale, offset, bias, threshold)`` ``[4, period]``, membrane steps; neuron p
            has those at ``p % period``, and the current ``scale * weighted + offset``.
        factors: int32: what current and potential keep, in 1/4096; bound and shift of a k-bit
            membrane, or bound 0.
        u, v: int32 ``[N, neurons]``: state before, then after all steps.
        messages: uint8 ``[N, T, width]``.
        potentials: int32 ``[N, T, neurons]`` before any reset; or ``[1, 1, neurons]``, unused.
    """
    period = np.uint64(parameters.shape[1])
    scale, offset, bias, threshold = parameters[0], parameters[1], parameters[2], parameters[3]
    keep_u, keep_v, bound, shift = factors[0], factors[1], factors[2], factors[3]
    half = np.int32((1 << shift) >> 1)
    for n in range(u.shape[0]):
        for t in range(messages.shape[1]):
            x, s = weighted[n, t if weighted.shape[1] > 1 else 0], messages[n, t]
            kept = potentials[n if potentials.shape[0] > 1 else 0, t if potentials.shape[1] > 1 else 0]
            current, potential = u[n], v[n]
            for start in range(np.uint64(0), np.uint64(u.shape[1]), period):
                for c in range(period):
                    p = start + c
                    a = np.int32(np.int32(np.int32(x[p]) * scale[c]) + offset[c])
                    if keep_u:
                        a = np.int32(a + _times_towards_zero(current[p], keep_u))
                    if a > _HALF:
                        a = np.int32(a - _FULL)
                    elif a <= -_HALF:
                        a = np.int32(a + _FULL)
                    current[p] = a
                    m = np.int32(_times_towards_zero(potential[p], keep_v) + np.int32(a + bias[c]))
                    m = _clip(m)
                    kept[p] = m
                    fires = m > threshold[c]
                    s[p] = np.uint8(fires)
                    m = np.int32(0) if fires else m
                    if bound:
                        m = np.int32(np.int32(m + half) >> shift)
                        m = np.int32(min(max(m, np.int32(-bound)), bound) << shift)
                    potential[p] = m


@kernel
def multi_threshold(weighted, parameters, lam, levels, first, v, messages, potentials):
    """Multi-threshold neurons; see :func:`lava_bsnn.fixed_point.multi_threshold_step`.

    Arguments are those of :func:`lif`, except for ``lam``, int32 ``[1]`` or one per step of the sample,
    ``levels``, and ``first``, the step of the sample at which ``messages`` start.
    """
    period = np.uint64(parameters.shape[1])
    scale, offset, bias, threshold = parameters[0], parameters[1], parameters[2], parameters[3]
    for n in range(v.shape[0]):
        for t in range(messages.shape[1]):
            x, s = weighted[n, t if weighted.shape[1] > 1 else 0], messages[n, t]
            kept = potentials[n if potentials.shape[0] > 1 else 0, t if potentials.shape[1] > 1 else 0]
            potential, keep = v[n], lam[(first + t) % len(lam)]
            for start in range(np.uint64(0), np.uint64(v.shape[1]), period):
                for c in range(period):
                    p = start + c
                    a = np.int32(np.int32(np.int32(x[p]) * scale[c]) + np.int32(offset[c] + bias[c]))
                    m = _clip(np.int32(_times_towards_zero(potential[p], keep) + a))
                    kept[p] = m
                    # the float64 quotient of 24-bit integers rounds to no integer that it is below
                    count = np.int32(np.float64(max(m, np.int32(0))) / np.float64(threshold[c]))
                    count = min(count, np.int32(levels))
                    s[p] = np.uint8(count)
                    potential[p] = np.int32(m - np.int32(threshold[c] * count))
