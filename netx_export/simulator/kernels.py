"""Machine code of the simulators: weighted input from events, and neurons, in 32-bit integers.

:mod:`lava_bsnn.fixed_point` is the definition; these kernels are tested to equal it. 32 bits
suffice since :mod:`netx_export.network.checks` bounds every sum by 24 bits, or by 31 where currents wrap;
products with a decay are split in two.

Arrays are ``[N, T, width]``; a row holds one step's neurons in H, W, C order. Rows of messages
(uint8; int8 of a signed input) end on a multiple of :data:`ROW` with zeros; rows of weighted inputs
(int32) have :data:`LANES` values of room behind the last neuron. Kernels release the GIL, start no
threads, and are safe in forked processes. Numba compiles them at their first call and keeps the machine code
beside this file or in the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic

from lava_bsnn.fixed_point import DECAY_BITS, ONE, STATE_BITS, STATE_MAX

LANES = 16
"""Outputs that a step of the inner loop adds up."""
ROW = 64
"""Messages that are looked through at once for those that are not 0."""
NEVER = (1 << 31) - 1
"""A threshold that no membrane potential exceeds."""

_EVENTS = 1024
_FULL, _HALF, _TOP = 1 << STATE_BITS, 1 << (STATE_BITS - 1), STATE_MAX
_LOW = ONE - 1
_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


class _DistinctArrays(CompilerBase):
    """Compiles for arguments that share no memory, without which LLVM forms no vectors."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    options: dict[str, Any] = dict(nogil=True, error_model="numpy", pipeline_class=_DistinctArrays)
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to
        compiled = njit(**options)(function)
    return compiled


