"""Makes lava-nc 0.10.0 and lava-dl 0.6.0 importable on Python 3.11 and newer.

``lava.magma.compiler.var_model`` uses instances of plain dataclasses as field
defaults. Since Python 3.11 a default must be hashable, and dataclasses with
``eq=True`` are not. A meta path finder waits for that one module and executes it
with ``dataclasses.dataclass`` adding ``unsafe_hash=True``. Nothing of lava is
imported before the user imports it; on Python 3.10 nothing is installed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import io
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from .errors import LavaMissingError

_BROKEN_MODULE = "lava.magma.compiler.var_model"
_CUDA_NOTICE = "No CUDA runtime is found"
INSTALL_LAVA = "pip install --no-deps --ignore-requires-python lava-nc==0.10.0 lava-dl==0.6.0"


class _HashableDataclassLoader(importlib.abc.Loader):
    """Executes a module with hashable dataclasses, otherwise as its own loader would."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        original = dataclasses.dataclass

        def hashable_dataclass(cls: Any = None, /, **options: Any) -> Any:
            options.setdefault("unsafe_hash", True)
            return original(**options) if cls is None else original(cls, **options)

        dataclasses.dataclass = hashable_dataclass  # type: ignore[assignment]
        try:
            self._loader.exec_module(module)
        finally:
            dataclasses.dataclass = original


class _VarModelFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _BROKEN_MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _HashableDataclassLoader(spec.loader)
        return spec


def enable_lava() -> bool:
    """Install the import hook once; return whether this Python needs it."""
    if sys.version_info < (3, 11):
        return False
    if not any(isinstance(finder, _VarModelFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _VarModelFinder())
    return True


def import_lava(name: str) -> ModuleType:
    """Import a module of lava-nc or lava-dl.

    SLAYER prints a notice about an optional dataset toolbox while it is imported, and torch
    tells of a CUDA compiler without a GPU. Both are kept off the terminal.

    Raises:
        LavaMissingError: lava is not installed; the message has the command that does.
    """
    enable_lava()
    errors = io.StringIO()
    cuda_notices = logging.getLogger("torch.utils.cpp_extension")
    level = cuda_notices.level
    cuda_notices.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "lava":
            raise
        raise LavaMissingError(f"{name} is not installed; run: {INSTALL_LAVA}") from error
    finally:
        cuda_notices.setLevel(level)
        for line in errors.getvalue().splitlines():
            if _CUDA_NOTICE not in line:
                sys.stderr.write(f"{line}\n")
