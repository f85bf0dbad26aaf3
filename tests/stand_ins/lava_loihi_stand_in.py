"""In the place of lava-loihi's closed processes, on the CPU: not Intel's code, and no evidence about chips.

Names, arguments and timing are those of public uses of lava-loihi: spike adapters hand on in the step in
which they receive, and a state that is read after one step is sent in the next, as words of 24 bits.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

MADE: list = []


class _Adapter(AbstractProcess):
    def __init__(self, shape, num_message_bits=0):
        super().__init__(shape=shape)
        self.inp, self.out = InPort(shape=shape), OutPort(shape=shape)
        self.num_message_bits = num_message_bits
        MADE.append(self)


class PyToNxAdapter(_Adapter):
    """Host to chip."""


class PyToN3ConvAdapter(_Adapter):
    """Host to the input of a convolution on the chip."""


class NxToPyAdapter(_Adapter):
    """Chip to host."""


class Read(AbstractProcess):
    """A state of the chip to the host."""

    def __init__(self, shape, interval=1, offset=0):
        super().__init__(shape=shape, interval=interval, offset=offset)
        self.ref, self.out = RefPort(shape=shape), OutPort(shape=shape)
        MADE.append(self)

    def connect_var(self, var):
        self.ref.connect_var(var)


class _PyAdapterModel(PyLoihiProcessModel):
    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self):
        self.out.send(self.inp.recv())


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPyToNxModel(_PyAdapterModel):
    pass


@implements(proc=PyToN3ConvAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPyToN3ConvModel(_PyAdapterModel):
    pass


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNxToPyModel(_PyAdapterModel):
    pass


@implements(proc=Read, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadModel(PyLoihiProcessModel):
    ref: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.words = np.zeros(proc_params["shape"], np.int32)

    def run_spk(self):
        self.out.send(self.words)

    def post_guard(self):
        return (self.time_step - 1) % self.proc_params["interval"] == self.proc_params["offset"]

    def run_post_mgmt(self):
        self.words = self.ref.read() & 0xFFFFFF
