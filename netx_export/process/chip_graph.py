"""A network as a graph of unmodified processes of lava-nc, which Loihi 2 has models for.

==================  ====================================================================================
process             computes
==================  ====================================================================================
``Conv``            convolutions
``Dense``           dense layers
``DelayDense``      dense layers that wait for a longer path, or have axonal delays
``Sparse``          identities of skips: a mantissa of one sign and an exponent
``DelaySparse``     identities that wait for a longer path
``LIFReset``        neurons, reset when a sample's first step arrives
``LIF``             neurons without resets
``ATRLIF``          neurons of one threshold with soft reset; on the CPU only
``Reset``           of potential and refractory state of an ``ATRLIF``; on the CPU only
==================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse  # type: ignore[import-untyped]
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.proc.conv import process as conv
from lava.proc.dense import process as dense
from lava.proc.lif import process as lif
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode

from lava_bsnn.fixed_point import ALIGN_BITS
from netx_export.network import INPUT, Connection, Conv, Dense, FixedPointNetwork, Layer
from netx_export.neurons import LIF, MultiThreshold, Readout
from netx_export.process.entry import join
from netx_export.process.soft_reset import resets, soft_reset_neurons
from netx_export.targets.loihi import mantissas

_MIXED = {"sign_mode": SignMode.MIXED, "weight_exp": -1}
"""Synapses of both signs hold even numbers: twice the weights, halved."""


class ChipLayer:
    """Processes of a layer.

    Attributes:
        synapses: one per connection.
        neuron: a ``LIFReset``, ``LIF`` or ``ATRLIF``, W, H, C.
        out: what it sends.
        resets: of an ``ATRLIF``, which has none by itself.
    """

    def __init__(self, neuron: AbstractProcess, resets: Sequence[AbstractProcess] = ()) -> None:
        self.synapses: list[AbstractProcess] = []
        self.neuron, self.resets = neuron, list(resets)
        self.out: OutPort = neuron.s_out


class ChipGraph:
    """Layers and what feeds them.

    Args:
        net: of profile ``"loihi"`` or a narrower one.
        reset_interval: steps between resets, or None.
        reset_offset: as in lava-dl.

    Attributes:
        layers: in the network's order.
        inputs: ports that the network's input feeds.
        out: what the last layer sends.
    """

    def __init__(self, net: FixedPointNetwork, reset_interval: int | None, reset_offset: int) -> None:
        self.layers: list[ChipLayer] = []
        self.inputs: list[Any] = []
        outs: dict[str, OutPort] = {}
        shapes = net.shapes
        first = net.depth(net.layers[0].name)
        for layer in net.layers:
            arrival = 1 + net.depth(layer.name) + reset_offset - first
            made = _neurons(layer, reset_interval, arrival)
            outs[layer.name] = made.out
            for connection in layer.connections:
                bits = net.input.bits if connection.source == INPUT else 0
                wait = net.balancing_delay(layer, connection)
                synapse = _synapse(connection, shapes[connection.source], layer, wait, bits)
                made.synapses.append(synapse)
                join(synapse.a_out, made.neuron.a_in)
                if connection.source == INPUT:
                    self.inputs.append(synapse.s_in)
                else:
                    join(outs[connection.source], synapse.s_in)
            self.layers.append(made)
        self.out = self.layers[-1].out


def _neurons(layer: Layer, interval: int | None, arrival: int) -> ChipLayer:
    neuron, shape = layer.neuron, layer.shape[::-1]
    if isinstance(neuron, MultiThreshold):
        soft = soft_reset_neurons(layer)
        return ChipLayer(soft, [] if interval is None else resets(soft, layer, interval, arrival))
    assert isinstance(neuron, (LIF, Readout))
    options: dict[str, Any] = {
        "shape": shape,
        "du": neuron.current_decay - 1,  # the process adds 1
        "dv": neuron.voltage_decay,
        "bias_mant": _per_neuron(neuron.bias, shape),
        "bias_exp": ALIGN_BITS,
        "vth": neuron.threshold,
    }
    if interval is None:
        return ChipLayer(lif.LIF(**options))
    made = lif.LIFReset(reset_interval=interval, reset_offset=arrival % interval, **options)
    return ChipLayer(made)


def _per_neuron(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values per channel, the last axis of W, H, C."""
    return np.broadcast_to(np.asarray(values), shape).astype(np.int32)


def _synapse(
    connection: Connection, source: tuple[int, ...], layer: Layer, wait: int, bits: int
) -> AbstractProcess:
    synapse = connection.synapse
    if isinstance(synapse, Conv):
        assert not wait and connection.delay is None, f"{layer.name}: a convolution cannot wait"
        return conv.Conv(
            weight=synapse.weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).astype(np.int32),
            input_shape=source[::-1],
            stride=synapse.stride[::-1],
            padding=synapse.padding[::-1],
            dilation=synapse.dilation[::-1],
            groups=synapse.groups,
            num_message_bits=bits,
        )
    delays = _delays(connection, layer, source, wait)
    if isinstance(synapse, Dense):
        options = {"weights": 2 * _as_flat(synapse.weight, source).astype(np.int32), **_MIXED}
        if delays is None:
            return dense.Dense(num_message_bits=bits, **options)
        return dense.DelayDense(delays=delays, num_message_bits=bits, **options)
    scale = np.full(1, 1 << ALIGN_BITS) if connection.scale is None else connection.scale
    values, exponent = mantissas(scale)
    weights = scipy.sparse.diags(_per_neuron(values, layer.shape[::-1]).ravel(), dtype=np.int32).tocsr()
    options = {"weights": weights, "weight_exp": exponent, "num_message_bits": bits}
    if delays is None:
        return Sparse(**options)
    each = scipy.sparse.diags(delays, dtype=int).tocsr()
    return DelaySparse(delays=each, max_delay=int(delays.max()), **options)


def _delays(connection: Connection, layer: Layer, source: tuple[int, ...], wait: int) -> np.ndarray | None:
    """Steps for which each synapse waits, ``[out, in]``, or of an identity ``[neurons]``; None for none."""
    delay = connection.delay
    if not wait and delay is None:
        return None
    steps = np.full(1, wait) if delay is None else delay.astype(np.int64) + wait
    if not isinstance(connection.synapse, Dense):
        return _per_neuron(steps.ravel(), layer.shape[::-1]).ravel().astype(int)
    steps = _as_flat(steps, source) if steps.ndim == 2 else steps[:, None]
    return np.broadcast_to(steps, connection.synapse.weight.shape).astype(int)


def _as_flat(rows: np.ndarray, source: tuple[int, ...]) -> np.ndarray:
    """Rows over C, H, W as rows over W, H, C, in which ports are flattened."""
    return rows.reshape(len(rows), *source).transpose(0, *range(len(source), 0, -1)).reshape(len(rows), -1)
