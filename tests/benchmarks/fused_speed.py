"""Milliseconds per time step of a source-network-sink graph: stock Lava per layer, and fused.

Topology a: input 2x32x32, conv 16 3x3, conv 32 3x3 stride 2, FC 128, FC 10, T = 16. The floor is the
same graph with a network of one neuron.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from lava_bsnn.compat import import_lava
from netx_export import FusedSimCfg, network
from netx_export.process import Network
from netx_export.process.stream import Player, Recorder

NUM_STEPS = 16


def topology_a():
    rng = np.random.default_rng(0)
    shape, source, layers = (2, 32, 32), network.INPUT, []
    plan = [
        (network.Conv(weight=rng.choice([-1, 1], (16, 2, 3, 3)), padding=(1, 1)), 4),
        (network.Conv(weight=rng.choice([-1, 1], (32, 16, 3, 3)), stride=(2, 2), padding=(1, 1)), 9),
        (network.Dense(weight=rng.choice([-1, 1], (128, 32 * 16 * 16))), 60),
        (network.Dense(weight=rng.choice([-1, 1], (10, 128))), 6),
    ]
    for i, (synapse, threshold) in enumerate(plan):
        shape = synapse.output_shape(shape)
        neuron = network.LIF(threshold=threshold, bias=np.zeros(shape[0], int), voltage_decay=2048)
        connection = network.Connection(source=source, synapse=synapse)
        source = f"layer{i}"
        layers.append(network.Layer(name=source, connections=(connection,), neuron=neuron, shape=shape))
    return network.FixedPointNetwork(input=network.Input(shape=(2, 32, 32)), layers=tuple(layers))


def one_neuron():
    connection = network.Connection(source="input", synapse=network.Dense(weight=np.ones((1, 1), int)))
    neuron = network.LIF(threshold=1, bias=np.zeros(1, int))
    layer = network.Layer(name="only", connections=(connection,), neuron=neuron, shape=(1,))
    return network.FixedPointNetwork(input=network.Input(shape=(1,)), layers=(layer,))


def milliseconds(net, run_cfg, steps, repeats):
    """Per step: medians over runs of ``steps`` steps, the start of the processes not counted."""
    conditions = import_lava("lava.magma.core.run_conditions")
    process = Network(net, reset_interval=NUM_STEPS, reset_offset=1)
    x = np.random.default_rng(1).random((steps, *process.inp.shape)) < 0.1
    Player(x.astype(np.int32)).s_out.connect(process.inp)
    record = Recorder(process.out, steps).record
    times = []
    try:
        process.run(condition=conditions.RunSteps(num_steps=3), run_cfg=run_cfg)
        for _ in range(repeats):
            start = time.perf_counter()
            process.run(condition=conditions.RunSteps(num_steps=steps))
            times.append((time.perf_counter() - start) / steps)
    finally:
        process.stop()
    return 1e3 * statistics.median(times), record.sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    net = topology_a()
    floor, _ = milliseconds(one_neuron(), FusedSimCfg(), 10 * options.steps, options.repeats)
    fused, _ = milliseconds(net, FusedSimCfg(), 10 * options.steps, options.repeats)
    stock_cfg = import_lava("lava.magma.core.run_configs").Loihi2SimCfg(select_tag="fixed_pt")
    stock, _ = milliseconds(net, stock_cfg, options.steps, options.repeats)
    print(f"floor (one neuron)     {floor:8.2f} ms per step")
    print(f"lava-fused             {fused:8.2f} ms per step")
    print(f"stock graph per layer  {stock:8.2f} ms per step")
    print(f"stock / fused          {stock / fused:8.1f}")


if __name__ == "__main__":
    main()
