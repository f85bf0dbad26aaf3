"""A dry run: what a recipe would build and need, without its data set."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .. import analysis
from ..analysis.training_memory import Memory, SavedBytes
from ..data.info import DatasetInfo
from ..data.loading import check_options
from ..data.transforms import build
from ..functional import direct_code
from ..models import SpikingNetwork
from ..neuron import QCFS
from ..norm import BatchNorm
from .build import build_loss, build_model, build_optimizer
from .finetuning import has_matched_mode, match_device
from .hybrid import to_lmht
from .loop import seed_everything
from .recipe import Recipe
from .run_data import encoding_of, is_own, known_info, load_data
from .run_folder import start_recipe

if TYPE_CHECKING:
    from netx_export.verify.agree import Agreement


_SMALL = 1 << 14
"""Values of a sample up to which there are eight samples, else two."""


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


def fresh_model(recipe: Recipe, info: DatasetInfo | None = None) -> SpikingNetwork:
    """The model of a recipe as its training begins; of a hybrid, with other weights.

    Data of the user's own are loaded where ``info`` is not given.
    """
    info = info or _info(recipe)
    seed_everything(recipe.seed)
    ann = start_recipe(recipe) if recipe.start is not None else None
    return build_model(recipe, info.sized(recipe.size), info.num_classes, ann, info)


def dry_run(recipe: Recipe, name: str = "") -> DryRun:
    """Build a recipe's model, take one training step on synthetic samples, convert it and run it.

    Data of the user's own are loaded, as nothing is known of them before.
    """
    import netx_export

    info = _info(recipe)
    shape = info.sized(recipe.size)
    check_options(
        info,
        num_steps=recipe.frames,
        size=recipe.size,
        counts=recipe.counts,
        denoise=recipe.denoise,
    )
    build(info, recipe.augment, shape)  # raises where a name is wrong
    model = fresh_model(recipe, info)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = None  # one step is enough for usual rates in evaluation
    coding = encoding_of(recipe, info)
    inputs, labels = _samples(recipe, info)
    update = build_optimizer(recipe, model)(model.parameters())
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
        memory_mb=round(memory.at(recipe.batch_size) / 1e6, 1),
        largest_batch=memory.largest_batch,
        loss=float(value),
        encoding=str(coding),
        network=f"profile {net.profile}, {len(net.layers)} layers, {net.input.coded}",
        agreement=agreed,
    )


def training_memory(recipe: Recipe) -> Memory:
    """Memory of a recipe's training step, from one on few synthetic samples."""
    info = _info(recipe)
    inputs, labels = _samples(recipe, info)
    return _train_step(recipe, fresh_model(recipe, info), inputs, labels)[1]


def _info(recipe: Recipe) -> DatasetInfo:
    """What is known of a recipe's data; the user's own are loaded for it."""
    return load_data(recipe).info if is_own(recipe) else known_info(recipe)


def _samples(recipe: Recipe, info: DatasetInfo) -> tuple[torch.Tensor, torch.Tensor]:
    from netx_export.lowering.observe import random_samples

    shape = info.sized(recipe.size)
    number = 8 if math.prod(shape) <= _SMALL else 2
    size = (number, *shape, recipe.frames)
    inputs = torch.from_numpy(random_samples(encoding_of(recipe, info), size, recipe.seed).copy())
    if info.kind != "events":
        inputs = inputs[..., 0]
    return inputs, torch.arange(number) % info.num_classes


def _train_step(
    recipe: Recipe, model: SpikingNetwork, inputs: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, Memory]:
    """Loss and memory of a step without its update."""
    loss = build_loss(recipe, model)
    saved = SavedBytes()
    model.train()
    with saved:
        value = loss(model(inputs), labels)
    value.backward()
    averaged = recipe.ema_decay is not None
    return value.detach(), saved.memory(model, len(inputs), recipe.optimizer, averaged=averaged)


def _deployed(model: SpikingNetwork) -> SpikingNetwork:
    """The model that goes to the device: of a QCFS network, the LM-HT network that it is trained for."""
    levels = [module.levels for module in model.modules() if isinstance(module, QCFS)]
    if not levels:
        return copy.deepcopy(model).eval()
    thresholds = 2 if levels[0] % 2 == 0 else 1
    return to_lmht(model, levels=thresholds, num_steps=levels[0] // thresholds).eval()
