"""Leaky integrate-and-fire neurons."""

from __future__ import annotations

import triton
import triton.language as tl

from .base import add_up, load, place


@triton.jit
def _slope(distance, width, height, SURROGATE: tl.constexpr):
    """Surrogate gradient; kinds as in :mod:`lava_bsnn.functional.kernels`."""
    if SURROGATE == 0:
        return tl.maximum(width - tl.abs(distance), 0.0) * height
    elif SURROGATE == 1:
        return tl.where(tl.abs(distance) < width, height, 0.0)
    else:
        return tl.exp(-tl.abs(distance) / width) * height


@triton.jit
def lif_forward(
    images, gain, offset, skipped, keep, state, spikes, potential, stored,
    threshold, steps, positions, channels, size,
    image_step, gain_step, gain_sample, offset_step, offset_sample, state_each,
    FACTORS: tl.constexpr, SKIPPED: tl.constexpr, WATCHED: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Spikes of all steps and the last stored potential; with WATCHED potentials before the reset."""
    sample, _, inside, mask, channel, known = place(positions, channels, BP, BC)
    start = sample * positions * channels
    gain += sample * gain_sample
    offset += sample * offset_sample
    images, skipped, spikes, potential = images + start, skipped + start, spikes + start, potential + start
    v = load(state + start * state_each, inside * state_each, mask)
    factor = tl.load(keep).to(tl.float32)
    for _ in range(steps):
        image = load(images, inside, mask)
        current = add_up(
            image, load(gain, channel, known), load(offset, channel, known), skipped, inside, mask,
            FACTORS, SKIPPED,
        )  # fmt: skip
        u = tl.math.fma(v, tl.zeros_like(v) + factor, current)
        fires = u >= threshold
        tl.store(spikes + inside, tl.where(fires, 1.0, 0.0).to(spikes.dtype.element_ty), mask=mask)
        if WATCHED:
            tl.store(potential + inside, u, mask=mask)
        v = tl.where(fires, 0.0, u)
        images += image_step
        gain += gain_step
        offset += offset_step
        skipped += size
        spikes += size
        potential += size
    tl.store(stored + start + inside, v, mask=mask)


@triton.jit
def lif_backward(
    grad, images, gain, offset, skipped, keep, state, scratch,
    grad_images, grad_gain, grad_offset, grad_skipped, grad_keep,
    threshold, width, height, steps, positions, channels, size, sums,
    image_step, gain_step, gain_sample, offset_step, offset_sample, state_each,
    FACTORS: tl.constexpr, SKIPPED: tl.constexpr, ONCE: tl.constexpr, LEARNS: tl.constexpr,
    SURROGATE: tl.constexpr, RESET: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Gradients; sums over positions per tile: of factors ``[tiles, T, N, C]``, of ``keep`` per program.

    ``scratch`` ``[T, M]`` float32 takes potentials, computed anew; ``sums`` is N C; ONCE: images of one step.
    """
    sample, tile, inside, mask, channel, known = place(positions, channels, BP, BC)
    start = sample * positions * channels
    gain += sample * gain_sample
    offset += sample * offset_sample
    row = tile * steps * sums + sample * channels
    images, skipped, scratch, grad = images + start, skipped + start, scratch + start, grad + start
    grad_images, grad_skipped = grad_images + start, grad_skipped + start
    grad_gain, grad_offset = grad_gain + row, grad_offset + row
    before = load(state + start * state_each, inside * state_each, mask)
    factor = tl.load(keep).to(tl.float32)
    v = before
    for _ in range(steps):
        image = load(images, inside, mask)
        current = add_up(
            image, load(gain, channel, known), load(offset, channel, known), skipped, inside, mask,
            FACTORS, SKIPPED,
        )  # fmt: skip
        u = tl.math.fma(v, tl.zeros_like(v) + factor, current)
        tl.store(scratch + inside, u, mask=mask)
        v = tl.where(u >= threshold, 0.0, u)
        images += image_step
        gain += gain_step
        offset += offset_step
        skipped += size
        scratch += size
        grad += size
        grad_images += image_step
        grad_skipped += size
        grad_gain += sums
        grad_offset += sums
    tl.debug_barrier()  # what one thread has written another may read
    ahead = tl.zeros([BP, BC], tl.float32)
    shared = tl.zeros([BP, BC], tl.float32)
    held = tl.zeros([BP, BC], tl.float32)
    for _ in range(steps):
        images -= image_step
        gain -= gain_step
        scratch -= size
        grad -= size
        grad_images -= image_step
        grad_skipped -= size
        grad_gain -= sums
        grad_offset -= sums
        u = load(scratch, inside, mask)
        slope = _slope(u - threshold, width, height, SURROGATE)
        quiet = tl.where(u < threshold, 1.0, 0.0)
        if LEARNS:
            held += ahead * u * quiet
        through = quiet
        if RESET == 0:
            through = quiet - u * slope
        if RESET == 2:
            through = tl.full([BP, BC], 1.0, tl.float32)
        ahead = tl.where(mask, load(grad, inside, mask) * slope + ahead * factor * through, 0.0)
        slopes = ahead
        if FACTORS:
            image = load(images, inside, mask)
            tl.store(grad_gain + channel, tl.sum(ahead * image, 0), mask=known)
            tl.store(grad_offset + channel, tl.sum(ahead, 0), mask=known)
            slopes = ahead * load(gain, channel, known)[None, :]
        if SKIPPED:
            tl.store(grad_skipped + inside, ahead.to(grad_skipped.dtype.element_ty), mask=mask)
        if ONCE:
            shared += slopes
        else:
            tl.store(grad_images + inside, slopes.to(grad_images.dtype.element_ty), mask=mask)
    if ONCE:
        tl.store(grad_images + inside, shared.to(grad_images.dtype.element_ty), mask=mask)
    if LEARNS:
        program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
        tl.store(grad_keep + program, tl.sum(tl.sum(held + ahead * before, 1), 0))
