"""Leaky integrate-and-fire neurons, with a memory of k bits on request."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .base import add_up, bounds, extent, kernel, load, row, spread, store

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
def forward(parts, state, keep, neurons, alphas, potential, spikes, sample, first, last, start, stop):
    """Steps ``first..last`` of blocks ``start..stop``; return the largest potential that is kept.

    Args:
        parts: what makes the current.
        state: stored potential ``[M]``; that after the last step is written to it, not yet rounded.
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
    largest = np.float32(0)
    for item in range(start, stop):
        n, begin, end = bounds(item, sample, block, each)
        for t in range(first, last):
            for low in range(begin, end, tile):
                high = min(low + tile, end)
                current, v, u = currents[: high - low], state[low:high], row(potential, t, low, high)
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
def backward(grad, parts, before, keep, neurons, alphas, results, learns, sample, start, stop):
    """Write the gradients of what makes the current; return that of ``keep``, if it learns.

    Args:
        grad: of the spikes ``[T, M]``.
        parts, keep, neurons, alphas, sample: as in :func:`forward`.
        before: stored potential before the first step ``[M]``.
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
                total += held[i] + ahead[i] * before[begin + i]
    return total
