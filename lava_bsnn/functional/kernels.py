"""Machine code for layers of neurons on a CPU: one pass over memory forward, one backward; norm takes two.

:mod:`lava_bsnn.functional.dynamics` and :mod:`~lava_bsnn.functional.multi_threshold` are the definition; what
these kernels do not cover runs there. A layer's memory is flat, ``[T, M]``: M neurons, sample by sample; of
what is the same at each step, ``[1, M]``; of what is not there, ``[1, 0]``. A current is
``gain * image + offset + skipped`` with factors ``[T or 1, N or 1, K]`` for K neurons in a row, which repeat
within the sample. Neurons are taken in blocks whose state stays in the cache over all steps. Arithmetic is
float32; images, spikes and their gradients may be bfloat16, as int16. Kernels release the GIL and are
compiled at their first call; the machine code is kept beside these files or in the user's cache folder.

All stand in one file: numba keeps machine code as long as a function's own file does not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

BLOCK = 2048
"""Neurons whose state is in the cache."""


def kernel(function: Callable[..., Any], fused: bool = True) -> Callable[..., Any]:
    """Compile a function; where ``fused``, a product and a sum may be rounded once, as in torch."""
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


def load(x, i):
    """Number i of a row of float32 or bfloat16."""


def store(x, i, value):
    """Write number i of a row of float32 or bfloat16, rounded to the nearest."""


@overload(load, inline="always")
def _typed_load(x, i):
    if x.dtype == types.float32:
        return lambda x, i: x[i]
    return lambda x, i: _float_of_bits(np.uint32(np.uint16(x[i])) << np.uint32(16))


@overload(store, inline="always")
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


@kernel
def extent(sample, tile):
    """Neurons of a block, whole tiles of one sample, and blocks per sample."""
    block = max(1, BLOCK // tile) * tile
    return block, -(-sample // block)


@kernel
def bounds(item, sample, block, each):
    """Sample of a block, its first neuron, and the one behind its last."""
    n = item // each
    low = n * sample + item % each * block
    return n, low, min(low + block, (n + 1) * sample)


@kernel
def carried(state, begin, end, fresh):
    """State of a block, to be written to: where all neurons have one, it; else ``fresh`` memory."""
    if len(state) >= end:
        return state[begin:end]
    fresh[:] = state[0]
    return fresh


@kernel
def row(x, t, low, high):
    """Numbers of step t, or of the only one; none of ``[1, 0]``."""
    return x[t if len(x) > 1 else 0, low:high]


@kernel
def factors(x, t, n):
    """Factors of step t and sample n, or of the only ones."""
    return x[t if len(x) > 1 else 0, n if x.shape[1] > 1 else 0]


class Parts(NamedTuple):
    """What makes a current, or the gradients of that."""

    images: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    skipped: np.ndarray


@kernel
def add_up(parts, t, n, low, high, current):
    """Current of neurons in a row."""
    image, gain, offset = (
        row(parts.images, t, low, high),
        factors(parts.gain, t, n),
        factors(parts.offset, t, n),
    )
    for i in range(len(current)):
        current[i] = gain[i] * load(image, i) + offset[i]
    skipped = row(parts.skipped, t, low, high)
    for i in range(len(skipped)):
        current[i] += load(skipped, i)


@kernel
def spread(grad, parts, t, n, low, high, last, shared, results):
    """Gradients of what :func:`add_up` takes; those that several share are added up.

    Args:
        last: whether t is the last step that comes, when an image of all steps is done.
        shared: gradient of such an image up to now.
    """
    once = len(parts.images) == 1
    gain = factors(parts.gain, t, n)
    out = row(results.images, t, low, high)
    if not once:
        for i in range(len(grad)):
            store(out, i, gain[i] * grad[i])
    else:
        for i in range(len(grad)):
            shared[i] += gain[i] * grad[i]
        if last:
            for i in range(len(grad)):
                store(out, i, shared[i])
    image = row(parts.images, t, low, high)
    grad_gain, grad_offset = factors(results.gain, t, n), factors(results.offset, t, n)
    for i in range(min(len(grad_gain), len(grad))):
        grad_gain[i] += grad[i] * load(image, i)
        grad_offset[i] += grad[i]
    skipped = row(results.skipped, t, low, high)
    for i in range(len(skipped)):
        store(skipped, i, grad[i])


TRIANGULAR, RECTANGULAR, EXPONENTIAL = 0, 1, 2
"""Surrogate gradients."""
EXACT, DETACHED, IGNORED = 0, 1, 2
"""How the gradient takes the reset."""


class Neurons(NamedTuple):
    """Parameters; all but the kinds are float32.

    Attributes:
        threshold: fires at or above it.
        levels: largest number of steps of the stored potential; 0 for float32.
        width, height: of the surrogate gradient.
        surrogate, reset: kinds.
    """

    threshold: np.float32
    levels: np.float32
    width: np.float32
    height: np.float32
    surrogate: int
    reset: int


def _quantize(v, alpha, levels):
    one = np.float32(1)
    steps = np.floor(min(max(v / alpha, -one), one) * levels + np.float32(0.5))
    return steps * (alpha / levels)


_quantize = kernel(_quantize, fused=False)  # rounds where torch does


@kernel
def remember(v, alpha, levels):
    """Round stored potentials to steps, of which ``alpha`` has so many as there are ``levels``."""
    for i in range(len(v)):
        v[i] = _quantize(v[i], alpha, levels)


@kernel
def _integrate(current, v, keep, threshold, potential):
    """Potentials before the reset; ``v`` becomes what is kept."""
    zero = np.float32(0)
    for i in range(len(v)):
        u = current[i] + keep * v[i]
        potential[i] = u
        v[i] = zero if u >= threshold else u


@kernel
def _fire(potential, threshold, spikes):
    zero, one = np.float32(0), np.float32(1)
    for i in range(len(potential)):
        store(spikes, i, one if potential[i] >= threshold else zero)


@kernel
def lif_forward(parts, state, keep, neurons, alphas, potential, spikes, sample, first, last, start, stop):
    """Steps ``first..last`` of blocks ``start..stop``; return the largest potential that is kept.

    Args:
        parts: what makes the current.
        state: stored potential ``[M]``; that after the last step is written to it, not yet rounded. Or
            one number, ``[1]``.
        keep: share of the potential that is kept.
        neurons: parameters.
        alphas: range of the stored potential at each step; read up to ``first - 1``.
        potential: where potentials before the reset are written, if at all.
        spikes: where spikes are written ``[T, M]``.
        sample: neurons of a sample.
    """
    tile = parts.gain.shape[2]
    block, each = extent(sample, tile)
    scratch, currents = np.empty(tile, dtype=np.float32), np.empty(tile, dtype=np.float32)
    fresh = np.empty(block, dtype=np.float32)
    largest = np.float32(0)
    for item in range(start, stop):
        n, begin, end = bounds(item, sample, block, each)
        kept = carried(state, begin, end, fresh)
        for t in range(first, last):
            for low in range(begin, end, tile):
                high = min(low + tile, end)
                v = kept[low - begin : high - begin]
                current, u = currents[: high - low], row(potential, t, low, high)
                u = u if len(u) else scratch[: high - low]
                add_up(parts, t, n, low, high, current)
                if neurons.levels > 0 and t > 0:
                    remember(v, alphas[t - 1], neurons.levels)
                _integrate(current, v, keep, neurons.threshold, u)
                _fire(u, neurons.threshold, spikes[t, low:high])
                if neurons.levels > 0:
                    for i in range(len(v)):
                        largest = max(largest, abs(v[i]))
    return largest


@kernel
def _slope(distance, neurons):
    zero = np.float32(0)
    if neurons.surrogate == 0:
        return max(neurons.width - abs(distance), zero) * neurons.height
    if neurons.surrogate == 1:
        return neurons.height if abs(distance) < neurons.width else zero
    return np.exp(-abs(distance) / neurons.width) * neurons.height


@kernel
def _step_back(grad, potential, ahead, held, keep, neurons, alpha):
    """From the gradient of the next step's potentials, ``ahead``, to this step's; add to keep's, ``held``."""
    zero, one = np.float32(0), np.float32(1)
    threshold, levels = neurons.threshold, neurons.levels
    for i in range(len(held)):
        kept = zero if potential[i] >= threshold else potential[i]
        if levels > 0:
            kept = _quantize(kept, alpha, levels)
        held[i] += ahead[i] * kept
    for i in range(len(ahead)):
        u = potential[i]
        slope = _slope(u - threshold, neurons)
        quiet = one if u < threshold else zero
        through = quiet
        if neurons.reset == 0:
            through = quiet - u * slope
        elif neurons.reset == 2:
            through = one
        if levels > 0 and abs(u * quiet) > alpha:
            through = zero  # rounding passes the gradient on inside its range only
        ahead[i] = load(grad, i) * slope + ahead[i] * keep * through


