"""The largest batch whose training step fits in 24 GB, for every recipe of the papers' tables.

    python tests/benchmarks/largest_batch.py [--check RECIPE BATCH]

Estimates: parameters, gradients, optimizer, and what autograd keeps of a sample, in float32. ``--check``
measures the peak of two steps of a batch instead (Linux).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from lava_bsnn.bench.space import megabytes
from lava_bsnn.training.dry_run import training_memory
from lava_bsnn.training.recipe import load_recipe
from lava_bsnn.training.recipe_files import recipe_names
from lava_bsnn.training.run import build_loss, build_model
from lava_bsnn.training.run_data import input_shape
from lava_bsnn.training.schedule import optimizer


def estimates():
    print(f"{'recipe':34} {'batch':>6} {'MB/sample':>10} {'in 24 GB':>9}")
    for name in recipe_names():
        recipe = load_recipe(name)
        if recipe.published is not None and recipe.start is None:
            memory = training_memory(recipe)
            per_sample = memory.per_sample / 1e6
            print(f"{name:34} {recipe.batch_size:6} {per_sample:10.1f} {memory.largest_batch:9}", flush=True)


def check(name, batch):
    recipe = load_recipe(name)
    shape = input_shape(recipe)
    model = build_model(recipe, shape, 10)
    loss = build_loss(recipe, model)
    settings = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "momentum": recipe.momentum}
    update = optimizer(recipe.optimizer, **settings)(model.parameters())
    parameters = sum(p.numel() for p in model.parameters()) * 4 / 1e6
    before = megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    for _ in range(2):
        update.zero_grad()
        loss(model(torch.rand(batch, *shape)), torch.arange(batch) % 10).backward()
        update.step()
    memory = training_memory(recipe)
    expected = (memory.fixed + memory.per_sample * batch) / 1e6
    measured = megabytes("VmHWM") - before + parameters
    print(f"{name}, batch {batch}: {measured:.0f} MB, estimate {expected:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", nargs=2, metavar=("RECIPE", "BATCH"))
    chosen = parser.parse_args().check
    sys.exit(estimates() if chosen is None else check(chosen[0], int(chosen[1])))
