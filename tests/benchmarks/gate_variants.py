"""What neurons without gates can do for AGMM: test accuracy of a trained run, in floating point, per variant.

    python tests/benchmarks/gate_variants.py RUN...

``live``: AGMM as trained. ``constant``: a factor per channel, the mean gate over training samples, which is
what profiles "stock" and "loihi" do before fine-tuning. ``per step``: a factor per channel and step, which
biases cannot give but weights that change from step to step could. ``linear``: constants plus a term in
the channel's mean current, the first order of the gate, which a second population of neurons could add.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lava_bsnn import training
from lava_bsnn.modulation import AGMM
from lava_bsnn.training.run_data import load_data

SAMPLES = 512
Gate = Callable[[Tensor], Tensor]


def spread(x: Tensor, like: Tensor) -> Tensor:
    """``[C]`` or ``[C, T]`` over ``[N, C, H, W, T]``."""
    x = x if x.dim() == 2 else x[:, None]
    return x.reshape(len(x), *[1] * (like.dim() - 3), x.shape[1])


def mean_current(x: Tensor) -> Tensor:
    """Over height and width, kept as axes."""
    return x.mean(tuple(range(2, x.dim() - 1)), keepdim=True) if x.dim() > 3 else x


def variants(currents: Tensor, gated: Tensor) -> dict[str, Gate]:
    """Gates that stand in for the one that made ``gated`` of ``currents``."""
    axes = tuple(axis for axis in range(currents.dim()) if axis not in (1, currents.dim() - 1))
    size = currents.abs()
    constant = gated.abs().sum((*axes, -1)) / size.sum((*axes, -1)).clamp(min=1e-9)
    per_step = gated.abs().sum(axes) / size.sum(axes).clamp(min=1e-9)
    mean = mean_current(currents)
    centre = mean.mean((*axes, -1), keepdim=True)
    rest, slope = gated - currents * spread(constant, currents), (mean - centre).expand_as(currents)
    factor = (rest * slope).sum((*axes, -1)) / slope.square().sum((*axes, -1)).clamp(min=1e-9)
    offset = rest.mean((*axes, -1))
    return {
        "constant": lambda x: x * spread(constant, x),
        "per step": lambda x: x * spread(per_step, x),
        "linear": lambda x: (
            x * spread(constant, x) + spread(factor, x) * (mean_current(x) - centre) + spread(offset, x)
        ),
    }


def replaced(module: AGMM, gate: Gate) -> torch.utils.hooks.RemovableHandle:
    """Let ``gate`` compute in the place of a module."""
    return module.register_forward_hook(lambda _, arguments, output: gate(arguments[0]))


def observe(
    gates: dict[str, list[tuple[AGMM, Gate]]], module: AGMM, arguments: tuple[Tensor, ...], output: Tensor
) -> None:
    """Note the variants of a module's gate, by name."""
    for name, gate in variants(arguments[0], output).items():
        gates[name].append((module, gate))


def main() -> None:
    """Print a line per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    names = ["constant", "per step", "linear"]
    print(f"{'run':16} {'live':>9} " + " ".join(f"{name:>9}" for name in names))
    for run in parser.parse_args().runs:
        recipe, model = training.load_run(run)
        splits = load_data(recipe)
        pairs = [splits.test[i] for i in range(len(splits.test))]
        x, y = np.stack([np.asarray(one) for one, _ in pairs]), np.array([int(label) for _, label in pairs])
        seen = torch.stack([torch.as_tensor(splits.train[i][0]) for i in range(SAMPLES)])
        gates: dict[str, list[tuple[AGMM, Gate]]] = {name: [] for name in names}
        hooks = [
            module.register_forward_hook(partial(observe, gates))
            for module in model.modules()
            if isinstance(module, AGMM)
        ]
        with torch.no_grad():
            model.eval()(seen)
        for hook in hooks:
            hook.remove()
        figures = [training.accuracy(model, x, y)]
        for name in names:
            handles = [replaced(module, gate) for module, gate in gates[name]]
            figures.append(training.accuracy(model, x, y))
            for handle in handles:
                handle.remove()
        print(f"{run[-16:]:16} " + " ".join(f"{value:9.2%}" for value in figures), flush=True)


if __name__ == "__main__":
    main()
