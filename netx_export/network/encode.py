"""From samples to the integers that enter a network."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError, LavaBsnnWarning, ShapeError

from .samples import as_array, check_fit

if TYPE_CHECKING:
    from .graph import Input


def encode(entry: Input, samples: Any, num_steps: int | None) -> np.ndarray:
    """Integers int32 ``[N, *shape, T]`` of samples; see :meth:`netx_export.FixedPointNetwork.encode`."""
    coding = entry.coded or Encoding()
    shape = (entry.shape[0] // 2, *entry.shape[1:]) if coding.rails else entry.shape
    try:
        x = as_array("input", samples)
        check_fit("input", x, shape)
    except ShapeError as error:
        raise ExportError(str(error)) from error
    has_time = x.ndim == len(shape) + 2
    levels = _messages(entry, x) if entry.coded else _integers(entry, x, has_time)
    steps = num_steps or coding.steps
    result = levels.astype(np.int32)
    if not has_time:
        if not steps:
            raise ExportError("input: samples have no time axis; give num_steps")
        return np.broadcast_to(result[..., None], (*result.shape, steps))
    if coding.repeat > 1 and x.shape[-1] != steps:
        result = result.repeat(coding.repeat, -1)
    if num_steps and result.shape[-1] != num_steps:
        raise ExportError(
            f"input: samples of {x.shape[-1]} steps do not fit; use {num_steps // coding.repeat} (num_steps)"
        )
    return result


def _messages(entry: Input, x: np.ndarray) -> np.ndarray:
    """Messages of samples according to the encoding."""
    coding = entry.coded
    assert coding is not None
    try:
        levels, saturated = coding.messages(x)
    except ShapeError as error:
        raise ExportError(str(error)) from error
    if saturated:
        warnings.warn(
            f"input: {saturated:,} of {x.size:,} counts were above {coding.high} and became that",
            LavaBsnnWarning,
            stacklevel=4,
        )
    return levels  # type: ignore[no-any-return]


def _integers(entry: Input, x: np.ndarray, has_time: bool) -> np.ndarray:
    """What enters where no encoding is known: whole numbers with a time axis; as biases intensities, too."""
    if has_time:
        whole = np.rint(x)
        if not np.array_equal(whole, x):
            raise ExportError("input: a step holds values that are not whole; give integers")
        return whole
    if not entry.enters_as_bias:
        raise ExportError("input: nothing tells what samples are here; give integers with a time axis")
    return _biases(entry, x)


def _biases(entry: Input, x: np.ndarray) -> np.ndarray:
    """Intensities as what adds to the biases."""
    weight, offset = entry.transform or (entry.max_value, 0)
    low, high = sorted((bound - offset) / weight for bound in (entry.min_value, entry.max_value))
    if x.size and not (x.min() >= low and x.max() <= high):
        raise ExportError(
            f"input: intensities {x.min()}..{x.max()} do not fit; scale them to {low:.4g}..{high:.4g}"
        )
    levels: np.ndarray = np.rint(x.astype(np.float32) * np.float32(weight) + np.float32(offset))
    return levels
