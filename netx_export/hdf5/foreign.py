"""Files of other kinds, which are named where a network is expected."""

from __future__ import annotations

import zipfile
from pathlib import Path

_STARTS = {
    b"\x93NUMPY": "an array of NumPy",
    b"\x80": "a pickle",
    b"\x08": "a network of ONNX or another protocol buffer",
}


def foreign(path: Path) -> str:
    """What a file is that is no HDF5, in words; empty if it could be a damaged one, or is unknown."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        return "empty"
    if start.startswith(b"PK"):
        try:
            names = zipfile.ZipFile(path).namelist()
        except (OSError, zipfile.BadZipFile):
            names = []
        checkpoint = any(name.endswith("data.pkl") for name in names)
        return "a checkpoint of PyTorch" if checkpoint else "an archive"
    for first, what in _STARTS.items():
        if start.startswith(first):
            return what
    try:
        text = start.decode()
    except UnicodeDecodeError:
        return ""
    return "a text" if text.isprintable() or "\n" in text else ""
