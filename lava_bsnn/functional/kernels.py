"""Machine code for layers of neurons on a CPU: one pass over memory forward, two backward.

:mod:`lava_bsnn.functional.dynamics` and :mod:`~lava_bsnn.functional.multi_threshold` are the definition; what
these kernels do not cover runs there. A layer's memory is flat, ``[T, M]``: M neurons, sample by sample. Where norm and gate
stand in front, a current is ``gain * image + offset`` with factors ``[T or 1, N or 1, K]``, K neurons in a row, which then
repeat within the sample. Neurons are taken in blocks whose state stays in the cache over all steps; threads, as many
as torch uses, share the blocks. Arithmetic is float32; images and spikes may be bfloat16 (as int16).
Kernels release the GIL and are compiled at their first call; the machine code is kept beside this file or in
the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

BLOCK = 4096
"""Neurons whose state is in the cache."""
TRIANGULAR, RECTANGULAR, EXPONENTIAL = 0, 1, 2
"""Surrogate gradients."""
EXACT, DETACHED, IGNORED = 0, 1, 2
"""How the gradient takes the reset."""


def _kernel(function: Callable[..., Any], fused: bool = True) -> Callable[..., Any]:
    # a fused multiply-add rounds once, as in torch's own kernels
    options: dict[str, Any] = dict(nogil=True, error_model="numpy", fastmath={"contract"} if fused else False)
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to
        compiled = njit(**options)(function)
    return compiled


@intrinsic
def _float_of_bits(typing_context, bits):
    def cast(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), cast


@intrinsic
def _bits_of_float(typing_context, value):
    def cast(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), cast


def _load(x, i):
    """Number i of a row of float32 or bfloat16."""


def _store(x, i, value):
    """Write number i of a row of float32 or bfloat16, rounded to the nearest."""


@overload(_load, inline="always")
def _typed_load(x, i):
    if x.dtype == types.float32:
        return lambda x, i: x[i]
    return lambda x, i: _float_of_bits(np.uint32(np.uint16(x[i])) << np.uint32(16))


@overload(_store, inline="always")
def _typed_store(x, i, value):
    if x.dtype == types.float32:

        def write(x, i, value):
            x[i] = value
    else:

        def write(x, i, value):
            bits = _bits_of_float(value)
            half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
            x[i] = np.int16((bits + half) >> np.uint32(16))

    return write


@_kernel
def _row(x, t, low, high):
    """Numbers of step t, or of the only one; of ``[1, 0]``, none."""
    return x[t if len(x) > 1 else 0, low:high]


@_kernel
def _factors(x, t, n):
    """Factors of step t and sample n, or of the only ones."""
    return x[t if len(x) > 1 else 0, n if x.shape[1] > 1 else 0]


@_kernel
def _add_up(image, gain, offset, skipped, current):
    """Current of neurons in a row."""
    for i in range(len(current)):
        current[i] = gain[i] * _load(image, i) + offset[i]
    for i in range(len(skipped)):
        current[i] += _load(skipped, i)


@_kernel
def _spread(grad, image, gain, grad_image, grad_gain, grad_offset, grad_skipped):
    """Gradients of what :func:`_add_up` takes; those that several share are added up."""
    for i in range(len(grad)):
        grad_image[i] += gain[i] * grad[i]
    for i in range(len(grad_gain)):
        grad_gain[i] += grad[i] * _load(image, i)
        grad_offset[i] += grad[i]
    for i in range(len(grad_skipped)):
        _store(grad_skipped, i, grad[i])


def _quantize(v, alpha, levels):
    one = np.float32(1)
    steps = np.floor(min(max(v / alpha, -one), one) * levels + np.float32(0.5))
    return steps * (alpha / levels)


_quantize = _kernel(_quantize, fused=False)  # rounds where torch does


@_kernel
def remember(v, alpha, levels):
    for i in range(len(v)):
        v[i] = _quantize(v[i], alpha, levels)


@_kernel
def _integrate(current, v, keep, threshold, potential):
    """Potentials before the reset; ``v`` becomes what is kept."""
    zero = np.float32(0)
    for i in range(len(v)):
        u = current[i] + keep * v[i]
        potential[i] = u
        v[i] = zero if u >= threshold else u


@_kernel
def _fire(potential, threshold, spikes):
    zero, one = np.float32(0), np.float32(1)
    for i in range(len(potential)):
        _store(spikes, i, one if potential[i] >= threshold else zero)


@_kernel
def lif_forward(
    images, gain, offset, skipped, state, keep, threshold, alphas, levels, potential, spikes, sample, first, last, start, stop
):
    """Steps ``first..last`` of blocks ``start..stop``; return the largest potential that is kept."""
    tile = gain.shape[2]
    block = max(1, BLOCK // tile) * tile
    each = -(-sample // block)
    row, current = np.empty(tile, dtype=np.float32), np.empty(tile, dtype=np.float32)
    largest = np.float32(0)
    for item in range(start, stop):
        n = item // each
        low = n * sample + item % each * block
        high = min(low + block, (n + 1) * sample)
        for t in range(first, last):
            for at in range(low, high, tile):
                to = min(at + tile, high)
                part = current[: to - at]
                _add_up(
                    _row(images, t, at, to),
                    _factors(gain, t, n),
                    _factors(offset, t, n),
                    _row(skipped, t, at, to),
                    part,
                )
                v = state[at:to]
                if levels > 0 and t > 0:
                    remember(v, alphas[t - 1], levels)
                u = _row(potential, t, at, to)
                u = u if len(u) else row[: to - at]
                _integrate(part, v, keep, threshold, u)
                _fire(u, threshold, spikes[t, at:to])
                if levels > 0:
                    for i in range(len(v)):
                        largest = max(largest, abs(v[i]))
    return largest


@_kernel
def _slope(distance, gamma, scale, kind):
    zero = np.float32(0)
    if kind == 0:
        return max(gamma - abs(distance), zero) * scale
    if kind == 1:
        return scale if abs(distance) < gamma else zero
    return np.exp(-abs(distance) / gamma) * scale


@_kernel
def _step_back(grad, potential, ahead, held, keep, threshold, gamma, scale, kind, reset, alpha, levels):
    """From the gradient of the next step's potentials, ``ahead``, to that of this step's; ``held`` adds up keep's."""
    zero, one = np.float32(0), np.float32(1)
    for i in range(len(held)):
            kept = zero if potential[i] >= threshold else potential[i]
            if levels > 0:
                kept = _quantize(kept, alpha, levels)
            held[i] += ahead[i] * kept
    for i in range(len(ahead)):
        u = potential[i]
        distance = u - threshold
        slope = _slope(distance, gamma, scale, kind)
        quiet = one if u < threshold else zero
        through = quiet
        if reset == 0:
            through = quiet - u * slope
        elif reset == 2:
            through = one
        if levels > 0 and abs(u * quiet) > alpha:
            through = zero  # rounding passes the gradient on inside its range only
        ahead[i] = _load(grad, i) * slope + ahead[i] * keep * through


