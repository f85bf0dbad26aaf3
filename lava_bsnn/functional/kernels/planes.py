"""Sums over space, for norm and gate."""

from __future__ import annotations

import numpy as np

from .base import kernel, load, store


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