@kernel
def lif_backward(grad, parts, before, keep, neurons, alphas, results, learns, sample, start, stop):
    """Write the gradients of what makes the current; return that of ``keep``, if it learns.

    Args:
        grad: of the spikes ``[T, M]``.
        parts, keep, neurons, alphas, sample: as in :func:`lif_forward`.
        before: stored potential before the first step, ``[M]`` or ``[1]``.
        results: gradients; those of gain and offset are added to.
    """
    steps, tile = len(grad), parts.gain.shape[2]
    block, each = extent(sample, tile)
    size = min(block, sample)
    current = np.empty(tile, dtype=np.float32)
    potential = np.empty((steps, size), dtype=np.float32)
    scratch = np.empty((3, size), dtype=np.float32)
    state, ahead, shared = scratch[0], scratch[1], scratch[2]
    held = np.empty(size if learns else 0, dtype=np.float32)
    total = 0.0
    for item in range(start, stop):
        n, begin, end = bounds(item, sample, block, each)
        state[:] = before[0]
        if len(before) >= end:
            state[: end - begin] = before[begin:end]
        ahead[:] = shared[:] = 0
        held[:] = 0
        for t in range(steps):
            for low in range(begin, end, tile):
                high = min(low + tile, end)
                v = state[low - begin : high - begin]
                add_up(parts, t, n, low, high, current[: high - low])
                if neurons.levels > 0 and t > 0:
                    remember(v, alphas[t - 1], neurons.levels)
                u = potential[t, low - begin : high - begin]
                _integrate(current[: high - low], v, keep, neurons.threshold, u)
        for t in range(steps - 1, -1, -1):
            for low in range(begin, end, tile):
                high = min(low + tile, end)
                a, b = low - begin, high - begin
                _step_back(
                    grad[t, low:high], potential[t, a:b], ahead[a:b], held[a:b], keep, neurons, alphas[t]
                )
                spread(ahead[a:b], parts, t, n, low, high, t == 0, shared[a:b], results)
        if learns:
            for i in range(end - begin):
                total += held[i] + ahead[i] * (before[begin + i] if len(before) >= end else before[0])
    return total


