"""Training speed of one block: forward and backward, against plain convolution and batch norm.

    python tests/benchmarks/block_speed.py [--threads 2] [--rounds 15] [--shapes 4]

Prints milliseconds (medians of interleaved rounds) and ratios to the plain layers of the same
shape on T * N images; beside it stock SLAYER's block, and SpikingJelly's where it is installed.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from lava_bsnn import block
from lava_bsnn.compat import import_lava

SHAPES = (  # channels, height and width, samples, steps
    (64, 32, 8, 4),
    (128, 32, 8, 2),
    (128, 16, 16, 4),
    (256, 8, 16, 4),
)
PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}


class Plain(torch.nn.Module):
    """Convolution and batch norm on T * N images."""

    def __init__(self, channels):
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(self.conv(x))


def spikingjelly_block(channels):
    """The same layer in SpikingJelly's multi-step mode, or None where it is not installed."""
    try:
        from spikingjelly.activation_based import functional, layer, neuron, surrogate
    except ImportError:
        return None
    net = torch.nn.Sequential(
        layer.Conv2d(channels, channels, 3, padding=1, bias=False, step_mode="m"),
        layer.BatchNorm2d(channels, step_mode="m"),
        neuron.LIFNode(
            tau=2.0, decay_input=False, v_reset=0.0, surrogate_function=surrogate.ATan(), step_mode="m"
        ),
    )

    def run(x):
        functional.reset_net(net)
        return net(x)

    return run


def peers(channels, size, samples, steps):
    """Name -> (callable, input), each input stored as its layer likes it."""
    stored = (torch.rand(steps, samples, channels, size, size) < 0.2).float()
    images = stored.flatten(0, 1).clone()
    logical = stored.movedim(0, -1)
    binary = block.Conv(PARAMS, channels, channels, 3, padding=1)
    full = block.Conv(PARAMS, channels, channels, 3, padding=1, binarize=None, weight_bits=None)
    cuba = import_lava("lava.lib.dl.slayer.block.cuba")
    stock = cuba.Conv({**PARAMS, "current_decay": 1.0}, channels, channels, 3, padding=1, delay_shift=False)
    found = {
        "conv + batch norm": (Plain(channels), images),
        "our block, 1-bit weights": (binary, logical),
        "our block, float weights": (full, logical),
        "SLAYER block (no norm)": (stock, logical.contiguous()),
    }
    other = spikingjelly_block(channels)
    if other is not None:
        found["SpikingJelly"] = (other, stored)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shapes", type=int, default=len(SHAPES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds")
    for shape in SHAPES[: options.shapes]:
        layers = peers(*shape)
        times = {name: [] for name in layers}
        warm = min(2, options.rounds - 1)
        for turn in range(options.rounds + warm):
            for name, (layer, data) in layers.items():
                x = data.detach().requires_grad_()
                start = time.perf_counter()
                y = layer(x)
                y.backward(torch.ones_like(y))
                if turn >= warm:
                    times[name].append(time.perf_counter() - start)
        print("\nchannels {}, {}x{}, N={}, T={}".format(shape[0], shape[1], *shape[1:]))
        plain = times["conv + batch norm"]
        for name, values in times.items():
            ratio = statistics.median(a / b for a, b in zip(values, plain, strict=True))
            print(f"  {name:26s} {statistics.median(values) * 1e3:8.1f} ms   {ratio:5.2f}x")


if __name__ == "__main__":
    main()
