"""Weights as tables for :func:`netx_export.simulator.kernels.weighted_input`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..network import Conv, Dense, Shape
from . import kernels
from .rows import to_row


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """Arguments of the kernel."""

    count: np.ndarray
    places: np.ndarray
    groups: np.ndarray
    weight: np.ndarray


def tables_of(synapse: Conv | Dense, source: Shape, target: Shape, graded: bool) -> Tables:
    """Tables of a synapse between layers of these shapes; ``graded``: messages are other than 0 and 1."""
    weight = synapse.weight
    weight = weight.astype(np.min_scalar_type(min(int(weight.min()), -1 - int(weight.max()))))  # signed
    if isinstance(synapse, Conv):
        return _conv_tables(synapse, weight, source, target, graded)
    return _dense_tables(to_row(weight.reshape(len(weight), *source), source), graded)


def _rows(weight: np.ndarray) -> tuple[np.ndarray, int]:
    """Pad the last axis to a multiple of the kernels' lanes; return it flat, and its length."""
    length = -(-weight.shape[-1] // kernels.LANES) * kernels.LANES
    padded = np.zeros((*weight.shape[:-1], length), dtype=weight.dtype)
    padded[..., : weight.shape[-1]] = weight
    return padded.reshape(-1), length


def _dense_tables(weight: np.ndarray, graded: bool) -> Tables:
    flat, length = _rows(weight.T)
    outputs, inputs = weight.shape
    return Tables(
        count=np.ones(1, dtype=np.int32),
        places=np.zeros((1, 1), dtype=np.int64),
        groups=np.array([inputs, inputs, outputs, length, graded], dtype=np.int64),
        weight=flat,
    )


def _conv_tables(conv: Conv, weight: np.ndarray, source: Shape, target: Shape, graded: bool) -> Tables:
    outputs, per_group, kernel_h, kernel_w = weight.shape
    channels = source[0]
    by_group = weight.reshape(conv.groups, outputs // conv.groups, per_group, kernel_h, kernel_w)
    flat, length = _rows(by_group.transpose(3, 4, 0, 2, 1))  # [kh, kw, channel, output of its group]
    reached, place = [], []
    for axis, kernel in enumerate((kernel_h, kernel_w)):
        start = np.arange(source[1 + axis])[:, None] + conv.padding[axis]
        position = start - conv.dilation[axis] * np.arange(kernel)
        step = conv.stride[axis]
        fits = (position >= 0) & (position % step == 0) & (position // step < target[1 + axis])
        reached.append(fits)
        place.append(position // step)
    fits = reached[0][:, None, :, None] & reached[1][None, :, None, :]
    pixel = place[0][:, None, :, None] * target[2] + place[1][None, :, None, :]
    tap = np.broadcast_to(np.arange(kernel_h * kernel_w).reshape(kernel_h, kernel_w), fits.shape)
    fits, pixel, tap = (a.reshape(source[1] * source[2], kernel_h * kernel_w) for a in (fits, pixel, tap))
    count = fits.sum(1)
    order = np.argsort(~fits, axis=1, kind="stable")[:, : max(1, int(count.max()))]
    chosen = np.take_along_axis(fits, order, 1)
    place_of_pixel = np.take_along_axis(pixel, order, 1).astype(np.int64) * outputs
    place_of_weights = np.take_along_axis(tap, order, 1).astype(np.int64) * channels * length
    return Tables(
        count=count.astype(np.int32),
        places=((place_of_pixel << 32) + place_of_weights) * chosen,
        groups=np.array([channels, per_group, outputs // conv.groups, length, graded], dtype=np.int64),
        weight=flat,
    )
