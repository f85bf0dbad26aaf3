"""A file that SLAYER wrote: netx_export.simulate against lava-dl's Network of the same file, spikes compared.

    python tests/benchmarks/slayer_file_speed.py [--samples 64] [--lava-steps 100] [--repeats 3] [--threads 2]

Topologies of SLAYER's tutorials, exported by SLAYER's own blocks; weights are random, such that every layer
fires. Repeats are interleaved and medians printed with all ratios. Lava is timed without its start, which the
simulator does not have. Every spike of the last layer, in all repeats, is compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from lava_bsnn.compat import import_lava
from netx_export import read, simulate

sys.path.insert(0, str(Path(__file__).parents[1]))
hdf5, io = import_lava("lava.lib.dl.netx.hdf5"), import_lava("lava.proc.io")
from support.slayer_files import cuba, write_blocks  # noqa: E402

PARAMS = {"threshold": 1.25, "current_decay": 0.25, "voltage_decay": 0.03}
RATE = 0.03


def weights(fan_in):
    """Mean and deviation of weights with which some percent of the neurons fire."""
    return 0.0, 1 / np.sqrt(fan_in)


def nmnist():
    """SLAYER's N-MNIST tutorial, without its delays: stock Lava takes seconds per step with them."""
    sizes = (2 * 34 * 34, 512, 512, 10)
    blocks = [cuba.Dense(PARAMS, *pair, weight_norm=True) for pair in pairwise(sizes)]
    return (sizes[0],), 300, blocks


def pilotnet():
    """PilotNet's convolutions and dense layers, ending in neurons."""
    sizes = (3, 24, 36, 48, 64, 64)
    strides, paddings = (2, 2, 2, (2, 1), 1), (0, 0, 0, (1, 0), 0)
    convs = [
        cuba.Conv(PARAMS, *pair, 3, stride=stride, padding=padding)
        for pair, stride, padding in zip(pairwise(sizes), strides, paddings, strict=True)
    ]
    sizes = (64 * 2 * 20, 100, 50, 10)
    dense = [cuba.Dense(PARAMS, *pair) for pair in pairwise(sizes)]
    return (3, 66, 200), 32, [*convs, cuba.Flatten(), *dense]


TOPOLOGIES = {"nmnist": nmnist, "pilotnet": pilotnet}


def lava_run(path, net, x):
    """Spikes ``[*shape, steps]`` of the last layer for a stream ``[*shape, steps]``, and seconds per step."""
    run_steps = import_lava("lava.magma.core.run_conditions").RunSteps
    config = import_lava("lava.magma.core.run_configs").Loihi2SimCfg(select_tag="fixed_pt")
    steps = x.shape[-1]
    graph = hdf5.Network(net_config=str(path), input_shape=net.input.shape[::-1])
    source = io.source.RingBuffer(data=x.transpose(*range(x.ndim - 2, -1, -1), x.ndim - 1))
    sink = io.sink.RingBuffer(shape=graph.out.shape, buffer=steps)
    source.s_out.connect(graph.inp)
    graph.out.connect(sink.a_in)
    try:
        graph.run(condition=run_steps(num_steps=1), run_cfg=config)
        start = time.perf_counter()
        graph.run(condition=run_steps(num_steps=steps - 1), run_cfg=config)
        seconds = time.perf_counter() - start
        return sink.data.get(), seconds / (steps - 1)
    finally:
        graph.stop()
        graph.net_config.f.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=64, help="of the simulator, per repeat")
    parser.add_argument("--lava-steps", type=int, default=100, help="of lava-dl's Network, per repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--only", choices=TOPOLOGIES, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, make in TOPOLOGIES.items():
        if options.only in (None, name):
            compare(name, make, options)


def compare(name, make, options) -> None:
    rng = np.random.default_rng(0)
    shape, num_steps, blocks = make()
    steps = min(options.lava_steps, num_steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slayer.net"
        write_blocks(blocks, shape, path, rng, weights)
        net = read(path, shape)
        x = (rng.random((options.samples, *shape, num_steps)) < RATE).astype(np.uint8)
        rates = {
            layer: f"{100 * trace.spikes.mean():.1f}"
            for layer, trace in simulate(net, x[:1], trace=True).layers.items()
        }
        print(f"{name}: {path.stat().st_size:,} bytes, T={num_steps}, load {os.getloadavg()[0]:.1f}")
        print(f"  % that fire: input {100 * x.mean():.1f}, {', '.join(f'{k} {v}' for k, v in rates.items())}")
        ours, lava, equal, latency = [], [], 0, net.latency
        for _ in range(options.repeats):
            theirs, seconds = lava_run(path, net, x[0, ..., :steps])
            lava.append(seconds)
            start = time.perf_counter()
            result = simulate(path, x, num_threads=options.threads)
            ours.append((time.perf_counter() - start) / (len(x) * num_steps))
            expected = result.spikes[0, ..., : steps - latency]
            np.testing.assert_array_equal(theirs[..., latency:], expected.reshape(-1, steps - latency))
            equal += expected.size
        ratios = [there / here for there, here in zip(lava, ours, strict=True)]
        print(f"  lava-dl   {1e3 * statistics.median(lava):9.3f} ms/step of a sample")
        print(f"  simulate  {1e3 * statistics.median(ours):9.3f} ms/step of a sample, file read each time")
        print(f"  {statistics.median(ratios):.0f} times as fast ({min(ratios):.0f} to {max(ratios):.0f})")
        print(f"  {equal:,} spikes compared, {expected.sum():,} of them 1 in a repeat: no difference")


if __name__ == "__main__":
    main()
