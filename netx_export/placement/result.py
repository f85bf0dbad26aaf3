"""What a placement is: slices of layers on the cores of a chip, and how full each core is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .chips import Chip

LIMITED = ("neurons", "synapses", "axons_in", "axons_out")
"""Resources of a core whose use is told, in the order of :attr:`Core.utilisation`."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Part of a layer that stands on one core.

    Attributes:
        layer: name.
        channels: half-open range; of features for flat layers.
        rows: half-open range of the image's rows; None for flat layers.
        neurons: of the slice.
        synaptic_bits: memory of its synapses, bits.
        axons_in: entries for sources whose messages its synapses receive.
        axons_out: entries for slices that receive its messages.
    """

    layer: str
    channels: tuple[int, int]
    rows: tuple[int, int] | None
    neurons: int
    synaptic_bits: int
    axons_in: int
    axons_out: int


@dataclass(frozen=True, kw_only=True)
class Core:
    """A neurocore and what stands on it.

    Attributes:
        chip: number of the chip, from 0.
        index: number of the core on its chip, from 0.
        slices: at least one.
        neurons: of all slices.
        synaptic_bits: of all slices.
        axons_in: of all slices.
        axons_out: of all slices.
        utilisation: by limit (``"neurons"``, ``"synapses"``, ``"axons_in"``, ``"axons_out"``), the share of
            it that is used: 0..1, or more where the placement's problems say so.
    """

    chip: int
    index: int
    slices: tuple[Slice, ...]
    neurons: int
    synaptic_bits: int
    axons_in: int
    axons_out: int
    utilisation: dict[str, float]

    @classmethod
    def of(cls, chip: Chip, number: int, slices: Iterable[Slice]) -> Core:
        """Core ``number``, counted over all chips, with its sums."""
        held = tuple(slices)
        used = {name: sum(getattr(one, name) for one in held) for name in _COUNTS}
        limits = (chip.neurons, chip.synaptic_bits, chip.axons_in, chip.axons_out)
        shares = (count / limit.value for count, limit in zip(used.values(), limits, strict=True))
        where, index = divmod(number, chip.cores.value)
        return cls(
            chip=where, index=index, slices=held, utilisation=dict(zip(LIMITED, shares, strict=True)), **used
        )


_COUNTS = ("neurons", "synaptic_bits", "axons_in", "axons_out")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A network on the cores of a chip or board.

    Attributes:
        chip: whose limits hold.
        cores: those used, by chip and index.
        problems: a line per limit that is exceeded, with what would make the network fit; empty if it fits.
    """

    chip: Chip
    cores: tuple[Core, ...]
    problems: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether no limit is exceeded."""
        return not self.problems

    @property
    def chips(self) -> int:
        """Number of chips used."""
        return len({core.chip for core in self.cores})

    def cores_of(self, layer: str) -> tuple[Core, ...]:
        """Cores that hold a part of a layer."""
        return tuple(core for core in self.cores if any(one.layer == layer for one in core.slices))

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain types, for JSON."""
        return {
            "chip": self.chip.name,
            "fits": self.fits,
            "problems": list(self.problems),
            "chips": self.chips,
            "cores": [asdict(core) for core in self.cores],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        verdict = "fits" if self.fits else "does not fit"
        cores, chips = _count(len(self.cores), "core"), _count(self.chips, "chip")
        yield f"{self.chip.name}: {verdict}; {cores} on {chips}"
        yield from self.problems
        header = ("core", "slices", *LIMITED)
        rows = [header, *(_row(core) for core in self.cores)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        for row in rows:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(core: Core) -> tuple[str, ...]:
    return (
        f"{core.chip}.{core.index}",
        " + ".join(map(_name, core.slices)),
        *(f"{share:.0%}" for share in core.utilisation.values()),
    )


def _name(one: Slice) -> str:
    parts = [one.channels] if one.rows is None else [one.channels, one.rows]
    return f"{one.layer}[{', '.join(f'{start}:{stop}' for start, stop in parts)}]"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