@kernel
def _add_kept(current, v, lam, membrane):
    for i in range(len(v)):
        membrane[i] = current[i] + lam * v[i]


def _reset(membrane, theta, counts):
    """Make what is kept of spike counts."""
    for i in range(len(counts)):
        counts[i] = membrane[i] - theta * counts[i]


_reset = kernel(_reset, fused=False)  # rounds where torch does


@kernel
def _count(membrane, theta, levels, counts):
    zero = np.float32(0)
    for i in range(len(counts)):
        counts[i] = min(max(np.floor(membrane[i] / theta), zero), levels)


@kernel
def levels_forward(parts, state, lam, theta, levels, membrane, spikes, sample, start, stop):
    """All steps of blocks ``start..stop``.

    Args:
        parts: what makes the current.
        state: v ``[M]``; that after the last step is written to it. Or one number, ``[1]``.
        lam: factor on v, ``[T]``.
        theta, levels: numbers.
        membrane: where m is written, if at all.
        spikes: where spike counts are written ``[T, M]``.
        sample: neurons of a sample.
    """
    tile = parts.gain.shape[2]
    block, each = extent(sample, tile)
    scratch, currents = np.empty(tile, dtype=np.float32), np.empty(tile, dtype=np.float32)
    fresh = np.empty(block, dtype=np.float32)
    for item in range(start, stop):
        n, begin, end = bounds(item, sample, block, each)
        kept = carried(state, begin, end, fresh)
        for t in range(len(spikes)):
            for low in range(begin, end, tile):
                high = min(low + tile, end)
                v = kept[low - begin : high - begin]
                current, m = currents[: high - low], row(membrane, t, low, high)
                m = m if len(m) else scratch[: high - low]
                add_up(parts, t, n, low, high, current)
                _add_kept(current, v, lam[t], m)
                _count(m, theta, levels, v)
                out = spikes[t, low:high]
                for i in range(len(out)):
                    store(out, i, v[i])
                _reset(m, theta, v)


