"""Layers over cores: fewest cores, then least traffic; the same result each time.

Every layer has some ways to be cut (:mod:`~netx_export.placement.cut`). The first choice is the one that needs
the fewest cores by itself, receivers before senders. All slices are packed by first-fit decreasing: the
largest first, each on the first core with room. Then other cuts are tried layer by layer, and kept if
the network needs fewer cores, or as many and fewer entries for messages.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from lava_bsnn.errors import OptionError

from ..network import FixedPointNetwork, Layer
from .chips import Chip
from .chips import chip as chip_of
from .cut import Cut, Cutter, stack
from .problems import placement_problems
from .resources import blocks, image
from .result import Core, Placement, Slice

Score: TypeAlias = "tuple[int, int]"
_WORK = 300_000
"""Slices packed while other cuts are tried: bounds the time, not the result's validity."""


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
        OptionError: there is no such chip, or ``chips`` is no positive number.
    """
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
    """The cut of each layer, and what else it could be."""

    def __init__(self, net: FixedPointNetwork, chip: Chip) -> None:
        self.net, self.chip, self.cutter = net, chip, Cutter(net, chip)
        self.cuts: dict[str, Cut] = {}
        self.choices: dict[str, list[Cut]] = {}
        for layer in reversed(net.layers):
            self.cutter.set_limits(layer, self.cuts)
            ranked = sorted(self.cutter.candidates(layer, self.cuts), key=lambda cut: self._alone(layer, cut))
            self.choices[layer.name] = ranked
            self.cuts[layer.name] = ranked[0]

    def _alone(self, layer: Layer, cut: Cut) -> tuple[int, float, int]:
        """Cores of a layer by itself, its share of all cores' resources, entries for messages."""
        needs = self.cutter.needs(layer, cut, self.cuts).reshape(-1, 4)
        share = float((needs.sum(0) / self.cutter.capacity).max())
        return self._pack([needs])[1], share, int(needs[:, 2:].sum())

    def _pack(self, needs: list[np.ndarray]) -> tuple[np.ndarray, int]:
        """Core of each slice by first-fit decreasing, and the number of cores."""
        items = stack(needs) / self.cutter.capacity
        order = np.argsort(-items.max(1), kind="stable")
        used, groups = np.zeros((len(items), 4)), np.zeros(len(items), dtype=np.int64)
        core, count, most = np.empty(len(items), dtype=np.int64), 0, self.chip.groups.value
        for item in order:
            free = (used[:count] + items[item] <= 1 + 1e-9).all(1) & (groups[:count] < most)
            found = int(free.argmax()) if free.any() else count
            count = max(count, found + 1)
            core[item] = found
            used[found] += items[item]
            groups[found] += 1
        return core, count

    def _needs(self, cuts: dict[str, Cut]) -> list[np.ndarray] | None:
        """Needs of all slices by layer; None if a limit is exceeded."""
        found = [self.cutter.needs(layer, cuts[layer.name], cuts) for layer in self.net.layers]
        fits = all(self.cutter.fits(*pair) for pair in zip(self.net.layers, found, strict=True))
        return found if fits else None

    def _score(self, cuts: dict[str, Cut]) -> Score | None:
        needs = self._needs(cuts)
        if needs is None:
            return None
        return self._pack(needs)[1], int(sum(one[..., 3].sum() for one in needs))

    def improve(self) -> None:
        """Try other cuts, layer by layer, until none is better or the work is used up."""
        best = self._score(self.cuts)
        assert best is not None
        work, improved = _WORK, True
        while improved:
            improved = False
            for layer in self.net.layers:
                for cut in self.choices[layer.name]:
                    trial = {**self.cuts, layer.name: cut}
                    work -= sum(math.prod(one.local.shape[:2]) for one in trial.values())
                    if work < 0:
                        return
                    score = self._score(trial)
                    if score is not None and score < best:
                        best, self.cuts, improved = score, trial, True

    def cores(self) -> tuple[Core, ...]:
        """The cores, numbered by the first slice that each holds."""
        needs = self._needs(self.cuts)
        assert needs is not None
        where, _ = self._pack(needs)
        held: dict[int, list[Slice]] = {}
        slices = (one for pair in zip(self.net.layers, needs, strict=True) for one in self._slices(*pair))
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
