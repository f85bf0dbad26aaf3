"""Messages, synaptic operations and traffic of real runs.

A message is one value that is not 0, a spike as well as a graded one, of one neuron at one step. It costs
one synaptic operation (SOP) for each synapse that it reaches, also where the weight is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from lava_bsnn.errors import OptionError, ShapeError

from ..network import INPUT, Connection, FixedPointNetwork
from ..network.graph import check_network
from ..network.synapses import weight_of
from ..placement import Core, Placement, Slice
from ..simulator import check_data
from .activity import count_messages
from .constants import LOIHI_COSTS
from .fan_out import fan_out
from .result import CoreCost, Cost, LayerCost


def cost(
    net: FixedPointNetwork,
    data: np.ndarray,
    placement: Placement | None = None,
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Cost:
    """Run the simulator and count what the samples cause.

    Messages are counted where they are sent, those that a delay or a recurrent synapse carries past the
    last step too.

    Args:
        net: the network.
        data: integers ``[N, *shape, T]``; :meth:`netx_export.FixedPointNetwork.encode` gives them.
        placement: of this network; without it nothing is known of cores.
        labels: classes ``[N]``, for the accuracy.
        progress: called with the number of samples done.

    Raises:
        ShapeError: data or labels do not fit.
        OptionError: ``net`` is no network, or the placement is of another network.
    """
    check_network("cost", net)
    data = check_data(net, data)
    if labels is not None and np.shape(labels) != (len(data),):
        raise ShapeError(f"cost: labels of shape {np.shape(labels)} do not fit; use ({len(data)},)")
    placed = placement.cores if placement else ()
    strange = {one.layer for core in placed for one in core.slices} - {layer.name for layer in net.layers}
    if strange:
        raise OptionError(f"cost: the placement has layers {sorted(strange)}; use one of this network")
    sent, classes = count_messages(net, data, progress)
    mean = {name: counts / len(data) for name, counts in sent.items()}
    totals = {name: counts.sum(-1) for name, counts in mean.items()}
    outgoing: Counter[str] = Counter()
    steps = net.period(data.shape[-1])
    cores = tuple(_core(net, core, totals, outgoing, steps) for core in placed)
    coded = net.input.coded
    graded = coded is None or not coded.event_driven
    return Cost(
        samples=len(data),
        steps=steps,
        layers=tuple(
            LayerCost(
                name=name,
                neurons=totals[name].size,
                messages=float(totals[name].sum()),
                messages_per_step=tuple(counts.reshape(-1, counts.shape[-1]).sum(0).tolist()),
                sops=_sops(net, name, totals),
                macs=_macs(net, name),
                core_messages=float(outgoing[name]) if placed else None,
            )
            for name, counts in mean.items()
        ),
        cores=cores,
        graded_sops=sum(_sops(net, layer.name, totals, INPUT) for layer in net.layers) if graded else 0.0,
        accuracy=None if labels is None else float((classes == np.asarray(labels)).mean()),
    )


def _incoming(
    net: FixedPointNetwork, name: str, part: Slice | None = None
) -> Iterator[tuple[Connection, np.ndarray]]:
    """Connections of a layer or of a slice of it, each with the fan-out of its sources."""
    layer, shapes = net[name], net.shapes
    ranges = (part.channels, part.rows) if part else ()
    for connection in layer.connections:
        source = shapes[connection.source]
        yield connection, fan_out(connection.synapse, source, layer.shape, *ranges)


def _sops(net: FixedPointNetwork, name: str, totals: Mapping[str, np.ndarray], source: str = "") -> float:
    """Synaptic operations of a layer per sample; only those that one source causes."""
    if name == INPUT:
        return 0.0
    return sum(
        float((totals[connection.source] * reached).sum())
        for connection, reached in _incoming(net, name)
        if source in ("", connection.source)
    )


def _macs(net: FixedPointNetwork, name: str) -> int:
    """Products of weights and inputs of a layer, once over; none with padding."""
    if name == INPUT:
        return 0
    weighted = (
        int(reached.sum())
        for connection, reached in _incoming(net, name)
        if weight_of(connection.synapse) is not None
    )
    return sum(weighted)


def _core(
    net: FixedPointNetwork,
    core: Core,
    totals: Mapping[str, np.ndarray],
    outgoing: Counter[str],
    num_steps: int,
) -> CoreCost:
    """What a core does per step; adds to ``outgoing`` the messages that each sender sends it per sample."""
    sops = 0.0
    reached: dict[str, np.ndarray] = {}
    for part in core.slices:
        for connection, targets in _incoming(net, part.layer, part):
            source = connection.source
            sops += float((totals[source] * targets).sum())
            reached[source] = reached.get(source, np.zeros(targets.shape, dtype=bool)) | (targets > 0)
    for part in core.slices:  # messages of its own neurons stay on the core
        if part.layer in reached:
            where = (slice(*part.channels), slice(*part.rows)) if part.rows else (slice(*part.channels),)
            reached[part.layer][where] = False
    arriving = {name: float(totals[name][there].sum()) for name, there in reached.items()}
    outgoing.update(arriving)  # type: ignore[arg-type]
    return CoreCost(
        sops=sops / num_steps,
        messages_in=sum(arriving.values()) / num_steps,
        seconds=LOIHI_COSTS.core_time(sops / num_steps, core.neurons),
    )
