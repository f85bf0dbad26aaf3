"""Files that are either the old one or the new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import LavaBsnnError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success fsync it and rename it to ``path``.

    Raises:
        LavaBsnnError: the folder does not exist, or ``path`` is a folder.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise LavaBsnnError(f"{target}: folder {target.parent} does not exist; make it first")
    if target.is_dir():
        raise LavaBsnnError(f"{target}: is a folder; give the name of a file")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
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
    finally:
        temporary.unlink(missing_ok=True)
