"""Layers of neurons on a CPU: from tensors to :mod:`lava_bsnn.functional.kernels` and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import kernels
from .drive import Drive
from .kernels import BLOCK, Neurons, Parts, extent
from .layout import Gradients, Layout
from .threads import share

TYPES = (torch.float32, torch.bfloat16)
"""Of images, spikes and their gradients; all else is float32."""
KEEPS_BITS = True
"""Whether potentials may be kept in k bits."""
_TILE = 256
"""Neurons whose factors stand side by side, repeated, so that loops over them are long."""
_AS_IT_IS = np.ones((1, 1, BLOCK), np.float32), np.zeros((1, 1, BLOCK), np.float32)
"""Factors of a current that is one already."""


class _Layer(Layout):
    """A current as kernels see it, flat.

    Args:
        drive: on the CPU, of a type of :data:`TYPES`; or the current itself, ``[T, N, ...]``.
    """

    def __init__(self, drive: Drive | Tensor) -> None:
        super().__init__(drive)
        images = drive.images if isinstance(drive, Drive) else drive
        self.sample, self.channels, skipped = self.neurons, 0, None
        if isinstance(drive, Drive):
            self.channels, skipped = self.shape[1], drive.skipped
            self.sample = self.neurons // self.shape[0]
            self.repeats = repeats(self.sample, self.channels)
            factors = [tiles(part, self.repeats) for part in (drive.gain, drive.offset)]
        else:
            factors = [factor[..., : self.neurons] for factor in _AS_IT_IS]
        self.parts = Parts(
            images=self.flat(images),
            gain=factors[0],
            offset=factors[1],
            skipped=self._nothing() if skipped is None else self.flat(skipped.to(self.type)),
        )

    def flat(self, x: Tensor) -> np.ndarray:
        """Tensor ``[T, N, ...]`` of the layer's type, or float32, as ``[T, M]``; bfloat16 as int16."""
        return numbers(self.rows(x))

    def _nothing(self, dtype: torch.dtype | None = None) -> np.ndarray:
        return numbers(torch.empty(1, 0, dtype=dtype or self.type))

    def watched(self, wanted: bool) -> tuple[Tensor | None, np.ndarray]:
        """Results in float32 if they are ``wanted``, and their memory."""
        made = self.empty(dtype=torch.float32) if wanted else None
        return made, self._nothing(torch.float32) if made is None else self.flat(made)

    def state(self, state: Tensor) -> np.ndarray:
        """A state of one number, or ``[N, ...]``, to be read: ``[1]`` or ``[M]``."""
        if state.numel() == 1:  # without torch, whose threads a fork does not have
            return np.full(1, float(state), np.float32)
        return self.flat(state.float().expand(self.shape)[None])[0]

    def stored(self, state: Tensor, wanted: bool) -> tuple[Tensor | None, np.ndarray]:
        """A copy to be written to, ``[N, ...]``, if it is ``wanted`` or no number; and its memory."""
        before = self.state(state)
        if not wanted and len(before) == 1:
            return None, before
        made = self.empty(1, torch.float32)
        flat = self.flat(made)[0]
        flat[:] = before
        return made[0], flat

    def run(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Results of ``work`` on all blocks, from and up to, shared among threads."""
        _, each = extent(self.sample, self.parts.gain.shape[2])
        return share(work, each * (self.neurons // self.sample), self.neurons * self.steps)

    def back(self, work: Callable[[Parts, int, int], Any]) -> tuple[Gradients, list[Any]]:
        """Gradients that ``work`` writes, or adds up in each thread, and its results."""
        images = self.empty(len(self.parts.images))
        skipped = self.empty() if self.parts.skipped.size else None
        flat = self.flat(images), self._nothing() if skipped is None else self.flat(skipped)
        shape = self.parts.gain.shape if self.channels else (1, 1, 0)

        def one(start: int, stop: int) -> tuple[Parts, Any]:
            sums = [np.zeros(shape, np.float32) for _ in range(2)]
            results = Parts(images=flat[0], gain=sums[0], offset=sums[1], skipped=flat[1])
            return results, work(results, start, stop)

        done = self.run(one)
        if not self.channels:
            return Gradients(images, None, None, None), [result for _, result in done]
        gain, offset = (
            torch.from_numpy(sum(part)).unflatten(2, (self.repeats, self.channels)).sum(2)
            for part in zip(*[(parts.gain, parts.offset) for parts, _ in done], strict=True)
        )
        return Gradients(images, gain, offset, skipped), [result for _, result in done]


def numbers(x: Tensor) -> np.ndarray:
    """A tensor's memory; bfloat16 as int16."""
    found: np.ndarray = (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy()
    return found


def repeats(sample: int, channels: int) -> int:
    """How often factors of all channels are repeated in a tile; divides the sample."""
    positions = sample // channels
    most = min(max(1, _TILE // channels), positions)
    return next(count for count in range(most, 0, -1) if positions % count == 0)


def tiles(factors: Tensor, count: int) -> np.ndarray:
    """Factors ``[.., .., C]`` side by side."""
    once = np.ascontiguousarray(numbers(factors.detach().float()))
    return once if count == 1 else np.tile(once, count)


def lif_forward(
    drive: Drive | Tensor,
    retain: Tensor,
    state: Tensor,
    neurons: Neurons,
    scale: Callable[[Tensor], Tensor] | None = None,
    *,
    with_potential: bool = False,
    with_stored: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor | None, Any]:
    """Spikes, potential before reset, final stored potential, and alpha_u of each step.

    Args:
        drive: the current, or what makes it.
        retain: share of the potential that is kept, one number.
        state: stored potential before the first step: one number, or ``[N, ...]``.
        neurons: parameters.
        scale: with a memory of k bits, alpha_u of a step given its largest potential.
        with_potential, with_stored: give them; else None.
    """
    layer, keep = _Layer(drive), np.float32(float(retain.detach()))
    spikes, (stored, v) = layer.empty(), layer.stored(state, with_stored or scale is not None)
    potential, seen = layer.watched(with_potential)
    alphas, out = np.zeros(layer.steps, np.float32), layer.flat(spikes)

    def run(first: int, last: int) -> float:
        def work(*span: int) -> float:
            largest: float = kernels.lif_forward(
                layer.parts, v, keep, neurons, alphas, seen, out, layer.sample, first, last, *span
            )
            return largest

        return max(layer.run(work))

    if scale is None:
        run(0, layer.steps)
        return spikes, potential, stored, alphas
    for t in range(layer.steps):  # a step's scale is that of all neurons
        alphas[t] = float(scale(torch.tensor(run(t, t + 1))))
    kernels.remember(v, alphas[-1], neurons.levels)
    return spikes, potential, stored, alphas


def lif_backward(
    grad: Tensor,
    drive: Drive | Tensor,
    retain: Tensor,
    state: Tensor,
    neurons: Neurons,
    alphas: Any,
    learns: bool,
) -> tuple[Gradients, Tensor | None]:
    """Gradients of the current and, where it ``learns``, of ``retain``.

    Arguments are those of :func:`lif_forward`, and its last result.
    """
    layer, keep = _Layer(drive), np.float32(float(retain.detach()))
    given, before = layer.flat(grad.to(layer.type)), layer.state(state)

    def work(results: Parts, *span: int) -> float:
        total: float = kernels.lif_backward(
            given, layer.parts, before, keep, neurons, alphas, results, learns, layer.sample, *span
        )
        return total

    gradients, totals = layer.back(work)
    return gradients, torch.full_like(retain, sum(totals)) if learns else None


def levels_forward(
    drive: Drive | Tensor,
    lam: Tensor,
    theta: Tensor,
    levels: int,
    state: Tensor,
    *,
    with_membrane: bool = False,
    with_stored: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Spike counts, membrane, and last v; see :func:`lava_bsnn.functional.multi_threshold`.

    Args:
        drive: the current, or what makes it.
        lam: factor on v, ``[T]``.
        theta: threshold, one number.
        levels: L.
        state: v before the first step: one number, or ``[N, ...]``.
        with_membrane, with_stored: give them; else None.
    """
    layer, (kept, *rule) = _Layer(drive), _rule(lam, theta, levels)
    spikes, (stored, v) = layer.empty(), layer.stored(state, with_stored)
    membrane, seen = layer.watched(with_membrane)
    out = layer.flat(spikes)
    layer.run(
        lambda *span: kernels.levels_forward(layer.parts, v, kept, *rule, seen, out, layer.sample, *span)
    )
    return spikes, membrane, stored


def levels_backward(
    grad: Tensor, drive: Drive | Tensor, lam: Tensor, theta: Tensor, levels: int, state: Tensor
) -> tuple[Gradients, Tensor, Tensor]:
    """Gradients of the current, of ``lam`` ``[T]`` and of ``theta``."""
    layer, (kept, *rule) = _Layer(drive), _rule(lam, theta, levels)
    given, before = layer.flat(grad.to(layer.type)), layer.state(state)

    def work(results: Parts, *span: int) -> tuple[np.ndarray, float]:
        held = np.zeros(layer.steps)
        return held, kernels.levels_backward(
            given, layer.parts, before, kept, *rule, results, held, layer.sample, *span
        )

    gradients, sums = layer.back(work)
    held, totals = zip(*sums, strict=True)
    return gradients, torch.from_numpy(sum(held)).to(lam.dtype), torch.full_like(theta, sum(totals))


def _rule(lam: Tensor, theta: Tensor, levels: int) -> tuple[np.ndarray, np.float32, np.float32]:
    kept = np.ascontiguousarray(lam.detach().float().numpy())
    return kept, np.float32(float(theta.detach())), np.float32(levels)


class _Planes:
    """Images ``[T, N, C, H, W]``, flat and channels last."""

    def __init__(self, images: Tensor) -> None:
        steps, samples, self.channels, *space = images.shape
        stored = images.detach().movedim(2, -1).contiguous()
        self.images, self.flat = stored.movedim(-1, 2), numbers(stored.view(steps, -1))
        self.positions = math.prod(space)
        self.sample = self.positions * self.channels
        self.repeats = repeats(self.sample, self.channels)
        self.items = steps, samples

    def run(self, work: Callable[[int, int], Any]) -> None:
        share(work, math.prod(self.items), self.flat.size)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of images ``[T, N, C, H, W]`` and of their squares over space: float64 ``[T, N, C]``."""
    layer = _Planes(images)
    sums = [np.zeros((*layer.items, layer.repeats * layer.channels)) for _ in range(2)]
    layer.run(lambda *span: kernels.sums(layer.flat, *sums, layer.sample, *span))
    first, second = (
        torch.from_numpy(part).unflatten(2, (layer.repeats, layer.channels)).sum(2) / layer.positions
        for part in sums
    )
    return first, second


def add_moment_gradients(grad: Tensor, images: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The gradient of images, and that of their :func:`moments`; ``grad`` may be written to."""
    layer, out = _Planes(images), _Planes(grad.to(images.dtype))
    slopes = [tiles(part / layer.positions, layer.repeats) for part in (first, 2 * second)]
    layer.run(lambda *span: kernels.add_slopes(out.flat, layer.flat, *slopes, layer.sample, *span))
    return out.images


def with_signs(magnitudes: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Magnitudes with the signs of weights, of which 0 counts as +; stored channels last.

    Args:
        magnitudes: ``[out or 1, 1, ...]``.
        weights: ``[out, in, ...]``, float32.
        dtype: of the result, of :data:`TYPES`.
    """
    rows = numbers(weights.detach().contiguous().view(len(weights), -1))
    each = numbers(magnitudes.detach().flatten().expand(len(weights)).contiguous())
    outputs, inputs, *kernel = weights.shape
    made = torch.empty(outputs, *kernel, inputs, dtype=dtype)
    flat, taps = numbers(made.view(outputs, -1)), math.prod(kernel)
    share(lambda *span: kernels.take_signs(rows, each, taps, flat, *span), len(rows), rows.size)
    return made.movedim(-1, 1)
