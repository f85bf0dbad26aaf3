"""Makes lava-nc and lava-dl work on Python 3.11 and newer, with NumPy 2, and mends what they do to runs.

A meta path finder waits for the modules that are mended and executes each inside a context:

- ``lava.magma.compiler.var_model`` uses instances of plain dataclasses as field defaults. Since Python 3.11
  a default must be hashable, so ``dataclasses.dataclass`` adds ``unsafe_hash=True`` meanwhile.
- Lava sets the start method of processes to fork, and fails where another one is set. It gets no say in
  that; its modules get processes, queues and semaphores that fork.
- Its runtime becomes :class:`lava_bsnn.lava_runs.Runtime`.
- SLAYER imports its tools for object detection, with them torchvision and torch's compiler: 1.5 of 3.6
  seconds. They load when they are used.
- Its reshaped ports call ``np.reshape`` with a keyword that NumPy 2.5 lacks, and lava-dl's reader of files
  takes ``int`` of arrays of one number, which NumPy 2.5 refuses.
- Lava's convolution computes with sides and channels beside numbers of type int8, which NumPy 2 refuses from
  128 on.

Nothing of lava is imported before the user imports it.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from .errors import LavaMissingError

_CUDA_NOTICE = "No CUDA runtime is found"
LAVA = {"lava-nc": "0.10.0", "lava-dl": "0.6.0"}
"""The versions of Lava's packages, both the last ones."""
INSTALL_LAVA = "pip install --no-deps --ignore-requires-python " + " ".join(map("==".join, LAVA.items()))


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
def _forks(_: ModuleType) -> Iterator[None]:
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    fork: Any = multiprocessing.get_context(method)
    forked = {name: getattr(fork, name) for name in ("Event", "Manager", "Process", "Queue", "Semaphore")}
    forked["set_start_method"] = lambda *_: None
    original = {name: getattr(multiprocessing, name) for name in forked}
    vars(multiprocessing).update(forked)
    try:
        yield
    finally:
        vars(multiprocessing).update(original)


@contextlib.contextmanager
def _tells_of_failures(module: ModuleType) -> Iterator[None]:
    with _forks(module):
        yield
    from . import lava_runs

    lava_runs.install()


@contextlib.contextmanager
def _reshape_without_keyword(module: ModuleType) -> Iterator[None]:
    yield
    port: Any = module.ReshapePort  # type: ignore[attr-defined]
    port.get_transform_func_fwd = lambda self: operator.methodcaller("reshape", self.shape)
    port.get_transform_func_bwd = lambda self: operator.methodcaller("reshape", self.old_shape)


@contextlib.contextmanager
def _whole_numbers_of_arrays(module: ModuleType) -> Iterator[None]:
    yield
    vars(module)["int"] = lambda value: value.item() if getattr(value, "size", 0) == 1 else int(value)


@contextlib.contextmanager
def _convolves_with_ints(module: ModuleType) -> Iterator[None]:
    yield

    def mended(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def conv(
            input_: Any, weight: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, groups: Any
        ) -> Any:
            pairs = (tuple(map(int, pair)) for pair in (kernel_size, stride, padding, dilation))
            return original(input_, weight, *pairs, int(groups))

        return conv

    for name in ("conv", "conv_scipy"):
        vars(module)[name] = mended(vars(module)[name])


@contextlib.contextmanager
def _without_notice(_: ModuleType) -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield


_RUNTIME = "lava.magma.runtime.runtime"
_LATE = "lava.lib.dl.slayer.object_detection"
_MENDED: dict[str, Callable[[ModuleType], AbstractContextManager[None]]] = {
    "lava.magma.compiler.var_model": _hashable_dataclasses,
    "lava.magma.compiler.channels.pypychannel": _forks,
    "lava.magma.compiler.channels.watchdog": _forks,
    "lava.magma.runtime.message_infrastructure.multiprocessing": _forks,
    _RUNTIME: _tells_of_failures,
    "lava.magma.core.process.ports.ports": _reshape_without_keyword,
    "lava.lib.dl.netx.hdf5": _whole_numbers_of_arrays,
    "lava.proc.conv.utils": _convolves_with_ints,
    _LATE: _without_notice,
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


class _LateLoader(_MendingLoader):
    """Executes a module when something of it is asked for.

    ``importlib.util.LazyLoader`` executes it where its file's name is asked for, too, as tools do that look
    through all modules.
    """

    def exec_module(self, module: ModuleType) -> None:
        def load(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            vars(module).pop("__getattr__", None)
            super(_LateLoader, self).exec_module(module)
            return getattr(module, name)

        module.__getattr__ = load  # type: ignore[method-assign]


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _MENDED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            mends = _LateLoader if fullname == _LATE else _MendingLoader
            spec.loader = mends(spec.loader, _MENDED[fullname])
        return spec


def enable_lava() -> None:
    """Install the import hook once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        if _RUNTIME in sys.modules:  # as on Python 3.10
            with _tells_of_failures(sys.modules[_RUNTIME]):
                pass


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
