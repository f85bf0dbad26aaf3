"""Processes at the ends of a run: they play and record arrays in memory shared with the caller.

Lava's ring buffers hand their content over number by number, which takes longer than the run.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from netx_export.backends.threadless import Threadless


def shared(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros in anonymous memory that forked processes share."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(1, size)), dtype=dtype, count=math.prod(shape)).reshape(shape)


class Player(AbstractProcess):
    """Sends ``data[0]``, ``data[1]``, ..., and then zeros.

    Args:
        data: ``[steps, *shape]``.

    Attributes:
        s_out: ``shape``.
    """

    def __init__(self, data: np.ndarray) -> None:
        super().__init__(data=data)
        self.s_out = OutPort(shape=data.shape[1:])


class BiasPlayer(AbstractProcess):
    """Writes ``data[0]``, ``data[1]``, ... into a Var, each before the step it belongs to.

    The first one is the Var's initial value.

    Args:
        data: ``[steps, *shape]``.
        var: ``shape``.
    """

    def __init__(self, data: np.ndarray, var: Var) -> None:
        super().__init__(data=data)
        self.state = RefPort(shape=var.shape)
        self.state.connect_var(var)
        var.init = np.broadcast_to(var.init, var.shape) + data[0]
        self.base = Var(shape=var.shape, init=var.init - data[0])


class Recorder(AbstractProcess):
    """Keeps what it receives.

    Args:
        port: what sends.
        steps: how many steps to keep.
        dtype: of the record.

    Attributes:
        record: ``[steps, *shape]``.
    """

    def __init__(self, port: OutPort, steps: int, dtype: Any = np.int32) -> None:
        self.record = shared((steps, *port.shape), dtype)
        super().__init__(record=self.record)
        self.a_in = InPort(shape=port.shape)
        port.connect(self.a_in)


class Probe(AbstractProcess):
    """Keeps a Var's value after each step.

    Args:
        var: of another process.
        steps: how many steps to keep.

    Attributes:
        record: int32 ``[steps, *shape]``.
    """

    def __init__(self, var: Var, steps: int) -> None:
        self.record = shared((steps, *var.shape), np.int32)
        super().__init__(record=self.record)
        self.state = RefPort(shape=var.shape)
        self.state.connect_var(var)


@implements(proc=Player, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPlayerModel(Threadless, PyLoihiProcessModel):
    """Sends from memory."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._data = proc_params["data"]
        self._silence = np.zeros(self._data.shape[1:], dtype=np.int32)

    def run_spk(self) -> None:
        """Send one step."""
        played = self.time_step <= len(self._data)
        self.s_out.send(self._data[self.time_step - 1] if played else self._silence)


@implements(proc=BiasPlayer, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBiasPlayerModel(PyLoihiProcessModel):
    """Writes after a step what the next one needs."""

    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    base: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def post_guard(self) -> bool:
        """Whether there is another step."""
        return self.time_step < len(self.proc_params["data"])

    def run_post_mgmt(self) -> None:
        """Write the next step."""
        self.state.write(self.base + self.proc_params["data"][self.time_step])
        self.state.wait()


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRecorderModel(Threadless, PyLoihiProcessModel):
    """Writes to memory."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._record = proc_params["record"]

    def run_spk(self) -> None:
        """Keep one step."""
        received = self.a_in.recv()
        if self.time_step <= len(self._record):
            self._record[self.time_step - 1] = received


@implements(proc=Probe, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyProbeModel(PyLoihiProcessModel):
    """Reads after each step."""

    state: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def post_guard(self) -> bool:
        """Whether there is room."""
        return self.time_step <= len(self.proc_params["record"])

    def run_post_mgmt(self) -> None:
        """Keep one step."""
        self.proc_params["record"][self.time_step - 1] = self.state.read()
