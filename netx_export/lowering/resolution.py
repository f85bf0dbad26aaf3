"""Whether rounding left a layer its weights."""

from __future__ import annotations

import warnings

import numpy as np

from lava_bsnn.errors import ExportError

_COARSE = 0.1
"""Relative rounding error of a layer's weights from which on ``convert`` warns."""


def check_resolution(label: str, rounded: np.ndarray, real: np.ndarray, cause: str, remedy: str) -> float:
    """Relative root mean square error of rounded weights; refuses those that rounded to nothing.

    Warns of weights that rounded to little.

    Raises:
        ExportError: all weights are zero now.
    """
    norm = float(np.linalg.norm(real))
    error = float(np.linalg.norm(rounded - real)) / norm if norm else 0.0
    if error == 1 and not rounded.any():
        raise ExportError(f"{label}: all weights round to zero: {cause}; {remedy}")
    if error > _COARSE:
        warnings.warn(f"{label}: weights are rounded by {error:.0%}: {cause}; {remedy}", stacklevel=2)
    return error
