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

from netx_export.network import Layer
from netx_export.simulator.layer import Population
from netx_export.simulator.rows import from_row, to_row
from netx_export.simulator.state import Clock, NeuronState


class Neurons(AbstractProcess):
    """Neurons of any kind, W, H, C.

    Args:
        layer: the layer.
        clock: of the layer.

    Attributes:
        a_in: currents in membrane steps; those of all connections add up.
        bias_in: input that adds to the biases at the same step.
        s_out: spikes or spike counts.
        v_out: membrane potential before any reset.
        u, v: current and membrane potential after the step; written values take effect.
        others: the kind's other states, one after the other; likewise.
    """

    def __init__(self, *, layer: Layer, clock: Clock) -> None:
        super().__init__(layer=layer, clock=clock)
        shape = layer.shape[::-1]
        self.a_in, self.bias_in = InPort(shape=shape), InPort(shape=shape)
        self.s_out, self.v_out = OutPort(shape=shape), OutPort(shape=shape)
        names = layer.neuron.states
        first = {
            name: from_row(values[0], layer.shape).transpose()
            for name, values in zip(names, Population(layer, compiled=False).start(1), strict=True)
        }
        v, others = first.pop("v"), [first[name] for name in _others(names)]
        self.u, self.v = Var(shape=shape, init=np.zeros(shape, dtype=np.int32)), Var(shape=shape, init=v)
        kept = np.stack(others) if others else np.zeros((1, *shape), dtype=np.int32)
        self.others = Var(shape=kept.shape, init=kept)


def _others(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name not in ("u", "v")]


@implements(proc=Neurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNeuronsModel(PyLoihiProcessModel):
    """The arithmetic of :mod:`lava_bsnn.fixed_point`, without kernels; reset when a sample arrives."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64, precision=24)
    bias_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    others: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._clock, self._shape = proc_params["clock"], proc_params["layer"].shape
        self._population = Population(proc_params["layer"], compiled=False)
        self._neurons = NeuronState(self._population, steps=self._clock.steps)
        self._sent = np.zeros((1, 1, self._population.size), dtype=np.uint8)

    def run_spk(self) -> None:
        """Do one step."""
        total, injected = self.a_in.recv(), self.bias_in.recv()
        row = to_row((injected if self._population.injects else total).transpose(), self._shape)
        step, restarts = self._clock.step(self.time_step), self._clock.restarts(self.time_step)
        for values, var in self._states():
            values[...] = var
        self._neurons.step(row[None, None], step, restarts, self._sent)
        self.s_out.send(self._array(self._sent[0, 0]))
        if self.v_out.csp_ports:
            self.v_out.send(self._array(self._neurons.potential[0, 0]))
        for values, var in self._states():
            var[...] = values
        self.u[...] = self._array(self._neurons.current())

    def _states(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Views of the states, W, H, C, each with its Var."""
        names = self._population.layer.neuron.states
        places = {"u": self.u, "v": self.v, **dict(zip(_others(names), self.others, strict=False))}
        return [
            (from_row(values[0], self._shape).transpose(), places[name])
            for name, values in zip(names, self._neurons.state, strict=True)
        ]

    def _array(self, row: np.ndarray) -> np.ndarray:
        """A row as an array W, H, C."""
        return from_row(row, self._shape).transpose().astype(np.int32)