@kernel
def levels_backward(grad, parts, before, lam, theta, levels, results, grad_lam, sample, start, stop):
    """Write the gradients of what makes the current; add to that of ``lam``; return that of ``theta``.

    Args:
        grad: of the spike counts ``[T, M]``.
        parts, lam, theta, levels, sample: as in :func:`levels_forward`.
        before: v before the first step, ``[M]`` or ``[1]``.
        results: gradients; those of gain and offset are added to.
    """
    zero, half = np.float32(0), np.float32(0.5)
    tile = parts.gain.shape[2]
    block, each = extent(sample, tile)
    rows, blocks = np.empty((3, tile), dtype=np.float32), np.empty((2, min(block, sample)), dtype=np.float32)
    current, membrane, slopes = rows[0], rows[1], rows[2]
    state, shared = blocks[0], blocks[1]
    least, most = half * theta, (levels + half) * theta
    total = 0.0
    for item in range(start, stop):
        n, begin, end = bounds(item, sample, block, each)
        state[:] = before[0]
        if len(before) >= end:
            state[: end - begin] = before[begin:end]
        shared[:] = 0
        for t in range(len(grad)):
            held = 0.0
            for low in range(begin, end, tile):
                high = min(low + tile, end)
                m, dm, v = membrane[: high - low], slopes[: high - low], state[low - begin : high - begin]
                add_up(parts, t, n, low, high, current[: high - low])
                _add_kept(current, v, lam[t], m)
                for i in range(len(m)):
                    inside = m[i] >= least and m[i] <= most
                    dm[i] = load(grad[t, low:high], i) / theta if inside else zero
                for i in range(len(m)):
                    held += dm[i] * v[i]
                    total -= dm[i] * m[i] / theta
                _count(m, theta, levels, v)
                _reset(m, theta, v)
                last = t + 1 == len(grad)
                spread(dm, parts, t, n, low, high, last, shared[low - begin : high - begin], results)
            grad_lam[t] += held
    return total


@kernel
def sums(images, first, second, sample, start, stop):
    """Add up images, and their squares, over each sample's rows of K neurons: ``[T, N, K]``."""
    tile = first.shape[2]
    for item in range(start, stop):
        t, n = item // first.shape[1], item % first.shape[1]
        one, two = first[t, n], second[t, n]
        for at in range(n * sample, (n + 1) * sample, tile):
            image = images[t, at : at + tile]
            for i in range(tile):
                x = np.float64(load(image, i))
                one[i] += x
                two[i] += x * x


@kernel
def add_slopes(grad, images, first, second, sample, start, stop):
    """Add to the gradient of images that of :func:`sums`."""
    tile = first.shape[2]
    for item in range(start, stop):
        t, n = item // first.shape[1], item % first.shape[1]
        one, two = first[t, n], second[t if len(second) > 1 else 0, n if second.shape[1] > 1 else 0]
        for at in range(n * sample, (n + 1) * sample, tile):
            image, out = images[t, at : at + tile], grad[t, at : at + tile]
            for i in range(tile):
                store(out, i, load(out, i) + (one[i] + two[i] * load(image, i)))


