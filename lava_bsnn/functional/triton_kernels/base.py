"""What kernels share: places of a program, and what makes a current."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def place(positions, channels, BP: tl.constexpr, BC: tl.constexpr):
    """Sample, tile, this program's places within a sample, and its mask; channels and theirs."""
    tiles = tl.cdiv(positions, BP)
    sample, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    position, channel = tile * BP + tl.arange(0, BP), tl.program_id(1) * BC + tl.arange(0, BC)
    inside = position[:, None] * channels + channel[None, :]
    mask = (position < positions)[:, None] & (channel < channels)[None, :]
    return sample.to(tl.int64), tile.to(tl.int64), inside, mask, channel, channel < channels


@triton.jit
def load(x, inside, mask):
    """Numbers as float32, 0 where masked."""
    return tl.load(x + inside, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def add_up(image, gain, offset, skipped, inside, mask, FACTORS: tl.constexpr, SKIPPED: tl.constexpr):
    """``gain * image + offset + skipped``; factors are rows of channels."""
    current = image
    if FACTORS:
        current = current * gain[None, :] + offset[None, :]
    if SKIPPED:
        current = current + load(skipped, inside, mask)
    return current
