"""Layers over cores: fewest cores, then least traffic; the same result each time.

Every layer has some ways to be cut (:mod:`~netx_export.placement.cut`). The first choice is the one that
needs the fewest cores by itself, receivers before senders. All slices are packed by first-fit decreasing: the
largest first, each on the first core with room. Then other cuts are tried layer by layer, and kept if the
network needs fewer cores, or as many and fewer entries for messages.
"""

from __future__ import annotations

import math

import numpy as np

from lava_bsnn.errors import OptionError

from ..network import FixedPointNetwork, Layer
from ..network.graph import check_network
from .chips import Chip
from .chips import chip as chip_of
from .cut import Cut, Cutter, stack
from .problems import placement_problems
from .resources import blocks, image
from .result import Core, Placement, Slice

_WORK = 300_000
"""Slices packed while other cuts are tried, which bounds the time."""


def place(net: FixedPointNetwork, chip: str | Chip = "loihi2", *, chips: int | None = None) -> Placement:
    """Place the layers of a network on the cores of a chip.

    Args:
        net: of any profile.
        chip: name of a chip or board (:data:`~netx_export.placement.CHIPS`), or a chip.
        chips: how many may be used; by default those of the board, and any number of a bare chip.

    Returns:
        The placement. What does not fit stands in its problems; it is placed all the same, on cores that
        are too full or too many.

    Raises:
        OptionError: ``net`` is no network, there is no such chip, or ``chips`` is no positive number.
    """
    check_network("place", net)
    where = chip_of(chip) if isinstance(chip, str) else chip
    if not isinstance(where, Chip):
        raise OptionError(f"place: chip={chip!r} is not allowed; use a name of CHIPS or a Chip")
    if chips is not None and (type(chips) is not int or chips < 1):
        raise OptionError(f"place: chips={chips!r} is not allowed; use a number of 1 or more")
    search = _Search(net, where)
    search.improve()
    cores = search.cores()
    if chips is None and where.chips is not None:
        chips = where.chips.value
    found = tuple(placement_problems(net, where, cores, search.cutter.exceeded, chips))
    return Placement(chip=where, cores=cores, problems=found)


class _Search:
    """The cut of each layer, what it needs, and what else it could be."""

    def __init__(self, net: FixedPointNetwork, chip: Chip) -> None:
        self.net, self.chip, self.cutter = net, chip, Cutter(net, chip)
        self.cuts: dict[str, Cut] = {}
        self.choices: dict[str, list[Cut]] = {}
        for layer in reversed(net.layers):
            self.cutter.set_limits(layer, self.cuts)
            ranked = sorted(self.cutter.candidates(layer, self.cuts), key=lambda cut: self._alone(layer, cut))
            self.choices[layer.name] = ranked
            self.cuts[layer.name] = ranked[0]
        self.needs = {
            layer.name: self.cutter.needs(layer, self.cuts[layer.name], self.cuts) for layer in net.layers
        }

    def _alone(self, layer: Layer, cut: Cut) -> tuple[bool, int, float, int]:
        """Whether sources would need too many axons; cores of the layer by itself; its share of a core's
        resources; entries for messages.
        """  # fmt: skip
        needs = self.cutter.needs(layer, cut, self.cuts).reshape(-1, 4)
        share = float((needs.sum(0) / self.cutter.capacity).max())
        burdens = self.cutter.burdens(layer, cut)
        return burdens, self._pack([needs])[1], share, int(needs[:, 2:].sum())

    def _pack(self, needs: list[np.ndarray]) -> tuple[np.ndarray, int]:
        """Core of each slice by first-fit decreasing, and the number of cores; equal slices in one go."""
        items = stack(needs) / self.cutter.capacity
        order = np.lexsort((*items.T, -items.max(1)))
        changes = (np.diff(items[order], axis=0) != 0).any(1)
        used, groups = np.zeros((len(items), 4)), np.zeros(len(items), dtype=np.int64)
        core, count, most = np.empty(len(items), dtype=np.int64), 0, self.chip.groups.value
        for alike in np.split(order, np.flatnonzero(changes) + 1):
            need = items[alike[0]]
            room = ((1 + 1e-9 - used[:count, need > 0]) // need[need > 0]).min(1)
            room = np.minimum(room, most - groups[:count]).clip(0)
            taken = np.diff(np.minimum(room.cumsum(), len(alike)), prepend=0).astype(np.int64)
            left = len(alike) - int(taken.sum())
            per_core = max(1, min(most, int((1 + 1e-9) // need.max())))
            fresh = [stop - start for start, stop in blocks(left, per_core)]
            number = np.concatenate([taken, np.array(fresh, dtype=np.int64)])
            core[alike] = np.repeat(np.arange(len(number)), number)
            count = len(number)
            used[:count] += number[:, None] * need
            groups[:count] += number
        return core, count

    def _changed(self, layer: Layer, cuts: dict[str, Cut]) -> dict[str, np.ndarray] | None:
        """Needs by layer after another cut of one layer; None if a limit is exceeded."""
        sources = {connection.source for connection in layer.connections}
        needs = dict(self.needs)
        for one in self.net.layers:
            if one is layer or one.name in sources:
                needs[one.name] = self.cutter.needs(one, cuts[one.name], cuts)
                if not self.cutter.fits(one, needs[one.name]):
                    return None
        return needs

    def improve(self) -> None:
        """Try other cuts, layer by layer, until none is better or the work is used up."""
        best, work, improved = self._score(self.needs), _WORK, True
        while improved:
            improved = False
            for layer in self.net.layers:
                for cut in self.choices[layer.name]:
                    cuts = {**self.cuts, layer.name: cut}
                    needs = None if cut is self.cuts[layer.name] else self._changed(layer, cuts)
                    if needs is None or self._least(needs) > best[0]:
                        continue
                    work -= sum(one[..., 0].size for one in needs.values())
                    if work < 0:
                        return
                    score = self._score(needs)
                    if score < best:
                        best, self.cuts, self.needs, improved = score, cuts, needs, True

    def _least(self, needs: dict[str, np.ndarray]) -> int:
        """Cores below which no packing is possible."""
        total = sum(one.reshape(-1, 4).sum(0) for one in needs.values())
        return math.ceil((total / self.cutter.capacity).max() - 1e-9)

    def _score(self, needs: dict[str, np.ndarray]) -> tuple[int, int]:
        """Cores, and entries for messages that leave the slices."""
        return self._pack(list(needs.values()))[1], int(sum(one[..., 3].sum() for one in needs.values()))

    def cores(self) -> tuple[Core, ...]:
        """The cores, numbered by the first slice that each holds."""
        where, _ = self._pack(list(self.needs.values()))
        held: dict[int, list[Slice]] = {}
        slices = (one for layer in self.net.layers for one in self._slices(layer, self.needs[layer.name]))
        for core, one in zip(where.tolist(), slices, strict=True):
            held.setdefault(core, []).append(one)
        return tuple(Core.of(self.chip, number, parts) for number, parts in enumerate(held.values()))

    def _slices(self, layer: Layer, needs: np.ndarray) -> list[Slice]:
        channels, height, _ = image(layer.shape)
        cut, flat = self.cuts[layer.name], len(layer.shape) == 1
        return [
            Slice(
                layer=layer.name,
                channels=block,
                rows=None if flat else lines,
                neurons=int(needs[i, j, 0]),
                synaptic_bits=int(needs[i, j, 1]),
                axons_in=int(needs[i, j, 2]),
                axons_out=int(needs[i, j, 3]),
            )
            for i, block in enumerate(blocks(channels, cut.channels))
            for j, lines in enumerate(blocks(height, cut.rows))
        ]
