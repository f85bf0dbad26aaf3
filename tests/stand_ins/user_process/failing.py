"""A process of a user, alone in its folder, where Lava looks for its model: it fails at a step."""

from __future__ import annotations

import os
import signal

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class CannotBeSentError(Exception):
    """Is made of more than its text, so that no other process can make it from that."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Failing(AbstractProcess):
    """Passes on what it receives until it fails at step ``at``; at step 0 while it is made."""

    def __init__(self, how="raise", at=6):
        super().__init__(how=how, at=at)
        self.a_in, self.s_out = InPort(shape=(3,)), OutPort(shape=(3,))


@implements(proc=Failing, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFailingModel(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.how, self.at = proc_params["how"], proc_params["at"]
        self.fail(0)

    def run_spk(self):
        received = self.a_in.recv()
        if self.how == "raise after it sent":
            self.s_out.send(received)
            self.fail(self.time_step)
        else:
            self.fail(self.time_step)
            self.s_out.send(received)

    def fail(self, step):
        if step != self.at:
            return
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raise what cannot be sent":
            raise CannotBeSentError("this", "that")
        raise ValueError("of the user" + "!" * 300_000 * (self.how == "raise much"))
