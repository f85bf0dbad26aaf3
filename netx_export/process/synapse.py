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

from netx_export.dynamics import LayerDynamics
from netx_export.network import Connection, Conv, Identity, Layer, Shape
from netx_export.process.clock import Clock
from netx_export.synapses import weight_of


class Synapse(AbstractProcess):
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


@implements(proc=Synapse, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySynapseModel(PyLoihiProcessModel):
    """Sends what it computed from earlier messages, then receives, as Lava's own synapses do."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._layer, self._index = proc_params["layer"], proc_params["index"]
        self._clock, self._clears = proc_params["clock"], proc_params["clears"]
        self._connection: Connection = self._layer.connections[self._index]
        self._recurrent = self._connection.source == self._layer.name
        self._dynamics = LayerDynamics(self._layer)
        source = proc_params["source"]
        silence = np.zeros(source, dtype=np.int64)
        age = 1 + proc_params["wait"]
        self._silence, self._sent = silence, deque([silence] * age, maxlen=age)
        delay = self._connection.delay
        self._delay = None if delay is None else delay.reshape(-1)
        self._delays_inputs = delay is not None and delay.ndim == 2
        self._past: deque[np.ndarray] = deque(maxlen=1 if delay is None else 1 + int(delay.max()))

    def run_spk(self) -> None:
        """Do one step."""
        step = self._clock.step(self.time_step)
        messages = self._sent[0]
        if self._clock.restarts(self.time_step) and self._clears:
            self._past.clear()
            messages = self._silence if self._recurrent else messages
        current = self._dynamics.current(self._index, self._weighted(messages), step)
        self.a_out.send(np.broadcast_to(current, self._layer.shape).transpose())
        self._sent.append(self.s_in.recv().transpose().astype(np.int64))

    def _weighted(self, messages: np.ndarray) -> np.ndarray:
        if self._delay is None:
            return self._multiply(messages)
        if self._delays_inputs:
            return self._multiply(self._late(messages.reshape(-1)))
        return self._late(self._multiply(messages))

    def _late(self, x: np.ndarray) -> np.ndarray:
        assert self._delay is not None
        self._past.appendleft(x)
        late = np.zeros_like(x)
        for steps, earlier in enumerate(self._past):
            late[self._delay == steps] = earlier[self._delay == steps]
        return late

    def _multiply(self, messages: np.ndarray) -> np.ndarray:
        synapse, weight = self._connection.synapse, weight_of(self._connection.synapse)
        if weight is None:
            assert isinstance(synapse, Identity)
            return messages
        if isinstance(synapse, Conv):
            return convolve(synapse, messages.astype(np.float64))
        return weight.astype(np.float64) @ messages.reshape(-1)


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
