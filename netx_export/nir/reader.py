"""From a NIR graph to integers; see :func:`netx_export.nir.from_nir`."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Any

import nir
import numpy as np

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import NO_MEMORY
from lava_bsnn.limits import LIMITS

from ..network import INPUT, FixedPointNetwork, Shape
from .entry import PERSISTENT, input_of, names_of
from .flat import ends_of, flattened
from .integers import Neuron, extended_layers, stock_layers
from .paths import LINEAR, Path, appended
from .semantics import Semantics, chosen, is_own, time_step
from .values import per_channel

_NEURONS = (nir.LIF, nir.IF, nir.CubaLIF, nir.I, nir.LI)
_READOUTS = (nir.I, nir.LI)


class Reader:
    """Reads one graph."""

    def __init__(
        self,
        graph: nir.NIRGraph,
        input_bits: int | None,
        dt: float | None,
        semantics: str | Semantics | None,
    ) -> None:
        self._entry, self._exit = ends_of(graph)
        self._nodes, edges = flattened(graph)
        self._before: dict[str, list[str]] = {name: [] for name in self._nodes}
        for source, target in edges:
            self._before[target].append(source)
        problems = [
            f"{name}: node {type(node).__name__} is not supported"
            for name, node in self._nodes.items()
            if not isinstance(node, (*_NEURONS, *LINEAR, nir.Input, nir.Output))
        ]
        if problems:
            raise ExportError(*problems)
        metadata = graph.metadata if isinstance(graph.metadata, dict) else {}
        self._own = is_own(metadata)
        self._meaning = chosen(semantics, metadata, self._nodes.values())
        self._dt = time_step(dt, metadata, self._meaning)
        shape = tuple(int(size) for size in np.ravel(self._nodes[self._entry].input_type["input"]))
        if len(shape) in (2, 4) and shape[0] == 1:  # a batch of one sample, with which a library traced
            shape = shape[1:]
        self._input = input_of(metadata, shape, input_bits)
        self._common: dict[str, Any] = {
            "input": self._input,
            "classes": names_of(metadata),
            "persistent": bool(metadata.get(PERSISTENT, 0)),
        }

    def network(self) -> FixedPointNetwork:
        """The network, in profile ``"stock"`` if that holds it exactly."""
        self._shapes: dict[str, Shape] = {}
        neurons: dict[str, Neuron] = {}
        paths: dict[str, list[Path]] = {}
        for name in self._order():
            fed = self._paths_into(name)  # its own shape is not yet known, so without its loops
            if not fed:
                raise ExportError(f"{name}: nothing leads from the input to it; connect it")
            self._shapes[name] = fed[0].out
            neurons[name] = self._neuron(name, fed[0].out)
            found = self._paths_into(name)
            for path in found:
                if path.out != fed[0].out:
                    raise ExportError(f"{name}: adds up inputs of shapes {fed[0].out} and {path.out}")
            paths[name] = sorted(found, key=lambda path: path.source == name)
        stock = stock_layers(neurons, paths)
        if stock is not None:
            try:
                return FixedPointNetwork(layers=stock, **self._common)
            except ExportError:
                pass  # beyond Loihi's ranges
        layers = extended_layers(neurons, paths, self._input.largest, own=self._own)
        return FixedPointNetwork(layers=layers, profile="extended", **self._common)

    def _order(self) -> list[str]:
        """Neuron nodes that lead to the output, sources first."""
        last = self._before[self._exit]
        while len(last) == 1 and isinstance(self._nodes[last[0]], nir.Output):  # of a subgraph
            last = self._before[last[0]]
        if len(last) != 1 or not isinstance(self._nodes[last[0]], _NEURONS):
            raise ExportError(f"{self._exit}: one neuron node must lead to the output; add an I as readout")
        sources: dict[str, list[str]] = {}
        open_nodes = list(last)
        while open_nodes:
            name = open_nodes.pop()
            if name not in sources:
                sources[name] = [source for source in self._sources(name) if source != name]
                open_nodes += sources[name]
        try:
            order = list(
                TopologicalSorter({n: sources[n] for n in self._nodes if n in sources}).static_order()
            )
        except CycleError as error:
            names = ", ".join(error.args[1][1:])
            raise ExportError(
                f"{names}: neurons feed each other in a cycle; a layer may feed itself only"
            ) from error
        for name in order:
            sends = name != order[-1] or name in self._sources(name)
            if sends and isinstance(self._nodes[name], _READOUTS):
                kind = type(self._nodes[name]).__name__
                raise ExportError(
                    f"{name}: node {kind} sends no spikes, so it must be the last; use a LIF or IF"
                )
        return order

    def _sources(self, name: str) -> list[str]:
        """Neuron nodes that feed a node through linear ones."""
        found: list[str] = []
        seen: set[str] = set()
        open_nodes = list(self._before[name])
        while open_nodes:
            source = open_nodes.pop(0)
            if isinstance(self._nodes[source], _NEURONS):
                found.append(source)
            elif source not in seen:
                seen.add(source)
                open_nodes += self._before[source]
        return list(dict.fromkeys(found))

    def _paths_into(self, name: str) -> list[Path]:
        return [path for source in self._before[name] for path in self._paths(source, ())]

    def _paths(self, name: str, behind: tuple[str, ...]) -> list[Path]:
        """Paths of linear nodes that end in ``name``; sums in front of a linear node are distributed."""
        node = self._nodes[name]
        if name in behind:
            raise ExportError(f"{name}: the graph has a cycle without a neuron; remove it")
        if name == self._entry:
            return [Path(source=INPUT, shape=self._input.shape, out=self._input.shape)]
        if isinstance(node, _NEURONS):
            shape = self._shapes.get(name)
            return [] if shape is None else [Path(source=name, shape=shape, out=shape)]
        found = [path for source in self._before[name] for path in self._paths(source, (*behind, name))]
        if isinstance(node, (nir.Input, nir.Output)):  # of a subgraph
            return found
        return [appended(path, name, node, self._dt, biased=not index) for index, path in enumerate(found)]

    def _neuron(self, name: str, shape: Shape) -> Neuron:
        node, meaning = self._nodes[name], self._meaning

        def values(key: str) -> np.ndarray:
            return per_channel(name, key, getattr(node, key), shape)

        spikes = not isinstance(node, _READOUTS)
        gain, bias = values("r"), np.zeros(shape[0])
        current_decay: int | np.ndarray = NO_MEMORY
        voltage_decay: int | np.ndarray = 0
        reset = values("v_reset") if spikes and node.v_reset is not None else bias
        if isinstance(node, (nir.IF, nir.I)):
            gain = gain if meaning.per_step else gain * self._step(name)
        else:
            membrane = "tau_mem" if isinstance(node, nir.CubaLIF) else "tau"
            leak, voltage_decay = self._decay(name, membrane, shape)
            bias = (values("v_leak") - reset) * leak
            gain = gain * leak
        if isinstance(node, nir.CubaLIF):
            share, current_decay = self._decay(name, "tau_syn", shape)
            gain = gain * values("w_in") * (1.0 if meaning.jumps else share)
        soft = spikes and meaning.reset != "zero"
        if soft and np.any(np.asarray(current_decay) < NO_MEMORY):
            raise ExportError(
                f"{name}: a CubaLIF with reset by subtraction is not supported; train with reset to "
                "zero in the step of the spike, and use semantics='nir' with its dt"
            )
        if (soft or not spikes) and np.ndim(voltage_decay):
            raise ExportError(
                f"{name}: time constants that differ are not supported for readouts, and where "
                "resets subtract; use one for all neurons"
            )
        if soft and reset.any():
            raise ExportError(f"{name}: v_reset other than 0 has no meaning where resets subtract; use 0")
        return Neuron(
            shape=shape,
            gain=gain,
            bias=bias,
            threshold=values("v_threshold") - reset if spikes else None,
            current_decay=current_decay,
            voltage_decay=voltage_decay,
            at_threshold=meaning.at_threshold,
            soft=soft,
            later=meaning.reset == "subtract later",
            counts=soft and meaning.counts,
        )

    def _step(self, name: str) -> float:
        if self._dt is not None:
            return self._dt
        node = self._nodes[name]
        tau = getattr(node, "tau", getattr(node, "tau_mem", np.nan))
        peers = np.allclose(tau, 1e-4 * np.asarray(node.r), rtol=1e-3)
        hint = "; tau / r = 0.0001 s looks like the dt of snnTorch or SpikingJelly" if peers else ""
        raise ExportError(
            f"{name}: {type(node).__name__} needs the time step and nothing tells it; give dt= in seconds, "
            f"or semantics=, whose own is taken{hint}"
        )

    def _decay(self, name: str, what: str, shape: Shape) -> tuple[np.ndarray, int | np.ndarray]:
        """What a step forgets, as a share ``[C]`` and in 1/4096, which is one number if it may."""
        dt, tau = self._step(name), per_channel(name, what, getattr(self._nodes[name], what), shape)
        if tau.min() <= 0:
            raise ExportError(f"{name}: {what} of {tau.min():g} s is not allowed; use more than 0")
        share = self._meaning.share(dt, tau)
        amount = np.rint(share * NO_MEMORY).astype(np.int64)
        if amount.max() > LIMITS.decay_max:
            raise ExportError(
                f"{name}: {what} of {tau.min():g} s is shorter than the time step of {dt:g} s; give the "
                "dt= of the library that wrote it (for Norse, export with dt=1: it writes tau times dt)"
            )
        return share, amount if np.ptp(amount) else int(amount[0])
