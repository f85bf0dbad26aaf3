"""Speed of simulate and of Stepper, against the stock Lava graph measured in the same run.

    python tests/benchmarks/simulator_speed.py [--samples 2] [--repeats 5] [--threads 2]

Random weights with thresholds that let 5-20 % of the neurons fire; T = 16. Repeats are interleaved;
the best and the median are printed, since other work on the machine only slows down. The stock
graph is timed without its start; ``--samples`` are those that it takes per repeat.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from lava_bsnn.compat import import_lava
from netx_export import FixedPointNetwork, Stepper, network, simulate, write

NUM_STEPS = 16
RATE = 0.15
TOPOLOGIES = {  # input, layers as (outputs, stride of a 3x3 convolution or None), samples, goals
    "conv 2x32x32-16c3-32c3s2-128-10": ((2, 32, 32), ((16, 1), (32, 2), (128, None), (10, None)), 256, 300),
    "mlp 64-128-10": ((64,), ((128, None), (10, None)), 16384, 2000),
}


def random_net(shape, specification, rng):
    """A stock network with 5-bit weights."""
    entry, source, layers = network.Input(shape=shape), network.INPUT, []
    for index, (outputs, stride) in enumerate(specification):
        if stride is None:
            synapse = network.Dense(weight=rng.integers(-15, 16, (outputs, int(np.prod(shape)))))
        else:
            weight = rng.integers(-15, 16, (outputs, shape[0], 3, 3))
            synapse = network.Conv(weight=weight, stride=(stride, stride), padding=(1, 1))
        fan_in = synapse.weight[0].size
        shape, bias = synapse.output_shape(shape), np.zeros(outputs, dtype=int)
        if index == len(specification) - 1:
            neuron = network.Readout(bias=bias)
        else:
            threshold = int(9 * np.sqrt(fan_in * RATE) * 1.2)
            neuron = network.LIF(threshold=threshold, bias=bias, voltage_decay=1024)
        connection = network.Connection(source=source, synapse=synapse)
        source = f"layer{index}"
        layers.append(network.Layer(name=source, connections=(connection,), neuron=neuron, shape=shape))
    return FixedPointNetwork(input=entry, layers=tuple(layers))


def stock_seconds(net, x):
    """Seconds that the stock graph takes for the samples ``[N, *shape, T]``, without its start."""
    hdf5, io = import_lava("lava.lib.dl.netx.hdf5"), import_lava("lava.proc.io")
    run_steps = import_lava("lava.magma.core.run_conditions").RunSteps
    config = import_lava("lava.magma.core.run_configs").Loihi2SimCfg(select_tag="fixed_pt")
    stream = np.moveaxis(x, 0, -2).reshape(*net.input.shape, -1)
    stream = stream.transpose(2, 1, 0, 3) if stream.ndim == 4 else stream
    steps = stream.shape[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.net"
        write(net, path)
        graph = hdf5.Network(net_config=str(path), reset_interval=NUM_STEPS, reset_offset=1)
        source, sink = io.source.RingBuffer(data=stream), None
        source.s_out.connect(graph.inp)
        sink = io.sink.RingBuffer(shape=graph.out.shape, buffer=steps)
        graph.out.connect(sink.a_in)
        try:
            graph.run(condition=run_steps(num_steps=NUM_STEPS), run_cfg=config)
            start = time.perf_counter()
            graph.run(condition=run_steps(num_steps=steps), run_cfg=config)
            return time.perf_counter() - start
        finally:
            graph.stop()
            graph.net_config.f.close()


def stepper_seconds(net, x):
    """Seconds per Lava step of a Stepper."""
    stepper = Stepper(net, reset_interval=NUM_STEPS)
    steps = [np.ascontiguousarray(sample[..., t]) for sample in x for t in range(NUM_STEPS)]
    stepper.step(steps[0])
    start = time.perf_counter()
    for step in steps:
        stepper.step(step)
    return (time.perf_counter() - start) / len(steps)


def simulate_seconds(net, x, threads):
    start = time.perf_counter()
    simulate(net, x, num_threads=threads)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=2, help="of the stock graph, per repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--no-stock", action="store_true", help="leave the stock graph out")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.2f}")
    for name, (shape, specification, num_samples, goal) in TOPOLOGIES.items():
        net = random_net(shape, specification, rng)
        x = (rng.random((num_samples, *shape, NUM_STEPS)) < RATE).astype(np.uint8)
        traced = simulate(net, x[:32], trace=True)
        rates = {layer: f"{100 * trace.spikes.mean():.0f} %" for layer, trace in traced.layers.items()}
        rates.popitem()
        print(f"\n{name}, T={NUM_STEPS}; active: input {100 * x.mean():.0f} %, {rates}")
        count = options.samples * (1 if len(shape) == 3 else 16)
        ours, steps, stock = [], [], []
        for _ in range(options.repeats):
            if not options.no_stock:
                stock.append(count / stock_seconds(net, x[:count]))
            ours.append(num_samples / simulate_seconds(net, x, options.threads))
            steps.append(1e3 * stepper_seconds(net, x[:20]))
        load = f"load {os.getloadavg()[0]:.2f}"
        print(f"  simulate     {max(ours):10.0f} samples/s, median {statistics.median(ours):10.0f}   {load}")
        print(f"  Stepper      {min(steps):10.3f} ms/step,   median {statistics.median(steps):10.3f}")
        if stock:
            best = max(stock)
            print(f"  stock Lava   {best:10.2f} samples/s, median {statistics.median(stock):10.2f}")
            print(f"               {1e3 / best / NUM_STEPS:10.3f} ms/step")
            median = statistics.median(ours) / statistics.median(stock)
            print(f"  simulate / stock: best {max(ours) / best:.0f}, median {median:.0f}; goal {goal}")
            print(f"  Stepper / stock:  best {1e3 / best / NUM_STEPS / min(steps):.0f}")


if __name__ == "__main__":
    main()
