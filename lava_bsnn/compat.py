"""Makes lava-nc 0.10.0 and lava-dl 0.6.0 importable on Python 3.11 and newer.

``lava.magma.compiler.var_model`` uses instances of plain dataclasses as field
defaults. Since Python 3.11 a default must be hashable, and dataclasses with
``eq=True`` are not. A meta path finder waits for that one module and executes it
with ``dataclasses.dataclass`` adding ``unsafe_hash=True``. Lava's message module sets the
start method of processes to fork and fails where one is set already, as a data loader with
workers leaves fork, and a spawned process has spawn; it is executed so that this may happen.
Nothing of lava is imported before the user imports it; on Python 3.10 nothing is installed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import io
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from .errors import LavaMissingError

_CUDA_NOTICE = "No CUDA runtime is found"
INSTALL_LAVA = "pip install --no-deps --ignore-requires-python lava-nc==0.10.0 lava-dl==0.6.0"


@contextlib.contextmanager
def _hashable_dataclasses() -> Iterator[None]:
    original = dataclasses.dataclass

    def hashable_dataclass(cls: Any = None, /, **options: Any) -> Any:
        options.setdefault("unsafe_hash", True)
        return original(**options) if cls is None else original(cls, **options)

    dataclasses.dataclass = hashable_dataclass  # type: ignore[assignment]
    try:
        yield
    finally:
        dataclasses.dataclass = original


@contextlib.contextmanager
def _fork_may_be_set_again() -> Iterator[None]:
    original = multiprocessing.set_start_method

    def set_start_method(method: str | None, force: bool = False) -> None:
        spawned = multiprocessing.parent_process() is not None  # with a method that nobody chose
        if force or method is None or multiprocessing.get_start_method(allow_none=True) != method:
            original(method, force or spawned)

    multiprocessing.set_start_method = set_start_method
    try:
        yield
    finally:
        multiprocessing.set_start_method = original


_MENDED: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "lava.magma.compiler.var_model": _hashable_dataclasses,
    "lava.magma.runtime.message_infrastructure.multiprocessing": _fork_may_be_set_again,
}


class _MendingLoader(importlib.abc.Loader):
    """Executes a module inside a context, otherwise as its own loader would."""

    def __init__(
        self, loader: importlib.abc.Loader, context: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._loader, self._context = loader, context

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with self._context():
            self._loader.exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _MENDED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _MendingLoader(spec.loader, _MENDED[fullname])
        return spec


def enable_lava() -> bool:
    """Install the import hook once; return whether this Python needs it."""
    if sys.version_info < (3, 11):
        return False
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
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
