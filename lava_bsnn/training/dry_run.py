"""A dry run: what a recipe would build and need, without its data set."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .. import analysis, data
from ..data.loading import check_options
from ..data.transforms import build
from ..functional import direct_code
from ..models import SpikingNetwork
from ..neuron import QCFS
from ..norm import BatchNorm
from .finetuning import has_matched_mode, match_device
from .hybrid import to_lmht
from .loop import seed_everything
from .recipe import Recipe
from .run import build_loss, build_model, input_encoding, input_shape
from .run_folder import start_recipe
from .schedule import optimizer

if TYPE_CHECKING:
    from netx_export.verify.agree import Agreement


_SMALL = 1 << 14
"""Values of a sample up to which there are eight samples, else two."""
_LARGE = 24e9
"""Bytes of a usual GPU."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of a training step in bytes. An estimate.

    Attributes:
        fixed: parameters, gradients and the optimizer's memories.
        per_sample: what autograd keeps of a sample, measured.
    """

    fixed: int
    per_sample: float

    @property
    def largest_batch(self) -> int:
        """Samples whose training step takes 24 GB."""
        return max(0, int((_LARGE - self.fixed) / self.per_sample))


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a recipe would build, from one step on a few synthetic samples; no data set is needed.

    Attributes:
        in_shape: of one sample, ``[C, H, W, T]``.
        size_mb: packed weights and parameters, 10^6 bytes.
        sops_per_step: synaptic operations per sample and time step with untrained weights.
        macs_per_step: multiply-accumulates of first and last layer, likewise.
        memory_mb: expected memory of a training step at the recipe's batch size: parameters,
            gradients, optimizer, and what autograd keeps (measured). An estimate.
        largest_batch: samples whose training step takes 24 GB, likewise. An estimate.
        loss: of the step.
        encoding: what enters the network, in words.
        network: of integers that the untrained model in matched mode becomes (a QCFS network as LM-HT), in
            words.
        agreement: both on the synthetic samples: equal in every spike, as matched mode is exact.
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
    largest_batch: int
    loss: float
    encoding: str
    network: str
    agreement: Agreement


def dry_run(recipe: Recipe, name: str = "") -> DryRun:
    """Build a recipe's model, take one training step on synthetic samples, convert it and run it."""
    import netx_export

    seed_everything(recipe.seed)
    shape = input_shape(recipe)
    info = data.DATASETS[recipe.dataset]
    check_options(
        info,
        num_steps=recipe.frames,
        size=recipe.size,
        counts=recipe.counts,
        denoise=recipe.denoise,
    )
    build(info, recipe.augment, shape)  # raises where a name is wrong
    ann = start_recipe(recipe) if recipe.start is not None else None
    model = build_model(recipe, shape, info.num_classes, ann)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = None  # one step is enough for usual rates in evaluation
    coding = input_encoding(recipe)
    inputs, labels = _samples(recipe, shape)
    update = optimizer(
        recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum
    )(model.parameters())
    value, memory = _train_step(recipe, model, inputs, labels)
    deployed = _deployed(model)
    if has_matched_mode(deployed):  # neurons of a user's own may have none
        match_device(deployed)
    net = netx_export.convert(deployed, "extended")
    agreed = netx_export.agreement(deployed, net, inputs.numpy())
    update.step()
    if info.kind != "events":
        inputs = direct_code(inputs, recipe.frames)
    operations = analysis.count_operations(model, inputs[:1])
    return DryRun(
        recipe=name,
        in_shape=tuple(inputs.shape[1:]),
        num_classes=info.num_classes,
        layers=len(operations.layers),
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        size_mb=analysis.model_size(model) / 1e6,
        sops_per_step=operations.sops / recipe.num_steps,
        macs_per_step=operations.macs / recipe.num_steps,
        memory_mb=round((memory.fixed + memory.per_sample * recipe.batch_size) / 1e6, 1),
        largest_batch=memory.largest_batch,
        loss=float(value),
        encoding=str(coding),
        network=f"profile {net.profile}, {len(net.layers)} layers, {net.input.coded}",
        agreement=agreed,
    )


def training_memory(recipe: Recipe) -> Memory:
    """Memory of a recipe's training step, from one on few synthetic samples."""
    info, shape = data.DATASETS[recipe.dataset], input_shape(recipe)
    ann = start_recipe(recipe) if recipe.start is not None else None
    model = build_model(recipe, shape, info.num_classes, ann)
    inputs, labels = _samples(recipe, shape)
    return _train_step(recipe, model, inputs, labels)[1]


def _samples(recipe: Recipe, shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    from netx_export.lowering.observe import random_samples

    info = data.DATASETS[recipe.dataset]
    number = 8 if math.prod(shape) <= _SMALL else 2
    size = (number, *shape, recipe.frames)
    inputs = torch.from_numpy(random_samples(input_encoding(recipe), size, recipe.seed).copy())
    if info.kind != "events":
        inputs = inputs[..., 0]
    return inputs, torch.arange(number) % info.num_classes


def _train_step(
    recipe: Recipe, model: SpikingNetwork, inputs: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, Memory]:
    """Loss and memory of a step without its update."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    loss = build_loss(recipe, model)
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(model(inputs), labels)
    value.backward()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    activations = sum(size for address, size in kept.items() if address not in weights)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    copies = {"sgd": 3, "adam": 4, "adamw": 4}[recipe.optimizer] + (recipe.ema_decay is not None)
    return value.detach(), Memory(fixed=4 * copies * parameters, per_sample=activations / len(inputs))


def _deployed(model: SpikingNetwork) -> SpikingNetwork:
    """The model that goes to the device: of a QCFS network, the LM-HT network that it is trained for."""
    levels = [module.levels for module in model.modules() if isinstance(module, QCFS)]
    if not levels:
        return copy.deepcopy(model).eval()
    thresholds = 2 if levels[0] % 2 == 0 else 1
    return to_lmht(model, levels=thresholds, num_steps=levels[0] // thresholds).eval()
