"""Neurons with many thresholds and soft reset."""

from __future__ import annotations

import numpy as np

from .base import add_up, bounds, extent, kernel, load, row, spread, store


@kernel
def _integrate(current, v, lam, membrane):
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
def forward(parts, state, lam, theta, levels, membrane, spikes, sample, start, stop):
    """All steps of blocks ``start..stop``.

    Args:
        parts: what makes the current.
        state: v ``[M]``; that after the last step is written to it.
        lam: factor on v, ``[T]``.
        theta, levels: numbers.
        membrane: where m is written, if at all.
        spikes: where spike counts are written ``[T, M]``.
        sample: neurons of a sample.
    """
    tile = parts.gain.shape[2]
    block, each = extent(sample, tile)
    scratch, currents = np.empty(tile, dtype=np.float32), np.empty(tile, dtype=np.float32)
    for item in range(start, stop):
        n, begin, end = bounds(item, sample, block, each)
        for t in range(len(spikes)):
            for low in range(begin, end, tile):
                high = min(low + tile, end)
                current, v, m = currents[: high - low], state[low:high], row(membrane, t, low, high)
                m = m if len(m) else scratch[: high - low]
                add_up(parts, t, n, low, high, current)
                _integrate(current, v, lam[t], m)
                _count(m, theta, levels, v)
                out = spikes[t, low:high]
                for i in range(len(out)):
                    store(out, i, v[i])
                _reset(m, theta, v)


@kernel
def backward(grad, parts, before, lam, theta, levels, results, grad_lam, sample, start, stop):
    """Write the gradients of what makes the current; add to that of ``lam``; return that of ``theta``.

    Args:
        grad: of the spike counts ``[T, M]``.
        parts, lam, theta, levels, sample: as in :func:`forward`.
        before: v before the first step ``[M]``.
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
        state[: end - begin] = before[begin:end]
        shared[:] = 0
        for t in range(len(grad)):
            held = 0.0
            for low in range(begin, end, tile):
                high = min(low + tile, end)
                m, dm, v = membrane[: high - low], slopes[: high - low], state[low - begin : high - begin]
                add_up(parts, t, n, low, high, current[: high - low])
                _integrate(current, v, lam[t], m)
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
