"""What a report holds, and where its figures come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..costs import Cost, cost
from ..network import FixedPointNetwork
from ..network.graph import check_network
from ..network.summary import num_synapses, num_weights
from ..network.synapses import weight_bits
from ..placement import Chip, Placement, place
from ..simulator import check_data, simulate
from ..verify import parity
from ..verify.streamed import step_by_step
from .traces import Shown, shown

if TYPE_CHECKING:
    from ..verify import Verification
    from ..verify.agree import Agreement

_STEPPED = 2
"""Samples that also run step by step."""


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """What a layer is made of.

    Attributes:
        name: of the layer.
        synapse: kinds of its synapses.
        neuron: kind of its neurons.
        shape: ``(C, H, W)`` or ``(C,)``.
        neurons: their number.
        synapses: connections between neurons, kernel taps counted at every position.
        weights: stored weights.
        weight_bits: width of the widest; 0 without weights.
        memory_bits: of all weights, each synapse at its least width.
        cores: that hold a part of the layer.
    """

    name: str
    synapse: str
    neuron: str
    shape: tuple[int, ...]
    neurons: int
    synapses: int
    weights: int
    weight_bits: int
    memory_bits: int
    cores: int


@dataclass(frozen=True, kw_only=True, repr=False)
class Report:
    """Outcome of :func:`netx_export.report`; ``rich.print`` shows it as a table.

    Attributes:
        name: of the network, such as its file.
        source: what the samples are, in words.
        net: the network.
        layers: in order.
        placement: of the network on a chip.
        cost: of the samples.
        stepped: the simulator against the network in Lava's time, on the first samples.
        verification: of backends; None where they did not run.
        agreement: of a model and its integers; None without a model.
        shown: rasters and membrane traces.
    """

    name: str
    source: str
    net: FixedPointNetwork
    layers: tuple[LayerRow, ...]
    placement: Placement
    cost: Cost
    stepped: parity.Comparison
    verification: Verification | None
    agreement: Agreement | None
    shown: Shown

    def __repr__(self) -> str:
        return f"Report({self.name}: {self.verdict})"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from .terminal import lines_of

        yield from lines_of(self)

    @property
    def mismatches(self) -> int:
        """Values that differ between our own simulators, or between them and a backend."""
        return self.stepped.mismatches + (self.verification.mismatches if self.verification else 0)

    @property
    def verdict(self) -> str:
        """What it is and whether it fits, in one line."""
        total, placed = self.net.summary(), self.placement
        what = (
            f"{total.layers} layers, {total.neurons:,} neurons, {total.synapses:,} synapses, "
            f"profile {self.net.profile}"
        )
        if not placed.fits:
            return f"{what}; does not fit {placed.chip.title}: {placed.problems[0]}"
        cores = f"{len(placed.cores):,} of {placed.chips * placed.chip.cores.value:,} cores"
        return f"{what}; fits {placed.chip.title}: {cores} on {_count(placed.chips, 'chip')}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data; totals by the names of the columns, a list of layers, and a list of cores."""
        total = self.net.summary()
        costs = self.cost.layers[1:]
        return {
            "name": self.name,
            "profile": self.net.profile,
            "digest": self.net.digest(),
            "chip": self.placement.chip.name,
            "fits": self.placement.fits,
            "problems": list(self.placement.problems),
            "neurons": total.neurons,
            "synapses": total.synapses,
            "weights": total.weights,
            "memory_bits": total.weight_bits,
            "cores": len(self.placement.cores),
            "chips": self.placement.chips,
            "data": self.source,
            **self.cost.as_dict(),
            "layers": [
                {
                    **asdict(row),
                    "messages_per_sample": one.messages,
                    "messages_per_step": list(one.messages_per_step),
                    "rate": one.rate,
                    "sops_per_sample": one.sops,
                    "core_messages_per_sample": one.core_messages,
                    "macs": one.macs,
                }
                for row, one in zip(self.layers, costs, strict=True)
            ],
            "core_map": [
                {"chip": core.chip, "index": core.index, "utilisation": core.utilisation, **asdict(one)}
                for core, one in zip(self.placement.cores, self.cost.cores, strict=True)
            ],
            "mismatches": self.mismatches,
            "stepped": asdict(self.stepped),
            "verification": self.verification.as_dict() if self.verification else None,
            "agreement": self.agreement.as_dict() if self.agreement else None,
        }


def report(
    net: FixedPointNetwork,
    data: np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    chip: str | Chip = "loihi2",
    name: str = "network",
    source: str = "given samples",
    verification: Verification | None = None,
    agreement: Agreement | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Place a network on a chip, run samples, and gather what they cost.

    Args:
        net: the network.
        data: integers ``[N, *shape, T]``; :meth:`netx_export.FixedPointNetwork.encode` gives them.
        labels: classes ``[N]``.
        chip: name of a chip or board, or one of your own.
        name: of the network, for titles.
        source: what the samples are, for titles.
        verification: what :func:`netx_export.verify.verify` gave, to be shown.
        agreement: what :func:`netx_export.agreement` gave, to be shown.
        progress: called with what is done next.

    Raises:
        OptionError: ``net`` is no network, or the chip is unknown.
        ShapeError: data or labels do not fit.
    """
    check_network("report", net)
    data = check_data(net, data)
    progress("placing layers on cores")
    placement = place(net, chip)
    total = len(data)
    costs = cost(
        net, data, placement, labels, progress=lambda done: progress(f"simulated {done} of {total} samples")
    )
    progress("drawing")
    pictures = shown(net, data, labels)
    progress("comparing step by step")
    stepped = step_by_step(net, data[:_STEPPED], simulate(net, data[:_STEPPED], trace=True))
    return Report(
        name=name,
        source=source,
        net=net,
        layers=tuple(_row(net, index, placement) for index in range(len(net.layers))),
        placement=placement,
        cost=costs,
        stepped=stepped,
        verification=verification,
        agreement=agreement,
        shown=pictures,
    )


def _row(net: FixedPointNetwork, index: int, placement: Placement) -> LayerRow:
    layer = net.layers[index]
    sizes = [(num_weights(c), weight_bits(c.synapse)) for c in layer.connections]
    return LayerRow(
        name=layer.name,
        synapse="+".join(type(c.synapse).__name__.lower() for c in layer.connections),
        neuron=layer.neuron.label,
        shape=layer.shape,
        neurons=int(np.prod(layer.shape)),
        synapses=sum(num_synapses(layer, c) for c in layer.connections),
        weights=sum(size for size, _ in sizes),
        weight_bits=max(bits for _, bits in sizes),
        memory_bits=sum(size * bits for size, bits in sizes),
        cores=len(placement.cores_of(layer.name)),
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
