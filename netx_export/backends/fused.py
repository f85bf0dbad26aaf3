"""A whole network as one Lava process model, and the run configuration that chooses it.

The models stand outside :mod:`netx_export.process`, where Lava's compiler would find them and take
them for runs that want the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lava_bsnn.errors import ExportError
from netx_export.process import Network  # first: it names the remedy where lava is missing

# isort: split
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from ..simulator.stepper import Stepper
from .threadless import Threadless


@implements(proc=Network, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "fused")
class PyFusedModel(Threadless, PyLoihiProcessModel):
    """One :class:`netx_export.Stepper` for the whole network."""

    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    trace: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    potential: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._net = proc_params["net"]
        options = {key: proc_params[key] for key in ("reset_interval", "reset_offset", "clear_delays")}
        self._stepper = Stepper(self._net, **options)
        self._reads_out = self._net.reads_out

    def run_spk(self) -> None:
        """Do one step."""
        if self._net.input.enters_as_bias:
            self._receive()
            self._stepper.advance()
            self._send()
        else:  # sends before it receives, as a graph does, so that loops of processes can run
            self._stepper.advance()
            self._send()
            self._receive()

    def _receive(self) -> None:
        x, shape = self.inp.recv(), self._net.input.shape
        self._stepper.receive(x.transpose() if x.ndim == len(shape) else x.reshape(shape))

    def _send(self) -> None:
        name = self._net.output.name
        self.out.send(self._stepper.messages[name].transpose().astype(np.int32))
        if self._reads_out:
            self.potential[...] = self._stepper.potentials[name].transpose()
        if self.trace.csp_ports:
            parts = (self._stepper.messages, self._stepper.potentials)
            rows = [
                np.concatenate([part[layer.name].ravel() for layer in self._net.layers]) for part in parts
            ]
            self.trace.send(np.stack(rows).astype(np.int32))


class _Absent(AbstractSubProcessModel):
    """Model of a process of a layer that takes no part in a fused run."""

    def __init__(self, _: AbstractProcess) -> None:
        pass


class FusedSimCfg(Loihi2SimCfg):
    """Simulation on the CPU with each :class:`netx_export.process.Network` as one process.

    All other processes run as with ``Loihi2SimCfg(select_tag="fixed_pt")``; the arguments are its.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        if not args[1:2]:
            options.setdefault("select_tag", "fixed_pt")
        super().__init__(*args, **options)

    def select(self, process: AbstractProcess, proc_models: list[type]) -> type:
        """Model for a process.

        Raises:
            ExportError: a network that only lava-dl reads, or one with something connected to a layer.
        """
        if isinstance(process, Network):
            if process.net is None:
                raise ExportError(f"Network: cannot run fused: {process.why_not_fused}")
            process.detach()
            return PyFusedModel
        if any(isinstance(owner, Network) for owner in _owners(process)):
            return _Absent
        return super().select(process, proc_models)


def _owners(process: AbstractProcess | None) -> list[AbstractProcess]:
    found = []
    while process is not None and process.parent_proc is not None:
        process = process.parent_proc
        found.append(process)
    return found
