"""Ways to cut a layer into slices that a core holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..network import FixedPointNetwork, Layer
from .chips import Chip
from .resources import Reads, blocks, image, memory, reads, synapse_bits


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """A layer in blocks, all of one size but the last ones.

    Attributes:
        channels: per block.
        rows: per block.
        who: by connection, in their order.
        local: neurons, synaptic bits, axons in, of each slice; ``[channel blocks, row blocks, 3]``.
    """

    channels: int
    rows: int
    who: tuple[Reads, ...]
    local: np.ndarray


class Cutter:
    """Cuts the layers of a network for a chip.

    Attributes:
        limits: of neurons, synaptic bits, axons in and axons out, by layer; those of a core, or what
            the layer's smallest slice needs if that is more.
        exceeded: by layer, what its smallest slices need at most where that is more than a core holds.
    """

    def __init__(self, net: FixedPointNetwork, chip: Chip) -> None:
        self.net, self.chip = net, chip
        core = (chip.neurons, chip.synaptic_bits, chip.axons_in, chip.axons_out)
        self.capacity = np.array([fact.value for fact in core])
        self.limits: dict[str, np.ndarray] = {}
        self.exceeded: dict[str, np.ndarray] = {}
        self._consumers: dict[str, list[tuple[Layer, int]]] = {layer.name: [] for layer in net.layers}
        self._bits = {
            layer.name: [synapse_bits(net, layer, connection, chip) for connection in layer.connections]
            for layer in net.layers
        }
        for layer in net.layers:
            for index, connection in enumerate(layer.connections):
                if connection.source in self._consumers:
                    self._consumers[connection.source].append((layer, index))

    def cut(self, layer: Layer, channels: int, rows: int, ranges: list[tuple[int, int]] | None = None) -> Cut:
        """Cut a layer into blocks of so many channels and rows; ``ranges`` leaves only these channels."""
        total, height, width = image(layer.shape)
        ranges = blocks(total, channels) if ranges is None else ranges
        who = tuple(
            reads(layer, c, self.net.shapes[c.source], ranges, rows, self.chip) for c in layer.connections
        )
        lines = np.array([stop - start for start, stop in blocks(height, rows)])
        neurons = np.outer([stop - start for start, stop in ranges], lines * width)
        bits, entries = np.zeros_like(neurons), np.zeros_like(neurons)
        for connection, each, one in zip(layer.connections, self._bits[layer.name], who, strict=True):
            bits += memory(connection, each, one, self.chip)
            entries += one.axons_in()
        return Cut(channels=channels, rows=rows, who=who, local=np.stack([neurons, bits, entries], -1))

    def sent(self, layer: Layer, cut: Cut, cuts: dict[str, Cut]) -> np.ndarray:
        """Axons out of each slice, ``[channel blocks, row blocks]``, given how all receivers are cut."""
        total = np.zeros(cut.local.shape[:2], dtype=np.int64)
        for receiver, index in self._consumers[layer.name]:
            who = (cut if receiver is layer else cuts[receiver.name]).who[index]
            total += who.axons_out(cut.channels, cut.rows)
        return total

    def needs(self, layer: Layer, cut: Cut, cuts: dict[str, Cut]) -> np.ndarray:
        """Neurons, synaptic bits, axons in and out of each slice, ``[channel blocks, row blocks, 4]``."""
        return np.concatenate([cut.local, self.sent(layer, cut, cuts)[..., None]], -1)

    def fits(self, layer: Layer, needs: np.ndarray) -> bool:
        """Whether every slice keeps the limits."""
        return bool((needs <= self.limits[layer.name]).all())

    def set_limits(self, layer: Layer, cuts: dict[str, Cut]) -> None:
        """Find what the layer's smallest slices need, given how its receivers are cut."""
        smallest = self.needs(layer, self.cut(layer, 1, 1), cuts).reshape(-1, 4).max(0)
        self.limits[layer.name] = np.maximum(self.capacity, smallest)
        if (smallest > self.capacity).any():
            self.exceeded[layer.name] = smallest

    def burdens(self, layer: Layer, cut: Cut) -> bool:
        """Whether a source's smallest slice needs more than its share of a core's axons out for this cut."""
        for connection, who in zip(layer.connections, cut.who, strict=True):
            receivers = self._consumers.get(connection.source)
            if receivers and who.axons_out(1, 1).max() * len(receivers) > self.capacity[3]:
                return True
        return False

    def candidates(self, layer: Layer, cuts: dict[str, Cut]) -> Iterator[Cut]:
        """Cuts whose slices keep the limits: for each size of row blocks the largest blocks of channels,
        and blocks of equal size of which there are as many or few more.
        """  # fmt: skip
        channels, height, _ = image(layer.shape)
        for rows in sorted({math.ceil(height / parts) for parts in range(1, height + 1)}, reverse=True):
            largest = self._most_channels(layer, rows, cuts)
            if not largest:
                continue
            parts = math.ceil(channels / largest)
            sizes = {
                largest,
                *(math.ceil(channels / more) for more in range(parts, min(parts + 3, channels + 1))),
            }
            for size in sorted(sizes, reverse=True):
                cut = self.cut(layer, size, rows)
                if self.fits(layer, self.needs(layer, cut, cuts)):
                    yield cut

    def _most_channels(self, layer: Layer, rows: int, cuts: dict[str, Cut]) -> int:
        """Most channels per block, so that all slices keep the limits; 0 if one channel is too many."""
        total = image(layer.shape)[0]
        low, high = 0, total
        while low < high:
            middle = (low + high + 1) // 2
            first = self.cut(layer, middle, rows, [(0, middle)])
            if (first.local <= self.limits[layer.name][:3]).all():
                low = middle
            else:
                high = middle - 1
        while low and not self.fits(layer, self.needs(layer, self.cut(layer, low, rows), cuts)):
            low = low * 3 // 4 if low > 3 else low - 1
        return low


def stack(needs: Sequence[np.ndarray]) -> np.ndarray:
    """All slices of several layers, ``[slices, 4]``."""
    return np.concatenate([one.reshape(-1, 4) for one in needs])
