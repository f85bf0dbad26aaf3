"""What samples of a user's own data are: recordings, frames or images, and where their axes are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from .events import as_events, looks_like_events
from .own_samples import Form, Pairs, is_tensor, numbers, pair_of, read_one

TRAIN = "train"
AXES = ("NCHWT", "NCHW", "NCT", "NC")
"""Axes of arrays by the number of dimensions, where no layout is given."""


def axes_of(where: str, layout: str | None, dimensions: int, batch: int) -> str:
    """Axes of arrays (``batch`` 1) or of samples (0) with so many dimensions, as the layout says."""
    axes = [one if batch else one.replace("N", "") for one in ([layout] if layout else AXES)]
    for found in axes:
        if len(found) == dimensions:
            return found
    allowed = " or ".join(f"[{', '.join(one)}]" for one in axes)
    raise DataError(f"{where} has {dimensions} dimensions; allowed are {allowed}; set layout in the recipe")


def form_of(name: str, train: Any, layout: str | None, notes: list[str]) -> Form:
    """What the samples of a set are, by the first; what is odd about it is added to ``notes``.

    Raises:
        DataError: it is nothing that a network can be given.
    """
    where = f"{name}: {TRAIN}[0]"
    try:
        item, _ = pair_of(train, 0)
        if looks_like_events(item):
            notes += _odd_duration(as_events(item)["t"])
            return Form(kind="events")
        array = numbers(item)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    axes = axes_of(where, layout, array.ndim, 0)
    if "T" in axes:
        tensors = is_tensor(item) or getattr(train, "tensors", False)
        turn = "permute" if tensors else "transpose"
        return Form(kind="frames", axes=axes, shape=array.shape, turn=turn)
    if array.dtype != np.uint8 and array.dtype.kind not in "fb":
        raise DataError(f"{where}: it is an image of {array.dtype}; allowed are uint8, and floats in 0..1")
    if layout is None and array.shape[-1] in (1, 3) and array.shape[0] not in (1, 3):
        notes.append(
            f"train[0] is an image of {array.shape[0]} channels; if they come last, set layout: NHWC"
        )
    return Form(kind="images", axes=axes, scale=255 if array.dtype == np.uint8 else 1)


def check_steps(name: str, source: Any, num_steps: int) -> None:
    """Compare the steps of a set's first frames with ``num_steps``; time first is told apart.

    Raises:
        DataError: they differ.
    """
    shape = read_one(f"{name}: {TRAIN}", source.data, 0, source.form).shape
    if shape[3] == num_steps:
        return
    raw, axes = list(source.form.shape), ", ".join(source.form.axes)
    array = isinstance(source.data, Pairs)
    order = (0, 2, 3, 4, 1) if array else (1, 2, 3, 0)
    remedy = f"set num_steps: {shape[3]} in the recipe (it is {num_steps})"
    if source.form.axes == "CHWT" and (shape[0] > 2 or shape[0] == num_steps):
        turned = f"{source.form.turn}{order}"
        first = f"set layout: {'NTCHW' if array else 'TNCHW'} in the recipe, or give x.{turned}"
        steps = "" if shape[0] == num_steps else f" with num_steps: {shape[0]}"
        remedy = f"if time comes first, {first}{steps}" + (
            "" if shape[0] == num_steps else f"; else {remedy}"
        )
    if source.form.axes == "CT":
        channel = "x[:, None]" if array else "x[None]"
        remedy = f"if it is a grey image, give it a channel: {channel}; else {remedy}"
    raise DataError(
        f"{name}: {TRAIN}[0] has the shape {raw}, read as [{axes}] with {shape[3]} steps; {remedy}"
    )


def _odd_duration(times: np.ndarray) -> list[str]:
    """A note where times (us) are of a length that other units explain better."""
    seconds = (int(times.max()) - int(times.min())) / 1e6 if len(times) else 0.0
    if seconds <= 60 and (seconds >= 1e-3 or len(times) < 100):
        return []
    return [f"train[0] lasts {seconds:.3g} s, with t in us: check its unit"]
