"""What makes an input, its encoding, or names of classes invalid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lava_bsnn.encoding import Encoding
from lava_bsnn.limits import BIAS_INPUT_BITS, LIMITS, Limits

if TYPE_CHECKING:
    from .graph import FixedPointNetwork, Input


def width_problems(entry: Input, limits: Limits) -> Iterator[str]:
    """A line if the messages have a width that no input has."""
    most = limits.message_bits_max
    if entry.signed and entry.bits not in (*range(2, most + 1), BIAS_INPUT_BITS):
        yield (
            f"input: bits={entry.bits} is not allowed for signed input; use 2..{most}, "
            f"or {BIAS_INPUT_BITS} for an input that enters as bias"
        )
    elif not entry.signed and entry.bits not in range(most + 1):
        yield f"input: bits={entry.bits} is not allowed; use 0..{most}"


def input_problems(entry: Input) -> Iterator[str]:
    """One line per other rule that an input violates."""
    if not entry.shape or len(entry.shape) not in (1, 3) or min(entry.shape) < 1:
        yield f"input: shape {entry.shape} is not allowed; use (C, H, W) or (C,)"
    if entry.transform is not None and (len(entry.transform) != 2 or not entry.transform[0]):
        yield f"input: transform={entry.transform} is not allowed; use a weight that is not 0, and an offset"
    if entry.encoding is not None:
        yield from _encoding_problems(entry, entry.encoding)


def _encoding_problems(entry: Input, encoding: Any) -> Iterator[str]:
    """An encoding whose messages are not what the input says."""
    if not isinstance(encoding, Encoding):
        yield f"input: encoding={encoding!r} is not an Encoding; use netx_export.network.Encoding"
        return
    if (encoding.bits, encoding.signed) != (entry.bits, entry.signed):
        yield (
            f"input: bits={entry.bits}, signed={entry.signed} do not fit the encoding ({encoding}); "
            f"use bits={encoding.bits}, signed={encoding.signed}"
        )
    numbers = (*encoding.mean, *encoding.std, encoding.gain, encoding.repeat, encoding.steps)
    if max(map(abs, numbers)) > LIMITS.encoding_max or len(encoding.mean) > LIMITS.channels_max:
        yield (
            f"input: an encoding of {len(encoding.mean)} channels and numbers up to {max(map(abs, numbers))} "
            f"is not allowed; use at most {LIMITS.channels_max} channels and {LIMITS.encoding_max}"
        )
    if encoding.kind == "images" and entry.shape:
        channels = len(encoding.mean) * (1 + encoding.rails)
        if channels != entry.shape[0]:
            yield (
                f"input: {entry.shape[0]} channels do not fit the encoding, which makes {channels}; "
                "give mean and std per channel"
            )


def step_problems(net: FixedPointNetwork) -> Iterator[str]:
    """An encoding made for another number of steps than gates and mixings."""
    steps = getattr(net.input.encoding, "steps", 0)
    if steps and net.num_steps not in (None, steps):
        yield (
            f"input: the encoding is of {steps} steps, gates and mixings of {net.num_steps}; use one number, "
            "or 0 in the encoding"
        )


def class_problems(net: FixedPointNetwork) -> Iterator[str]:
    """Names that do not fit the output, or that no table could show."""
    classes = net.classes
    if not classes:
        return
    channels = net.output.shape[0]
    if not isinstance(classes, tuple):
        yield f"classes: a {type(classes).__name__} is not allowed; use a tuple of texts"
        return
    if len(classes) != channels or channels > LIMITS.classes_max:
        yield (
            f"classes: {len(classes)} names do not fit {channels} output channels; use as many, at most "
            f"{LIMITS.classes_max}"
        )
        return
    for name in classes:
        if not isinstance(name, str) or not 0 < len(name) <= LIMITS.name_max or not name.isprintable():
            shown = repr(name)[:40]
            yield f"classes: {shown} is not allowed; use texts of 1..{LIMITS.name_max} printable characters"
            return
