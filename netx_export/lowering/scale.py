"""The scale of a layer of Loihi's neurons: the one with which rounding costs least."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from lava_bsnn import block, device
from lava_bsnn.errors import ExportError
from lava_bsnn.limits import LOIHI

from .incoming import Incoming
from .observe import usual_messages
from .pooling import is_dense

_CANDIDATES = 64
_COLUMNS = 64
"""Most observed input vectors by which dense weights are chosen."""
Rounding = Callable[[np.ndarray], np.ndarray]
Cost = Callable[[np.ndarray, np.ndarray], float]


def best_scale(
    label: str,
    paths: list[Incoming],
    theta: float,
    *,
    max_sum: int,
    readout_steps: int | None = None,
    even: bool = False,
) -> tuple[list[np.ndarray], np.ndarray, float]:
    """Integer weights of each path, biases ``[out]``, and the weight steps per threshold.

    Weights of an identity shortcut are ``[out, 1]``.

    Args:
        label: of the block, for errors.
        paths: that meet in front of the neurons.
        theta: the threshold.
        max_sum: largest weighted input of a step with which the current cannot overflow.
        readout_steps: for a readout, the steps whose sum must not overflow; its scale need not be an integer.
        even: the scale must be even.

    Raises:
        ExportError: no scale keeps all numbers in range.
    """
    rows = [_Row(path, theta) for path in paths]
    offset: np.ndarray = sum(path.folded.offset for path in paths) / theta  # type: ignore[assignment]
    found: tuple[float, list[np.ndarray], np.ndarray, float] | None = None
    for scale in _scales(label, rows, offset, max_sum, readout_steps, even):
        bias = np.rint(offset * scale).astype(np.int64)
        slip, total, weights = bias / scale - offset, 0.0, []
        for row in rows:
            weight, cost = row.rounded(scale, slip if row is rows[0] else 0 * slip)
            weights.append(weight)
            total += cost
        worst = sum(np.abs(w).sum(1) * row.largest for w, row in zip(weights, rows, strict=True))
        fits = np.max(worst) <= max_sum and all(
            row.identity or np.abs(w).max() <= LOIHI.weight_max for w, row in zip(weights, rows, strict=True)
        )
        if readout_steps is not None:
            fits = fits and np.max((worst + np.abs(bias)) * readout_steps) <= LOIHI.threshold_max
        if fits and (found is None or total < found[0]):
            found = (total, weights, bias, float(scale))
    if found is None:
        raise ExportError(f"{label}: no scale keeps the integers in range; use fewer inputs or steps")
    shaped = [weight.reshape(path.folded.q.shape) for weight, path in zip(found[1], paths, strict=True)]
    return shaped, found[2], found[3]


class _Row:
    """Weights of a path, a row ``[in]`` per output, in thresholds."""

    def __init__(self, path: Incoming, theta: float) -> None:
        self.real = path.folded.q.reshape(len(path.folded.q), -1) * (path.folded.multiplier / theta)[:, None]
        self.largest, self.identity = path.largest, path.module is None
        self._cost = _cost_of(path)
        image = path.image if path.image is not None and math.prod(path.image) == self.real.shape[1] else None
        graded = self.largest > 1 and path.module is not None and is_dense(path.module)
        self._ways: list[Rounding] = [device.one_sign] if self.identity else [np.rint]
        if graded and image is not None and not path.given:
            self._ways.clear()  # neighbouring pixels are alike in any image
        if graded:
            self._ways.append(lambda rows: device.round_along(rows, image))

    def rounded(self, scale: float, slip: np.ndarray) -> tuple[np.ndarray, float]:
        """Integers with the least cost, and that cost, for a bias that is off by ``slip``."""
        tried = [way(self.real * scale).astype(np.int64) for way in self._ways]
        costs = [self._cost(weight / scale - self.real, slip) for weight in tried]
        best = int(np.argmin(costs))
        return tried[best], costs[best]


def _scales(
    label: str,
    rows: list[_Row],
    offset: np.ndarray,
    max_sum: int,
    readout_steps: int | None,
    even: bool,
) -> np.ndarray:
    """Candidates, the largest first."""
    fan_in: np.ndarray = sum(np.abs(row.real).sum(1) * row.largest for row in rows)  # type: ignore[assignment]
    most = max((np.abs(row.real).max() for row in rows if not row.identity), default=0.0)
    bias = np.abs(offset).max()
    bounds = [
        LOIHI.weight_max / max(most, 1e-30),
        LOIHI.bias_max / max(bias, 1e-30),
        max_sum / max(fan_in.max(), 1e-30),
    ]
    if readout_steps is None:
        bounds.append(float(LOIHI.threshold_max))
    else:
        total = (fan_in + np.abs(offset)).max() * readout_steps
        bounds.append(LOIHI.threshold_max / max(total, 1e-30))
    largest = min(bounds)
    if readout_steps is None and largest < 2:
        raise ExportError(
            f"{label}: weights or biases are {1 / largest:.3g} thresholds per step, too large for "
            "8-bit weights and 13-bit biases; raise the threshold or retrain with norm='batch'"
        )
    if not most and not bias:
        raise ExportError(f"{label}: all weights and offsets are zero; train the model first")
    scales = np.linspace(largest / 2, largest, _CANDIDATES)
    scales = np.sort([*scales, device.power_of_two_below(largest)])[::-1]  # if all are powers of two
    if readout_steps is not None:
        return scales
    unit = 2 if even else 1
    return np.unique(np.floor(scales / unit).clip(1) * unit)[::-1]


def _cost_of(path: Incoming) -> Cost:
    """Mean square error of the current that errors of weights ``[out, in]`` and biases cause."""
    module, messages = path.module, None
    if path.given:
        messages = torch.round(path.seen / path.value).double().cpu().numpy()
    if messages is None:
        return _independent(*usual_messages(path.low, path.high))
    steps = np.moveaxis(messages, -1, 1).reshape(-1, *messages.shape[1:-1])
    if module is not None and is_dense(module):
        every = max(1, len(steps) // _COLUMNS)
        vectors = steps.reshape(len(steps), -1)[::every].T

        def dense(weight: np.ndarray, bias: np.ndarray) -> float:
            return float(np.square(weight @ vectors + bias[:, None]).mean())

        return dense
    # of a convolution: as if pixels were independent
    axes = (0, *range(2, steps.ndim))
    mean, spread = steps.mean(axes), steps.var(axes)
    if module is None:
        return _independent(mean.reshape(len(mean), -1), spread.reshape(len(spread), -1))
    groups = len(mean) if isinstance(module, block.Pool) else module.synapse.groups
    outputs = len(mean) if isinstance(module, block.Pool) else module.synapse.out_channels
    taps = math.prod(module.synapse.kernel_size[:2])
    mean, spread = (
        np.repeat(np.repeat(part.reshape(groups, -1), outputs // groups, 0), taps, 1)
        for part in (mean, spread)
    )
    return _independent(mean, spread)


def _independent(mean: object, spread: object) -> Cost:
    """That error for independent inputs of these means and variances, numbers or ``[out, in]``."""

    def cost(weight: np.ndarray, bias: np.ndarray) -> float:
        coherent = (weight * mean).sum(1) + bias  # type: ignore[operator]
        return float((np.square(coherent) + (np.square(weight) * spread).sum(1)).mean())  # type: ignore[operator]

    return cost
