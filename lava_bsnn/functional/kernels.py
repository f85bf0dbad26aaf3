"""Machine code for neuron dynamics on a CPU: one pass over memory forward, one backward.

:mod:`lava_bsnn.functional.dynamics` is the definition; what these kernels do not cover runs there. Neurons
are taken in blocks whose state stays in the cache over all steps; threads, as many as torch uses, share the
blocks. Kernels release the GIL and are compiled at their first call; the machine code is kept beside this
file or in the user's cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from . import surrogate

BLOCK = 4096
"""Neurons whose state is in the cache."""
_SMALL = 1 << 15
"""Neuron-steps up to which one thread is faster than several."""
SURROGATES = {surrogate.triangular: 0, surrogate.rectangular: 1, surrogate.exponential: 2}
"""Those that the kernels know, by their number there."""
EXACT, DETACHED, IGNORED = 0, 1, 2
"""How the gradient takes the reset."""


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    # a fused multiply-add rounds once, as in torch's own kernels
    options: dict[str, Any] = dict(nogil=True, error_model="numpy", fastmath={"contract"})
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to
        compiled = njit(**options)(function)
    return compiled


@_kernel
def _lif_forward(current, state, keep, threshold, potential, spikes, stored, start, stop):
    zero, one = np.float32(0), np.float32(1)
    v = np.empty(BLOCK, dtype=np.float32)
    for low in range(start, stop, BLOCK):
        size = min(BLOCK, stop - low)
        for i in range(size):
            v[i] = state[low + i] if len(state) > 1 else state[0]
        for t in range(len(current)):
            x, u, s = (
                current[t, low : low + size],
                potential[t, low : low + size],
                spikes[t, low : low + size],
            )
            for i in range(size):
                p = x[i] + keep * v[i]
                fires = p >= threshold
                u[i] = p
                s[i] = one if fires else zero
                v[i] = zero if fires else p
        stored[low : low + size] = v[:size]


@_kernel
def _slope(distance, gamma, scale, kind):
    zero = np.float32(0)
    if kind == 0:
        return max(gamma - abs(distance), zero) * scale
    if kind == 1:
        return scale if abs(distance) < gamma else zero
    return np.exp(-abs(distance) / gamma) * scale


@_kernel
def _lif_backward(grad, potential, state, keep, threshold, gamma, scale, kind, reset, out, start, stop):
    """Write the gradient of the current; return that of ``keep``."""
    zero, one = np.float32(0), np.float32(1)
    ahead, held = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    total = 0.0
    for low in range(start, stop, BLOCK):
        size = min(BLOCK, stop - low)
        ahead[:size] = held[:size] = zero
        for t in range(len(potential) - 1, -1, -1):
            g, u, o = grad[t, low : low + size], potential[t, low : low + size], out[t, low : low + size]
            for i in range(size):
                distance = u[i] - threshold
                slope = _slope(distance, gamma, scale, kind)
                quiet = one if distance < zero else zero
                held[i] += ahead[i] * (u[i] * quiet)
                through = quiet
                if reset == 0:
                    through = quiet - u[i] * slope
                elif reset == 2:
                    through = one
                o[i] = g[i] * slope + ahead[i] * keep * through
                ahead[i] = o[i]
        for i in range(size):
            total += held[i] + ahead[i] * (state[low + i] if len(state) > 1 else state[0])
    return total


class Rule(NamedTuple):
    """What makes spikes and their gradient, for the kernels.

    Attributes:
        threshold: fires at or above it.
        gamma: width of the surrogate.
        scale: factor on it.
        kind: of :data:`SURROGATES`.
        reset: :data:`EXACT`, :data:`DETACHED` or :data:`IGNORED`.
    """

    threshold: float
    gamma: float
    scale: float
    kind: int
    reset: int

    def numbers(self) -> tuple[Any, ...]:
        """Arguments of the backward kernel."""
        gamma = np.float32(self.gamma)
        scale, width = np.float32(self.scale), gamma
        if self.kind == 0:
            scale /= gamma * gamma
        elif self.kind == 1:
            scale, width = scale / gamma, gamma / np.float32(2)
        else:
            scale /= 2 * gamma
        return np.float32(self.threshold), width, np.float32(scale), self.kind, self.reset


def lif_forward(
    current: Tensor, keep: float, state: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, potential before reset, and final stored potential; see :func:`lava_bsnn.functional.lif`.

    Args:
        current: float32 ``[T, N, ...]``, contiguous, on the CPU.
        keep: share of the potential that is kept.
        state: stored potential before the first step: one number, or ``[N, ...]``.
        threshold: fires at or above it.
    """
    potential, spikes, stored = (
        torch.empty_like(current),
        torch.empty_like(current),
        torch.empty_like(current[0]),
    )
    _shared(
        _lif_forward,
        current[0].numel(),
        len(current),
        _flat(current),
        _state(state),
        np.float32(keep),
        np.float32(threshold),
        _flat(potential),
        _flat(spikes),
        stored.view(-1).numpy(),
    )
    return spikes, potential, stored


def lif_backward(
    grad: Tensor, potential: Tensor, keep: float, state: Tensor, rule: Rule
) -> tuple[Tensor, float]:
    """Gradients of the current and of ``keep``; arguments as in :func:`lif_forward`."""
    out = torch.empty_like(potential)
    parts = _shared(
        _lif_backward,
        potential[0].numel(),
        len(potential),
        _flat(grad.contiguous()),
        _flat(potential),
        _state(state),
        np.float32(keep),
        *rule.numbers(),
        _flat(out),
    )
    return out, sum(parts)


def _flat(x: Tensor) -> np.ndarray:
    flat: np.ndarray = x.detach().view(len(x), -1).numpy()
    return flat


def _state(state: Tensor) -> np.ndarray:
    flat: np.ndarray = state.detach().reshape(-1).contiguous().numpy()
    return flat


_POOL: tuple[int, int, ThreadPoolExecutor] | None = None


def _shared(kernel: Callable[..., Any], neurons: int, steps: int, *arguments: Any) -> list[Any]:
    """Run a kernel over all neurons, shared among threads."""
    threads = torch.get_num_threads() if neurons * steps > _SMALL else 1
    each = -(-neurons // (threads * BLOCK)) * BLOCK  # whole blocks
    starts = range(0, neurons, each)
    if len(starts) < 2:
        return [kernel(*arguments, 0, neurons)]
    pool = _pool(threads)
    calls = [pool.submit(kernel, *arguments, start, min(start + each, neurons)) for start in starts[1:]]
    first = kernel(*arguments, 0, each)
    return [first, *(call.result() for call in calls)]


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    global _POOL
    if _POOL is None or _POOL[:2] != (os.getpid(), threads):
        _POOL = (os.getpid(), threads, ThreadPoolExecutor(threads - 1, thread_name_prefix="neurons"))
    return _POOL[2]
