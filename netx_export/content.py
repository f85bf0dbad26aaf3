"""Base of the network's dataclasses: equality, hash and digest are those of the content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError

INT32_MAX = (1 << 31) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Domain:
    """What a field holds; checks, files and documentation follow it.

    Attributes:
        kind: ``"int"``, ``"bool"``, ``"text"``, ``"texts"`` (a list), ``"ints"`` (a list of
            integers), ``"array"`` (in the file's dataset of integers), ``"weight"`` (in its dataset of
            signs if all are -1 or 1), ``"value"`` (an integer, or an array with one per channel or neuron),
            ``"steps"`` (an integer, or an array with one per time step), ``"node"``, or ``"nodes"`` (a list).
        low: least value.
        high: largest value.
        mantissa: least and largest value, and a note, where the exponent is not 0.
        types: classes of a node.
        count: least and largest length of a list of integers or texts.
    """

    kind: str
    low: int = -INT32_MAX
    high: int = INT32_MAX
    mantissa: tuple[int, int, str] | None = None
    types: tuple[str, ...] = ()
    count: tuple[int, int] = (1, 3)


def holds(
    kind: str,
    low: int = -INT32_MAX,
    high: int = INT32_MAX,
    *,
    default: Any = dataclasses.MISSING,
    optional: bool = False,
    mantissa: tuple[int, int, str] | None = None,
    types: tuple[str, ...] = (),
    count: tuple[int, int] = (1, 3),
) -> Any:
    """A dataclass field with its :class:`Domain`; if ``optional``, its default is not written."""
    domain = Domain(kind=kind, low=low, high=high, mantissa=mantissa, types=types, count=count)
    return dataclasses.field(default=default, metadata={"domain": domain, "optional": optional})


def range_problems(what: str, value: Any, low: int, high: int, note: str = "") -> Iterator[str]:
    """A line if a value, or one of an array, is no integer of ``low..high``."""
    values = np.asarray(value)
    if not values.size or values.dtype.kind not in "iu":
        yield f"{what} {value!r} is not allowed; use integers {low}..{high}"
    elif values.min() < low or values.max() > high:
        shown = str(value) if not values.ndim else f"{values.min()}..{values.max()}"
        yield f"{what} {shown} is out of range; {low}..{high} are allowed{note}"


def fits_channels(value: Any, channels: int) -> bool:
    """Whether a value is one number, or one per channel."""
    return not isinstance(value, np.ndarray) or value.shape == (channels,)


def fits_neurons(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a value is one number, one per channel, or one per neuron of a layer."""
    return not isinstance(value, np.ndarray) or value.shape in (shape[:1], shape)


def channel_problems(
    what: str, value: Any, channels: int, low: int, high: int, note: str = ""
) -> Iterator[str]:
    """A line if a value is neither an integer of ``low..high`` nor one per channel."""
    if fits_channels(value, channels):
        yield from range_problems(what, value, low, high, note)
    else:
        yield f"{what} of shape {value.shape} does not fit; use ({channels},)"


def domains(kind: type) -> Iterator[tuple[dataclasses.Field[Any], Domain]]:
    """Fields of a class and what they hold, in order."""
    for field in dataclasses.fields(kind):
        yield field, field.metadata["domain"]


class Content:
    """Equality and hash by content; arrays become read-only int32 copies."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.integer) or (isinstance(value, np.ndarray) and value.ndim == 0):
                object.__setattr__(self, field.name, value.item())
            elif isinstance(value, np.ndarray):
                array = np.array(value, dtype=np.int32, order="C")
                if not np.array_equal(array, value):
                    raise ExportError(
                        f"{type(self).__name__}: {field.name} must hold 32-bit integers; round it first"
                    )
                array.flags.writeable = False
                object.__setattr__(self, field.name, array)

    def _items(self) -> Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                yield field.name, (value.shape, value.tobytes())
            elif not field.metadata.get("optional") or value != field.default:
                yield field.name, value

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and dict(self._items()) == dict(other._items())  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self).__name__, tuple(self._items())))

    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        sha = hashlib.sha256()
        _feed(sha, self)
        return sha.hexdigest()


def _feed(sha: Any, node: Any) -> None:
    if isinstance(node, Content):
        sha.update(type(node).__name__.encode())
        for name, value in node._items():
            sha.update(name.encode())
            _feed(sha, value)
    elif isinstance(node, Encoding):  # without defaults: a new field changes no digest of before
        for field in dataclasses.fields(node):
            if getattr(node, field.name) != field.default:
                sha.update(f"{field.name}={getattr(node, field.name)!r}".encode())
    elif isinstance(node, tuple):
        sha.update(f"({len(node)}".encode())
        for value in node:
            _feed(sha, value)
    else:
        sha.update(node if isinstance(node, bytes) else repr(node).encode())
