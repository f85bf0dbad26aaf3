"""What enters a network, its classes' names, and whether it streams, in the metadata of a NIR graph."""

from __future__ import annotations

from typing import Any

from lava_bsnn.errors import ExportError, LavaBsnnError

from ..hdf5 import extended
from ..network import Encoding, FixedPointNetwork, Input, Shape

SIGNED, ENCODING, CLASSES = "lava_bsnn_signed", "lava_bsnn_encoding", "lava_bsnn_classes"
"""Keys of our own; the latter two are JSON as in extended files."""
PERSISTENT = "lava_bsnn_persistent"
"""Key of our own: samples are streams."""


def described(net: FixedPointNetwork) -> dict[str, Any]:
    """Metadata of what a plain graph of spikes does not have."""
    entry = net.input
    found: dict[str, Any] = {}
    if entry.signed:
        found[SIGNED] = 1
    if entry.encoding is not None:
        found[ENCODING] = extended.encoding_text(entry.encoding).decode("ascii")
    if net.persistent:
        found[PERSISTENT] = 1
    if net.classes:
        found[CLASSES] = extended.as_text(list(net.classes)).decode("ascii")
    return found


def input_of(metadata: dict[str, Any], shape: Shape, bits: int | None) -> Input:
    """The input that metadata tell of, or a plain one of ``bits`` bits.

    Raises:
        ExportError: the metadata are not what :func:`described` gives.
    """
    if bits is not None:
        return Input(shape=shape, bits=bits)
    width, signed = int(metadata.get("input_bits", 0)), bool(metadata.get(SIGNED, 0))
    encoding: Encoding | None = None
    if ENCODING in metadata:
        try:
            encoding = extended.read_encoding(_text(metadata, ENCODING), f"metadata {ENCODING}")
        except LavaBsnnError as error:
            raise ExportError(str(error)) from error
    return Input(shape=shape, bits=width, signed=signed, encoding=encoding)


def names_of(metadata: dict[str, Any]) -> tuple[str, ...]:
    """Names of the classes.

    Raises:
        ExportError: the metadata are not what :func:`described` gives.
    """
    if CLASSES not in metadata:
        return ()
    try:
        return extended.read_classes(_text(metadata, CLASSES), f"metadata {CLASSES}")
    except LavaBsnnError as error:
        raise ExportError(str(error)) from error


def _text(metadata: dict[str, Any], key: str) -> str:
    value = metadata[key]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
