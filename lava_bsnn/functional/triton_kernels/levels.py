"""Neurons with many thresholds and soft reset."""

from __future__ import annotations

import triton
import triton.language as tl

from .base import add_up, load, place


@triton.jit
def _count(membrane, theta, levels):
    return tl.minimum(tl.maximum(tl.floor(tl.math.div_rn(membrane, theta)), 0.0), levels)


@triton.jit
def levels_forward(
    images, gain, offset, skipped, lam, theta, state, spikes, membrane, stored,
    levels, steps, positions, channels, size,
    image_step, gain_step, gain_sample, offset_step, offset_sample, state_each,
    FACTORS: tl.constexpr, SKIPPED: tl.constexpr, WATCHED: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Spike counts of all steps and the last v; with WATCHED membranes."""
    sample, _, inside, mask, channel, known = place(positions, channels, BP, BC)
    start = sample * positions * channels
    gain += sample * gain_sample
    offset += sample * offset_sample
    images, skipped, spikes, membrane = images + start, skipped + start, spikes + start, membrane + start
    v = load(state + start * state_each, inside * state_each, mask)
    unit = tl.zeros_like(v) + tl.load(theta).to(tl.float32)
    for _ in range(steps):
        image = load(images, inside, mask)
        current = add_up(
            image, load(gain, channel, known), load(offset, channel, known), skipped, inside, mask,
            FACTORS, SKIPPED,
        )  # fmt: skip
        m = tl.math.fma(v, tl.zeros_like(v) + tl.load(lam).to(tl.float32), current)
        counts = _count(m, unit, levels)
        tl.store(spikes + inside, counts.to(spikes.dtype.element_ty), mask=mask)
        if WATCHED:
            tl.store(membrane + inside, m, mask=mask)
        v = m - unit * counts
        images += image_step
        gain += gain_step
        offset += offset_step
        skipped += size
        spikes += size
        membrane += size
        lam += 1
    tl.store(stored + start + inside, v, mask=mask)


@triton.jit
def levels_backward(
    grad, images, gain, offset, skipped, lam, theta, state,
    grad_images, grad_gain, grad_offset, grad_skipped, grad_lam, grad_theta,
    levels, steps, positions, channels, size, sums,
    image_step, gain_step, gain_sample, offset_step, offset_sample, state_each,
    FACTORS: tl.constexpr, SKIPPED: tl.constexpr, ONCE: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Gradients as in :func:`lif_backward`; those of ``lam`` ``[programs, T]``, of ``theta`` per program."""
    sample, tile, inside, mask, channel, known = place(positions, channels, BP, BC)
    start = sample * positions * channels
    gain += sample * gain_sample
    offset += sample * offset_sample
    row = tile * steps * sums + sample * channels
    program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    images, skipped, grad = images + start, skipped + start, grad + start
    grad_images, grad_skipped = grad_images + start, grad_skipped + start
    grad_gain, grad_offset = grad_gain + row, grad_offset + row
    grad_lam += program.to(tl.int64) * steps
    v = load(state + start * state_each, inside * state_each, mask)
    unit = tl.zeros_like(v) + tl.load(theta).to(tl.float32)
    total = tl.zeros([BP, BC], tl.float32)
    shared = tl.zeros([BP, BC], tl.float32)
    for _ in range(steps):
        image, factor = load(images, inside, mask), load(gain, channel, known)
        current = add_up(
            image, factor, load(offset, channel, known), skipped, inside, mask, FACTORS, SKIPPED
        )  # fmt: skip
        m = tl.math.fma(v, tl.zeros_like(v) + tl.load(lam).to(tl.float32), current)
        band = mask & (m >= 0.5 * unit) & (m <= (levels + 0.5) * unit)
        dm = tl.where(band, tl.math.div_rn(load(grad, inside, mask), unit), 0.0)
        tl.store(grad_lam, tl.sum(tl.sum(dm * v, 1), 0))
        total -= dm * m / unit
        slopes = dm
        if FACTORS:
            tl.store(grad_gain + channel, tl.sum(dm * image, 0), mask=known)
            tl.store(grad_offset + channel, tl.sum(dm, 0), mask=known)
            slopes = dm * factor[None, :]
        if SKIPPED:
            tl.store(grad_skipped + inside, dm.to(grad_skipped.dtype.element_ty), mask=mask)
        if ONCE:
            shared += slopes
        else:
            tl.store(grad_images + inside, slopes.to(grad_images.dtype.element_ty), mask=mask)
        v = m - unit * _count(m, unit, levels)
        images += image_step
        gain += gain_step
        offset += offset_step
        skipped += size
        grad += size
        grad_images += image_step
        grad_skipped += size
        grad_gain += sums
        grad_offset += sums
        lam += 1
        grad_lam += 1
    if ONCE:
        tl.store(grad_images + inside, shared.to(grad_images.dtype.element_ty), mask=mask)
    tl.store(grad_theta + program, tl.sum(tl.sum(total, 1), 0))
