"""Base of the network's dataclasses: equality, hash and digest are those of the content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError

OPTIONAL = {"optional": True}
"""Metadata of a field that is no part of the content while it has its default."""


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
