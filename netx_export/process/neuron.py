"""Neurons of an extended network as a Lava process, with the mixing of time steps in front."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_bsnn import fixed_point
from netx_export.dynamics import LayerDynamics
from netx_export.network import Layer
from netx_export.neurons import MultiThreshold
from netx_export.process.clock import Clock


class Neurons(AbstractProcess):
    """LIF neurons of any width, multi-threshold neurons, or readout integrators, W, H, C.

    Args:
        layer: the layer.
        clock: of the layer.

    Attributes:
        a_in: currents in membrane steps; those of all connections add up.
        bias_in: input that adds to the biases at the same step.
        s_out: spikes or spike counts.
        v_out: membrane potential before any reset.
        u, v: current and membrane potential after the step; written values take effect.
    """

    def __init__(self, *, layer: Layer, clock: Clock) -> None:
        super().__init__(layer=layer, clock=clock)
        shape = layer.shape[::-1]
        self.a_in, self.bias_in = InPort(shape=shape), InPort(shape=shape)
        self.s_out, self.v_out = OutPort(shape=shape), OutPort(shape=shape)
        u, v = LayerDynamics(layer).start(np.zeros(layer.shape, dtype=np.int64))
        self.u, self.v = Var(shape=shape, init=u.transpose()), Var(shape=shape, init=v.transpose())


@implements(proc=Neurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNeuronsModel(PyLoihiProcessModel):
    """The arithmetic of :mod:`lava_bsnn.fixed_point`, reset when a sample arrives."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64, precision=24)
    bias_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._layer, self._clock = proc_params["layer"], proc_params["clock"]
        self._dynamics = LayerDynamics(self._layer)
        self._zeros = np.zeros(self._layer.shape, dtype=np.int64)
        self._seen: list[np.ndarray] = []
        self._mixed: np.ndarray | None = None

    def run_spk(self) -> None:
        """Do one step."""
        total = self.a_in.recv().transpose()
        injected = self.bias_in.recv().transpose()
        mix, step = self._layer.mix, self._clock.step(self.time_step)
        restarts = self._clock.restarts(self.time_step)
        if mix is not None:
            total = self._mix(step, total)
            restarts = step == mix.latency
        state = (self.u.transpose().astype(np.int64), self.v.transpose().astype(np.int64))
        if restarts:
            state = self._dynamics.start(self._zeros)
        time = step - (0 if mix is None else mix.latency)
        state, messages, before = self._dynamics.step(state, total, time, injected)
        self.s_out.send(np.asarray(messages, dtype=np.int32).transpose())
        if self.v_out.csp_ports:
            self.v_out.send(before.astype(np.int32).transpose())
        current = total if isinstance(self._layer.neuron, MultiThreshold) else state[0]
        self.u[...], self.v[...] = current.transpose(), state[1].transpose()

    def _mix(self, step: int, total: np.ndarray) -> np.ndarray:
        """Mixed current of a step; that of a whole window comes T - 1 steps later."""
        mix, omega = self._layer.mix, self._dynamics.omega
        if step == 0:
            self._seen = []
        self._seen.append(total)
        if mix.causal:
            return fixed_point.mix(np.stack(self._seen), omega[step : step + 1, : len(self._seen)])[0]
        if step == mix.latency and len(self._seen) == mix.num_steps:
            self._mixed = fixed_point.mix(np.stack(self._seen), omega)
        if self._mixed is None:
            return self._zeros
        row: np.ndarray = self._mixed[(step - mix.latency) % mix.num_steps]
        return row
