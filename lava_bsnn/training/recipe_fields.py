"""What the fields of a recipe may hold."""

from __future__ import annotations

import contextlib
import types
import typing
from collections.abc import Mapping
from typing import Any

from ..errors import OptionError

RANGES: dict[str, tuple[float, float]] = {
    "num_steps": (1, 1024),
    "size": (4, 1024),
    "denoise": (1, 1e9),
    "bin_us": (1, 3_600_000_000),
    "slice_us": (1, 3_600_000_000),
    "test_fraction": (0.01, 0.99),
    "split_seed": (0, (1 << 32) - 1),
    "width": (0.01, 16),
    "input_bits": (0, 8),
    "validation_fraction": (0, 0.9),
    "epochs": (1, 100_000),
    "patience": (1, 100_000),
    "batch_size": (1, 1 << 20),
    "lr": (0, 100),
    "momentum": (0, 1),
    "weight_decay": (0, 1),
    "warmup_epochs": (0, 100_000),
    "clip_norm": (1e-6, 1e6),
    "label_smoothing": (0, 1),
    "spike_regulation": (0, 100),
    "sop_budget": (1e-6, 1e15),
    "ema_decay": (0, 1),
    "seed": (0, (1 << 32) - 1),
    "num_workers": (0, 256),
    "checkpoint_steps": (0, 1 << 30),
}
"""Least and largest value of numbers."""


def checked(name: str, value: Any, kind: Any) -> Any:
    """Return the value as its field's type holds it."""
    if name == "class_weights" and isinstance(value, (list, tuple)):
        return tuple(checked(name, one, float) for one in value)
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in options:
        return None
    kind = options[0]
    origin = typing.get_origin(kind) or kind
    if origin is tuple and isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if origin is tuple and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if origin is Mapping and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    if kind is float and isinstance(value, str):  # YAML reads 1e-3 as a text
        with contextlib.suppress(ValueError):
            value = float(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    wanted = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(
        kind, "a list of texts" if origin is tuple else "a mapping"
    )
    raise OptionError(f"recipe: {name}={value!r} is not allowed; use {wanted}")
