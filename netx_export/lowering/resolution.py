"""Whether rounding left a layer what it computes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lava_bsnn.errors import ExportError, LavaBsnnWarning

COARSE, TOO_COARSE = 0.15, 0.5
"""Root mean square error of a channel's current, in thresholds, at which ``convert`` warns, and refuses."""


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """How exactly a layer was converted.

    Attributes:
        name: of the layer.
        unit: membrane steps per unit of current.
        error: root mean square error of a step's current that rounding causes, relative to the threshold
            (of a readout: of a step's logits, relative to their root mean square), for the same input on
            both sides: the calibration samples, else what the model kept of its training, else random.
        worst: the largest such error of a channel.
    """

    name: str
    unit: float
    error: float
    worst: float = 0.0


Report = Callable[[LayerReport], None]


def judge(
    name: str,
    label: str,
    unit: float,
    ours: Tensor,
    real: Tensor,
    theta: float | None,
    cause: str,
    remedy: str,
    *,
    refuse: bool = True,
) -> LayerReport:
    """Compare a layer's currents for the same inputs; warn where rounding is coarse.

    Args:
        ours: currents of the integers ``[N, C, ..., T]``.
        real: those of the model.
        theta: the threshold; None for a readout.
        cause: what leaves too few steps, for the message.
        remedy: what to do about it.
        refuse: an error where there is too little left; otherwise a warning.

    Raises:
        ExportError: a channel's error is half a threshold or more, or half of the logits.
    """
    wrong = (ours.double() - real.double()).square().contiguous()  # sums do not depend on the layout
    axes = [axis for axis in range(wrong.dim()) if axis != 1]
    size = float(real.double().square().mean().sqrt()) if theta is None else theta
    if not size:
        size = 1.0
    channels: np.ndarray = wrong.mean(axes).sqrt().cpu().numpy() / size
    worst_at = int(channels.argmax())
    error, worst = float(wrong.mean().sqrt()) / size, float(channels[worst_at])
    judged = error if theta is None else worst
    amount = (
        f"{judged:.2g} of the logits" if theta is None else f"{judged:.2g} thresholds in channel {worst_at}"
    )
    if judged >= TOO_COARSE and refuse:
        raise ExportError(f"{label}: rounding changes the current by {amount}: {cause}; {remedy}")
    if judged >= COARSE:
        warnings.warn(
            f"{label}: rounding changes the current by {amount}: {cause}; {remedy}",
            LavaBsnnWarning,
            stacklevel=2,
        )
    return LayerReport(name=name, unit=float(unit), error=error, worst=worst)
