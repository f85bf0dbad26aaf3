"""The way through a model's blocks: which paths meet in front of which neurons."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lava_bsnn import block
from lava_bsnn.device import Affine
from lava_bsnn.training.hybrid import SubSteps

from ..network import INPUT, Connection, Conv, Dense, Identity, Layer, Synapse
from ..neurons import Neuron
from .incoming import Incoming, arithmetic
from .job import Job
from .names import inner_name, layer_name
from .pooling import behind, is_bare_pool, is_dense, over_pooled, over_window, pool_synapse


class Walk:
    """Makes the layers of a model, block by block; a target says how one is made of its paths.

    Attributes:
        job: the call of ``convert``.
        layers: made so far.
        shapes: of the input and of the layers, by name.
        delays: axonal delays in steps ``[C]`` of the layers that have such, by name.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.layers: list[Layer] = []
        self.shapes = {INPUT: job.entry.shape}
        self.delays: dict[str, np.ndarray] = {}
        self._merged: block.Pool | None = None  # pooling that becomes a part of the block behind it

    def layer(self, module: Any, paths: list[Incoming], name: str, shape: tuple[int, ...]) -> str:
        """Append the layer of a block, whose currents come over paths; return its name."""
        raise NotImplementedError

    def relay(self, module: block.Pool, source: str, name: str) -> str:
        """Append a layer that sends what a pooling without neuron hands on."""
        raise NotImplementedError

    def repeater(self, channels: int, levels: int) -> Neuron:
        """Neurons that send what they receive: messages up to ``levels``."""
        raise NotImplementedError

    def merges(self, pool: block.Pool, following: Any) -> bool:
        """Whether a pooling without neuron becomes a part of the block behind it."""
        raise NotImplementedError

    def through(self) -> tuple[Layer, ...]:
        """Layers of all blocks."""
        source = INPUT
        for index, module in enumerate(self.job.blocks):
            source = self.add(module, source, index, behind(self.job.blocks, index))
        if source in self.delays:  # of the output, which no connection takes
            shape, levels = self.shapes[source], self[source].neuron.max_message
            late = Connection(source=source, synapse=Identity(), delay=self.delay(source, Identity()))
            name, neuron = f"{source}_delay", self.repeater(shape[0], levels)
            self.append(Layer(name=name, connections=(late,), neuron=neuron, shape=shape))
        return tuple(self.layers)

    def __getitem__(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.name == name)

    def delay(self, source: str, synapse: Synapse) -> np.ndarray | None:
        """Delays of a connection's messages, by the axonal delays of what sends them."""
        steps = self.delays.get(source)
        if steps is None:
            return None
        pixels = math.prod(self.shapes[source][1:]) if isinstance(synapse, Dense) else 1
        return np.repeat(steps, pixels)[None]

    def append(self, layer: Layer) -> str:
        """Append a layer; return its name."""
        self.layers.append(layer)
        self.shapes[layer.name] = layer.shape
        return layer.name

    def add(self, module: Any, source: str, place: int | str, following: Any) -> str:
        """Append the layers of one block; return the name of the last."""
        if isinstance(module, (block.Input, block.Flatten, SubSteps)):
            return source
        name = layer_name(module, place)
        if isinstance(module, block.Residual):
            return self._residual(module, source, name)
        if is_bare_pool(module):
            if self.merges(module, following):
                self._merged = module
                return source
            return self.relay(module, source, name)
        shape = module.shape if len(module.shape) == 3 and not is_dense(module) else module.shape[:1]
        paths = [self._path(module, source)]
        if isinstance(module, block.Recurrent):
            paths.append(self._path(module.feedback, name))
        return self._layer(module, paths, name, shape)

    def _layer(self, module: Any, paths: list[Incoming], name: str, shape: tuple[int, ...]) -> str:
        added, steps = self.layer(module, paths, name, shape), own_delay(module)
        if steps is not None and self.job.target.delays_messages:
            self.delays[added] = steps
        return added

    def _residual(self, module: block.Residual, source: str, name: str) -> str:
        inner = self._before(module.blocks, source, name, "")
        paths = [self._path(module.blocks[-1], inner)]
        if len(module.shortcut):
            skipped = self._before(module.shortcut, source, name, "shortcut")
            paths.append(self._path(module.shortcut[-1], skipped))
        else:
            paths.append(self._identity(module, source))
        return self._layer(module.blocks[-1], paths, name, module.blocks[-1].shape)  # type: ignore[arg-type]

    def _before(self, row: Any, source: str, name: str, prefix: str) -> str:
        """Append the layers of all blocks of a row but the last."""
        modules = list(row)
        for position, one in enumerate(modules[:-1]):
            place = inner_name(name, f"{prefix}{position}")
            source = self.add(one, source, place, behind(modules, position))
        return source

    def _path(self, module: Any, source: str) -> Incoming:
        folded, low, high = arithmetic(module)
        pool, self._merged = self._merged, None
        return Incoming(
            source=source,
            folded=folded,
            low=low,
            high=high,
            image=module.incoming.image,
            synapse=lambda weight: synapse_of(module, weight, pool),
            module=module,
            seen=self.job.seen.inputs[module],
            value=module.incoming.value,
            given=self.job.seen.given,
            mantissas=module.mantissas,
        )

    def _identity(self, module: block.Residual, source: str) -> Incoming:
        came, channels = module.incoming, module.shape[0]
        flattened = len(self.shapes[source]) > len(module.shape)  # a Flatten stands before the residual
        one = Dense(weight=np.eye(channels, dtype=np.int64)) if flattened else Identity()
        return Incoming(
            source=source,
            folded=Affine(
                q=np.ones((channels, 1)), multiplier=np.full(channels, came.value), offset=np.zeros(channels)
            ),
            low=came.low,
            high=came.high,
            synapse=lambda weight: one,
            seen=self.job.seen.inputs[module],
            value=came.value,
            given=self.job.seen.given,
            mantissas=module.blocks[-1].mantissas,  # type: ignore[arg-type]
        )


def own_delay(module: Any) -> np.ndarray | None:
    """Axonal delays of a block in steps ``[C]``; None if there are none but 0."""
    delay = getattr(module, "delay", None)
    steps = np.zeros(1) if delay is None else delay.steps.cpu().numpy()
    return steps if steps.any() else None


def synapse_of(module: Any, weight: np.ndarray, pool: block.Pool | None) -> Synapse:
    """Synapse of a block's integer weights, repeated over the windows of a pooling in front."""
    if is_dense(module):
        return Dense(weight=weight if pool is None else over_window(pool, weight))
    if isinstance(module, block.Pool):
        return pool_synapse(module, weight)
    layer = module.synapse
    conv = Conv(
        weight=weight,
        stride=layer.stride[:2],
        padding=layer.padding[:2],
        dilation=layer.dilation[:2],
        groups=layer.groups,
    )
    return conv if pool is None else over_pooled(pool, conv)
