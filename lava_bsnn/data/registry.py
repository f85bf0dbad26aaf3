"""Where the files of a dataset are looked for."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from ..errors import DataError, check_option
from .catalog import DATASETS
from .info import DatasetInfo


def get(name: str) -> DatasetInfo:
    """Return the entry of ``name``.

    Raises:
        OptionError: the name is unknown.
    """
    check_option("data", "name", name, DATASETS)
    return DATASETS[name]


def find(name: str, root: str | os.PathLike[str] | None = None) -> Path | None:
    """Return where the files of a dataset are, or None: they are absent, or the set needs none.

    Looks in ``root`` if it is given, else in ``$LAVA_BSNN_DATA``, ``./data``, and the folders of
    system packages, in this order. The result is the folder in which the set's own files lie, or a
    file of packed recordings: a ``*.npz`` that ``root`` names, or the only one in ``root``, or the
    only one whose name contains that of the set.

    Raises:
        OptionError: the name is unknown.
        DataError: several packed files fit.
    """
    info = get(name)
    for folder in _places(info, root):
        found = _find_in(info, folder, given=root is not None and folder == Path(root))
        if found is not None:
            return found
    return None


def status(name: str, root: str | os.PathLike[str] | None = None) -> str:
    """Return ``"embedded"``, ``"present"``, or what is missing and where it was looked for."""
    info = get(name)
    if info.requires and importlib.util.find_spec(info.requires) is None:
        return f"not installed; {info.source}"
    if info.embedded:
        return "embedded"
    if find(name, root) is not None:
        return "present"
    return f"not in {', '.join(map(str, _places(info, root)))}"


def locate(name: str, root: str | os.PathLike[str] | None = None) -> Path | None:
    """Like :func:`find`, but None only for sets that need no files.

    Raises:
        DataError: the set is missing; the message tells where it was looked for and how to get it.
    """
    info, found = get(name), find(name, root)
    if found is None and not info.embedded:
        raise DataError(f"{name}: {status(name, root)}; get it with {info.source}")
    return found


def _places(info: DatasetInfo, root: str | os.PathLike[str] | None) -> list[Path]:
    places = [root] if root else [os.environ.get("LAVA_BSNN_DATA"), "data", *info.folders]
    return [Path(place).expanduser() for place in places if place]


def _find_in(info: DatasetInfo, folder: Path, *, given: bool) -> Path | None:
    if info.packed and folder.is_file() and folder.suffix == ".npz":
        return folder
    if not folder.is_dir():
        return None
    for layout in info.layouts:
        if all((folder / part).exists() for part in layout):
            return (folder / os.path.commonpath([Path(part).parent for part in layout])).absolute()
    if not info.packed:
        return None
    files = sorted(folder.glob("*.npz"))
    named = [file for file in files if info.packed in "".join(filter(str.isalnum, file.stem.lower()))]
    if len(named) > 1:
        names = ", ".join(file.name for file in named)
        raise DataError(f"{info.name}: {folder} holds {names}; give the path of one of them")
    if named:
        return named[0]
    return files[0] if given and len(files) == 1 else None
