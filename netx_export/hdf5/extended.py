"""The extended layout: the structure as text, all +-1 weights as bits, all other integers.

One group per layer and one dataset per key, as in stock files, would cost more than the bits
of a small layer's weights; so the arrays of all layers stand in two datasets, in the order in
which the structure names them. :func:`netx_export.hdf5.schema.fields` drives reader and writer.
"""

from __future__ import annotations

import json
import math
from typing import Any

import h5py
import numpy as np

from lava_bsnn.errors import ExportError, NetXFormatError
from lava_bsnn.limits import LIMITS

from ..content import Domain
from ..network import Encoding, FixedPointNetwork
from ..network.synapses import is_binary
from . import safe, schema

_MAX_AXES = 4


def write_network(file: h5py.File, net: FixedPointNetwork) -> None:
    """Write the datasets of the network."""
    writer = _Writer()
    structure = as_text(writer.node(net))
    compressed = {"compression": "gzip", "compression_opts": 9}
    file.create_dataset(schema.STRUCTURE, data=np.frombuffer(structure, dtype=np.uint8), **compressed)
    integers = zigzag(np.concatenate([np.zeros(0, dtype=np.int32), *writer.integers]))
    file.create_dataset(
        schema.INTEGERS, data=integers, **(compressed if integers.size else {}), shuffle=bool(integers.size)
    )
    file[schema.SIGNS] = np.concatenate([np.zeros(0, dtype=np.uint8), *writer.signs])


def as_text(data: Any) -> bytes:
    """Plain data as JSON.

    Raises:
        ExportError: it is longer than readers take.
    """
    text = json.dumps(data, separators=(",", ":"), sort_keys=True).encode("ascii")
    if len(text) > schema.MAX_STRUCTURE:
        raise ExportError(
            f"the network's names and structure take {len(text)} bytes; at most {schema.MAX_STRUCTURE} are "
            "allowed; use shorter names"
        )
    return text


def from_text(text: bytes | str, where: str) -> Any:
    """Plain data of JSON without fractions.

    Raises:
        NetXFormatError: it is something else.
    """
    try:
        return _loads(text)
    except (ValueError, RecursionError) as error:
        raise NetXFormatError(f"{where}: is not JSON of integers and text ({error})") from error


def _loads(text: bytes | str) -> Any:
    return json.loads(text, parse_float=_refuse, parse_constant=_refuse)


def encoding_text(encoding: Encoding) -> bytes:
    """An encoding as it stands in the structure."""
    return as_text(_Writer().node(encoding))


def read_encoding(text: bytes | str, where: str) -> Encoding:
    """The encoding of :func:`encoding_text`.

    Raises:
        NetXFormatError: it is something else.
        OptionError: its values are not allowed.
    """
    nothing = np.zeros(0, dtype=np.uint8)
    encoding = _Reader(nothing, nothing).node(from_text(text, where), ("Encoding",), where)
    assert isinstance(encoding, Encoding)
    return encoding


def read_classes(text: bytes | str, where: str) -> tuple[str, ...]:
    """Names of classes, a list of texts.

    Raises:
        NetXFormatError: it is something else.
    """
    (field,) = (field for field in schema.fields(FixedPointNetwork) if field.name == "classes")
    return _texts(from_text(text, where), field.domain, where)


def zigzag(values: np.ndarray) -> np.ndarray:
    """Signed 32-bit integers as unsigned ones: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...

    The high bytes of small numbers are then 0 for both signs, which gzip needs.
    """
    return ((values << 1) ^ (values >> 31)).view(np.uint32)


def unzigzag(values: np.ndarray) -> np.ndarray:
    """Undo :func:`zigzag`."""
    return (values >> 1).view(np.int32) ^ -(values & 1).view(np.int32)


