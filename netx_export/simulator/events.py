"""Weighted input from events: only active inputs cost time.

Two kernels do the same. :func:`gathered` lists, for an output pixel, the rows of weights of all active inputs
that it sees, and adds them up in registers; it is for many outputs per pixel, and for messages that are small
counts, which are listed as often as they count. :func:`scattered` adds the weights of an active input to all
outputs that it reaches, in memory; it is for few outputs per pixel, groups, and other messages.

Arrays are ``[N, T, width]``; a row holds one step's neurons in H, W, C order. Rows of messages (uint8; int8
of a signed input) end on a multiple of ``BLOCK`` with zeros; rows of weighted input have room for what is
written behind the last neuron. Sums are those of integers modulo 2^16 or 2^32, of which
:mod:`netx_export.network.checks` bounds the last. Kernels release the GIL, start no threads, and are safe in
forked processes.
"""

from __future__ import annotations

import numpy as np

from .machine_code import BLOCK, LANES, add_row, gather_1, gather_2, gather_4, kernel, lowest_bit, nonzero

_EVENTS = 1024


def scatter_buffer(taps: int) -> np.ndarray:
    """Working memory of :func:`scattered` for a table of so many taps."""
    return np.zeros((2, _EVENTS + BLOCK * taps), dtype=np.int64)


