"""Sums over space, for norm and gate."""

from __future__ import annotations

import triton
import triton.language as tl

from .base import load, place


@triton.jit
def sums(images, first, second, positions, channels, BP: tl.constexpr, BC: tl.constexpr, SPAN: tl.constexpr):
    """Sums over positions of images and of their squares, ``[P / SPAN, T N, C]`` in float64.

    Deviations from a mean near by are added up in float32: of large means with small deviations these
    keep all digits.
    """
    item, part = tl.program_id(0).to(tl.int64), tl.program_id(2)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    known = channel < channels
    images += item * positions * channels
    at = part * SPAN + tl.arange(0, BP)
    near = load(images, at[:, None] * channels + channel[None, :], (at < positions)[:, None] & known[None, :])
    count = tl.minimum(BP, positions - part * SPAN).to(tl.float32)
    mean = tl.sum(near, 0) / count
    one = tl.zeros([BC], tl.float32)
    two = tl.zeros([BC], tl.float32)
    for begin in range(part * SPAN, tl.minimum((part + 1) * SPAN, positions), BP):
        at = begin + tl.arange(0, BP)
        mask = (at < positions)[:, None] & known[None, :]
        apart = load(images, at[:, None] * channels + channel[None, :], mask) - mean[None, :]
        apart = tl.where(mask, apart, 0.0)
        one += tl.sum(apart, 0)
        two += tl.sum(apart * apart, 0)
    many = (tl.minimum((part + 1) * SPAN, positions) - part * SPAN).to(tl.float64)
    shift, one, two = mean.to(tl.float64), one.to(tl.float64), two.to(tl.float64)
    out = (part.to(tl.int64) * tl.num_programs(0) + item) * channels + channel
    tl.store(first + out, many * shift + one, mask=known)
    tl.store(second + out, two + 2 * shift * one + many * shift * shift, mask=known)


@triton.jit
def add_slopes(
    grad, images, first, second, out, positions, channels, BP: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """``grad + first + second * images`` with rows ``[T N, C]``."""
    item, _, inside, mask, channel, known = place(positions, channels, BP, BC)
    start = item * positions * channels
    one = load(first + item * channels, channel, known)
    two = load(second + item * channels, channel, known)
    found = load(grad + start, inside, mask)
    found = found + (one[None, :] + two[None, :] * load(images + start, inside, mask))
    tl.store(out + start + inside, found.to(out.dtype.element_ty), mask=mask)
