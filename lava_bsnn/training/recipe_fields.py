"""What the fields of a recipe may hold."""

from __future__ import annotations

import contextlib
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import OptionError

if TYPE_CHECKING:
    from .recipe import Recipe

RANGES: dict[str, tuple[float, float]] = {
    "num_steps": (1, 1024),
    "size": (4, 1024),
    "denoise": (1, 1e9),
    "bin_us": (1, 3_600_000_000),
    "slice_us": (1, 3_600_000_000),
    "test_fraction": (0.01, 0.99),
    "split_seed": (0, (1 << 32) - 1),
    "train_samples": (1, 1_000_000_000),
    "width": (0.01, 16),
    "input_bits": (0, 8),
    "validation_fraction": (0, 0.9),
    "epochs": (1, 100_000),
    "patience": (1, 100_000),
    "batch_size": (1, 1 << 20),
    "lr": (0, 100),
    "momentum": (0, 1),
    "weight_decay": (0, 1),
    "flip_threshold": (1e-30, 1e6),
    "flip_decay": (0, 1),
    "mixup": (0, 100),
    "cutmix": (0, 100),
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


def check_loss(recipe: Recipe) -> None:
    """Refuse options of cross entropy that are none, or that another loss would ignore."""
    weights = recipe.class_weights
    numbers = () if isinstance(weights, str) or weights is None else weights
    if weights not in (None, "balanced") and not (numbers and all(0 <= one < math.inf for one in numbers)):
        raise OptionError(
            f"recipe: class_weights={weights!r} is not allowed; use 'balanced', or a number >= 0 per class"
        )
    if recipe.targets != "classes" and recipe.sampler != "shuffled":
        raise OptionError(
            f"recipe: sampler={recipe.sampler!r} is for classes, not for {recipe.targets}; leave it out"
        )
    if recipe.loss not in ("tet", "rate"):
        for name in ("class_weights", "label_smoothing", "mixup", "cutmix"):
            if getattr(recipe, name):
                raise OptionError(
                    f"recipe: {name} is for loss 'tet' or 'rate', not {recipe.loss!r}; leave it out"
                )


def assign(values: dict[str, Any], key: str, text: str, source: str) -> None:
    """Set ``key`` of all fields, or an entry ``field.key`` of one, to what the YAML ``text`` says.

    Raises:
        OptionError: no such field, or no YAML; ``source`` is what the user wrote.
    """
    *path, last = key.split(".")
    target: Any = values
    for part in path:
        if not isinstance(target, dict) or (target is values and part not in values):
            raise _unknown(key, source, values)
        target = target.setdefault(part, {})
    if not isinstance(target, dict) or (target is values and last not in values):
        raise _unknown(key, source, values)
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise OptionError(f"--set {source}: {text!r} is not a YAML value") from error


def _unknown(key: str, source: str, fields: Iterable[str]) -> OptionError:
    near = difflib.get_close_matches(key.split(".")[0], list(fields), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"use one of {', '.join(fields)}"
    return OptionError(f"--set {source}: a recipe has no field {key!r}; {hint}")