@_kernel
def lif_backward(
    grad, images, gain, offset, skipped, before, keep, threshold, gamma, scale, kind, reset, alphas, levels,
    grad_images, grad_gain, grad_offset, grad_skipped, learns, sample, start, stop
):
    """Write the gradients of what makes the current; return that of ``keep``."""
    steps = len(grad)
    tile = gain.shape[2]
    block = max(1, BLOCK // tile) * tile
    each = -(-sample // block)
    size = min(block, sample)
    current, row = np.empty(tile, dtype=np.float32), np.empty(tile, dtype=np.float32)
    potential = np.empty((steps, size), dtype=np.float32)
    state, ahead, held = np.empty(size, dtype=np.float32), np.empty(size, dtype=np.float32), np.empty(size if learns else 0, dtype=np.float32)
    shared = np.empty(size, dtype=np.float32)
    total = 0.0
    for item in range(start, stop):
        n = item // each
        low = n * sample + item % each * block
        high = min(low + block, (n + 1) * sample)
        state[: high - low] = before[low:high]
        ahead[:] = 0
        held[:] = 0
        shared[:] = 0
        for t in range(steps):
            for at in range(low, high, tile):
                to = min(at + tile, high)
                part, v = current[: to - at], state[at - low : to - low]
                _add_up(
                    _row(images, t, at, to),
                    _factors(gain, t, n),
                    _factors(offset, t, n),
                    _row(skipped, t, at, to),
                    part,
                )
                if levels > 0 and t > 0:
                    remember(v, alphas[t - 1], levels)
                _integrate(part, v, keep, threshold, potential[t, at - low : to - low])
        for t in range(steps - 1, -1, -1):
            for at in range(low, high, tile):
                to = min(at + tile, high)
                here = slice(at - low, to - low)
                du = ahead[at - low : to - low]
                _step_back(
                    grad[t, at:to], potential[t, at - low : to - low], du, held[at - low : to - low],
                    keep, threshold, gamma, scale, kind, reset, alphas[t], levels,
                )
                dx = shared[at - low : to - low]
                if len(images) > 1:
                    dx[:] = 0
                _spread(
                    du,
                    _row(images, t, at, to),
                    _factors(gain, t, n),
                    dx,
                    _factors(grad_gain, t, n),
                    _factors(grad_offset, t, n),
                    _row(grad_skipped, t, at, to),
                )
                if len(images) > 1 or t == 0:
                    out = _row(grad_images, t, at, to)
                    for i in range(len(out)):
                        _store(out, i, dx[i])
        if learns:
            for i in range(high - low):
                total += held[i] + ahead[i] * before[low + i]
    return total


@_kernel
def _multi_threshold(current, v, lam, theta, levels, membrane, spikes):
    """Membrane and spike counts; ``v`` becomes what is kept."""
    zero = np.float32(0)
    for i in range(len(v)):
        membrane[i] = current[i] + lam * v[i]
    for i in range(len(v)):
        v[i] = min(max(np.floor(membrane[i] / theta), zero), levels)
    for i in range(len(spikes)):
        _store(spikes, i, v[i])
    for i in range(len(v)):
        v[i] = membrane[i] - theta * v[i]


@_kernel
def multi_threshold_forward(
    images, gain, offset, skipped, state, lam, theta, levels, membrane, spikes, sample, start, stop
):
    tile = gain.shape[2]
    block = max(1, BLOCK // tile) * tile
    each = -(-sample // block)
    row, current = np.empty(tile, dtype=np.float32), np.empty(tile, dtype=np.float32)
    for item in range(start, stop):
        n = item // each
        low = n * sample + item % each * block
        high = min(low + block, (n + 1) * sample)
        for t in range(len(spikes)):
            for at in range(low, high, tile):
                to = min(at + tile, high)
                part = current[: to - at]
                _add_up(_row(images, t, at, to), _factors(gain, t, n), _factors(offset, t, n), _row(skipped, t, at, to), part)
                m = _row(membrane, t, at, to)
                m = m if len(m) else row[: to - at]
                _multi_threshold(part, state[at:to], lam[t], theta, levels, m, spikes[t, at:to])


@_kernel
def multi_threshold_backward(
    grad, images, gain, offset, skipped, before, lam, theta, levels,
    grad_images, grad_gain, grad_offset, grad_skipped, grad_lam, sample, start, stop
):
    """Write the gradients of what makes the current and of ``lam``; return that of ``theta``."""
    zero, half = np.float32(0), np.float32(0.5)
    tile = gain.shape[2]
    block = max(1, BLOCK // tile) * tile
    each = -(-sample // block)
    size = min(block, sample)
    current, membrane, du = np.empty(tile, dtype=np.float32), np.empty(tile, dtype=np.float32), np.empty(tile, dtype=np.float32)
    none, state, shared = np.empty(0, dtype=np.float32), np.empty(size, dtype=np.float32), np.empty(size, dtype=np.float32)
    least, most = half * theta, (levels + half) * theta
    total = 0.0
    for item in range(start, stop):
        n = item // each
        low = n * sample + item % each * block
        high = min(low + block, (n + 1) * sample)
        state[: high - low] = before[low:high]
        shared[:] = zero
        for t in range(len(grad)):
            held = 0.0
            for at in range(low, high, tile):
                to = min(at + tile, high)
                part, m, g, v = current[: to - at], membrane[: to - at], du[: to - at], state[at - low : to - low]
                _add_up(_row(images, t, at, to), _factors(gain, t, n), _factors(offset, t, n), _row(skipped, t, at, to), part)
                for i in range(len(g)):
                    m[i] = part[i] + lam[t] * v[i]
                    inside = m[i] >= least and m[i] <= most
                    g[i] = _load(grad[t, at:to], i) / theta if inside else zero
                for i in range(len(g)):
                    held += g[i] * v[i]
                    total -= g[i] * m[i] / theta
                _multi_threshold(part, v, lam[t], theta, levels, m, none)
                dx = shared[at - low : to - low]
                if len(images) > 1:
                    dx[:] = zero
                _spread(
                    g,
                    _row(images, t, at, to),
                    _factors(gain, t, n),
                    dx,
                    _factors(grad_gain, t, n),
                    _factors(grad_offset, t, n),
                    _row(grad_skipped, t, at, to),
                )
                if len(images) > 1 or t + 1 == len(grad):
                    out = _row(grad_images, t, at, to)
                    for i in range(len(out)):
                        _store(out, i, dx[i])
            grad_lam[t] += held
    return total


@_kernel
def sums(images, first, second, sample, start, stop):
    """Add up images, and their squares, over each sample's rows of K neurons: ``[T, N, K]``."""
    tile = first.shape[2]
    for item in range(start, stop):
        t, n = item // first.shape[1], item % first.shape[1]
        one, two = first[t, n], second[t, n]
        for at in range(n * sample, (n + 1) * sample, tile):
            image = images[t, at : at + tile]
            for i in range(tile):
                x = np.float64(_load(image, i))
                one[i] += x
                two[i] += x * x


@_kernel
def add_slopes(grad, images, first, second, sample, start, stop):
    """Add to the gradient of images that of :func:`sums`."""
    tile = first.shape[2]
    for item in range(start, stop):
        t, n = item // first.shape[1], item % first.shape[1]
        one, two = first[t, n], second[t if len(second) > 1 else 0, n if second.shape[1] > 1 else 0]
        for at in range(n * sample, (n + 1) * sample, tile):
            image, out = images[t, at : at + tile], grad[t, at : at + tile]
            for i in range(tile):
                _store(out, i, _load(out, i) + (one[i] + two[i] * _load(image, i)))
