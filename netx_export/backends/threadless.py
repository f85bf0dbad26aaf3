"""Channel ends for process models of our own that need no helper thread.

Each end of a Lava channel has a thread that waits for the other end's semaphore and wakes the model. On a
graph of few processes these threads take most of the time of a step. The ends here wait for the semaphore
themselves; what they send, and when, is the same, so that the other end may be any of Lava's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from lava.magma.compiler.channels.pypychannel import CspRecvPort, CspSendPort


class SendPort(CspSendPort):
    """Counts the free slots of the channel."""

    _idx: int

    def start(self) -> None:
        """Map the slots."""
        self._array = _slots(self)
        self._free = self._size

    def probe(self) -> bool:
        """Whether :meth:`send` would not wait."""
        while self._ack.acquire(False):
            self._free += 1
        return self._free > 0

    def send(self, data: np.ndarray) -> None:
        """Fill the next slot.

        Raises:
            AssertionError: ``data`` has another shape than the port, as in Lava.
        """
        with self._io_watchdog:
            if data.shape != self._shape:
                raise AssertionError(f"{self._name}: shape {data.shape} does not fit; use {self._shape}")
            if not self._free and not self.probe():
                self._ack.acquire()
                self._free = 1
            self._array[self._idx][:] = data
            self._idx = (self._idx + 1) % self._size
            self._free -= 1
            self._req.release()


class RecvPort(CspRecvPort):
    """Counts the filled slots of the channel."""

    _idx: int

    def start(self) -> None:
        """Map the slots."""
        self._array = _slots(self)
        self._filled = 0

    def probe(self) -> bool:
        """Whether :meth:`recv` would not wait."""
        while self._req.acquire(False):
            self._filled += 1
        return self._filled > 0

    def wait(self) -> None:
        """Wait for a filled slot."""
        if not self._filled:
            self._req.acquire()
            self._filled = 1

    def peek(self) -> np.ndarray:
        """Return a copy of the next slot, and leave it filled."""
        self.wait()
        return self._array[self._idx].copy()

    def recv(self) -> np.ndarray:
        """Return a copy of the next slot, and free it."""
        with self._io_watchdog:
            self.wait()
            result = self._array[self._idx].copy()
            self._idx = (self._idx + 1) % self._size
            self._filled -= 1
            self._ack.release()
            return result


def _slots(port: Any) -> list[np.ndarray]:
    size = port._nbytes
    return [
        np.ndarray(port._shape, port._dtype, port._shm.buf[i * size : (i + 1) * size])
        for i in range(port._size)
    ]


class _OneChannel:
    """What waits for the commands of a model without Vars that others read."""

    def select(self, action: tuple[RecvPort, Callable[[], Any]]) -> Any:
        """Wait for the channel."""
        port, result = action
        port.wait()
        return result()


class Threadless:
    """Mix-in of a ``PyLoihiProcessModel``: its channels have no threads of their own on this side."""

    def start(self: Any) -> None:
        """Run, as Lava's models do."""
        polled = any(
            port.csp_ports for port in self.var_ports
        )  # several channels at once need Lava's threads
        for port in self.py_ports:
            if port not in self.var_ports:
                _convert(*port.csp_ports)
        _convert(self.process_to_service)
        if not polled:
            _convert(self.service_to_process)
            self._selector = _OneChannel()
        super().start()  # type: ignore[misc]


def _convert(*ports: Any) -> None:
    """Change the class in place: Lava's models hold the ports by identity."""
    for port in ports:
        if type(port) is CspSendPort:
            port.__class__ = SendPort
        elif type(port) is CspRecvPort:
            port.__class__ = RecvPort
