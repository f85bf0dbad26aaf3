"""BSO beside AGMM and vanilla binary weights with SGD: sign flips per epoch, accuracy, memory of weights.

Run as ``python tests/benchmarks/bso_flips.py [recipe] [--epochs E] [--figure PATH]``; by default the event
recordings of digits, with the figure of docs/papers.md. Accuracies are of the test set after the last epoch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from lava_bsnn import models, training
from lava_bsnn.analysis import FlipRecorder
from lava_bsnn.analysis._style import line, tidy
from lava_bsnn.functional import direct_code
from lava_bsnn.training.build import build_loss, build_model, build_optimizer
from lava_bsnn.training.run_data import load_data

FIGURE = Path(__file__).parents[2] / "docs/images/bso_flips.png"
SGD = ["optimizer=sgd", "lr=0.1"]
RUNS = {
    "vanilla, SGD": ["method=binary", *SGD],
    "AGMM, SGD": SGD,
    "AGMM, BSO": [],
}
"""What each changes in a recipe of BSO."""


def flips_and_accuracy(recipe):
    """Sign flips of each epoch, in percent, and test accuracy after the last."""
    splits = load_data(recipe)
    training.seed_everything(recipe.seed)
    model = build_model(recipe, splits.shape, splits.info.num_classes)
    recorder = FlipRecorder(model)
    training.fit(
        model,
        splits.train,
        splits.test,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        optimizer=build_optimizer(recipe, model),
        loss=build_loss(recipe, model),
        seed=recipe.seed,
        on_epoch=recorder.record,
    )
    return [100 * ratio for ratio in recorder.mean()], 100 * training.evaluate(model, splits.test)


def bytes_per_weight(name):
    """Bytes that a step of training holds per 1-bit weight of ResNet-19, by what holds them."""
    model = models.create(
        "resnet19", num_classes=10, in_shape=(3, 8, 8), num_steps=1, width=0.5, method="agmm", input_bits=8
    )
    update = training.optimizer(name, lr=0.1, model=model)(list(model.parameters()))
    hooks = [m for m in model.modules() if getattr(getattr(m, "_pre_hook_fx", None), "bits", 0) == 1]
    weights = {id(m.weight): m.weight for m in hooks}
    places = {weight.untyped_storage().data_ptr() for weight in weights.values()}
    shapes = {weight.squeeze(-1).shape for weight in weights.values()}
    copies = {}

    def pack(tensor):
        if tensor.shape in shapes and tensor.untyped_storage().data_ptr() not in places:
            copies[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(direct_code(torch.rand(1, 3, 8, 8), 1)).square().mean()
    loss.backward()
    update.step()
    count = sum(weight.numel() for weight in weights.values())
    held = {
        "weights": sum(weight.nbytes for weight in weights.values()),
        "copies of the forward pass": sum(tensor.nbytes for tensor in copies.values()),
        "gradients": sum(weight.grad.nbytes for weight in weights.values()),
        "optimizer": sum(
            value.nbytes for weight in weights.values() for value in update.state[weight].values()
        ),
    }
    return {what: size / count for what, size in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="digits-events-agmm-bso")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for index, (name, changes) in enumerate(RUNS.items()):
        epochs = [] if options.epochs is None else [f"epochs={options.epochs}"]
        recipe = training.load_recipe(options.recipe).replace([*changes, *epochs, "validation_fraction=0"])
        flips, accuracy = flips_and_accuracy(recipe)
        print(f"{name}: {accuracy:.2f} %, flips per epoch {', '.join(f'{flip:.2f}' for flip in flips)} %")
        axes.plot(range(1, len(flips) + 1), flips, label=f"{name} ({accuracy:.1f} %)", **line(index))
    axes.set(xlabel="epoch", ylabel="weight signs flipped (%)", ylim=(0, None))
    axes.legend(frameon=False, fontsize="small")
    tidy(axes)
    figure.savefig(options.figure, dpi=150)
    for name in ("sgd", "bso"):
        held = bytes_per_weight(name)
        parts = ", ".join(f"{what} {size:.1f}" for what, size in held.items())
        print(f"{name}: {sum(held.values()):.1f} bytes per 1-bit weight ({parts})")


if __name__ == "__main__":
    main()