class _Writer:
    def __init__(self) -> None:
        self.signs: list[np.ndarray] = []
        self.integers: list[np.ndarray] = []

    def node(self, value: Any) -> dict[str, Any]:
        """A network's object as plain data; arrays go to the lists."""
        result: dict[str, Any] = {"type": type(value).__name__}
        for field in schema.fields(type(value)):
            content, kind = getattr(value, field.name), field.domain.kind
            if isinstance(content, np.ndarray):
                result[field.name] = self._array(content, kind == "weight")
            elif kind == "node" and content is not None:
                result[field.name] = self.node(content)
            elif kind == "nodes":
                result[field.name] = [self.node(item) for item in content]
            elif content != field.default:
                result[field.name] = _plain(content)
        return result

    def _array(self, array: np.ndarray, weight: bool) -> dict[str, Any]:
        if weight and is_binary(array):
            self.signs.append(np.packbits(array.reshape(-1) > 0))
            return {"signs": list(array.shape)}
        self.integers.append(array.reshape(-1))
        return {"integers": list(array.shape)}


def read_network(file: h5py.File) -> FixedPointNetwork:
    """Read the datasets of :func:`write_network`.

    Raises:
        NetXFormatError: something is missing, unknown, of the wrong type, or out of range.
    """
    known = {schema.STRUCTURE, schema.INTEGERS, schema.SIGNS}
    unknown = sorted(set(file) - known)
    if unknown:
        raise NetXFormatError(f"/{unknown[0]} is not known; an extended file has {', '.join(sorted(known))}")
    structure = safe.raw(file, schema.STRUCTURE, "u")
    if structure.dtype != np.uint8 or structure.ndim != 1 or structure.size > schema.MAX_STRUCTURE:
        raise NetXFormatError(
            f"/{schema.STRUCTURE}: text of at most {schema.MAX_STRUCTURE} bytes is expected"
        )
    try:
        data = _loads(structure.tobytes())
    except (ValueError, RecursionError) as error:
        raise NetXFormatError(f"/{schema.STRUCTURE}: is not JSON of integers and text ({error})") from error
    signs = safe.raw(file, schema.SIGNS, "u")
    if signs.dtype != np.uint8 or signs.ndim != 1:
        raise NetXFormatError(f"/{schema.SIGNS}: {signs.dtype} {signs.shape} is not allowed; use bytes")
    integers = safe.raw(file, schema.INTEGERS, "u")
    if integers.dtype != np.uint32 or integers.ndim != 1:
        raise NetXFormatError(
            f"/{schema.INTEGERS}: {integers.dtype} {integers.shape} is not allowed; use uint32"
        )
    reader = _Reader(signs, unzigzag(integers))
    net = reader.node(data, ("FixedPointNetwork",), "network")
    if reader.signs_left or reader.integers_left:
        raise NetXFormatError(
            f"/{schema.SIGNS} and /{schema.INTEGERS}: {reader.signs_left} bytes and {reader.integers_left} "
            "integers are left over; export the file again"
        )
    assert isinstance(net, FixedPointNetwork)
    return net


def _refuse(text: str) -> Any:
    raise ValueError(f"{text[:20]} is not an integer")


