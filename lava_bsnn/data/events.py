"""What recordings of an event camera may be, and the one form that they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

FIELDS = ("x", "y", "t", "p")
EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])
"""As tonic has them."""
WIDE = np.dtype([(name, np.int64) for name in FIELDS])
TIME_UNITS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
"""Microseconds per unit."""
LONGEST = 3_600_000_000
"""Longest recording in us: an hour; beyond it a time is taken for damaged."""


def looks_like_events(item: Any) -> bool:
    """Whether an item has named fields, as events have, and is no array of numbers."""
    names = getattr(getattr(item, "dtype", None), "names", None)
    return bool(names) or isinstance(item, (Mapping, np.lib.npyio.NpzFile))


def structured(x: Any, y: Any, t: Any, p: Any, dtype: Any = WIDE) -> np.ndarray:
    """Return structured events with the fields given."""
    events = np.empty(len(x), dtype=dtype)
    for name, values in zip(FIELDS, (x, y, t, p), strict=True):
        events[name] = values
    return events


def in_order(events: np.ndarray) -> np.ndarray:
    """Return structured events sorted by time; simultaneous ones keep their order."""
    times = events["t"]
    return events if (times[1:] >= times[:-1]).all() else events[np.argsort(times, kind="stable")]


def as_events(item: Any, time_unit: str = "us") -> np.ndarray:
    """Events as int64 fields x, y, t (us), p (0 OFF, 1 ON), whatever their order and integer types.

    Args:
        item: structured array, or mapping (``np.load`` of an ``.npz``) of arrays, with these fields; p may
            be 0 and 1, booleans, or -1 and 1, of which -1 becomes 0.
        time_unit: of t: ``"us"``, ``"ns"``, ``"ms"`` or ``"s"``; times in us are integers.

    Raises:
        ValueError: fields, types or values are not these.
    """
    if not looks_like_events(item):
        shape = list(np.shape(item))
        raise ValueError(
            f"it is a {type(item).__name__} of shape {shape}; allowed are a structured array or a mapping "
            f"with the fields {', '.join(FIELDS)}"
        )
    names = tuple(item.dtype.names if isinstance(item, np.ndarray) else item.keys())
    missing = [name for name in FIELDS if name not in names]
    if missing:
        near = {name: next((one for one in names if one[:1].lower() == name), "...") for name in FIELDS}
        shown = ", ".join(f'"{name}": e["{one}"]' for name, one in near.items())
        raise ValueError(f"its fields are {names}; allowed are x, y, t, p; give {{{shown}}}")
    fields = {name: np.asarray(item[name]) for name in FIELDS}
    lengths = {name: array.shape for name, array in fields.items()}
    if len(set(lengths.values())) != 1 or fields["x"].ndim != 1:
        raise ValueError(f"its fields have the shapes {lengths}; allowed is one length for all")
    for name in "xyp":
        if fields[name].dtype.kind not in "iub":
            raise ValueError(f"{name} is {fields[name].dtype}; allowed are integers")
    times = fields["t"]
    if times.dtype.kind not in "iuf" or (times.dtype.kind == "f" and time_unit == "us"):
        raise ValueError(
            f"t is {times.dtype}; allowed are integers in us: of seconds np.round(t * 1e6).astype(np.int64)"
        )
    if time_unit != "us":
        if not np.isfinite(times).all():
            raise ValueError("t holds values that are not finite")
        times = np.round(times.astype(np.float64) * TIME_UNITS[time_unit]).astype(np.int64)
    polarity = fields["p"].astype(np.int64)
    if polarity.size and polarity.min() == -1:
        found = np.unique(polarity)
        if not set(found.tolist()) <= {-1, 1}:
            raise ValueError(f"p holds {found.tolist()}; allowed are 0 and 1, or -1 and 1, or booleans")
        polarity = (polarity > 0).astype(np.int64)
    return structured(fields["x"], fields["y"], times, polarity)


def check_events(events: np.ndarray, sensor: tuple[int, int], polarities: int) -> None:
    """Check coordinates, polarities and times of structured events.

    Raises:
        ValueError: no event, or one outside of the sensor (H, W), of the polarities, or of an hour.
    """
    if len(events) == 0:
        raise ValueError("it holds no events")
    fields: Any = events.dtype.names
    for name, limit in (("x", sensor[1]), ("y", sensor[0]), ("p", polarities)):
        if fields is None or name not in fields or "t" not in fields:
            raise ValueError(f"its fields are {fields}; allowed are x, y, t, p")
        low, high = int(events[name].min()), int(events[name].max())
        if low < 0 or high >= limit:
            raise ValueError(f"{name} is {low}..{high}, allowed is 0..{limit - 1}")
    low, high = int(events["t"].min()), int(events["t"].max())
    if low < 0 or high - low > LONGEST:
        raise ValueError(f"t is {low}..{high} us, allowed are times from 0 and {LONGEST} us in all")
