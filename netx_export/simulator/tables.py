"""Weights as tables for the kernels of :mod:`netx_export.simulator.events`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ..network import Conv, Dense, Shape
from . import events
from .machine_code import BLOCK, LANES
from .rows import Messages, to_row

_FEW_OUTPUTS = 48
"""Outputs per pixel up to which :func:`scattered` is faster."""
_MOST_COUNTS = 15
"""Largest message that :func:`gathered` lists as often as it counts."""
_NARROW = 8
"""Largest weight of which sums of several fit in 8 bits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scatter:
    """Arguments of :func:`netx_export.simulator.events.scattered`."""

    count: np.ndarray
    places: np.ndarray
    groups: np.ndarray
    weight: np.ndarray

    @property
    def room(self) -> int:
        """Values that may be written behind the last neuron."""
        return int(self.groups[3])

    @property
    def memory(self) -> tuple[int, ...]:
        """Size of the working memory."""
        return (self.places.shape[1],)

    def start(self) -> Any:
        """Working memory."""
        return events.scatter_buffer(*self.memory)

    def __call__(self, messages: np.ndarray, out: np.ndarray, memory: Any) -> None:
        """Write the weighted input of rows ``[N, T, width]``."""
        events.scattered(messages, self.count, self.places, self.groups, self.weight, out, memory)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gather:
    """Arguments of :func:`netx_export.simulator.events.gathered`, and the size of its working memory."""

    count: np.ndarray
    seen: np.ndarray
    sizes: np.ndarray
    weight: np.ndarray
    accumulator: np.ndarray
    memory: tuple[int, int, int, int]
    room = BLOCK

    def start(self) -> Any:
        """Working memory."""
        return events.gather_buffers(*self.memory)

    def __call__(self, messages: np.ndarray, out: np.ndarray, memory: Any) -> None:
        """Write the weighted input of rows ``[N, T, width]``."""
        events.gathered(
            messages, self.count, self.seen, self.sizes, self.weight, self.accumulator, out, *memory
        )


def tables_of(synapse: Conv | Dense, source: Shape, target: Shape, messages: Messages) -> Scatter | Gather:
    """Tables of a synapse between layers of these shapes."""
    weight = synapse.weight
    weight = weight.astype(np.min_scalar_type(min(int(weight.min()), -1 - int(weight.max()))))  # signed
    if isinstance(synapse, Dense):  # a convolution of one pixel
        weight = to_row(weight.reshape(len(weight), *source), source)[:, :, None, None]
        conv, source, target = Conv(weight=weight), (weight.shape[1], 1, 1), (len(weight), 1, 1)
    else:
        conv = synapse
    counts = not messages.signed and messages.largest <= _MOST_COUNTS
    many = isinstance(synapse, Dense) or target[0] > _FEW_OUTPUTS
    if counts and many and conv.groups == 1:
        return _gather(conv, weight, source, target, messages.largest)
    return _scatter(conv, weight, source, target, graded=messages.signed or messages.largest > 1)


def _padded(weight: np.ndarray, multiple: int) -> np.ndarray:
    """Weights with zeros up to a multiple of so many on the last axis."""
    missing = -weight.shape[-1] % multiple
    return np.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(0, missing)])


