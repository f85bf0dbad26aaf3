"""Makes lava-nc and lava-dl work on Python 3.11 and newer, and with NumPy 2.

A meta path finder waits for the modules that are mended and executes each inside a context:

- ``lava.magma.compiler.var_model`` uses instances of plain dataclasses as field defaults. Since Python 3.11
  a default must be hashable, so ``dataclasses.dataclass`` adds ``unsafe_hash=True`` meanwhile.
- Lava sets the start method of processes to fork, and fails where another one is set. It gets no say in
  that, and everything that it starts or shares comes from the context of fork.
- Lava's reshaped ports call ``np.reshape`` with a keyword that NumPy 2.5 lacks.

Nothing of lava is imported before the user imports it; on Python 3.10 nothing is installed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.abc
import importlib.machinery
import io
import logging
import multiprocessing
import operator
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from .errors import LavaMissingError

_CUDA_NOTICE = "No CUDA runtime is found"
LAVA = {"lava-nc": "0.10.0", "lava-dl": "0.6.0"}
"""The versions of Lava's packages, both the last ones."""
INSTALL_LAVA = "pip install --no-deps --ignore-requires-python " + " ".join(map("==".join, LAVA.items()))


_CHANNELS = "lava.magma.compiler.channels"
_MESSAGES = "lava.magma.runtime.message_infrastructure"


@contextlib.contextmanager
def _hashable_dataclasses(_: ModuleType) -> Iterator[None]:
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
def _forked_actors(module: ModuleType) -> Iterator[None]:
    original = multiprocessing.set_start_method
    multiprocessing.set_start_method = lambda method, force=False: None
    try:
        yield
    finally:
        multiprocessing.set_start_method = original
    module.SystemProcess._Popen = staticmethod(multiprocessing.get_context("fork").Process._Popen)


@contextlib.contextmanager
def _forked_manager(module: ModuleType) -> Iterator[None]:
    yield
    fork = multiprocessing.get_context("fork")
    manager = functools.partial(module.managers.SharedMemoryManager, ctx=fork)
    vars(module)["managers"] = types.SimpleNamespace(SharedMemoryManager=manager)


@contextlib.contextmanager
def _forked_names(module: ModuleType) -> Iterator[None]:
    yield
    fork = multiprocessing.get_context("fork")
    for name in vars(module).keys() & {"Event", "Manager", "Process", "Queue", "Semaphore"}:
        setattr(module, name, getattr(fork, name))


@contextlib.contextmanager
def _reshape_without_keyword(module: ModuleType) -> Iterator[None]:
    yield
    port = module.ReshapePort
    port.get_transform_func_fwd = lambda self: operator.methodcaller("reshape", self.shape)
    port.get_transform_func_bwd = lambda self: operator.methodcaller("reshape", self.old_shape)


_MENDED: dict[str, Callable[[ModuleType], AbstractContextManager[None]]] = {
    "lava.magma.compiler.var_model": _hashable_dataclasses,
    f"{_MESSAGES}.multiprocessing": _forked_actors,
    f"{_MESSAGES}.shared_memory_manager": _forked_manager,
    f"{_CHANNELS}.pypychannel": _forked_names,
    f"{_CHANNELS}.watchdog": _forked_names,
    "lava.magma.runtime.runtime": _forked_names,
    "lava.magma.core.process.ports.ports": _reshape_without_keyword,
}


class _MendingLoader(importlib.abc.Loader):
    """Executes a module inside a context, otherwise as its own loader would."""

    def __init__(
        self, loader: importlib.abc.Loader, context: Callable[[ModuleType], AbstractContextManager[None]]
    ) -> None:
        self._loader, self._context = loader, context

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with self._context(module):
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
