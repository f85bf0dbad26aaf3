"""Connection of an extended network as a Lava process: weights, delays, scale, bias, and gate."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from netx_export.network import Conv, Layer, Shape
from netx_export.network.synapses import weight_of
from netx_export.simulator.layer import Projection
from netx_export.simulator.rows import from_row, to_row
from netx_export.simulator.state import Clock, ConnectionState


class ConnectionProcess(AbstractProcess):
    """What one connection adds to the currents of a layer, one step after its messages came.

    Args:
        layer: the layer that it feeds.
        index: which of the layer's connections.
        source: shape of what feeds it, C, H, W.
        wait: steps for which messages wait for those of longer paths.
        clock: of the layer.
        clears: at a reset, forget what is under way.

    Attributes:
        s_in: messages, W, H, C.
        a_out: currents in membrane steps, W, H, C.
    """

    def __init__(
        self, *, layer: Layer, index: int, source: Shape, wait: int, clock: Clock, clears: bool
    ) -> None:
        super().__init__(layer=layer, index=index, source=source, wait=wait, clock=clock, clears=clears)
        self.s_in = InPort(shape=source[::-1])
        self.a_out = OutPort(shape=layer.shape[::-1])


@implements(proc=ConnectionProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyConnectionModel(PyLoihiProcessModel):
    """Sends what it computed from earlier messages, then receives, as Lava's own synapses do."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._layer, self._source = proc_params["layer"], proc_params["source"]
        self._clock, self._clears = proc_params["clock"], proc_params["clears"]
        connection = self._layer.connections[proc_params["index"]]
        self._recurrent = connection.source == self._layer.name
        self._state = ConnectionState(MatrixProjection(connection, self._source, self._layer.shape))
        age = 1 + proc_params["wait"]
        self._silence = np.zeros((1, 1, int(np.prod(self._source))), dtype=np.int32)
        self._sent = deque([self._silence] * age, maxlen=age)

    def run_spk(self) -> None:
        """Do one step."""
        messages = self._sent[0]
        if self._clock.restarts(self.time_step) and self._clears:
            self._state.clear()
            messages = self._silence if self._recurrent else messages
        current = self._state.current(messages, self._clock.step(self.time_step))
        self.a_out.send(from_row(current[0, 0], self._layer.shape).transpose())
        self._sent.append(to_row(self.s_in.recv().transpose(), self._source)[None, None])


class MatrixProjection(Projection):
    """By products of matrices, float64, in which the integers here are exact; no kernels."""

    def multiply(self, messages: np.ndarray, out: np.ndarray, memory: Any) -> None:
        """Weighted input of one step."""
        synapse, weight = self.connection.synapse, weight_of(self.connection.synapse)
        image = from_row(messages[0, 0], self._source).astype(np.float64)
        if isinstance(synapse, Conv):
            image = convolve(synapse, image)
        elif weight is not None:
            image = (weight.astype(np.float64) @ image.reshape(-1)).reshape(self.target)
        from_row(out[0, 0], self.target)[...] = image


def convolve(conv: Conv, image: np.ndarray) -> np.ndarray:
    """Convolution of one image ``[C, H, W]``: float64, in which the integers here are exact."""
    (pad_h, pad_w), (stride_h, stride_w), (dil_h, dil_w) = conv.padding, conv.stride, conv.dilation
    channels, height, width = conv.output_shape(image.shape)
    padded = np.pad(image, ((0, 0), (pad_h, pad_h), (pad_w, pad_w)))
    weight = conv.weight.astype(np.float64).reshape(
        conv.groups, channels // conv.groups, *conv.weight.shape[1:]
    )
    total = np.zeros((conv.groups, channels // conv.groups, height * width))
    for row in range(weight.shape[3]):
        for column in range(weight.shape[4]):
            top, left = row * dil_h, column * dil_w
            seen = padded[
                :,
                top : top + stride_h * (height - 1) + 1 : stride_h,
                left : left + stride_w * (width - 1) + 1 : stride_w,
            ]
            total += weight[..., row, column] @ seen.reshape(conv.groups, -1, height * width)
    return total.reshape(channels, height, width)
