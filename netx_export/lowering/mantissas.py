"""Lowering for Loihi's own neurons: one integer scale and threshold per layer.

Over each path a block computes ``z = multiplier * sum(q * x) + offset`` with weights ``q`` and integer
messages ``x`` (spikes or intensities); the neurons fire where the sum of all paths reaches ``theta``. With
a scale ``S`` in weight steps per threshold the integer layer has weights ``round(S * multiplier * q /
theta)``, biases ``round(S * offset / theta)``, and threshold ``S - 1``: Lava fires strictly above, so a
membrane of exactly ``S`` steps fires on both sides. ``S`` is the one, of those that keep all
values within :data:`lava_bsnn.limits.LOIHI`, with which rounding costs least: for the caller's samples, else
for messages of usual size. Stock Lava has one threshold per layer, hence one ``S`` per layer. An identity
shortcut is a synapse of its own, with a mantissa of 8 bits and an exponent.

Behind many graded inputs S is so small that most weights would round to 0. Where the inputs are the
pixels of an image, roundings of neighbours then make up for each other
(:func:`lava_bsnn.device.round_along`).

A model that was trained in these integers (``training.finetune(target=...)``) leaves no choice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lava_bsnn import block
from lava_bsnn.device import Grid
from lava_bsnn.fixed_point import ALIGN_BITS, ONE
from lava_bsnn.limits import LOIHI
from lava_bsnn.modulation import ConstantGate

from .. import network
from ..network import Connection, Layer
from ..neurons import Neuron, Readout, kind_of
from .drive import share_of_a_step
from .incoming import Incoming
from .job import Job
from .relays import relay_neurons, with_relays
from .resolution import judge
from .scale import best_scale
from .walk import Walk, own_delay

_STEP = 1 << ALIGN_BITS


def lower_to_mantissas(job: Job) -> tuple[Layer, ...]:
    """Lower checked blocks; ``job.report`` is called for each layer."""
    return Mantissas(job).through()


class Mantissas(Walk):
    """See the module."""

    def merges(self, pool: block.Pool, following: Any) -> bool:
        """All do: Loihi's neurons send no sums."""
        return True

    def repeater(self, channels: int, levels: int) -> Neuron:
        """Spikes only."""
        return relay_neurons(channels)

    def layer(self, module: Any, paths: list[Incoming], name: str, shape: tuple[int, ...]) -> str:
        """Append the layer of a block; its relays, too, where paths differ in length."""
        neuron, readout_steps, target = module.neuron, None, self.job.target
        if neuron is None:
            readout_steps, theta = self.job.num_steps, 1.0
        else:
            theta = float(neuron.threshold)
        if paths[0].mantissas and module.unit is not None:  # trained so
            unit = float(module.unit)
            grids = [path.on_grid(unit) for path in paths]
            bias = np.sum([grid.bias for grid in grids], axis=0) // _STEP
            scale = unit * theta / _STEP
        else:
            steps_added = None if self.job.persistent else self.job.num_steps
            kept = share_of_a_step(getattr(neuron, "cx_current_decay", ONE), steps_added)
            even = neuron is not None and kind_of(neuron) is network.MultiThreshold
            weights, bias, scale = best_scale(
                module.label,
                paths,
                theta,
                max_sum=math.floor(LOIHI.activation_max * kept),  # a current adds up
                readout_steps=readout_steps,
                even=even,
            )
            unit = scale / theta * _STEP
            grids = [self._grid(path, weight) for path, weight in zip(paths, weights, strict=True)]
        synapses = [path.synapse(grid.weight) for path, grid in zip(paths, grids, strict=True)]
        connections = [
            Connection(
                source=path.source,
                synapse=synapse,
                scale=None if (grid.scale == _STEP).all() else grid.scale,
                delay=self.delay(path.source, synapse) if target.delays_messages else own_delay(module),
            )
            for path, grid, synapse in zip(paths, grids, synapses, strict=True)
        ]
        kind = None if neuron is None else kind_of(neuron)
        made: Neuron = Readout(bias=bias, voltage_decay=self.job.readout_decay)
        if kind is not None:
            made = kind.with_mantissas(neuron, scale, bias)
        layer = Layer(name=name, connections=tuple(connections), neuron=made, shape=shape)
        self._judge(module, name, unit, paths, grids, bias, readout_steps)
        for one in with_relays(layer, paths, self.layers, self.job.entry):
            self.append(one)
        return name

    def _grid(self, path: Incoming, weight: np.ndarray) -> Grid:
        """Integers of a path without its bias, which the neurons have."""
        nothing = np.zeros(len(weight), dtype=np.int64)
        if path.module is None:
            return Grid(weight=np.ones_like(weight), scale=weight[:, 0] * _STEP, bias=nothing)
        return Grid(weight=weight, scale=np.full(len(weight), _STEP), bias=nothing)

    def _judge(
        self,
        module: Any,
        name: str,
        unit: float,
        paths: list[Incoming],
        grids: list[Grid],
        bias: np.ndarray,
        readout_steps: int | None,
    ) -> None:
        """Compare the currents of the integers with the model's."""
        real = self.job.seen.currents[module]
        steps = sum(
            path.steps(Grid(weight=grid.weight, scale=grid.scale, bias=0 * grid.bias), unit)
            for path, grid in zip(paths, grids, strict=True)
        )
        offset = torch.from_numpy(bias * _STEP).to(real.device)
        assert isinstance(steps, torch.Tensor)
        ours = (steps + offset.view(-1, *[1] * (steps.dim() - 2))).double() / unit
        ours = ours[:, :, 0, 0] if ours.dim() == 5 and real.dim() == 3 else ours
        over = "" if readout_steps is None else f" and {readout_steps} steps"
        inputs = sum(path.folded.q[0].size for path in paths)
        largest = max(path.largest for path in paths)
        cause = (
            f"biases of 13 bits and sums of 24 bits over {inputs} inputs of up to {largest}{over} "
            "leave too few weight levels"
        )
        remedy = "use fewer input bits, inputs, or steps, smaller biases, or profile='extended'"
        theta = None if readout_steps is not None else float(module.neuron.threshold)
        gated = self.job.frozen and any(
            isinstance(getattr(path.module, "modulation", None), ConstantGate) for path in paths
        )
        if gated:  # what that costs is told with the calibration
            cause = f"gates became constants, and {cause}"
        self.job.report(judge(name, module.label, unit, ours, real, theta, cause, remedy, refuse=not gated))
