"""Train the networks of ``netx_export.zoo`` anew and record what they do.

    python tests/benchmarks/make_zoo.py [NAME ...] [--out FOLDER]
    python tests/benchmarks/make_zoo.py fashion --run runs/study/fashion/fashion/binary/0/run

Writes ``NAME.net``, ``NAME.npz`` and ``NAME.json``, by default in the place of those of the package. The
same seed gives the same network with the same versions of torch on the same kind of processor. The second
takes a network from the folder of a run, as ``lava-bsnn study fashion`` leaves it.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from lava_bsnn import training
from lava_bsnn.training.recipe import Recipe, load_recipe
from lava_bsnn.training.run import build_model
from lava_bsnn.training.run_data import load_data
from netx_export import FixedPointNetwork, convert, simulate, zoo

SAMPLES = 8
"""Samples of the record, the first ones of the test set."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a network is made: a recipe with changes, and the target in whose integers it is fine-tuned."""

    summary: str
    recipe: str
    changes: tuple[str, ...]
    target: str
    tuned_epochs: int
    tuned_lr: float = 2e-4


PLANS = {
    "plain": Plan(
        summary="chain of convolutions with 1-bit weights, 4-bit images",
        recipe="digits-demo",
        changes=("epochs=8", "model_options.hidden=64"),
        target="stock",
        tuned_epochs=2,
    ),
    "residual": Plan(
        summary="ResNet-18 of an eighth of the width with AGMM, skips around two convolutions, 4-bit images",
        recipe="digits-agmm",
        changes=(
            "model=resnet18",
            "width=0.125",
            "model_options.skip=classic",
            "size=16",
            "num_steps=4",
            "epochs=12",
            "batch_size=32",
        ),
        target="loihi",
        tuned_epochs=6,
        tuned_lr=1e-3,
    ),
    "events": Plan(
        summary="chain of convolutions with AGMM, recordings of an event camera (simulated)",
        recipe="digits-events-agmm",
        changes=(
            "num_steps=8",
            "epochs=8",
            "model_options.hidden=64",
            "method_options.ends=8",
        ),
        target="stock",
        tuned_epochs=3,
    ),
}


FROM_RUNS = {
    "fashion": (
        "chain of four convolutions with 1-bit weights, 8-bit images of Fashion-MNIST",
        "lava-bsnn study fashion --only fashion/binary --seeds 1",
        "runs/study/fashion/fashion/binary/0/run",
        "loihi",
    ),
}
"""Networks that are taken from a run: summary, command that trains it, folder that it leaves, target."""


def arrays(data: torch.utils.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All samples and labels of a data set."""
    pairs = [data[index] for index in range(len(data))]  # type: ignore[arg-type]
    return np.stack([np.asarray(x) for x, _ in pairs]), np.array([int(y) for _, y in pairs])


def make(name: str, folder: Path, console: Console) -> None:
    """Train, fine-tune, convert, record, write."""
    plan = PLANS[name]
    recipe = load_recipe(plan.recipe).replace(["validation_fraction=0", *plan.changes])
    splits = load_data(recipe)
    train, (inputs, labels) = arrays(splits.train), arrays(splits.test)
    training.seed_everything(recipe.seed)
    model = build_model(recipe, splits.shape, splits.info.num_classes)

    def tell(epoch: training.Epoch) -> None:
        console.print(f"{name}: test accuracy {epoch.test_accuracy:.2%}")

    training.fit(
        model,
        train,
        (inputs, labels),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        optimizer=training.optimizer(lr=recipe.lr),
        seed=recipe.seed,
        on_epoch=tell,
    )
    training.finetune(
        model,
        train,
        (inputs, labels),
        epochs=plan.tuned_epochs,
        lr=plan.tuned_lr,
        batch_size=recipe.batch_size,
        target=plan.target,
        seed=recipe.seed,
        on_epoch=tell,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = convert(model.eval(), plan.target)
    about = {
        "summary": plan.summary,
        "command": f"python tests/benchmarks/make_zoo.py {name}",
        "recipe": f"{plan.recipe} --set {' '.join(plan.changes)}",
        "fine_tuned": f"{plan.tuned_epochs} epochs, lr={plan.tuned_lr}, target={plan.target!r}",
    }
    record(name, net, recipe, (inputs, labels), about, folder, console)


def make_from_run(name: str, run: Path, folder: Path, console: Console) -> None:
    """Convert the network of a run, record, write."""
    recipe, model = training.load_run(run)
    splits = load_data(dataclasses.replace(recipe, augment=()))
    summary, trained_by, place, target = FROM_RUNS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = convert(model, target)
    about = {
        "summary": summary,
        "command": f"python tests/benchmarks/make_zoo.py {name} --run {place}",
        "recipe": trained_by,
        "fine_tuned": "no",
    }
    record(name, net, recipe, arrays(splits.test), about, folder, console)


def record(
    name: str,
    net: FixedPointNetwork,
    recipe: Recipe,
    test: tuple[np.ndarray, np.ndarray],
    about: dict[str, Any],
    folder: Path,
    console: Console,
) -> None:
    """Run the test set, write network, record of the first samples, and what it is."""
    inputs, labels = test
    data = net.encode(inputs) if inputs.ndim > 4 else net.encode(inputs, recipe.num_steps)
    figures = {
        "dataset": recipe.dataset,
        "seed": recipe.seed,
        "accuracy": round(float((classes_of(net, data) == labels).mean()), 4),
        "test_samples": len(labels),
        "torch": torch.__version__,
    }
    zoo.save(folder, name, net, np.ascontiguousarray(data[:SAMPLES]), labels[:SAMPLES], about | figures)
    golden = zoo.load(name, folder)
    silent = [layer for layer, t in golden.expected.layers.items() if not t.spikes.any()]
    size = sum((folder / f"{name}.{end}").stat().st_size for end in ("net", "npz", "json"))
    console.print(f"{name}: {golden.accuracy:.2%}, {size:,} bytes, silent: {silent}")


def classes_of(net: FixedPointNetwork, data: np.ndarray) -> np.ndarray:
    """Class of each sample, in batches."""
    return np.concatenate([simulate(net, data[i : i + 64]).prediction for i in range(0, len(data), 64)])


def main() -> None:
    """Make the networks that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(zoo.__file__).parent)
    parser.add_argument("--run", type=Path, help="folder of a run, for one of " + ", ".join(FROM_RUNS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run is not None:
        (name,) = options.names
        make_from_run(name, options.run, options.out, Console(highlight=False))
        return
    for name in options.names or PLANS:
        make(name, options.out, Console(highlight=False))


if __name__ == "__main__":
    main()
