"""Lava's runtime, which tells of what fails in its processes and leaves nothing of them.

Stock Lava waits for ever for a process that raised an exception or died. :mod:`lava_bsnn.compat` puts this
``Runtime`` in the place of Lava's, so that it serves every run in a Python that uses this package.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from lava.magma.compiler.channels.pypychannel import CspRecvPort
from lava.magma.runtime import runtime as stock
from lava.magma.runtime.message_infrastructure.multiprocessing import MultiProcessing
from lava.magma.runtime.mgmt_token_enums import MGMT_COMMAND, MGMT_RESPONSE, enum_equal
from lava.utils import loihi

from .errors import LavaRunError, line_of
from .lava_channels import WAIT, Memory, RecvPort, SendPort, first_filled

_GRACE = 2.0
"""Seconds for an exception to arrive after Lava's word that there was one."""

_PARENT = 0.5
"""Seconds until a process notices that its parent was killed."""

on_wait: ContextVar[Callable[[], None] | None] = ContextVar("on_wait", default=None)
"""Called while a process is awaited; what it raises ends the run. Their parent gets Ctrl-C alone then."""


class ProcessError(Exception):
    """Where in a Lava process an exception was raised."""

    def __init__(self, trace: str) -> None:
        super().__init__(f"\n{trace}")


