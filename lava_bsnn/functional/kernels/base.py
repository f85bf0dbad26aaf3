"""What kernels share: how they are compiled, numbers of 16 bits, and what makes a current."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

BLOCK = 4096
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
    for i in range(len(grad)):
        shared[i] = gain[i] * grad[i] + (shared[i] if once else np.float32(0))
    if last or not once:
        out = row(results.images, t, low, high)
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
