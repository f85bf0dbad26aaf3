"""Lowering to the extended profile: skips, gates, mixing of steps, k-bit and multi-threshold neurons.

Every layer has a unit of its own: membrane steps per unit of current. With it each channel's weights, scale
and bias become integers (:func:`lava_bsnn.device.on_grid`). Of the units for which no sum
overflows the one is taken with which rounding costs least: for the caller's samples, else for messages of
usual size. A k-bit membrane leaves no choice, as its step must be a power of two; nor does matched mode,
which was trained with a unit of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lava_bsnn import block, device, fixed_point
from lava_bsnn.device import Affine
from lava_bsnn.modulation import AGMM
from lava_bsnn.training.hybrid import SubSteps

from .. import network
from ..network import INPUT, Connection, Conv, Dense, Gate, Identity, Layer, Synapse
from ..neurons import Lowered, kind_of
from .drive import Drive
from .incoming import Incoming, arithmetic
from .job import Job
from .names import inner_name, layer_name
from .pooling import behind, is_bare_pool, is_dense, merges, over_window, pool_synapse, taps
from .readout import readout_grid
from .resolution import judge


def lower_extended(job: Job) -> tuple[Layer, ...]:
    """Lower checked blocks; ``job.report`` is called for each layer."""
    lowering = _Lowering(job)
    source = INPUT
    for index, module in enumerate(job.blocks):
        if is_bare_pool(module) and merges(module, behind(job.blocks, index)):  # type: ignore[arg-type]
            lowering.merged = module  # type: ignore[assignment]
        else:
            source = lowering.add(module, source, index)
    return tuple(lowering.layers)


class _Lowering:
    def __init__(self, job: Job) -> None:
        self.num_steps, self.report, self.seen = job.num_steps, job.report, job.seen
        self.persistent, self.readout_decay = job.persistent, job.readout_decay
        self.layers: list[Layer] = []
        self.shapes = {INPUT: job.entry.shape}
        self.merged: block.Pool | None = None  # pooling that becomes a part of the dense layer behind it

    def add(self, module: Any, source: str, place: int | str) -> str:
        """Append the layers of one block; return the name of the last."""
        if isinstance(module, (block.Input, block.Flatten, SubSteps)):
            return source
        name = layer_name(module, place)
        if isinstance(module, block.Residual):
            return self._residual(module, source, name)
        if is_bare_pool(module):
            return self._relay(module, source, name)
        shape = module.shape if len(module.shape) == 3 and not is_dense(module) else module.shape[:1]
        return self._layer(module, [self._path(module, source)], name, shape)

    def _residual(self, module: block.Residual, source: str, name: str) -> str:
        inner = source
        *before, last = module.blocks
        for position, one in enumerate(before):
            inner = self.add(one, inner, inner_name(name, position))
        paths = [self._path(last, inner)]
        skipped = source
        *before, shortcut = (*module.shortcut,) or (None,)
        for position, one in enumerate(before):
            skipped = self.add(one, skipped, inner_name(name, f"shortcut{position}"))
        paths.append(self._identity(module, skipped) if shortcut is None else self._path(shortcut, skipped))
        return self._layer(last, paths, name, last.shape)  # type: ignore[arg-type]

    def _append(self, layer: Layer) -> str:
        self.layers.append(layer)
        self.shapes[layer.name] = layer.shape
        return layer.name

    def _relay(self, module: block.Pool, source: str, name: str) -> str:
        """Sums of spikes as messages: what a pooling without neuron hands on."""
        step = 1 << fixed_point.ALIGN_BITS
        return self._append(
            Layer(
                name=name,
                connections=(Connection(source=source, synapse=pool_synapse(module)),),
                neuron=network.MultiThreshold(
                    threshold=step, levels=taps(module) * module.incoming.high, lam=0
                ),
                shape=module.shape,
            )
        )

    def _path(self, module: Any, source: str) -> Incoming:
        folded, low, high = arithmetic(module)
        pool, self.merged = self.merged, None

        def synapse(weight: np.ndarray) -> Synapse:
            if is_dense(module):
                return Dense(weight=weight if pool is None else over_window(pool, weight))
            if isinstance(module, block.Pool):
                return pool_synapse(module, weight)
            layer = module.synapse
            return Conv(
                weight=weight,
                stride=layer.stride[:2],
                padding=layer.padding[:2],
                dilation=layer.dilation[:2],
                groups=layer.groups,
            )

        return Incoming(
            source=source,
            folded=folded,
            low=low,
            high=high,
            image=module.incoming.image,
            synapse=synapse,
            module=module,
            seen=self.seen.inputs[module],
            value=module.incoming.value,
            given=self.seen.given,
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
            seen=self.seen.inputs[module],
            value=came.value,
            given=self.seen.given,
        )

    def _layer(self, module: Any, paths: list[Incoming], name: str, shape: tuple[int, ...]) -> str:
        neuron = module.neuron
        if neuron is None:
            unit, grid = readout_grid(paths[0], self.num_steps, matched=module.unit is not None)
            readout = network.Readout(bias=0, exponent=0, voltage_decay=self.readout_decay)
            grids, made = [grid], Lowered(readout, unit)
        else:
            kind = kind_of(neuron)
            assert kind is not None
            steps_added = None if self.persistent else self.num_steps
            made = kind.lower(neuron, Drive(label=module.label, incoming=paths, num_steps=steps_added))
            unit = made.unit
            grids = [path.on_grid(unit) for path in paths]
        connections = [
            Connection(
                source=path.source,
                synapse=path.synapse(grid.weight),
                scale=grid.scale,
                bias=grid.bias if grid.bias.any() else None,
                gate=None if path.agmm is None else _gate(path.agmm, unit, shape),
            )
            for path, grid in zip(paths, grids, strict=True)
        ]
        added = self._append(
            Layer(name=name, connections=tuple(connections), neuron=made.neuron, shape=shape, mix=made.mix)
        )
        steps = sum(path.steps(grid, unit) for path, grid in zip(paths, grids, strict=True))
        theta = None if neuron is None else float(neuron.threshold)
        self._judge(module, name, unit, steps, theta, paths)  # type: ignore[arg-type]
        return added

    def _judge(
        self, module: Any, name: str, unit: float, steps: Tensor, theta: float | None, paths: list[Incoming]
    ) -> None:
        """Compare the currents of the integers with the model's, behind the mixing."""
        real, ours = self.seen.currents[module], steps.double() / unit
        if theta is None:
            ours = ours[:, :, 0, 0] if ours.dim() == 5 else ours
        elif getattr(module.neuron, "mix", None) is not None:
            exact = module.neuron.on_grid(unit) if module.unit is None else module.neuron.fixed_point()
            with torch.no_grad():
                real = module.neuron.mix(real, exact if module.unit is not None else None)
            if exact.omega is not None:
                ours = exact.mix(ours.movedim(-1, 0), exact.omega).movedim(0, -1)
        inputs = sum(path.folded.q[0].size for path in paths)
        largest = max(path.largest for path in paths)
        over = f" and {self.num_steps} steps" if theta is None else ""
        cause = f"24 bits leave too few weight steps over {inputs} inputs of up to {largest}{over}"
        remedy = "use fewer inputs, input bits, levels or steps, or retrain with norm='batch'"
        self.report(judge(name, module.label, unit, ours, real, theta, cause, remedy))


def _gate(agmm: AGMM, unit: float, shape: tuple[int, ...]) -> Gate:
    count = math.prod(shape[axis] for axis in device.gate_axes(shape, agmm.per))
    multiplier, shift = device.gate_multiplier(agmm.alpha.detach().cpu().numpy(), unit, count)
    return Gate(multiplier=multiplier, shift=shift, per=agmm.per)
