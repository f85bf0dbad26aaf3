"""Files that are either the old one or the new one, never half of it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import LavaBsnnError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success fsync it and rename it to ``path``.

    Raises:
        LavaBsnnError: the folder does not exist or cannot be written, or ``path`` is a folder,
            a device, or a pipe.
    """
    target = Path(path)
    if target.is_symlink():  # a link stays a link, to the new file
        target = target.resolve()
    if not target.parent.is_dir():
        raise LavaBsnnError(f"{target}: folder {target.parent} does not exist; make it first")
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "not a regular file"
        raise LavaBsnnError(f"{target}: is {what}; give the name of a file")
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except OSError as error:
        raise LavaBsnnError(
            f"{target}: cannot write to {target.parent} ({error.strerror}); choose another folder"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp gives 0600
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name survives a power cut too
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise what :func:`atomic_path` would raise, before the work that fills the file."""
    with contextlib.suppress(_UnusedError), atomic_path(path):
        raise _UnusedError


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON; the file is complete or not there."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


class _UnusedError(Exception):
    """Leaves :func:`atomic_path` without a file."""
