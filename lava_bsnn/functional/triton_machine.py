"""Layers of neurons on a GPU: from tensors to :mod:`lava_bsnn.functional.triton_kernels` and back.

The functions are those of :mod:`lava_bsnn.functional.machine`. No call waits for the device: what a tensor
holds is read by kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .drive import Drive
from .kernels import Neurons
from .layout import Gradients, Layout
from .triton_kernels import levels as many
from .triton_kernels import lif, planes

TYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Of images, spikes and their gradients; all else is float32."""
KEEPS_BITS = False
"""A step's range is that of all neurons, of which a kernel sees a tile through all steps."""
_TILE, _CHANNELS, _SPAN = 2048, 64, 4096
"""Numbers of a program, most channels among them, and positions that one program adds up."""


def _tile(positions: int, channels: int) -> tuple[int, int]:
    """Positions and channels of a program, powers of two."""
    columns = min(_CHANNELS, _power(channels))
    return min(_TILE // columns, _power(positions)), columns


def _power(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _run(kernel: Any, like: Tensor, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Launch a kernel on a tensor's device; what is to be rounded once says so."""
    with torch.cuda.device_of(like):
        kernel[grid](*arguments, **constants, num_warps=8, enable_fp_fusion=False)


class _Layer(Layout):
    """A current as kernels see it: ``[T, N, P, C]``, or ``[T, 1, M, 1]`` without factors."""

    def __init__(self, drive: Drive | Tensor, state: Tensor) -> None:
        super().__init__(drive)
        self.factors, skipped = isinstance(drive, Drive), None
        self.samples = self.channels = 1
        images = self.images = self.rows(drive.images if isinstance(drive, Drive) else drive)
        self.gain = self.offset = images  # not read
        steps = [0] * 4
        if isinstance(drive, Drive):
            self.samples, self.channels, skipped = *self.shape[:2], drive.skipped
            self.gain, self.offset = drive.gain.detach().float(), drive.offset.detach().float()
            whole = [x.contiguous().expand(self._rows_of_factors) for x in (self.gain, self.offset)]
            steps = [stride for x in whole for stride in x.stride()[:2]]
        self.once = len(images) == 1
        self.skipped = None if skipped is None else self.rows(skipped.to(self.type))
        self.positions = self.neurons // (self.samples * self.channels)
        self.block = _tile(self.positions, self.channels)
        self.tiles = math.ceil(self.positions / self.block[0])
        self.grid = self.samples * self.tiles, math.ceil(self.channels / self.block[1])
        self.state = state.detach().float()
        if state.numel() > 1:
            self.state = self.rows(self.state.expand(self.shape)[None])
        self.sizes = self.steps, self.positions, self.channels, self.neurons
        self.strides = 0 if self.once else self.neurons, *steps, int(state.numel() > 1)

    @property
    def _rows_of_factors(self) -> tuple[int, int, int]:
        return self.steps, self.samples, self.channels

    @property
    def parts(self) -> tuple[Tensor, ...]:
        return self.images, self.gain, self.offset, self.images if self.skipped is None else self.skipped

    def run(self, kernel: Any, *arguments: Any, **constants: Any) -> None:
        """Launch a kernel on all tiles."""
        kinds = dict(FACTORS=self.factors, SKIPPED=self.skipped is not None, BP=self.block[0])
        _run(kernel, self.images, self.grid, *arguments, **kinds, **constants, BC=self.block[1])

    def watched(self, wanted: bool, otherwise: Tensor) -> tuple[Tensor | None, Tensor]:
        """Results in float32 if they are ``wanted``, and their memory."""
        made = self.empty(dtype=torch.float32) if wanted else None
        return made, otherwise if made is None else self.rows(made)

    def per_program(self, *shape: int) -> Tensor:
        """Sums that each program writes, float32."""
        return torch.empty(math.prod(self.grid), *shape, device=self.device)

    def gradients(self) -> tuple[tuple[Tensor, ...], Callable[[Drive | Tensor], Gradients]]:
        """Memory that a kernel writes gradients to, and what gives them then."""
        images = self.empty(len(self.images))
        skipped = None if self.skipped is None else self.empty()
        flat = self.rows(images)
        factors = [flat, flat]
        if self.factors:
            shape = self.tiles, *self._rows_of_factors
            factors = [torch.empty(shape, device=self.device) for _ in range(2)]

        def read(drive: Drive | Tensor) -> Gradients:
            if not isinstance(drive, Drive):
                return Gradients(images, None, None, None)
            gain, offset = (
                part.sum(0).sum_to_size(like.shape)
                for part, like in zip(factors, (drive.gain, drive.offset), strict=True)
            )
            return Gradients(images, gain, offset, skipped)

        return (flat, *factors, flat if skipped is None else self.rows(skipped)), read


def lif_forward(
    drive: Drive | Tensor,
    retain: Tensor,
    state: Tensor,
    neurons: Neurons,
    scale: None = None,
    *,
    with_potential: bool = False,
    with_stored: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor, Any]:
    """Spikes, potential before reset, final stored potential, and None.

    Args:
        drive: the current, or what makes it.
        retain: share of the potential that is kept, one number.
        state: stored potential before the first step: one number, or ``[N, ...]``.
        neurons: parameters, without a memory of bits.
        scale: None.
        with_potential: give it; else None.
        with_stored: it is always given here.
    """
    layer = _Layer(drive, state)
    spikes, stored = layer.empty(), layer.empty(1, torch.float32)
    out = layer.rows(spikes)
    potential, seen = layer.watched(with_potential, out)
    layer.run(
        lif.lif_forward,
        *layer.parts, retain.detach(), layer.state, out, seen, layer.rows(stored), float(neurons.threshold),
        *layer.sizes, *layer.strides,
        WATCHED=with_potential,
    )  # fmt: skip
    return spikes, potential, stored[0], None


def lif_backward(
    grad: Tensor,
    drive: Drive | Tensor,
    retain: Tensor,
    state: Tensor,
    neurons: Neurons,
    alphas: None,
    learns: bool,
) -> tuple[Gradients, Tensor | None]:
    """Gradients of the current and, where it ``learns``, of ``retain``; as :func:`lif_forward`."""
    layer = _Layer(drive, state)
    results, read = layer.gradients()
    kept = layer.per_program()
    scratch = torch.empty(layer.steps, layer.neurons, device=layer.device)
    layer.run(
        lif.lif_backward,
        layer.rows(grad.to(layer.type)), *layer.parts, retain.detach(), layer.state, scratch, *results, kept,
        float(neurons.threshold), float(neurons.width), float(neurons.height),
        *layer.sizes, layer.samples * layer.channels, *layer.strides,
        ONCE=layer.once, LEARNS=learns, SURROGATE=neurons.surrogate, RESET=neurons.reset,
    )  # fmt: skip
    learned = kept.sum(dtype=torch.float64).to(retain.dtype).expand(retain.shape) if learns else None
    return read(drive), learned


def levels_forward(
    drive: Drive | Tensor,
    lam: Tensor,
    theta: Tensor,
    levels: int,
    state: Tensor,
    *,
    with_membrane: bool = False,
    with_stored: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Spike counts, membrane, and last v; as :func:`lava_bsnn.functional.machine.levels_forward`."""
    layer = _Layer(drive, state)
    spikes, stored = layer.empty(), layer.empty(1, torch.float32)
    out = layer.rows(spikes)
    membrane, seen = layer.watched(with_membrane, out)
    layer.run(
        many.levels_forward,
        *layer.parts, lam.detach().contiguous(), theta.detach(), layer.state, out, seen, layer.rows(stored),
        float(levels), *layer.sizes, *layer.strides,
        WATCHED=with_membrane,
    )  # fmt: skip
    return spikes, membrane, stored[0]


def levels_backward(
    grad: Tensor, drive: Drive | Tensor, lam: Tensor, theta: Tensor, levels: int, state: Tensor
) -> tuple[Gradients, Tensor, Tensor]:
    """Gradients of the current, of ``lam`` ``[T]`` and of ``theta``."""
    layer = _Layer(drive, state)
    results, read = layer.gradients()
    kept, totals = layer.per_program(layer.steps), layer.per_program()
    layer.run(
        many.levels_backward,
        layer.rows(grad.to(layer.type)), *layer.parts, lam.detach().contiguous(), theta.detach(), layer.state,
        *results, kept, totals,
        float(levels), *layer.sizes, layer.samples * layer.channels, *layer.strides,
        ONCE=layer.once,
    )  # fmt: skip
    lams, total = kept.sum(0, dtype=torch.float64), totals.sum(dtype=torch.float64)
    return read(drive), lams.to(lam.dtype), total.to(theta.dtype).expand(theta.shape)


def _planes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images ``[T, N, C, H, W]`` channels last, and as the kernels' ``[T, N P C]``."""
    stored = images.detach().movedim(2, -1).contiguous()
    return stored.movedim(-1, 2), stored.view(len(stored), -1)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of images ``[T, N, C, H, W]`` and of their squares over space: float64 ``[T, N, C]``."""
    steps, samples, channels, *space = images.shape
    positions, items = math.prod(space), steps * samples
    flat, (rows, columns) = _planes(images)[1], _tile(positions, channels)
    parts = math.ceil(positions / _SPAN)
    found = [
        torch.empty(parts, steps, samples, channels, dtype=torch.float64, device=images.device)
        for _ in range(2)
    ]
    grid = items, math.ceil(channels / columns), parts
    _run(planes.sums, images, grid, flat, *found, positions, channels, BP=rows, BC=columns, SPAN=_SPAN)
    first, second = (part.sum(0) / positions for part in found)
    return first, second


def add_moment_gradients(grad: Tensor, images: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The gradient of images, and that of their :func:`moments`."""
    steps, samples, channels, *space = images.shape
    positions = math.prod(space)
    (_, flat), (_, given) = _planes(images), _planes(grad.to(images.dtype))
    result, out = _planes(torch.empty_like(flat).view(steps, samples, *space, channels).movedim(-1, 2))
    rows, columns = _tile(positions, channels)
    slopes = [
        (part / positions).expand(steps, samples, channels).float().contiguous()
        for part in (first, 2 * second)
    ]
    grid = steps * samples * math.ceil(positions / rows), math.ceil(channels / columns)
    _run(planes.add_slopes, images, grid, given, flat, *slopes, out, positions, channels, BP=rows, BC=columns)
    return result
