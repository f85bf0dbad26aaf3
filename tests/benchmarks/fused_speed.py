"""Milliseconds per time step of a source-network-sink graph: stock Lava per layer, and fused.

Topology a: input 2x32x32, conv 16 3x3, conv 32 3x3 stride 2, FC 128, FC 10, T = 16. The floor is the
same graph with a network of one neuron.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from lava_bsnn.compat import import_lava
from netx_export import FusedSimCfg, network
from netx_export.process import Network
from netx_export.process.stream import Player, Recorder

run_conditions = import_lava("lava.magma.core.run_conditions")
run_configs = import_lava("lava.magma.core.run_configs")
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


class Graph:
    """Source, network and sink, started."""

    def __init__(self, net, run_cfg, steps):
        self.network, self.steps = Network(net, reset_interval=NUM_STEPS, reset_offset=1), steps
        x = np.random.default_rng(1).random((steps, *self.network.inp.shape)) < 0.1
        Player(x.astype(np.int32)).s_out.connect(self.network.inp)
        Recorder(self.network.out, steps)
        self.network.run(condition=run_conditions.RunSteps(num_steps=NUM_STEPS), run_cfg=run_cfg)

    def milliseconds(self):
        """Per step."""
        start = time.perf_counter()
        self.network.run(condition=run_conditions.RunSteps(num_steps=self.steps))
        return 1e3 * (time.perf_counter() - start) / self.steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--steps", type=int, default=64, help="of the stock graph; the others run ten times more"
    )
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    stock_cfg = run_configs.Loihi2SimCfg(select_tag="fixed_pt")
    graphs = {}
    try:
        graphs["floor (one neuron)"] = Graph(one_neuron(), FusedSimCfg(), 10 * options.steps)
        graphs["lava-fused"] = Graph(topology_a(), FusedSimCfg(), 10 * options.steps)
        graphs["stock graph per layer"] = Graph(topology_a(), stock_cfg, options.steps)
        rounds = np.array(
            [[graph.milliseconds() for graph in graphs.values()] for _ in range(options.repeats)]
        )
    finally:
        for graph in graphs.values():
            graph.network.stop()
    print(f"ms per step, {options.repeats} interleaved rounds    median      min      max")
    columns = dict(zip(graphs, rounds.T, strict=True))
    columns["stock / fused, round by round"] = rounds[:, 2] / rounds[:, 1]
    for name, values in columns.items():
        print(f"{name:36s} {np.median(values):8.2f} {values.min():8.2f} {values.max():8.2f}")


if __name__ == "__main__":
    main()
