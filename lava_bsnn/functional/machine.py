"""Layers of neurons in machine code: from tensors to :mod:`lava_bsnn.functional.kernels` and back."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import kernels
from .drive import Drive
from .kernels import BLOCK

TYPES = (torch.float32, torch.bfloat16)
"""Of images, spikes and their gradients; all else is float32."""
_SMALL = 1 << 15
"""Neuron-steps up to which one thread is faster than several."""
_TILE = 512
"""Neurons whose factors stand side by side, repeated, so that loops over them are long."""


class Gradients(NamedTuple):
    """Of what makes a current: shapes of :class:`Drive`; None where there is nothing."""

    images: Tensor
    gain: Tensor | None
    offset: Tensor | None
    skipped: Tensor | None


class Layer:
    """A current as kernels see it, flat; neurons stand channels last where they are so, or factors are in front.

    Args:
        drive: on the CPU, of a type of :data:`TYPES`; or the current itself, ``[T, N, ...]``.
    """

    def __init__(self, drive: Drive | Tensor) -> None:
        images = drive.images if isinstance(drive, Drive) else drive
        self.type, self.shape = images.dtype, images.shape[1:]
        self.channels_last = images.dim() == 5 and (isinstance(drive, Drive) or not images.is_contiguous())
        self.images = self.flat(images)
        self.neurons = self.sample = self.images.shape[1]
        self.steps = len(images)
        self.skipped = self.nothing()
        if isinstance(drive, Drive):
            self.steps, self.sample = drive.num_steps, self.neurons // self.shape[0]
            self.channels = self.shape[1]
            self.repeats = _repeats(self.sample // self.channels, self.channels)
            self.gain, self.offset = self._tiles(drive.gain), self._tiles(drive.offset)
            if drive.skipped is not None:
                self.skipped = self.flat(drive.skipped.to(self.type))
        else:
            self.channels = self.repeats = 0
            tile = (1, 1, min(BLOCK, self.neurons))
            self.gain, self.offset = np.ones(tile, np.float32), np.zeros(tile, np.float32)

    def _tiles(self, factors: Tensor) -> np.ndarray:
        tiles: np.ndarray = factors.detach().float().repeat(1, 1, self.repeats).numpy()
        return tiles

    def flat(self, x: Tensor) -> np.ndarray:
        """Tensor ``[T, N, ...]`` of the layer's type, or float32, as ``[T, M]``; bfloat16 as int16."""
        x = x.detach()
        x = (x.movedim(2, -1) if self.channels_last else x).contiguous().view(len(x), -1)
        flat: np.ndarray = (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy()
        return flat

    def nothing(self) -> np.ndarray:
        """Of the layer's type, for what is not there."""
        return np.empty((1, 0), np.float32 if self.type == torch.float32 else np.int16)

    def empty(self, steps: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """Results ``[T, N, ...]`` of which :meth:`flat` is a view."""
        shape = [self.steps if steps is None else steps, *self.shape]
        if self.channels_last:
            shape = [*shape[:2], *shape[3:], shape[2]]
        made = torch.empty(shape, dtype=dtype or self.type)
        return made.movedim(-1, 2) if self.channels_last else made

    def state(self, state: Tensor) -> np.ndarray:
        """A state of one number, or ``[N, ...]``, as ``[M]``, to be written to."""
        flat: np.ndarray = self.flat(state.float().expand(self.shape)[None])[0]
        return flat.copy()

    def of_state(self, flat: np.ndarray) -> Tensor:
        """What :meth:`state` takes."""
        made = self.empty(1, torch.float32)
        self.flat(made)[0] = flat
        return made[0]

    def run(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Results of ``work`` on all blocks, from and up to, shared among threads."""
        tile = self.gain.shape[2]
        each = -(-self.sample // (max(1, BLOCK // tile) * tile))
        return share(work, each * (self.neurons // self.sample), self.neurons * self.steps)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Zeros to which a thread adds the gradients of gain and offset."""
        shape = self.gain.shape if self.channels else (1, 1, 0)
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def gradients(self, images: Tensor, skipped: Tensor | None, parts: list[tuple[np.ndarray, np.ndarray]]) -> Gradients:
        """Put together what threads have added up."""
        if not self.channels:
            return Gradients(images, None, None, None)
        gain, offset = (
            torch.from_numpy(sum(part)).unflatten(2, (self.repeats, self.channels)).sum(2)
            for part in zip(*parts, strict=True)
        )
        return Gradients(images, gain, offset, skipped)


def _repeats(positions: int, channels: int) -> int:
    most = max(1, _TILE // channels)
    return max(r for r in range(1, min(most, positions) + 1) if positions % r == 0)


class Rule(NamedTuple):
    """What makes spikes and their gradient, for the kernels.

    Attributes:
        threshold: fires at or above it.
        gamma: width of the surrogate.
        scale: factor on it.
        kind: surrogate, of :mod:`lava_bsnn.functional.kernels`.
        reset: how the gradient takes it, likewise.
        bits: of the stored potential; None for float32.
    """

    threshold: float
    gamma: float
    scale: float
    kind: int
    reset: int
    bits: int | None = None

    @property
    def levels(self) -> np.float32:
        """Largest number of steps of the stored potential; 0 for float32."""
        return np.float32(0 if self.bits is None else (1 << (self.bits - 1)) - 1)

    def numbers(self) -> tuple[Any, ...]:
        """Arguments of the backward kernel."""
        gamma = np.float32(self.gamma)
        scale, width = np.float32(self.scale), gamma
        if self.kind == kernels.TRIANGULAR:
            scale /= gamma * gamma
        elif self.kind == kernels.RECTANGULAR:
            scale, width = scale / gamma, gamma / np.float32(2)
        else:
            scale /= 2 * gamma
        return np.float32(self.threshold), width, np.float32(scale), self.kind, self.reset


def lif_forward(
    layer: Layer,
    keep: float,
    state: Tensor,
    rule: Rule,
    scale: Callable[[Tensor], Tensor] | None = None,
    *,
    with_potential: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor, np.ndarray]:
    """Spikes, potential before reset, final stored potential, and alpha_u of each step.

    Args:
        layer: the current.
        keep: share of the potential that is kept.
        state: stored potential before the first step: one number, or ``[N, ...]``.
        rule: threshold and bits.
        scale: with bits, alpha_u of a step given its largest potential.
        with_potential: give it; else None.
    """
    spikes, v = layer.empty(), layer.state(state)
    potential = layer.empty(dtype=torch.float32) if with_potential else None
    alphas = np.zeros(layer.steps, np.float32)
    out = layer.flat(spikes)
    seen = np.empty((1, 0), np.float32) if potential is None else layer.flat(potential)

    def steps(first: int, last: int) -> float:
        return max(
            layer.run(
                lambda start, stop: kernels.lif_forward(
                    layer.images, layer.gain, layer.offset, layer.skipped, v, np.float32(keep),
                    np.float32(rule.threshold), alphas, rule.levels, seen, out, layer.sample, first, last, start, stop,
                )
            )
        )

    if scale is None:
        steps(0, layer.steps)
        return spikes, potential, layer.of_state(v), alphas
    for t in range(layer.steps):  # a step's scale is that of all neurons
        alphas[t] = float(scale(torch.tensor(steps(t, t + 1))))
    kernels.remember(v, alphas[-1], rule.levels)
    return spikes, potential, layer.of_state(v), alphas


def lif_backward(
    grad: Tensor, layer: Layer, keep: float, state: Tensor, rule: Rule, alphas: np.ndarray, learns: bool
) -> tuple[Gradients, float]:
    """Gradients of the current and, where it ``learns``, of ``keep``; arguments as in :func:`lif_forward`."""
    images, skipped, outs = _outs(layer)
    given, before = layer.flat(grad.to(layer.type)), layer.state(state)

    def work(start: int, stop: int) -> tuple[Any, float]:
        sums = layer.factors()
        total = kernels.lif_backward(
            given, layer.images, layer.gain, layer.offset, layer.skipped, before, np.float32(keep), *rule.numbers(),
            alphas, rule.levels, outs[0], *sums, outs[1], learns, layer.sample, start, stop,
        )
        return sums, total

    parts = layer.run(work)
    return layer.gradients(images, skipped, [sums for sums, _ in parts]), sum(total for _, total in parts)


def multi_threshold_forward(
    layer: Layer, lam: np.ndarray, theta: float, levels: int, state: Tensor, *, with_membrane: bool = False
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Spike counts, membrane potential, and v after the last step; see :func:`lava_bsnn.functional.multi_threshold`."""
    spikes, v = layer.empty(), layer.state(state)
    membrane = layer.empty(dtype=torch.float32) if with_membrane else None
    out = layer.flat(spikes)
    seen = np.empty((1, 0), np.float32) if membrane is None else layer.flat(membrane)
    layer.run(
        lambda start, stop: kernels.multi_threshold_forward(
            layer.images, layer.gain, layer.offset, layer.skipped, v, lam, np.float32(theta), np.float32(levels),
            seen, out, layer.sample, start, stop,
        )
    )
    return spikes, membrane, layer.of_state(v)


def multi_threshold_backward(
    grad: Tensor, layer: Layer, lam: np.ndarray, theta: float, levels: int, state: Tensor
) -> tuple[Gradients, Tensor, float]:
    """Gradients of the current, of ``lam`` ``[T]`` and of ``theta``."""
    images, skipped, outs = _outs(layer)
    given, before = layer.flat(grad.to(layer.type)), layer.state(state)

    def work(start: int, stop: int) -> tuple[Any, np.ndarray, float]:
        sums, kept = layer.factors(), np.zeros(layer.steps)
        total = kernels.multi_threshold_backward(
            given, layer.images, layer.gain, layer.offset, layer.skipped, before, lam, np.float32(theta),
            np.float32(levels), outs[0], *sums, outs[1], kept, layer.sample, start, stop,
        )
        return sums, kept, total

    parts = layer.run(work)
    gradients = layer.gradients(images, skipped, [sums for sums, _, _ in parts])
    return gradients, torch.from_numpy(sum(kept for _, kept, _ in parts)), sum(total for *_, total in parts)


def _outs(layer: Layer) -> tuple[Tensor, Tensor | None, tuple[np.ndarray, np.ndarray]]:
    """Tensors for the gradients of images and of what is skipped to, and their memory."""
    images = layer.empty(len(layer.images))
    skipped = layer.empty() if layer.skipped.size else None
    return images, skipped, (layer.flat(images), layer.nothing() if skipped is None else layer.flat(skipped))


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of images ``[T, N, C, H, W]`` and of their squares over space: float64 ``[T, N, C]``."""
    layer = _Planes(images)
    first, second = np.zeros(layer.shape), np.zeros(layer.shape)
    layer.run(lambda start, stop: kernels.sums(layer.flat, first, second, layer.sample, start, stop))
    return layer.means(first), layer.means(second)


def add_moment_gradients(grad: Tensor, images: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Add to the gradient of images that of their :func:`moments`; ``grad`` is written to where it can be."""
    layer, out = _Planes(images), _Planes(grad.to(images.dtype))
    slopes = layer.tiles(first), layer.tiles(2 * second)
    layer.run(lambda start, stop: kernels.add_slopes(out.flat, layer.flat, *slopes, layer.sample, start, stop))
    return out.images


class _Planes:
    """Images channels last, sample by sample."""

    def __init__(self, images: Tensor) -> None:
        steps, samples, self.channels, height, width = images.shape
        stored = images.detach().movedim(2, -1).contiguous()
        self.images = stored.movedim(-1, 2)
        self.sample = height * width * self.channels
        self.repeats = _repeats(height * width, self.channels)
        self.shape = (steps, samples, self.repeats * self.channels)
        flat = stored.view(steps, -1)
        self.flat: np.ndarray = (flat.view(torch.int16) if flat.dtype == torch.bfloat16 else flat).numpy()

    def run(self, work: Callable[[int, int], Any]) -> None:
        share(work, self.shape[0] * self.shape[1], self.flat.size)

    def means(self, sums: np.ndarray) -> Tensor:
        each = torch.from_numpy(sums).unflatten(2, (self.repeats, self.channels)).sum(2)
        return each / (self.sample // self.channels)

    def tiles(self, slopes: Tensor) -> np.ndarray:
        """Gradients of means as what each neuron gets."""
        each = (slopes / (self.sample // self.channels)).float()
        tiles: np.ndarray = each.repeat(1, 1, self.repeats).numpy()
        return tiles


_POOL: tuple[int, int, ThreadPoolExecutor] | None = None


def share(work: Callable[[int, int], Any], items: int, size: int) -> list[Any]:
    """Results of ``work(start, stop)`` on items that add up to ``size`` neuron-steps, shared among threads."""
    threads = min(torch.get_num_threads(), items) if size > _SMALL else 1
    if threads < 2:
        return [work(0, items)]
    bounds = [math.ceil(items * i / threads) for i in range(threads + 1)]
    pool = _pool(torch.get_num_threads())
    calls = [pool.submit(work, *bound) for bound in zip(bounds[1:-1], bounds[2:], strict=True)]
    first = work(0, bounds[1])
    return [first, *(call.result() for call in calls)]


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    global _POOL
    if _POOL is None or _POOL[:2] != (os.getpid(), threads):
        _POOL = (os.getpid(), threads, ThreadPoolExecutor(threads - 1, thread_name_prefix="neurons"))
    return _POOL[2]
