"""Runs Lava processes so that nothing is left: no child process, no shared memory, however a run ends."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import LavaBsnnError, LavaRunError, line_of

from .interrupts import Interrupts, TimeIsOver

_TURN = 0.05
_LASTING = ("lava.", "netx_export.")
"""Packages whose process models stay the same while Python runs."""

_FROZEN = gc.get_freeze_count()
"""Objects that Python itself freezes when it starts, since 3.12."""

_lock = threading.Lock()
_models: dict[type, Any] = {}


def run_steps(process: Any, steps: int, run_cfg: Any, *, timeout: float | None = None) -> None:
    """Run a process and all that is connected to it, and end its runtime.

    Afterwards no child process and no shared memory of the run is left, also after an exception or
    Ctrl-C. If this process is killed, its children go with it.

    Args:
        process: a Lava process that has not run.
        steps: time steps.
        run_cfg: Lava's run configuration; processes on the CPU only.
        timeout: seconds that the run may take, compilation and other runs before it included. Outside the
            main thread, compilation is not interrupted.

    Raises:
        LavaRunError: an exception in one of Lava's processes, or the time is over.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        with (
            Interrupts(deadline) as interrupts,
            _alone(interrupts),
            _models_found_once(),
            _ended(process),
        ):
            _run(process, steps, run_cfg, interrupts)
    except TimeIsOver:
        raise LavaRunError(
            f"the run on Lava took longer than timeout={timeout:g} seconds and was stopped"
        ) from None


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Free the processes that are made meanwhile, and their data, which Lava's registries would keep.

    Objects from before are frozen: garbage collection need not look at them, and does not touch, and so
    copy, the memory that forked processes share.
    """
    processes = import_lava("lava.magma.core.process.process").ProcessServer().processes
    variables = import_lava("lava.magma.core.process.variable").VarServer().vars
    before = [(registry, len(registry)) for registry in (processes, variables)]
    freezes = gc.get_freeze_count() <= _FROZEN  # else somebody else does
    if freezes:
        gc.freeze()
    try:
        yield
    finally:
        for registry, number in before:
            del registry[number:]
        gc.collect()
        if freezes:
            gc.unfreeze()


def _run(process: Any, steps: int, run_cfg: Any, interrupts: Interrupts) -> None:
    condition = import_lava("lava.magma.core.run_conditions").RunSteps(num_steps=steps)
    on_wait = import_lava("lava_bsnn.lava_runs").on_wait
    before = on_wait.set(interrupts.check)
    try:
        with interrupts.allowed():
            executable = process.compile(run_cfg)
        process.create_runtime(executable=executable)
        process.runtime.start(condition)
    except LavaBsnnError:
        raise
    except Exception as error:
        raise LavaRunError(f"Lava could not start the run: {line_of(error)}") from error
    finally:
        on_wait.reset(before)


@contextlib.contextmanager
def _alone(interrupts: Interrupts) -> Iterator[None]:
    """One run at a time: runs in other threads wait."""
    while not _lock.acquire(timeout=_TURN):
        interrupts.check()
    try:
        yield
    finally:
        _lock.release()


@contextlib.contextmanager
def _models_found_once() -> Iterator[None]:
    """Let Lava's compiler look for the models of a class of processes once.

    It executes all modules beside a process anew, for each process: most of the time of a short run.
    """
    graphs = import_lava("lava.magma.compiler.compiler_graphs").ProcGroupDiGraphs
    find = graphs._find_proc_models

    def find_once(proc: Any) -> Any:
        kind = type(proc)
        if not kind.__module__.startswith(_LASTING):
            return find(proc)
        if kind not in _models:
            _models[kind] = find(proc)
        return list(_models[kind])

    graphs._find_proc_models = staticmethod(find_once)
    try:
        yield
    finally:
        graphs._find_proc_models = staticmethod(find)


@contextlib.contextmanager
def _ended(process: Any) -> Iterator[None]:
    try:
        yield
    finally:
        if process.runtime is not None:
            process.runtime.end()
        _clear_models(process.runtime)


def _clear_models(runtime: Any) -> None:
    """Take the ports of probed Vars off the classes of process models, where Lava's compiler leaves them."""
    implicit = import_lava("lava.magma.core.process.ports.ports").ImplicitVarPort
    builders = getattr(getattr(runtime, "_executable", None), "proc_builders", {})
    for model in {builder.proc_model for builder in builders.values()}:
        for name in [name for name, value in vars(model).items() if isinstance(value, implicit)]:
            delattr(model, name)
