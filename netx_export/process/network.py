"""A network as one Lava process: a drop-in superset of ``lava.lib.dl.netx.hdf5.Network``."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, LavaBsnnError, ShapeError
from lava_bsnn.limits import LIMITS
from netx_export.hdf5 import is_layered, network_of, write
from netx_export.hdf5.safe import text
from netx_export.network import FixedPointNetwork
from netx_export.process.entry import EntryPort, join
from netx_export.process.part import blocks, part, port_shapes
from netx_export.targets import target

_ONCE = 1 << 62
"""An interval of resets of which only the first one comes."""


class Network(AbstractProcess):
    """A network of a NetX file, or a frozen one, as a Lava process.

    With Lava's own run configurations it is a graph of processes per layer: lava-dl's own blocks in profile
    ``"stock"``, ours in ``"extended"``. With :class:`netx_export.FusedSimCfg` it is one process that
    sends the same at the same steps.

    Args:
        net_config: path of a NetX file, or the network.
        num_layers: blocks of the file to take; None for all.
        skip_layers: blocks to leave out in front.
        input_message_bits: width of the input's messages, their sign included, 0 for spikes; None for what
            the file says, which also says whether they have a sign.
        input_shape: W, H, C of the input, for files that do not have it.
        reset_interval: steps between resets; None for no reset. Gates and mixings need their T, a mixing of F
            frames into T steps the larger of both. A stream (``net.persistent``) without resets starts from
            rest with what is sent at time 1.
        reset_offset: as in lava-dl; with 1, samples that are sent from time 1 on start from reset neurons.
        spike_exp: for sigma-delta neurons of lava-dl's files.
        sparse_fc_layer: lava-dl builds dense layers as sparse ones.
        clear_delays: at a reset, also forget what is under way in axonal delays and recurrent synapses; None
            for as stock Lava, which keeps it, in profile ``"stock"``, and for True in ``"extended"`` and
            where stock Lava would keep what biases send before a stream begins.
            True makes the graph of our processes in either.

    Attributes:
        inp: input, W, H, C; flat in C, H, W order where a stock network begins with a dense layer.
        out: what the last layer sends, W, H, C.
        potential: Var in the shape of ``out``: potential of a readout, which sends nothing.
        trace: OutPort ``[2, neurons]`` of the fused model: messages and potentials before any reset of all
            layers, one after the other, C, H, W order.
        net: the integers; None where only lava-dl reads the file.
        layers: processes of the layers; made when they are first asked for.
        in_layer: the first of them.
        out_layer: the last of them.

    Raises:
        NetXFormatError: not a NetX file.
        ExportError, ShapeError: an option does not fit the network.
    """

    _runtime = None  # Lava stops a process that could not be made, too

    def __init__(
        self,
        net_config: str | os.PathLike[str] | FixedPointNetwork,
        num_layers: int | None = None,
        skip_layers: int = 0,
        input_message_bits: int | None = None,
        input_shape: tuple[int, ...] | None = None,
        reset_interval: int | None = None,
        reset_offset: int = 0,
        spike_exp: int = 6,
        sparse_fc_layer: bool = False,
        *,
        clear_delays: bool | None = None,
    ) -> None:
        self._ready = False
        self._fused = False
        self._graph: Any = None
        self.num_layers, self.skip_layers = num_layers, skip_layers
        self.input_message_bits, self.input_shape = input_message_bits, input_shape
        self.reset_interval, self.reset_offset = reset_interval, reset_offset
        self.spike_exp, self.sparse_fc_layer = spike_exp, sparse_fc_layer
        self.filename = None if isinstance(net_config, FixedPointNetwork) else os.fspath(net_config)
        self.why_not_fused = ""
        self._whole = net_config if isinstance(net_config, FixedPointNetwork) else self._read(net_config)
        self.net = None if self._whole is None else self._part(self._whole)
        processes = "lava-dl" if self.net is None else target(self.net.profile).processes
        stock = processes != "ours"
        self.clear_delays = self._clears(processes) if clear_delays is None else clear_delays
        options = {"reset_interval": reset_interval, "reset_offset": reset_offset}
        super().__init__(net=self.net, **options, clear_delays=self.clear_delays)
        self._stock_graph = stock and (self.net is None or not self.clear_delays)
        self._on_lava_dl = self._stock_graph and processes == "lava-dl"
        if self.net is not None:
            inp, out = port_shapes(self.net, flat=self._on_lava_dl)
            neurons = sum(int(np.prod(layer.shape)) for layer in self.net.layers)
        else:
            graph = self._build()
            inp, out, neurons = graph.layers[0].inp.shape, graph.layers[-1].out.shape, 1
        self.inp, self.out = InPort(shape=inp), OutPort(shape=out)
        self.potential = Var(shape=out, init=0)
        self.trace = OutPort(shape=(2, neurons))
        if self._graph is not None:
            self._connect()

    def _read(self, path: str | os.PathLike[str]) -> FixedPointNetwork | None:
        """The network of a file; None where only lava-dl may know what to do with it."""
        bits, most = self.input_message_bits or 0, LIMITS.message_bits_max
        if bits > most and is_layered(path):
            self.why_not_fused = f"input_message_bits={bits} is more than {most}"
            return None
        try:
            shape = None if self.input_shape is None else tuple(self.input_shape)[::-1]
            return network_of("Network", path, otherwise=shape)
        except LavaBsnnError as error:
            if not is_layered(path):
                raise
            self.why_not_fused = str(error)
            return None

    def _part(self, whole: FixedPointNetwork) -> FixedPointNetwork:
        """The layers that are asked for."""
        order = blocks(whole)
        if self.filename is not None and order[0] is None:
            with h5py.File(self.filename, "r") as file:  # files of lava-dl may have no input block
                order = order[text(file["layer"]["0"], "type") != "input" :]
        net = part(whole, order, self.skip_layers, self.num_layers)
        if self.input_message_bits is None:
            self.input_message_bits = 0 if net.input.enters_as_bias else net.input.bits
        elif not net.input.enters_as_bias and self.input_message_bits != net.input.bits:
            entry = replace(net.input, bits=self.input_message_bits, encoding=None)
            net = replace(net, input=entry)
        if net.num_steps is not None and self.reset_interval != net.period(net.num_steps):
            raise ShapeError(
                f"Network: reset_interval={self.reset_interval} does not fit gates and mixings; "
                f"use {net.period(net.num_steps)}"
            )
        if self.reset_interval is not None and self.reset_interval < 1:
            raise ShapeError(f"Network: reset_interval={self.reset_interval} is not allowed; use 1 or more")
        return net

    @property
    def _streams(self) -> bool:
        """Whether the network begins once, and is never reset again."""
        return self.net is not None and self.net.persistent and self.reset_interval is None

    def _clears(self, processes: str) -> bool:
        """What ``clear_delays=None`` stands for."""
        if processes == "ours" or self.net is None:
            return processes == "ours"
        backend = "stock" if processes == "lava-dl" else "lava"
        return self._streams and any(target(self.net.profile).backend_problems(self.net, backend, alone=True))

    def _start(self) -> dict[str, Any]:
        """Resets of stock neurons with which a stream starts from rest, where biases act before it comes."""
        assert self.net is not None
        if not self._streams or not any(np.any(layer.neuron.bias) for layer in self.net.layers):
            return {}
        return {"reset_interval": _ONCE, "reset_offset": self.net.depth(self.net.layers[0].name)}

    def _post_init(self) -> None:
        super()._post_init()
        self._ready = True

    @property
    def is_readout(self) -> bool:
        """Whether the last layer never sends, and ``potential`` is the result."""
        return self.net is not None and self.net.reads_out

    @property
    def layers(self) -> list[AbstractProcess]:
        """Processes of the layers."""
        if not self._ready:  # Lava looks at all attributes while it makes the process
            return []
        if self._graph is None:
            self._build()
            if self._fused:
                self._strand()
            else:
                self._connect()
        return self._graph.layers

    @property
    def in_layer(self) -> AbstractProcess | None:
        """Process of the first layer."""
        return self.layers[0] if self._ready else None

    @property
    def out_layer(self) -> AbstractProcess | None:
        """Process of the last layer."""
        return self.layers[-1] if self._ready else None

    @property
    def net_config(self) -> Any:
        """The file as lava-dl reads it; None without a file of lava-dl's layout."""
        return getattr(self._graph, "net_config", None) if self.layers else None

    @property
    def output_message_bits(self) -> int:
        """Width of what the last layer sends; 0 for spikes."""
        if self.net is None:
            return self._graph.layers[-1].output_message_bits
        largest = self.net.output.neuron.max_message
        return largest.bit_length() if largest > 1 else 0

    def __len__(self) -> int:
        return len(self.layers if self.net is None else self.net.layers)

    def __str__(self) -> str:
        if not self._on_lava_dl:
            return str(self.net)
        return self._graph.net_str if self.layers and self._graph is not None else ""

    @property
    def net_str(self) -> str:
        """The network in words, as in lava-dl."""
        return str(self)

    def _build(self) -> Any:
        """Make the processes of the layers."""
        if not self._stock_graph and self.net is not None:
            from netx_export.process.graph import Graph

            self._graph = Graph(self.net, self.reset_interval, self.reset_offset, self.clear_delays)
            return self._graph
        if not self._on_lava_dl and self.net is not None:
            from netx_export.process.chip_graph import ChipGraph

            start = self._start() or {
                "reset_interval": self.reset_interval,
                "reset_offset": self.reset_offset,
            }
            self._graph = ChipGraph(self.net, **start)
            return self._graph
        stock = import_lava("lava.lib.dl.netx.hdf5").Network
        options: dict[str, Any] = {
            "num_layers": self.num_layers,
            "skip_layers": self.skip_layers,
            "input_message_bits": self.input_message_bits or 0,
            "input_shape": self.input_shape,
            "reset_interval": self.reset_interval,
            "reset_offset": self.reset_offset,
            "spike_exp": self.spike_exp,
            "sparse_fc_layer": self.sparse_fc_layer,
        }
        options |= {} if self.net is None else self._start()
        if self.filename is not None:
            self._graph = stock(net_config=self.filename, **options)
            return self._graph
        assert self._whole is not None
        with tempfile.TemporaryDirectory(prefix="lava-bsnn-") as folder:
            path = Path(folder) / "network.net"
            write(self._whole, path)
            self._graph = stock(net_config=str(path), **options)
            self._graph.net_config.f.close()
        return self._graph

    def _connect(self) -> None:
        for process in self.inner():
            process.parent_proc = self
        for port in self._inputs():
            join(self.inp, port)
        self._graph.out.connect(self.out)

    def check_input(self) -> None:
        """From now on, messages that the input does not allow raise an error in the processes of the layers.

        Not where the chip's compiler may come to see the ports, nor where lava-dl ignores the input.
        """
        if self.net is None or not self.inp.in_connections:
            return
        if self._stock_graph and (
            self.net.input.enters_as_bias or import_lava("lava.utils.loihi").is_installed()
        ):
            return
        targets = self._inputs()
        for port in targets:
            (before,) = port.in_connections  # inp, or a reshape of it
            port.in_connections.remove(before)
            self.inp.out_connections.remove(port if before is self.inp else before)
        EntryPort(self.net.input, self.inp, targets)

    def _inputs(self) -> list[InPort]:
        return getattr(self._graph, "inputs", None) or [self._graph.inp]

    def inner(self) -> list[AbstractProcess]:
        """Processes that stand behind ``inp`` and ``out``; empty while none are made."""
        if self._graph is None:
            return []
        found = [self._graph] if isinstance(self._graph, AbstractProcess) else []
        for layer in self._graph.layers:
            if isinstance(layer, AbstractProcess):
                found.append(layer)
            found += [value for key, value in vars(layer).items() if key in _PARTS and value is not None]
            found += [*getattr(layer, "synapses", []), *getattr(layer, "resets", [])]
        return found

    def detach(self) -> None:
        """Cut ``inp`` and ``out`` from the processes of the layers, which take no part in a fused run.

        Raises:
            ExportError: something outside is connected to a layer.
        """
        self._fused = True
        if self._graph is None:
            return
        from lava.magma.compiler.compiler_graphs import find_processes

        for end in [*self._inputs(), self.out]:
            for source in list(end.in_connections):
                source.out_connections.remove(end)
                end.in_connections.remove(source)
                if source in self.inp.out_connections:  # a reshape
                    self.inp.out_connections.remove(source)
        inner = self.inner()
        for process in find_processes(self._graph.layers[0]):
            if process not in inner:
                raise ExportError(
                    f"Network: {type(process).__name__} {process.name!r} is connected to a layer, which a "
                    "fused run does not have; connect it to inp, out, potential or trace of the network"
                )
        self._strand()

    def _strand(self) -> None:
        for process in self.inner():
            process.runtime = _NotInThisRun(self.name)


