"""The batched simulator against the network in Lava's time, without Lava."""

from __future__ import annotations

import numpy as np

from ..network import FixedPointNetwork
from ..simulator import Simulation, simulate
from ..simulator.stepper import Stepper
from .parity import Comparison


def step_by_step(net: FixedPointNetwork, data: np.ndarray, expected: Simulation | None = None) -> Comparison:
    """Compare messages and potentials of every layer at every step, samples back to back.

    Only one step is held at a time, so that large networks fit.

    Args:
        net: the network.
        data: integers ``[N, *shape, T]``.
        expected: the traced simulation of them, where there is one.
    """
    traces = (expected or simulate(net, data, trace=True)).layers
    num_samples, num_steps, period = len(data), data.shape[-1], net.period(data.shape[-1])
    stepper, rest = Stepper(net, reset_interval=period), np.zeros_like(data[0, ..., 0])
    differ, compared = dict.fromkeys(traces, 0), 0
    for time in range(num_samples * period + net.latency):
        sample, step = divmod(time, period)
        stepper.step(data[sample, ..., step] if sample < num_samples and step < num_steps else rest)
        for name, trace in traces.items():
            sample, step = divmod(time - net.depth(name), period)
            if not 0 <= sample < num_samples or step >= net.steps(name, num_steps):
                continue
            pairs = [(trace.spikes, stepper.messages), (trace.potential, stepper.potentials)]
            for ours, theirs in pairs:
                assert ours is not None  # simulate traces both
                different = ours[sample, ..., step] != theirs[name]
                differ[name] += int(different.sum())
                compared += different.size
    return Comparison(mismatches=sum(differ.values()), compared=compared, by_layer=differ)