def _vector_at(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _load(builder: Any, pointer: Any, align: int) -> Any:
    value = builder.load(pointer)
    value.align = align
    return value


@intrinsic
def _add_row(typing: Any, out: Any, start: Any, weight: Any, row: Any, factor: Any) -> Any:
    """``out[start : start + LANES] += factor * weight[row : row + LANES]``."""
    signature = types.void(out, types.uint64, weight, types.uint64, types.int32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> None:
        wide = ir.VectorType(_I32, LANES)
        target = _vector_at(context, builder, out, args[0], args[1], wide)
        narrow = ir.VectorType(ir.IntType(weight.dtype.bitwidth), LANES)
        source = _vector_at(context, builder, weight, args[2], args[3], narrow)
        sums = _load(builder, target, 4)
        weights = _load(builder, source, weight.dtype.bitwidth // 8)
        if weight.dtype.bitwidth < 32:
            weights = builder.sext(weights, wide)
        nothing = ir.Constant(wide, ir.Undefined)
        factors = builder.insert_element(nothing, args[4], ir.Constant(_I32, 0))
        factors = builder.shuffle_vector(factors, nothing, ir.Constant(wide, [0] * LANES))
        builder.store(builder.add(sums, builder.mul(weights, factors)), target).align = 4

    return signature, generate


@intrinsic
def _nonzero(typing: Any, messages: Any, start: Any) -> Any:
    """Bits of the messages that are not 0 among ``messages[start : start + ROW]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_I8, ROW)
        values = _load(builder, _vector_at(context, builder, messages, args[0], args[1], vector), 1)
        return builder.bitcast(builder.icmp_unsigned("!=", values, ir.Constant(vector, [0] * ROW)), _I64)

    return types.uint64(messages, types.uint64), generate


@intrinsic
def _lowest_bit(typing: Any, bits: Any) -> Any:
    """Index of the lowest bit that is set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


def events_buffer(taps: int) -> np.ndarray:
    """Working memory of :func:`weighted_input` for a table of so many taps."""
    return np.zeros((2, _EVENTS + ROW * taps), dtype=np.int64)


@_kernel
def weighted_input(messages, count, places, groups, weight, out, events):
    """Add up the weights of active inputs; the others cost nothing.

    Args:
        messages: uint8 or int8 ``[N, T, width]``.
        count: int32 ``[pixels]``: taps, i.e. output pixels that an input pixel reaches.
        places: int64 ``[pixels, taps]``: where the output pixel starts in a row of ``out``, times
            2^32, plus where the tap's weights of channel 0 start.
        groups: int64 ``(channels, channels per group, outputs per group, length of a weight row,
            whether messages are other than 0 and 1)``.
        weight: int8, int16 or int32, flat; rows of a multiple of ``LANES``, zeros at the end.
        out: int32 ``[N, T, width]``, overwritten.
        events: see :func:`events_buffer`.
    """
    step, zero, one = np.uint64(ROW), np.uint64(0), np.uint64(1)
    width, size = np.uint64(messages.shape[2]), np.uint64(out.shape[2])
    sent, sums = messages.reshape(-1), out.reshape(-1)
    channels, per_group = np.uint32(groups[0]), np.uint32(groups[1])
    outputs, length, graded = np.int64(groups[2]), np.int64(groups[3]), groups[4] != 0
    grouped = channels != per_group
    taps = np.uint64(places.shape[1])
    full = np.uint64(_EVENTS)
    adds, factors = events[0], events[1]
    dense = places.shape[0] == 1 and places.shape[1] == 1 and not grouped
    for image in range(np.uint64(messages.shape[0] * messages.shape[1])):
        first, base = image * width, image * size
        for i in range(size):
            sums[base + i] = 0
        found = zero
        for block in range(zero, width + step, step):
            if block < width:
                bits = _nonzero(sent, first + block)
                while bits:
                    i = np.uint32(block + _lowest_bit(bits))
                    bits &= bits - one
                    pixel = i // channels
                    channel = i - pixel * channels
                    shift = np.int64(channel) * length
                    if grouped:
                        shift += (np.int64(channel // per_group) * outputs) << 32
                    for j in range(taps):
                        adds[found + j] = places[pixel, j] + shift
                    if graded:
                        for j in range(taps):
                            factors[found + j] = sent[first + np.uint64(i)]
                    found += np.uint64(count[pixel])
            if found >= full or block >= width:
                if dense:
                    target = base + np.uint64(places[0, 0] >> 32)
                    _add_to_one(sums, target, weight, np.uint64(length), graded, adds, factors, found)
                else:
                    _add_to_many(sums, base, weight, np.uint64(length), graded, adds, factors, found)
                found = zero


@_kernel
def _add_to_one(sums, target, weight, length, graded, adds, factors, found):
    """Add weight rows to one place; the sums stay in registers."""
    low = np.uint64(0xFFFFFFFF)
    lanes, step, b = np.uint64(LANES), np.uint64(4 * LANES), np.uint64(0)
    while b + step <= length:
        t = target + b
        for k in range(found):
            w = (np.uint64(adds[k]) & low) + b
            f = np.int32(factors[k]) if graded else np.int32(1)
            _add_row(sums, t, weight, w, f)
            _add_row(sums, t + lanes, weight, w + lanes, f)
            _add_row(sums, t + lanes * np.uint64(2), weight, w + lanes * np.uint64(2), f)
            _add_row(sums, t + lanes * np.uint64(3), weight, w + lanes * np.uint64(3), f)
        b += step
    while b < length:
        for k in range(found):
            f = np.int32(factors[k]) if graded else np.int32(1)
            _add_row(sums, target + b, weight, (np.uint64(adds[k]) & low) + b, f)
        b += lanes


@_kernel
def _add_to_many(sums, base, weight, length, graded, adds, factors, found):
    """Add weight rows, each to its place."""
    low, lanes = np.uint64(0xFFFFFFFF), np.uint64(LANES)
    if graded:
        for k in range(found):
            o, w = base + np.uint64(adds[k] >> 32), np.uint64(adds[k]) & low
            for b in range(np.uint64(0), length, lanes):
                _add_row(sums, o + b, weight, w + b, np.int32(factors[k]))
    elif length == lanes:
        for k in range(found):
            _add_row(sums, base + np.uint64(adds[k] >> 32), weight, np.uint64(adds[k]) & low, np.int32(1))
    else:
        for k in range(found):
            o, w = base + np.uint64(adds[k] >> 32), np.uint64(adds[k]) & low
            for b in range(np.uint64(0), length, lanes):
                _add_row(sums, o + b, weight, w + b, np.int32(1))


@_kernel
def _times_towards_zero(x, factor):
    """``x * factor / 4096`` towards zero, for 24-bit x and factors up to 8 * 4096, or 31-bit x and 4096."""
    size = np.int32(abs(x))
    high = np.int32(np.int32(size >> DECAY_BITS) * factor)
    low = np.int32(np.int32(np.int32(size & _LOW) * factor) >> DECAY_BITS)
    product = np.int32(high + low)
    return np.int32(-product) if x < 0 else product


@_kernel
def _clip(x):
    return min(max(x, np.int32(-_TOP)), np.int32(_TOP))


@_kernel
def lif(weighted, parameters, factors, u, v, messages, potentials):
    """Leaky integrate-and-fire neurons over all steps; see :func:`lava_bsnn.fixed_point.lif_step`.

    Args:
        weighted: int32 ``[N, T, width]``, or ``[N, 1, width]`` for input that is constant.
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
                    a = np.int32(np.int32(x[p] * scale[c]) + offset[c])
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


@_kernel
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
                    a = np.int32(np.int32(x[p] * scale[c]) + np.int32(offset[c] + bias[c]))
                    m = _clip(np.int32(_times_towards_zero(potential[p], keep) + a))
                    kept[p] = m
                    # the float64 quotient of 24-bit integers rounds to no integer that it is below
                    count = np.int32(np.float64(max(m, np.int32(0))) / np.float64(threshold[c]))
                    count = min(count, np.int32(levels))
                    s[p] = np.uint8(count)
                    potential[p] = np.int32(m - np.int32(threshold[c] * count))
