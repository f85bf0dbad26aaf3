"""Linear nodes in a row, from one neuron node to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np

from lava_bsnn.errors import ExportError

from ..network import Conv, Shape
from .values import per_channel

LINEAR = (
    nir.Conv2d,
    nir.Affine,
    nir.Linear,
    nir.Flatten,
    nir.Scale,
    nir.SumPool2d,
    nir.AvgPool2d,
    nir.Delay,
)


@dataclass(frozen=True, kw_only=True)
class Path:
    """Poolings, one synapse, a scale, delays; floating point.

    Attributes:
        source: name of the neuron node, or of the input.
        shape: of the source.
        out: shape behind the last node.
        pool: (h, w) of the poolings in front of the synapse.
        gain: of average poolings.
        weight: of the synapse; None for identity.
        conv: options of a convolution.
        bias: behind the synapse, ``[C]``.
        early: steps of delay in front of the synapse, one or one per neuron of the source.
        late: steps of delay behind it, one or ``[C]``.
    """

    source: str
    shape: Shape
    out: Shape
    pool: tuple[int, int] = (1, 1)
    gain: float = 1.0
    weight: np.ndarray | None = None
    conv: dict[str, Any] | None = None
    bias: np.ndarray | float = 0.0
    early: np.ndarray | int = 0
    late: np.ndarray | int = 0

    @property
    def is_identity(self) -> bool:
        """Whether there is no synapse, but maybe a scale."""
        return self.weight is None or (self.conv is not None and "identity" in self.conv)

    @property
    def delay(self) -> np.ndarray | None:
        """As a connection has it: ``[C]``, ``[1, in]``, or None."""
        early, late = np.asarray(self.early), np.asarray(self.late)
        if early.ndim and (self.is_identity or self.conv is not None):
            early = per_channel(self.source, "delay", early, self.shape).astype(np.int64)
        if early.ndim:
            return early[None]
        total = early + late
        return np.broadcast_to(total, self.out[:1]).copy() if total.any() else None


def appended(path: Path, name: str, node: nir.NIRNode, dt: float | None, *, biased: bool) -> Path:
    """The path with one more node behind it; ``biased``: with the node's bias.

    Raises:
        ExportError: no connection can say that.
    """
    if isinstance(node, nir.Flatten):
        return replace(path, out=(math.prod(path.out),))
    if isinstance(node, nir.Delay):
        return _delayed(path, name, node, dt)
    if isinstance(node, nir.Scale):
        return _scaled(path, name, node)
    if isinstance(node, (nir.SumPool2d, nir.AvgPool2d)):
        return _pooled(path, name, node)
    weight = np.asarray(node.weight, dtype=np.float64)
    bias = np.asarray(getattr(node, "bias", 0.0) if biased else 0.0, dtype=np.float64)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ExportError(f"{name}: weight or bias has values that are not finite")
    if path.weight is not None and (path.conv is not None or isinstance(node, nir.Conv2d)):
        raise ExportError(f"{name}: two synapses in a row are not supported; put a neuron between them")
    if isinstance(node, nir.Conv2d):
        return _convolved(path, name, node, weight, bias)
    if weight.ndim != 2:
        raise ExportError(f"{name}: a weight of {weight.ndim} axes is not supported; use 2")
    if weight.shape[1] != math.prod(path.out):
        raise ExportError(f"{name}: takes {weight.shape[1]} inputs; {path.source!r} gives {path.out}")
    out = (len(weight),)
    if path.weight is not None:
        if np.any(path.late):
            raise ExportError(f"{name}: a Delay between two synapses is not supported; move it in front")
        bias = weight @ np.broadcast_to(path.bias, path.out) + bias
        return replace(path, weight=weight @ path.weight, bias=bias, out=out)
    if path.pool != (1, 1):
        weight = _pooled_dense(path, weight)
    return replace(path, weight=weight, bias=bias, out=out)


def _delayed(path: Path, name: str, node: nir.Delay, dt: float | None) -> Path:
    seconds = np.asarray(node.delay, dtype=np.float64)
    if not seconds.any():
        return path
    if dt is None:
        raise ExportError(f"{name}: nothing tells how many steps a Delay takes; give dt= in seconds")
    steps = np.rint(seconds / dt).astype(np.int64)
    if not np.isfinite(seconds).all() or (np.abs(seconds / dt - steps) > 1e-3).any() or steps.min() < 0:
        raise ExportError(f"{name}: delays must be whole steps of {dt:g} s; give another dt=")
    uniform = not np.ptp(steps)
    if path.weight is None and not uniform:
        if path.pool != (1, 1) or steps.size != math.prod(path.out):
            raise ExportError(f"{name}: delays that differ must be one per neuron, and no pooling in front")
        return replace(path, early=steps.reshape(-1) + path.early)
    if path.weight is None:
        return replace(path, early=path.early + int(steps.flat[0]))
    if np.any(path.bias):
        raise ExportError(f"{name}: a Delay behind a bias is not supported; put it in front of the synapse")
    if np.ndim(path.early):
        raise ExportError(f"{name}: delays of inputs and outputs of one synapse are not supported; use one")
    late = int(steps.flat[0]) if uniform else per_channel(name, "delay", steps, path.out).astype(np.int64)
    return replace(path, late=path.late + late)


def _scaled(path: Path, name: str, node: nir.Scale) -> Path:
    scale = per_channel(name, "scale", node.scale, path.out)
    if path.weight is None:
        if path.pool != (1, 1):
            raise ExportError(f"{name}: a Scale between pooling and synapse is not supported")
        return replace(path, weight=np.diag(scale), conv={"identity": True})
    weight = path.weight * scale.reshape(-1, *[1] * (path.weight.ndim - 1))
    return replace(path, weight=weight, bias=path.bias * scale)


def _pair(values: Any) -> tuple[int, int]:
    high, wide = np.broadcast_to(values, 2)
    return int(high), int(wide)


def _pooled(path: Path, name: str, node: nir.NIRNode) -> Path:
    if path.weight is not None:
        raise ExportError(f"{name}: two synapses in a row are not supported; put a neuron between them")
    kernel, stride, padding = (_pair(getattr(node, key)) for key in ("kernel_size", "stride", "padding"))
    if stride != kernel or any(padding):
        raise ExportError(f"{name}: overlapping or padded pooling is not supported")
    if len(path.out) != 3:
        raise ExportError(f"{name}: pooling of shape {path.out} is not supported; use (C, H, W)")
    gain = path.gain / (math.prod(kernel) if isinstance(node, nir.AvgPool2d) else 1)
    channels, height, width = path.out
    return replace(
        path,
        pool=(path.pool[0] * kernel[0], path.pool[1] * kernel[1]),
        gain=gain,
        out=(channels, height // kernel[0], width // kernel[1]),
    )


def _convolved(path: Path, name: str, node: nir.Conv2d, weight: np.ndarray, bias: np.ndarray) -> Path:
    dilation, stride = _pair(node.dilation), _pair(node.stride)
    padding, weight = _padding(name, node, weight, stride, dilation)
    if path.pool != (1, 1) and dilation != (1, 1):
        raise ExportError(f"{name}: a dilated convolution behind a pooling is not supported")
    groups = int(node.groups)
    try:
        out = Conv(
            weight=np.zeros(weight.shape, dtype=np.int64),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        ).output_shape(path.out)
    except ValueError as error:
        raise ExportError(f"{name}: {error}") from error
    down, across = path.pool
    options = {
        "stride": (stride[0] * down, stride[1] * across),
        "padding": (padding[0] * down, padding[1] * across),
        "dilation": dilation,
        "groups": groups,
    }
    if path.pool != (1, 1):
        weight = np.repeat(np.repeat(weight, down, 2), across, 3)
    return replace(path, weight=weight, bias=bias, conv=options, out=out)


def _padding(
    name: str, node: nir.Conv2d, weight: np.ndarray, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[tuple[int, int], np.ndarray]:
    """Padding in numbers; a kernel that ``"same"`` pads less in front gets zeros there."""
    given = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    if not isinstance(given, str):
        return _pair(given), weight
    if given == "valid":
        return (0, 0), weight
    total = tuple(d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
    odd = [size % 2 for size in total]
    if given != "same" or stride != (1, 1) or (any(odd) and dilation != (1, 1)):
        raise ExportError(f"{name}: padding={given!r} with these strides and dilations is not supported")
    weight = np.pad(weight, ((0, 0), (0, 0), (odd[0], 0), (odd[1], 0)))
    return ((total[0] + odd[0]) // 2, (total[1] + odd[1]) // 2), weight


def _pooled_dense(path: Path, weight: np.ndarray) -> np.ndarray:
    """Weights of a dense layer behind a pooling, repeated over the pooling window."""
    channels, height, width = path.shape
    small = (height // path.pool[0], width // path.pool[1])
    spread = weight.reshape(len(weight), channels, *small)
    spread = np.repeat(np.repeat(spread, path.pool[0], 2), path.pool[1], 3)
    full = np.zeros((len(weight), channels, height, width))
    full[:, :, : spread.shape[2], : spread.shape[3]] = spread
    return full.reshape(len(weight), -1)
