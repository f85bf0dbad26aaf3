"""The process of a cell: trains, fine-tunes, measures, writes the result.

``python -m lava_bsnn.studies.cell [--import FILE] [--allow-code] cell.json`` goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__, code
from ..cli import ALLOW, import_files
from ..errors import LavaBsnnError
from ..models import SpikingNetwork
from ..training import Epoch, Recipe, load_run, train
from ..training.processes import cores
from ..training.recipe import CONFIG, run_recipe
from ..training.run_data import load_data
from ..training.run_folder import RESULT, finetuning_recipe, history_of, settings_of
from .cells import FIRST, FORMAT, RUN, Cell, settings, write_result
from .definition import Stage
from .measuring import Examples, deployed, measured, rounded
from .watching import GRADIENTS, GradientWatch, gradient_curves

_CURVES = (
    "loss",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "firing_rate",
    "flip_ratio",
    "learning_rate",
    "seconds",
)
DEVICES = "devices.txt"
"""Names of the processors that a cell was on, in its folder."""


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train and measure a cell; return what its file holds."""
    began, devices = time.perf_counter(), _devices(cell.folder / DEVICES)
    recipe, run, runs = cell.recipe, cell.folder / RUN, [cell.folder / RUN]
    splits = load_data(dataclasses.replace(recipe, augment=()))
    if cell.first is not None:
        runs.insert(0, cell.folder / FIRST)
        _train(cell.first, runs[0])
        recipe = dataclasses.replace(recipe, start=str(runs[0]))
    gradients = cell.folder / GRADIENTS
    _train(recipe, run, GradientWatch(recipe, run, splits, gradients))
    problems = {}
    for stage in cell.stages:
        if stage.epochs:
            try:
                tuning = finetuning_recipe(recipe, run, stage.target, stage.epochs)
                _train(tuning, cell.folder / stage.name)
                runs.append(cell.folder / stage.name)
            except LavaBsnnError as error:  # a target that does not have the network's neurons
                problems[stage.name] = {"problem": " ".join(str(error).split())[:500]}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # others wait for it, and the rest needs none
    trained, start = time.perf_counter(), load_run(run)[1]
    tests = Examples(splits)
    figures, classes = measured(start, tests)
    stages = {
        stage.name: problems.get(stage.name) or _deployed(cell, stage, start, tests, classes)
        for stage in cell.stages
    }
    histories = [history_of(one) for one in runs]
    curves = _curves(histories[runs.index(run)])
    return {
        "format": FORMAT,
        "key": cell.key,
        "study": cell.study,
        "set": cell.set,
        "variant": cell.variant,
        "seed": cell.seed,
        **figures,
        "validation_accuracy": curves.get("validation_accuracy", [None])[-1],
        "deployed": stages,
        "history": curves | gradient_curves(gradients),
        "seconds": {
            "training": round(sum(epoch.seconds for epochs in histories for epoch in epochs), 1),
            "measuring": round(time.perf_counter() - trained, 1),
            "process": round(time.perf_counter() - began, 1),
        },
        "device": ", ".join(devices),
        "cores": len(cores()),
        "threads": torch.get_num_threads(),
        "versions": {
            "lava-bsnn": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "recipe": settings(cell.recipe),
    }


def _train(recipe: Recipe, folder: Path, watch: Callable[[Epoch], None] | None = None) -> None:
    """Train into a folder; go on with what is there if it is the same, replace it otherwise."""
    same = (folder / CONFIG).is_file() and settings_of(run_recipe(folder)) == settings_of(recipe)
    if not (same and (folder / RESULT).is_file()):
        train(recipe, folder, resume=same, overwrite=not same, on_epoch=watch)


def _deployed(
    cell: Cell, stage: Stage, start: SpikingNetwork, tests: Examples, classes: np.ndarray
) -> dict[str, Any]:
    if stage.epochs is None:
        return deployed(start, stage.target, tests, classes=classes)
    model = load_run(cell.folder / stage.name)[1] if stage.epochs else start
    return deployed(model, stage.target, tests, match=not stage.epochs)


def _curves(history: Sequence[Epoch]) -> dict[str, list[float | None]]:
    """Figures by epoch; those that no epoch has are left out."""
    curves = {
        name: [None if (value := getattr(epoch, name)) is None else rounded(value) for epoch in history]
        for name in _CURVES
    }
    return {name: values for name, values in curves.items() if any(value is not None for value in values)}


def _devices(path: Path) -> list[str]:
    """Processors that had this cell, of a file that takes up this one; it may have moved to another."""
    there = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = list(dict.fromkeys([*there, _device()]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names), encoding="utf-8")
    return names


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(arguments: Sequence[str]) -> int:
    """Run the cell of a file; return the exit code."""
    try:
        rest = import_files(list(arguments))
        with code.allowing(ALLOW in rest):
            cell = Cell.of(json.loads(Path(rest[-1]).read_text(encoding="utf-8")))
            write_result(run_cell(cell), cell.result)
    except (LavaBsnnError, OSError) as error:
        sys.stderr.write(f"lava-bsnn: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