class Runtime(stock.Runtime):
    """Raises what a process raised, wherever Lava waits for processes, and then ends them all."""

    exception_q: list[Any]
    _is_started: bool
    _is_running: bool
    _stopping = _ended = False
    _owner = 0

    def initialize(self, node_cfg_idx: int = 0) -> None:
        """Make the processes.

        Raises:
            Exception: what the first of them raised that could not be made.
        """
        self._owner = os.getpid()
        with self._ended_by_exceptions():
            super().initialize(node_cfg_idx)

    def _build_message_infrastructure(self) -> None:
        if loihi.is_installed():  # its closed parts may need the names
            super()._build_message_infrastructure()
        else:
            self._messaging_infrastructure = MultiProcessing()
            self._messaging_infrastructure._smm = Memory()

    def _build_processes(self) -> None:
        with _ctrl_c_waits():
            super()._build_processes()

    def _build_runtime_services(self) -> None:
        with _ctrl_c_waits():
            super()._build_runtime_services()

    def _start_ports(self) -> None:
        self._look_after(*self.runtime_to_service, *self.service_to_runtime)
        super()._start_ports()
        for queue in self.exception_q:
            while not queue._reader.poll(WAIT):
                self._check()
            error = queue.get()
            if error is not None:
                raise error from ProcessError(error.trace)
        self.exception_q = []

    def _create_external_channels(self, proc: Any, proc_builder: Any) -> None:
        super()._create_external_channels(proc, proc_builder)
        for name in proc_builder.py_ports:
            for kind in ("external_pipe_csp_recv_port", "external_pipe_csp_send_port"):
                if (port := getattr(getattr(proc, name), kind, None)) is not None:
                    self._look_after(port)

    def _look_after(self, *ports: Any) -> None:
        for port in ports:
            port.__class__ = RecvPort if isinstance(port, CspRecvPort) else SendPort
            port.check = self._check

    def start(self, run_condition: Any) -> None:
        """Run, or go on.

        Raises:
            LavaRunError: a process failed, or the run has ended.
        """
        if self._ended:
            _has_ended()
        super().start(run_condition)

    def _get_resp_for_run(self) -> None:
        waiting = list(self.service_to_runtime) if self._is_running else []
        with self._ended_by_exceptions():
            while waiting:
                port = first_filled(waiting, self._check)
                answer = port.recv()
                if enum_equal(answer, MGMT_RESPONSE.REQ_PAUSE):
                    return self.pause()
                if enum_equal(answer, MGMT_RESPONSE.REQ_STOP):
                    return self.stop()
                self._check_answer(answer)
                waiting.remove(port)
        self._is_running = False

    def pause(self) -> None:
        """Pause a run that goes on.

        Raises:
            LavaRunError: a process failed.
        """
        if self._is_running:
            self._order(MGMT_COMMAND.PAUSE, MGMT_RESPONSE.PAUSED)
            self._is_running = False

    def stop(self) -> None:
        """End the run.

        Raises:
            LavaRunError: a process failed, and no other exception is on its way.
        """
        another = sys.exc_info()[0] is not None  # as in a finally after Ctrl-C
        if self._is_started and self._owner == os.getpid():
            self._stopping = True
            with contextlib.suppress(LavaRunError) if another else contextlib.nullcontext():
                self._order(MGMT_COMMAND.STOP, MGMT_RESPONSE.TERMINATED)
            for actor in self._actors():
                actor.join()
        self.end()

    def _order(self, command: Any, done: Any) -> None:
        with self._ended_by_exceptions():
            for port in self.runtime_to_service:
                port.send(command)
            for port in self.service_to_runtime:
                while not enum_equal(answer := port.recv(), done):  # what was under way comes before
                    self._check_answer(answer)

    def _check_answer(self, answer: Any) -> None:
        if enum_equal(answer, MGMT_RESPONSE.ERROR):
            self._check(failed=True)

    def _check(self, failed: bool = False) -> None:
        """Raise what a process raised, and end the run then."""
        if self._ended:
            _has_ended()
        with self._ended_by_exceptions():
            if (ask := on_wait.get()) is not None:
                ask()
            self._raise_failure(failed)

    def _raise_failure(self, failed: bool) -> None:
        actors = self._actors()
        ended = [actor for actor in actors if not actor.is_alive()]
        killed = any(actor.exitcode for actor in ended)
        failed = failed or killed or (bool(ended) and not self._stopping)
        end = time.monotonic() + (_GRACE if failed and not killed else 0)
        while True:
            for actor in actors:
                if actor.exception:
                    error, _ = actor.exception
                    where = ProcessError(error.trace)
                    raise LavaRunError(f"a Lava process failed: {line_of(error)}") from where
            if time.monotonic() >= end:
                break
            time.sleep(WAIT / 10)
        if failed:
            raise LavaRunError("a Lava process died; is there enough memory?")

    @contextlib.contextmanager
    def _ended_by_exceptions(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill the processes that still run, and free what they shared."""
        if self._owner != os.getpid():  # a copy in a forked process
            return
        self._ended = True
        self._is_started = self._is_running = False  # so that nothing stops it a second time
        for actor in self._actors():
            with contextlib.suppress(ValueError):  # closed already
                actor.kill()
        for actor in self._actors():
            with contextlib.suppress(ValueError, AssertionError):
                actor.join()
        with contextlib.suppress(Exception):
            self.join()  # ends the threads of its ports
        for port in (*self.runtime_to_service, *self.service_to_runtime):
            port._array = []
            port.check = _has_ended  # its thread may live on for a moment, and need not keep the run
        memory: Any = getattr(self._messaging_infrastructure, "smm", None)
        if memory is not None:
            with contextlib.suppress(BufferError):
                memory.shutdown()
        if self._watchdog_manager is not None:
            self._watchdog_manager.stop()

    def _actors(self) -> list[Any]:
        return getattr(self._messaging_infrastructure, "actors", [])


def _has_ended() -> None:
    raise LavaRunError("this run on Lava has ended; make its processes anew")


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """While processes are forked, so that none is made that nobody knows of."""
    handler: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for number in came:
            signal.raise_signal(number)


def _process(*_: Any, builder: Any, exception_q: Any) -> None:
    """Make and run the model of a process, which does not outlive its parent; what it raises can be sent."""
    signal.signal(signal.SIGINT, signal.default_int_handler if on_wait.get() is None else signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    made = False
    try:
        model = builder.build()
        exception_q.put(None)
        made = True
        model.start()
    except Exception as error:
        told = _that_can_be_sent(error)
        told.trace = traceback.format_exc()  # type: ignore[attr-defined]
        if not made:
            exception_q.put(told)
        raise told from told.__cause__


def _end_with(parent: Any) -> None:
    while os.getppid() == parent.pid:
        time.sleep(_PARENT)
    os._exit(1)


def _that_can_be_sent(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        told = RuntimeError(line_of(error))
        told.__cause__ = error
        return told
    return error


def install() -> None:
    """Put the runtime in the place of Lava's, also where that was imported before."""
    stock.target_fn = _process
    for name in ("lava.magma.runtime.runtime", "lava.magma.core.process.process"):
        if name in sys.modules:
            sys.modules[name].Runtime = Runtime  # type: ignore[attr-defined]
