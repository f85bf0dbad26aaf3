"""What a part of a layer needs of a core: neurons, synaptic memory, and entries for its messages.

A layer is cut into blocks of channels and, if it is an image, of rows; a block of both is a slice.

- Axons in: an entry per source of messages and connection. Sources are neurons; where the chip shares
  kernels, a convolution has one source per position of its input, whose channels are told by the message.
- Axons out: an entry per such source of the slice and receiving slice.
- Synaptic memory: rows, each rounded up to whole words. An unshared row holds the synapses of one source,
  with an index each; a shared one the weights from one channel at one position of the kernel to the
  channels of the slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..network import BiasInput, Connection, Conv, Dense, FixedPointNetwork, Layer, Shape
from ..network.synapses import weight_bits
from .chips import Chip


def image(shape: Shape) -> tuple[int, int, int]:
    """Channels, height, width; a flat shape has one position."""
    return (shape[0], *shape[1:]) if len(shape) == 3 else (math.prod(shape), 1, 1)  # type: ignore[return-value]


def blocks(total: int, size: int) -> list[tuple[int, int]]:
    """Half-open ranges of ``size``, the last one shorter."""
    return [(start, min(start + size, total)) for start in range(0, total, size)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reads:
    """How often the blocks of a layer read their source through one connection, per axis.

    A source at channel c, row y, column x has ``channels[i, c] * rows[j, y] * columns[x]`` synapses onto the
    slice of channel block i and row block j.

    Attributes:
        channels: ``[channel blocks, C]``: receiving channels.
        rows: ``[row blocks, H]``: receiving rows.
        columns: ``[W]``: receiving columns.
        shared: one source per position.
    """

    channels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    shared: bool

    def axons_in(self) -> np.ndarray:
        """Sources per slice, ``[channel blocks, row blocks]``."""
        read = (self.channels > 0).sum(1)
        positions = (self.rows > 0).sum(1) * (self.columns > 0).sum()
        return np.outer(read.clip(max=1) if self.shared else read, positions)

    def axons_out(self, channels: int, rows: int) -> np.ndarray:
        """Entries per slice of the source, if it has blocks of so many channels and rows.

        Returns:
            ``[its channel blocks, its row blocks]``.
        """
        starts = np.arange(0, self.channels.shape[1], channels)
        sent = np.add.reduceat((self.channels > 0).astype(np.int64), starts, axis=1)
        received = (sent.clip(max=1) if self.shared else sent).sum(0)
        per_row = (self.rows > 0).sum(0)
        return np.outer(
            received, np.add.reduceat(per_row, np.arange(0, len(per_row), rows)) * (self.columns > 0).sum()
        )


@lru_cache(maxsize=4096)
def _line(size: int, out: int, kernel: int, stride: int, pad: int, dilation: int, block: int) -> np.ndarray:
    """Per block of outputs along one axis, how many synapses each input has, ``[blocks, size]``."""
    ranges = blocks(out, block)
    counts = np.zeros((len(ranges), size), dtype=np.int64)
    for index, (start, stop) in enumerate(ranges):
        taps = np.arange(start, stop)[:, None] * stride + np.arange(kernel) * dilation - pad
        np.add.at(counts[index], taps[(taps >= 0) & (taps < size)], 1)
    counts.flags.writeable = False
    return counts


def reads(
    layer: Layer,
    connection: Connection,
    source: Shape,
    ranges: list[tuple[int, int]],
    rows: int,
    chip: Chip,
) -> Reads:
    """Who reads whom through a connection.

    Args:
        layer: that receives.
        connection: one of its connections.
        source: shape of what feeds it.
        ranges: blocks of the layer's channels.
        rows: per block of the layer.
        chip: whose way of convolving counts.
    """
    channels, height, width = image(source)
    out_channels, out_height, out_width = image(layer.shape)
    synapse = connection.synapse
    if isinstance(synapse, Conv):
        taps = list(
            zip(synapse.weight.shape[2:], synapse.stride, synapse.padding, synapse.dilation, strict=True)
        )
        group = np.arange(channels) // synapse.weight.shape[1]
        size = out_channels // synapse.groups
        shares = [
            (np.minimum(stop, (group + 1) * size) - np.maximum(start, group * size)).clip(0)
            for start, stop in ranges
        ]
        return Reads(
            channels=np.array(shares),
            rows=_line(height, out_height, *taps[0], rows),
            columns=_line(width, out_width, *taps[1], out_width)[0],
            shared=bool(chip.shares_convolutions.value),
        )
    if isinstance(synapse, Dense):
        sizes = np.array([stop - start for start, stop in ranges])
        return Reads(
            channels=np.broadcast_to(sizes[:, None], (len(ranges), channels)),
            rows=np.ones((1, height), dtype=np.int64),
            columns=np.ones(width, dtype=np.int64),
            shared=False,
        )
    index, used = np.arange(channels), not isinstance(synapse, BiasInput)
    return Reads(
        channels=np.array(
            [(start <= index) & (index < stop) & used for start, stop in ranges], dtype=np.int64
        ),
        rows=_line(height, height, 1, 1, 0, 1, rows),
        columns=np.ones(width, dtype=np.int64),
        shared=False,
    )


def synapse_bits(net: FixedPointNetwork, layer: Layer, connection: Connection, chip: Chip) -> int:
    """Memory of a synapse's weight and delay, bits; 0 for inputs that enter as biases."""
    if isinstance(connection.synapse, BiasInput):
        return 0
    widest = chip.weight_bits.value
    bits = weight_bits(connection.synapse) or widest  # an identity's weight is its scale
    if bits > widest:
        bits = -(-bits // widest) * widest
    if connection.delay is not None or net.balancing_delay(layer, connection):
        bits += chip.delay_max.value.bit_length()
    return bits


def memory(connection: Connection, bits: int, who: Reads, chip: Chip) -> np.ndarray:
    """Synaptic memory per slice for one connection, bits, ``[channel blocks, row blocks]``.

    Args:
        connection: whose synapses.
        bits: per synapse (:func:`synapse_bits`).
        who: reads whom through it.
        chip: whose words count.
    """
    synapse = connection.synapse
    if not bits:
        return np.zeros((len(who.channels), len(who.rows)), dtype=np.int64)
    if who.shared and isinstance(synapse, Conv):
        kernels = _row_bits(who.channels, bits, chip).sum(1) * math.prod(synapse.weight.shape[2:])
        return np.outer(kernels, np.ones(len(who.rows), dtype=np.int64))
    bits += chip.index_bits.value
    kinds = np.flatnonzero(np.bincount(who.channels.ravel()))
    number = np.stack([(who.channels == kind).sum(1) for kind in kinds], -1)
    positions = who.rows[:, :, None] * who.columns
    each = np.stack([_row_bits(kind * positions, bits, chip).sum((1, 2)) for kind in kinds])
    return number @ each


def _row_bits(synapses: np.ndarray, bits: int, chip: Chip) -> np.ndarray:
    """Memory of rows of so many synapses; none for empty ones."""
    word = chip.word_bits.value
    return np.where(synapses > 0, -(-(chip.row_bits.value + synapses * bits) // word) * word, 0)