class _NotInThisRun:
    """In the place of the runtime of a fused network's layer, for which Lava would give initial values."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_var(self, *_: Any) -> None:
        raise ExportError(
            f"{self._name}: layers take no part in a fused run; read potential, connect to trace, or use "
            "Loihi2SimCfg(select_tag='fixed_pt')"
        )

    set_var = get_var

    def stop(self) -> None:
        pass

    wait = pause = stop


_PARTS = ("synapse", "synapse_rec", "real_synapse", "imag_synapse", "neuron")
"""Attributes of layers that hold processes."""


@implements(proc=Network, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNetworkModel(AbstractSubProcessModel):
    """The network as a graph of the processes of its layers."""

    def __init__(self, proc: Network) -> None:
        if proc.trace.out_connections:
            raise ExportError("Network: port trace works in fused runs only; use netx_export.FusedSimCfg")
        self._made_late = proc._graph is None
        self._network = proc
        layers = proc.layers
        proc.check_input()
        if proc.is_readout:
            proc.potential.alias(layers[-1].neuron.v)

    def find_sub_procs(self) -> dict[str, AbstractProcess]:
        """Processes that the compiler has not found by following ``inp`` and ``out``."""
        found = self._network.inner() if self._made_late else []
        return {f"{type(process).__name__}{i}": process for i, process in enumerate(found)}
