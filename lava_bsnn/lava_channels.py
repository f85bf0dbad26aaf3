"""Ends of Lava's channels outside its processes, and the memory of all channels."""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections.abc import Callable
from queue import Empty
from types import SimpleNamespace
from typing import Any

from lava.magma.compiler.channels.pypychannel import CspRecvPort, CspSendPort

WAIT = 0.05
"""Seconds until the processes are looked at while one is awaited."""


class Memory:
    """Memory that forked processes share, without names or a process of its own that could outlive them."""

    def __init__(self) -> None:
        self._blocks: list[memoryview] = []

    def create_shared_memory(self, size: int) -> Any:
        """Zeros."""
        self._blocks.append(memoryview(mmap.mmap(-1, max(1, size))))
        return SimpleNamespace(buf=self._blocks[-1])

    def shutdown(self) -> None:
        """Give back what nothing uses any more; the rest goes with what does."""
        for block in self._blocks:
            memory: Any = block.obj
            with contextlib.suppress(BufferError):  # a thread of a port is about to end
                block.release()
                memory.close()
        self._blocks.clear()


class RecvPort(CspRecvPort):
    """Looks after the processes while it waits for a message of theirs."""

    check: Callable[[], None]

    def recv(self) -> Any:
        """The next message."""
        while True:
            try:
                self._queue.get(timeout=WAIT, peek=True)
                return super().recv()
            except Empty:
                self.check()


class SendPort(CspSendPort):
    """Looks after the processes while it waits for room."""

    check: Callable[[], None]

    def send(self, data: Any) -> None:
        """Send a message."""
        while not self._semaphore.acquire(timeout=WAIT):
            self.check()
        self._semaphore.release()
        super().send(data)


def first_filled(ports: list[RecvPort], check: Callable[[], None]) -> RecvPort:
    """The first port that has a message."""
    changed = threading.Event()
    for port in ports:
        port.observer = changed.set
    while True:
        changed.clear()
        for port in ports:
            if port.probe():
                return port
        if not changed.wait(WAIT):
            check()
