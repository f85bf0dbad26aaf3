"""A dry run: what a recipe would build and need, without its data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .. import analysis, data
from ..data.loading import check_options
from ..data.transforms import build
from ..functional import direct_code
from ..norm import BatchNorm
from .loop import seed_everything
from .recipe import Recipe
from .run import build_loss, build_model, input_shape
from .run_folder import start_recipe
from .schedule import optimizer


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a recipe would build, from one step on two synthetic samples; no data set is needed.

    Attributes:
        in_shape: of one sample, ``[C, H, W, T]``.
        size_mb: packed weights and parameters, 10^6 bytes.
        sops_per_step: synaptic operations per sample and time step with untrained weights.
        macs_per_step: multiply-accumulates of first and last layer, likewise.
        memory_mb: expected memory of a training step at the recipe's batch size: parameters,
            gradients, optimizer, and what autograd keeps (measured). An estimate.
        loss: of the step.
    """

    recipe: str
    in_shape: tuple[int, ...]
    num_classes: int
    layers: int
    parameters: int
    size_mb: float
    sops_per_step: float
    macs_per_step: float
    memory_mb: float
    loss: float


def dry_run(recipe: Recipe, name: str = "") -> DryRun:
    """Build a recipe's model and take one training step on two synthetic samples."""
    seed_everything(recipe.seed)
    shape = input_shape(recipe)
    info = data.DATASETS[recipe.dataset]
    check_options(
        info,
        num_steps=recipe.num_steps,
        size=recipe.size,
        counts=recipe.counts,
        denoise=recipe.denoise,
        normalize=recipe.normalize,
    )
    build(info, recipe.augment, shape)  # raises where a name is wrong
    ann = start_recipe(recipe) if recipe.start is not None else None
    model = build_model(recipe, shape, info.num_classes, ann)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = None  # one step is enough for usual rates in evaluation
    if info.kind == "events":
        inputs = (torch.rand(2, *shape, recipe.num_steps) < 0.1).float()
    else:
        inputs = torch.rand(2, *shape)
    labels = torch.arange(2) % info.num_classes
    loss = build_loss(recipe, model)
    update = optimizer(
        recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum
    )(model.parameters())
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(model(inputs), labels)
    value.backward()
    update.step()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    activations = sum(size for address, size in kept.items() if address not in weights) / len(inputs)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    copies = {"sgd": 3, "adam": 4, "adamw": 4}[recipe.optimizer] + (recipe.ema_decay is not None)
    if info.kind != "events":
        inputs = direct_code(inputs, recipe.num_steps)
    operations = analysis.count_operations(model, inputs[:1])
    return DryRun(
        recipe=name,
        in_shape=tuple(inputs.shape[1:]),
        num_classes=info.num_classes,
        layers=len(operations.layers),
        parameters=parameters,
        size_mb=analysis.model_size(model) / 1e6,
        sops_per_step=operations.sops / recipe.num_steps,
        macs_per_step=operations.macs / recipe.num_steps,
        memory_mb=round((4 * copies * parameters + activations * recipe.batch_size) / 1e6, 1),
        loss=float(value.detach()),
    )
