"""Access to untrusted HDF5 files: no links, no objects, no data larger than the file can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from lava_bsnn.errors import NetXFormatError

MAX_ELEMENTS = 1 << 28
"""Most elements of one dataset."""
MAX_EXPANSION = 1100
"""Most bytes that one byte of a file may become; deflate reaches 1032."""
MAX_TEXT = 1 << 12
"""Most bytes of one string."""
_SLACK = 1 << 16
_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


def local(group: h5py.Group, key: str, kind: type) -> Any:
    """An item of the group itself: links out of it are not followed."""
    link = group.get(key, getlink=True)
    if link is None:
        raise NetXFormatError(f"{group.name.rstrip('/')}/{key} is missing; export the file again")
    if not isinstance(link, h5py.HardLink):
        raise NetXFormatError(f"{group.name.rstrip('/')}/{key} is a link; links are not followed")
    item = group[key]
    if not isinstance(item, kind):
        raise NetXFormatError(f"{item.name} is not a {kind.__name__.lower()}; export the file again")
    return item


def raw(group: h5py.Group, key: str, kinds: str) -> np.ndarray:
    """A dataset of plain numbers of one of the numpy ``kinds``, its declared size checked first."""
    dataset = local(group, key, h5py.Dataset)
    if dataset.size is None or dataset.size > MAX_ELEMENTS:
        raise NetXFormatError(f"{dataset.name}: {dataset.size} elements; at most {MAX_ELEMENTS} are allowed")
    if dataset.dtype.kind not in kinds or dataset.is_virtual or dataset.external:
        raise NetXFormatError(f"{dataset.name}: {dataset.dtype} is not allowed; use plain numbers")
    properties = dataset.id.get_create_plist()
    for index in range(properties.get_nfilters()):
        if properties.get_filter(index)[0] not in _FILTERS:
            raise NetXFormatError(f"{dataset.name}: compressed by an unknown filter; use gzip")
    declared = max(dataset.size, int(np.prod(dataset.chunks or (0,)))) * dataset.dtype.itemsize
    stored = dataset.file.id.get_filesize()
    if declared > _SLACK + MAX_EXPANSION * stored:
        raise NetXFormatError(f"{dataset.name}: {declared} bytes cannot come from a file of {stored}")
    return np.asarray(dataset[()])


def integers(group: h5py.Group, key: str, cut: Callable[[], None] | None = None) -> np.ndarray:
    """A dataset of 32-bit integers, stored as whole numbers of any type.

    Fractions are errors; with ``cut``, which is then called, they are cut off.
    """
    values = raw(group, key, "iufb")
    name = f"{group.name.rstrip('/')}/{key}"
    if values.dtype.kind == "f":
        whole = np.trunc(values)
        if not np.isfinite(values).all() or (cut is None and (whole != values).any()):
            raise NetXFormatError(f"{name}: values that are not integers; round before export")
        if cut is not None and (whole != values).any():
            cut()
        values = whole
    if values.size and (values.min() < -(1 << 31) or values.max() >= 1 << 31):
        raise NetXFormatError(f"{name}: values beyond 32 bits; export the file again")
    return values.astype(np.int32)


def integer(group: h5py.Group, key: str, default: int | None = None) -> int:
    """One integer; ``default`` if it is given and the key is missing."""
    if default is not None and key not in group:
        return default
    values = integers(group, key)
    if values.size != 1:
        raise NetXFormatError(f"{group.name}/{key}: {values.size} values; one is expected")
    return int(values.reshape(())[()])


def text(group: h5py.Group, key: str) -> str:
    """One string of a dataset."""
    dataset = local(group, key, h5py.Dataset)
    if dataset.size != 1 or not _is_text(dataset.dtype):
        raise NetXFormatError(f"{dataset.name}: one string is expected")
    return decode(np.asarray(dataset[()]).reshape(-1)[0])


def attribute(item: Any, key: str, default: Any) -> Any:
    """One integer or string of an attribute, or the default."""
    if key not in item.attrs:
        return default
    properties = item.attrs.get_id(key)
    if properties.shape not in ((), (1,)) or not (
        properties.dtype.kind in "iub" or _is_text(properties.dtype)
    ):
        raise NetXFormatError(f"attribute {key} of {item.name}: one integer or string is expected")
    value = np.asarray(item.attrs[key]).reshape(-1)[0]
    return decode(value) if properties.dtype.kind in "SO" else int(value)


def long_text(item: Any, key: str, largest: int) -> bytes | None:
    """A string of fixed length of an attribute; None if there is no such attribute."""
    if key not in item.attrs:
        return None
    properties = item.attrs.get_id(key)
    size, stored = properties.dtype.itemsize, item.file.id.get_filesize()
    if properties.shape != () or properties.dtype.kind != "S" or size > largest:
        raise NetXFormatError(f"attribute {key}: a text of at most {largest} bytes is expected")
    if size > stored:
        raise NetXFormatError(f"attribute {key}: {size} bytes cannot come from a file of {stored}")
    return bytes(item.attrs[key])


def _is_text(dtype: np.dtype) -> bool:
    return h5py.check_string_dtype(dtype) is not None and dtype.itemsize <= MAX_TEXT


def decode(value: Any) -> str:
    """Bytes or text as text."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
