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

import torch
from torch import Tensor

from lava_bsnn import block, device, fixed_point
from lava_bsnn.modulation import AGMM

from .. import network
from ..network import Connection, Gate, Layer
from ..neurons import Lowered, Neuron, kind_of
from .drive import Drive
from .incoming import Incoming
from .job import Job
from .pooling import merges, pool_synapse, taps
from .readout import readout_grid
from .resolution import judge
from .walk import Walk


def lower_extended(job: Job) -> tuple[Layer, ...]:
    """Lower checked blocks; ``job.report`` is called for each layer."""
    return _Extended(job).through()


class _Extended(Walk):
    def merges(self, pool: block.Pool, following: Any) -> bool:
        return merges(pool, following)

    def relay(self, module: block.Pool, source: str, name: str) -> str:
        synapse = pool_synapse(module)
        late = self.delay(source, synapse)
        return self.append(
            Layer(
                name=name,
                connections=(Connection(source=source, synapse=synapse, delay=late),),
                neuron=self.repeater(module.shape[0], taps(module) * module.incoming.high),
                shape=module.shape,
            )
        )

    def repeater(self, channels: int, levels: int) -> Neuron:
        return network.MultiThreshold(threshold=1 << fixed_point.ALIGN_BITS, levels=levels, lam=0)

    def layer(self, module: Any, paths: list[Incoming], name: str, shape: tuple[int, ...]) -> str:
        neuron = module.neuron
        if neuron is None:
            unit, grid = readout_grid(paths[0], self.job.num_steps, matched=module.unit is not None)
            readout = network.Readout(bias=0, exponent=0, voltage_decay=self.job.readout_decay)
            grids, made = [grid], Lowered(readout, unit)
        else:
            kind = kind_of(neuron)
            assert kind is not None
            steps_added = None if self.job.persistent else self.job.num_steps
            made = kind.lower(neuron, Drive(label=module.label, incoming=paths, num_steps=steps_added))
            unit = made.unit
            grids = [path.on_grid(unit) for path in paths]
        synapses = [path.synapse(grid.weight) for path, grid in zip(paths, grids, strict=True)]
        connections = [
            Connection(
                source=path.source,
                synapse=synapse,
                scale=grid.scale,
                bias=grid.bias if grid.bias.any() else None,
                gate=None if path.agmm is None else _gate(path.agmm, unit, shape),
                delay=self.delay(path.source, synapse),
            )
            for path, grid, synapse in zip(paths, grids, synapses, strict=True)
        ]
        added = self.append(
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
        real, ours = self.job.seen.currents[module], steps.double() / unit
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
        over = f" and {self.job.num_steps} steps" if theta is None else ""
        cause = f"24 bits leave too few weight steps over {inputs} inputs of up to {largest}{over}"
        remedy = "use fewer inputs, input bits, levels or steps, or retrain with norm='batch'"
        self.job.report(judge(name, module.label, unit, ours, real, theta, cause, remedy))


def _gate(agmm: AGMM, unit: float, shape: tuple[int, ...]) -> Gate:
    count = math.prod(shape[axis] for axis in device.gate_axes(shape, agmm.per))
    multiplier, shift = device.gate_multiplier(agmm.alpha.detach().cpu().numpy(), unit, count)
    return Gate(multiplier=multiplier, shift=shift, per=agmm.per)