def _reached(conv: Conv, axis: int, source: int, target: int) -> list[list[tuple[int, int]]]:
    """Per input position of an axis: the output positions that it reaches, ascending, and their taps."""
    kernel, stride, dilation = conv.weight.shape[2 + axis], conv.stride[axis], conv.dilation[axis]
    reached = []
    for position in range(source):
        starts = [(position + conv.padding[axis] - dilation * tap, tap) for tap in range(kernel)]
        pairs = [(start // stride, tap) for start, tap in starts if start >= 0 and start % stride == 0]
        reached.append(sorted(pair for pair in pairs if pair[0] < target))
    return reached


def _gather(conv: Conv, weight: np.ndarray, source: Shape, target: Shape, largest: int) -> Gather:
    outputs, channels, _, kernel_w = weight.shape
    rows = _padded(weight.transpose(2, 3, 1, 0), BLOCK)  # [kh, kw, channel, output]
    length = rows.shape[-1]
    lists: list[list[tuple[int, int]]] = [[] for _ in range(target[1] * target[2])]
    columns = _reached(conv, 1, source[2], target[2])
    for y, down in enumerate(_reached(conv, 0, source[1], target[1])):
        for x, across in enumerate(columns):
            for oy, ky in down:
                for ox, kx in across:
                    tap = (ky * kernel_w + kx) * channels * length
                    lists[oy * target[2] + ox].append((y * source[2] + x, tap))
    seen = np.zeros((len(lists), max(1, max(map(len, lists))), 2), dtype=np.uint32)
    for pixel, pairs in enumerate(lists):
        seen[pixel, : len(pairs)] = np.reshape(pairs, (-1, 2))
    top = max(1, int(np.abs(weight.astype(np.int64)).max()))
    kind = np.int32 if weight.dtype.itemsize > 1 else np.int8 if top < _NARROW else np.int16
    sizes = [channels, outputs, length, np.iinfo(kind).max // top]
    pixels = source[1] * source[2]
    return Gather(
        count=np.array([len(pairs) for pairs in lists], dtype=np.int32),
        seen=seen,
        sizes=np.array(sizes, dtype=np.int64),
        weight=rows.reshape(-1),
        accumulator=np.zeros(0, dtype=kind),
        memory=(pixels, channels * pixels, largest, channels * seen.shape[1]),
    )


def _scatter(conv: Conv, weight: np.ndarray, source: Shape, target: Shape, *, graded: bool) -> Scatter:
    outputs, per_group = weight.shape[0] // conv.groups, weight.shape[1]
    kernel_h, kernel_w = weight.shape[2:]
    by_group = weight.reshape(conv.groups, outputs, per_group, kernel_h, kernel_w)
    by_tap = by_group.transpose(3, 4, 0, 2, 1).reshape(kernel_h, kernel_w, source[0], outputs)
    columns = [_runs(pairs, joined=conv.groups == 1) for pairs in _reached(conv, 1, source[2], target[2])]
    patterns = sorted({taps for runs in columns for _, taps in runs}, key=lambda taps: (-len(taps), taps))
    longest = len(patterns[0]) if patterns else 1
    rows = np.zeros((max(1, len(patterns)), kernel_h, source[0], longest * outputs), dtype=weight.dtype)
    for row, taps in zip(rows, patterns, strict=False):
        for i, tap in enumerate(taps):
            row[..., i * outputs : (i + 1) * outputs] = by_tap[:, tap]
    rows = _padded(rows, LANES)
    length = rows.shape[-1]
    lists = [
        [
            ((oy * target[2] + ox) * target[0] << 32)
            + (patterns.index(taps) * kernel_h + ky) * source[0] * length
            for oy, ky in down
            for ox, taps in runs
        ]
        for down in _reached(conv, 0, source[1], target[1])
        for runs in columns
    ]
    places = np.zeros((len(lists), max(1, max(map(len, lists)))), dtype=np.int64)
    for pixel, found in enumerate(lists):
        places[pixel, : len(found)] = found
    return Scatter(
        count=np.array([len(found) for found in lists], dtype=np.int32),
        places=places,
        groups=np.array([source[0], per_group, outputs, length, graded], dtype=np.int64),
        weight=rows.reshape(-1),
    )


def _runs(pairs: list[tuple[int, int]], *, joined: bool) -> list[tuple[int, tuple[int, ...]]]:
    """Neighbouring output positions as runs: the first, and the taps of all."""
    if not joined:
        return [(position, (tap,)) for position, tap in pairs]
    groups = groupby(enumerate(pairs), lambda one: one[1][0] - one[0])
    runs = [[pair for _, pair in group] for _, group in groups]
    return [(run[0][0], tuple(tap for _, tap in run)) for run in runs]