@kernel
def take_signs(weights, magnitudes, taps, out, start, stop):
    """Write each row's magnitude with the signs of its weights; that of 0, of either sign, is +.

    Args:
        weights: ``[out, in * taps]``, float32.
        magnitudes: ``[out]``.
        taps: of a kernel.
        out: ``[out, taps * in]``: channels last.
    """
    for n in range(start, stop):
        above, below = magnitudes[n], -magnitudes[n]
        row, inputs = weights[n], weights.shape[1] // taps
        for k in range(taps):
            result = out[n, k * inputs : (k + 1) * inputs]
            for i in range(inputs):
                store(result, i, above if row[i * taps + k] >= 0 else below)


@kernel
def matched_forward(current, state, membrane, potential, spikes, start, stop):
    """LIF in integers, as :mod:`lava_bsnn.fixed_point` defines it, of neurons from start to stop.

    Args:
        current: ``[T, M]``, float32; rounded to membrane steps.
        state: stored potential, ``[M]`` or ``[1]``; ``[M]`` gets that after the last step.
        membrane: :class:`Membrane`.
        potential, spikes: where potentials before the reset and spikes are written, ``[T, M]``.
    """
    unit, largest, half = np.float32(membrane.unit), np.int64(membrane.state_max), membrane.state_max + 1
    stored_max = (np.int64(1) << (membrane.bits - 1)) - 1
    up, keep = (np.int64(1) << membrane.shift) >> 1, np.int64(membrane.one - membrane.voltage_decay)
    for i in range(start, stop):
        v = np.int64(np.rint(state[i if len(state) > 1 else 0] * unit))
        for t in range(len(current)):
            u = np.int64(np.rint(current[t, i] * unit))
            if u > half:
                u -= 2 * half
            elif u <= -half:
                u += 2 * half
            product = v * keep
            if product < 0:
                product += membrane.one - 1
            v = (product >> membrane.decay_bits) + u
            v = min(max(v, -largest), largest)
            potential[t, i] = np.float32(v) / unit
            fires = v > membrane.threshold
            spikes[t, i] = np.float32(1) if fires else np.float32(0)
            v = np.int64(0) if fires else v
            v = min(max((v + up) >> membrane.shift, -stored_max), stored_max) << membrane.shift
        if len(state) > 1:
            state[i] = np.float32(v) / unit


@kernel
def matched_backward(grad, potential, before, keep, neurons, above, limit, out, start, stop):
    """Write gradients of currents to ``out``; return that of ``keep``.

    Args:
        grad: of the spikes ``[T, M]``.
        potential: before the reset, ``[T, M]``.
        before: stored potential before the first step, ``[M]`` or ``[1]``.
        keep: share of the potential that is kept.
        neurons: parameters.
        above: potential above which they fire.
        limit: largest potential that is stored as it is.
    """
    zero, one, total = np.float32(0), np.float32(1), 0.0
    for i in range(start, stop):
        ahead = zero
        for t in range(len(grad) - 1, -1, -1):
            u = potential[t, i]
            slope = _slope(u - neurons.threshold, neurons)
            quiet = one if u <= above else zero
            kept, through = u * quiet, quiet
            if neurons.reset == 0:
                through = quiet - u * slope
            elif neurons.reset == 2:
                through = one
            if abs(kept) > limit:
                through = zero
            total += ahead * kept
            ahead = grad[t, i] * slope + ahead * keep * through
            out[t, i] = ahead
        total += ahead * before[i if len(before) > 1 else 0]
    return total


class Membrane(NamedTuple):
    """Integers of a layer in matched mode; see :class:`lava_bsnn.functional.membrane.FixedPointMembrane`."""

    bits: int
    shift: int
    unit: int
    threshold: int
    voltage_decay: int
    one: int
    decay_bits: int
    state_max: int