@kernel
def scattered(messages, count, places, groups, weight, out, events):
    """Add the weights of active inputs to the outputs that they reach.

    Args:
        messages: uint8 or int8 ``[N, T, width]``.
        count: int32 ``[pixels]``: taps, i.e. runs of output pixels that an input pixel reaches.
        places: int64 ``[pixels, taps]``: where the run starts in a row of ``out``, times 2^32, plus where the
            tap's weights of channel 0 start.
        groups: int64 ``(channels, channels per group, outputs per group, length of a weight row,
            whether messages are other than 0 and 1)``.
        weight: int8, int16 or int32, flat; rows of a multiple of ``LANES``, zeros at the end.
        out: int16 or int32 ``[N, T, width]``, overwritten.
        events: see :func:`scatter_buffer`.
    """
    step, zero, one = np.uint64(BLOCK), np.uint64(0), np.uint64(1)
    width, size = np.uint64(messages.shape[2]), np.uint64(out.shape[2])
    sent, sums = messages.reshape(-1), out.reshape(-1)
    channels, per_group = np.uint32(groups[0]), np.uint32(groups[1])
    outputs, length, graded = np.int64(groups[2]), np.int64(groups[3]), groups[4] != 0
    grouped = channels != per_group
    taps, full = np.uint64(places.shape[1]), np.uint64(_EVENTS)
    adds, factors = events[0], events[1]
    for image in range(np.uint64(messages.shape[0] * messages.shape[1])):
        first, base = image * width, image * size
        for i in range(size):
            sums[base + i] = 0
        found = zero
        for block in range(zero, width + step, step):
            if block < width:
                bits = nonzero(sent, first + block)
                while bits:
                    i = np.uint32(block + lowest_bit(bits))
                    bits &= bits - one
                    pixel = i // channels
                    channel = i - pixel * channels
                    shift = np.int64(channel) * length
                    if grouped:
                        shift += (np.int64(channel // per_group) * outputs) << 32
                    for j in range(taps):
                        adds[found + j] = places[pixel, j] + shift
                    if graded:
                        for j in range(taps):
                            factors[found + j] = sent[first + np.uint64(i)]
                    found += np.uint64(count[pixel])
            if found >= full or block >= width:
                _add(sums, base, weight, np.uint64(length), graded, adds, factors, found)
                found = zero


@kernel
def _add(sums, base, weight, length, graded, adds, factors, found):
    """Add weight rows, each to its place."""
    low, lanes = np.uint64(0xFFFFFFFF), np.uint64(LANES)
    if graded:
        for k in range(found):
            o, w = base + np.uint64(adds[k] >> 32), np.uint64(adds[k]) & low
            for b in range(np.uint64(0), length, lanes):
                add_row(sums, o + b, weight, w + b, np.int32(factors[k]))
    elif length == lanes:
        for k in range(found):
            add_row(sums, base + np.uint64(adds[k] >> 32), weight, np.uint64(adds[k]) & low, np.int32(1))
    else:
        for k in range(found):
            o, w = base + np.uint64(adds[k] >> 32), np.uint64(adds[k]) & low
            for b in range(np.uint64(0), length, lanes):
                add_row(sums, o + b, weight, w + b, np.int32(1))


def gather_buffers(pixels: int, inputs: int, largest: int, seen: int) -> tuple[np.ndarray, ...]:
    """Working memory of :func:`gathered`.

    Args:
        pixels: of the input.
        inputs: of all pixels.
        largest: largest message.
        seen: inputs that an output sees, at most.
    """
    return tuple(np.zeros(n, dtype=np.uint32) for n in (pixels + 1, inputs * largest, seen * largest))


@kernel
def gathered(messages, count, seen, sizes, weight, accumulator, out, starts, events, rows):
    """Add up the rows of weights of the active inputs that an output pixel sees, in registers.

    Args:
        messages: uint8 ``[N, T, width]``: how often an input counts.
        count: int32 ``[output pixels]``: input pixels that an output pixel sees.
        seen: uint32 ``[output pixels, taps, 2]``: an input pixel, and where its tap's weights of channel 0
            start.
        sizes: int64 ``(channels of the input, outputs per pixel, length of a weight row, rows of weights
            whose sum the accumulator holds)``.
        weight: int8, int16 or int32, flat; rows of a multiple of ``BLOCK``.
        accumulator: no values, of the type in which rows are added up.
        out: int16 or int32 ``[N, T, width]``, overwritten.
        starts, events, rows: see :func:`gather_buffers`.
    """
    zero, one = np.uint64(0), np.uint64(1)
    channels, length = np.uint32(sizes[0]), np.uint32(sizes[2])
    outputs, most = np.uint64(sizes[1]), np.uint64(sizes[3])
    step = np.uint64(4 * BLOCK if outputs >= 4 * BLOCK else 2 * BLOCK if outputs >= 2 * BLOCK else BLOCK)
    width, size = np.uint64(messages.shape[2]), np.uint64(out.shape[2])
    sent, sums = messages.reshape(-1), out.reshape(-1)
    dense = len(count) == 1 and len(starts) == 2 and count[0] == 1 and seen[0, 0, 1] == 0
    for image in range(np.uint64(messages.shape[0] * messages.shape[1])):
        first, filled, found = image * width, zero, zero
        for block in range(zero, width, np.uint64(BLOCK)):
            bits = nonzero(sent, first + block)
            while bits:
                i = np.uint32(block + lowest_bit(bits))
                bits &= bits - one
                if dense:
                    row = i * length
                else:
                    pixel = i // channels
                    while filled <= pixel:
                        starts[filled] = found
                        filled += one
                    row = (i - pixel * channels) * length
                for _ in range(sent[first + np.uint64(i)]):
                    events[found] = row
                    found += one
        while filled < np.uint64(len(starts)):
            starts[filled] = found
            filled += one
        for pixel in range(np.uint64(len(count))):
            listed, chosen = zero, rows
            if dense:
                listed, chosen = found, events
            else:
                for j in range(np.uint64(count[pixel])):
                    came, tap = np.uint64(seen[pixel, j, 0]), seen[pixel, j, 1]
                    begin = np.uint64(starts[came])
                    number = np.uint64(starts[came + one]) - begin
                    for k in range(number):
                        rows[listed + k] = events[begin + k] + tap
                    listed += number
            target, column = image * size + pixel * outputs, zero
            while column < outputs:
                if column + step > outputs > step:  # the last ones once more
                    column = outputs - step
                place, start, adds = target + column, zero, False
                while start < listed or not adds:
                    stop = min(listed, start + most)
                    if step == np.uint64(4 * BLOCK):
                        gather_4(sums, place, weight, column, chosen, start, stop, adds, accumulator)
                    elif step == np.uint64(2 * BLOCK):
                        gather_2(sums, place, weight, column, chosen, start, stop, adds, accumulator)
                    else:
                        gather_1(sums, place, weight, column, chosen, start, stop, adds, accumulator)
                    start, adds = stop, True
                column += step