class _Reader:
    def __init__(self, signs: np.ndarray, integers: np.ndarray) -> None:
        self._signs, self._integers = signs, integers
        self._next_sign = self._next_integer = 0

    @property
    def signs_left(self) -> int:
        return len(self._signs) - self._next_sign

    @property
    def integers_left(self) -> int:
        return len(self._integers) - self._next_integer

    def node(self, data: Any, types: tuple[str, ...], where: str) -> Any:
        """Make the object that ``data`` describes."""
        name = data.get("type") if isinstance(data, dict) else None
        if not isinstance(name, str) or name not in types:
            raise NetXFormatError(f"{where}: type {str(name)[:40]!r} is not allowed; use {', '.join(types)}")
        kind = schema.nodes()[name]
        fields = schema.fields(kind)
        unknown = sorted(set(data) - {field.name for field in fields} - {"type"})
        if unknown:
            raise NetXFormatError(f"{where}.{unknown[0][:40]} is not known in a {name}")
        values = {}
        for field in fields:
            place = f"{where}.{field.name}"
            if field.name in data:
                values[field.name] = self._value(data[field.name], field, place)
            elif field.default is ...:
                raise NetXFormatError(f"{place} is missing; export the file again")
            else:
                values[field.name] = field.default
        return kind(**values)

    def _value(self, data: Any, field: schema.Field, where: str) -> Any:
        domain = field.domain
        if domain.kind == "node":
            name = data.get("type") if isinstance(data, dict) else None
            if domain.types == ("neuron",) and isinstance(name, str) and name not in field.types:
                raise NetXFormatError(
                    f"{where}: neurons {name[:40]!r} are not known; register them "
                    "(netx_export.register_neuron, or lava-bsnn --import FILE), or use "
                    f"{', '.join(field.types)}"
                )
            return self.node(data, field.types, where)
        if domain.kind == "nodes":
            if not isinstance(data, list):
                raise NetXFormatError(f"{where}: a list is expected")
            return tuple(self.node(item, field.types, f"{where}[{i}]") for i, item in enumerate(data))
        if domain.kind == "text":
            return _text(data, where)
        if domain.kind == "texts":
            return _texts(data, domain, where)
        if domain.kind == "bool":
            if not isinstance(data, bool):
                raise NetXFormatError(f"{where}: true or false is expected")
            return data
        if domain.kind == "ints":
            least, most = domain.count
            if not isinstance(data, list) or not least <= len(data) <= most:
                raise NetXFormatError(
                    f"{where}: one to three integers are expected"
                    if most == 3
                    else f"{where}: a list of {least}..{most} integers is expected"
                )
            return tuple(_integer(item, domain, where) for item in data)
        if domain.kind == "int" or (domain.kind in ("value", "steps") and not isinstance(data, dict)):
            return _integer(data, domain, where)
        return self._array(data, domain, where)

    def _array(self, data: Any, domain: Domain, where: str) -> np.ndarray:
        store = next(iter(data)) if isinstance(data, dict) and len(data) == 1 else None
        shape = data[store] if store is not None else None
        allowed = ("integers", "signs") if domain.kind == "weight" else ("integers",)
        if store not in allowed or not isinstance(shape, list) or not 1 <= len(shape) <= _MAX_AXES:
            raise NetXFormatError(f"{where}: an array with its shape is expected")
        axis = Domain(kind="int", low=1, high=safe.MAX_ELEMENTS)
        size = math.prod(_integer(item, axis, where) for item in shape)
        if store == "signs":
            packed = self._signs[self._next_sign : self._next_sign + (size + 7) // 8]
            if size > 8 * len(packed):
                raise NetXFormatError(f"{where}: /{schema.SIGNS} ends before its {size} weights")
            self._next_sign += len(packed)
            bits = np.unpackbits(packed)
            if bits[size:].any():
                raise NetXFormatError(f"{where}: the bits behind its weights in /{schema.SIGNS} are not 0")
            return (2 * bits[:size].astype(np.int32) - 1).reshape(shape)
        values = self._integers[self._next_integer : self._next_integer + size]
        if size > len(values):
            raise NetXFormatError(f"{where}: /{schema.INTEGERS} ends before its {size} values")
        self._next_integer += size
        if values.min() < domain.low or values.max() > domain.high:
            raise NetXFormatError(
                f"{where}: {values.min()}..{values.max()} is out of range; "
                f"{domain.low}..{domain.high} are allowed"
            )
        return values.reshape(shape)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, np.integer) else value


def _text(data: Any, where: str) -> str:
    if not isinstance(data, str) or not 0 < len(data) <= LIMITS.name_max:
        raise NetXFormatError(f"{where}: a text of 1..{LIMITS.name_max} characters is expected")
    return data


def _texts(data: Any, domain: Domain, where: str) -> tuple[str, ...]:
    least, most = domain.count
    if not isinstance(data, list) or not least <= len(data) <= most:
        raise NetXFormatError(f"{where}: a list of {least}..{most} texts is expected")
    return tuple(_text(item, where) for item in data)


def _integer(data: Any, domain: Domain, where: str) -> int:
    if type(data) is not int or not domain.low <= data <= domain.high:
        raise NetXFormatError(f"{where}: {str(data)[:40]} is not allowed; use {domain.low}..{domain.high}")
    return data
