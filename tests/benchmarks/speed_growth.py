"""How training speed grows with steps, width, depth and batch, beside SpikingJelly and ReLU.

    python tests/benchmarks/speed_growth.py [--rounds 5] [--out growth.png]

Convolutions of 3x3 on 16x16 with 1-bit weights and AGMM; one thing grows, the rest stays at T = 4,
32 features, 4 layers, 16 samples. Nanoseconds per neuron and step: medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from lava_bsnn.bench import installed, machine, training, twins
from lava_bsnn.memory import keep_freed_memory

BASE = {"steps": 4, "width": 32, "depth": 4, "batch": 16}
GROWTH = {
    "steps": (1, 2, 4, 8, 16),
    "width": (8, 16, 32, 64, 128),
    "depth": (1, 2, 4, 8, 16),
    "batch": (1, 4, 16, 64, 128),
}


def topology(*, steps, width, depth, batch):
    options = {"channels": (width,) * depth, "hidden": 32}
    return training.Topology(
        model="flat", in_shape=(2, 16, 16), num_steps=steps, batch_size=batch, options=options
    )


def flat(layers, in_shape, width, channels, hidden):
    """Convolutions without strides, and a small layer behind them."""
    from lava_bsnn import block

    blocks, inputs = [], in_shape[0]
    for features in channels:
        blocks.append(layers.conv(inputs, features, 3, first=not blocks))
        inputs = features
    return [*blocks, block.Pool(None, 8), block.Flatten(), layers.dense(4 * inputs, hidden)]


def measure(sizes, rounds):
    """Nanoseconds per neuron-step of each contender."""
    one = topology(**sizes)
    contenders = {"ours": training.ours(one.create()), "ReLU": training.theirs(one, twins.Kit())}
    if installed("spikingjelly"):
        contenders["SpikingJelly"] = training.theirs(one, twins.SpikingJelly())
    neurons = 256 * sizes["width"] * sizes["depth"] * sizes["steps"] * sizes["batch"]
    seconds = training.turns(one, contenders, rounds)
    return {name: 1e9 * statistics.median(times) / neurons for name, times in seconds.items()}


def draw(found, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(11, 3), sharey=True, layout="constrained")
    for panel, (name, rows) in zip(axes, found.items(), strict=True):
        for contender in rows[0]["ns"]:
            style = "-o" if contender == "ours" else "--s"
            panel.loglog(
                [row["value"] for row in rows],
                [row["ns"][contender] for row in rows],
                style,
                markersize=4,
                label=contender,
            )
        panel.set_xlabel(name)
        panel.set_xscale("log", base=2)
        panel.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("ns per neuron and step")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=5, help="of each curve")
    parser.add_argument("--out", type=Path, default=None, help="figure to write")
    options = parser.parse_args()
    from lava_bsnn.models import registry

    registry.MODELS.setdefault("flat", flat)
    keep_freed_memory()
    print(json.dumps(machine()))
    found = {}
    for name, values in GROWTH.items():
        found[name] = []
        for value in values[: options.points]:
            ns = measure({**BASE, name: value}, options.rounds)
            found[name].append({"value": value, "ns": ns})
            print(f"{name:6} {value:4}  " + "  ".join(f"{k} {v:8.2f} ns" for k, v in ns.items()), flush=True)
    if options.out is not None:
        draw(found, options.out)


if __name__ == "__main__":
    main()
