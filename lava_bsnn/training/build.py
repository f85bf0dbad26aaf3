"""What a recipe trains with: model, loss, devices."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .. import data, models
from ..code import is_code
from ..errors import LavaBsnnWarning, OptionError, check_option
from .batches import labels_of
from .estimator import annealed
from .hybrid import to_lmht
from .losses import (
    BY_NAME,
    CrossEntropy,
    OwnLoss,
    SopBudget,
    SpikeRegulation,
    Term,
    TotalLoss,
    balanced_weights,
)
from .mixing import Mixing
from .recipe import HYBRID, Recipe
from .run_data import encoding_of, known_info
from .schedule import optimizer
from .targets import train_for

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from .schedule import MakeOptimizer


def build_model(
    recipe: Recipe,
    in_shape: tuple[int, ...],
    num_classes: int,
    ann: Recipe | None = None,
    info: data.DatasetInfo | None = None,
) -> models.SpikingNetwork:
    """Model of a recipe with fresh weights.

    Args:
        ann: of a hybrid, the recipe of the QCFS network it starts from.
        info: of the data, where they have no entry in ``data.DATASETS``.
    """
    method, num_steps, options = recipe.method, recipe.num_steps, dict(recipe.method_options)
    if recipe.method == HYBRID:
        method, num_steps, options = "qcfs", 1, {} if ann is None else dict(ann.method_options)
    model = models.create(
        recipe.model,
        num_classes=num_classes,
        in_shape=in_shape,
        num_steps=num_steps,
        method=method,
        width=recipe.width,
        encoding=encoding_of(recipe, info or known_info(recipe)),
        method_options=options,
        **recipe.model_options,
    )
    if recipe.method == HYBRID:
        model = to_lmht(model, num_steps=recipe.num_steps, **{"levels": 2, **recipe.method_options})
    if recipe.target is not None:
        train_for("recipe", model, recipe.target)
    return model


def build_optimizer(recipe: Recipe, model: torch.nn.Module) -> MakeOptimizer:
    """Maker of a recipe's optimizer for its model."""
    if recipe.optimizer == "sgd" and any(hook.standardize is None for _, hook in annealed(model)):
        warnings.warn(
            "recipe: estimator=annealed scales gradients by the weights' mean magnitude, so that steps of "
            "sgd are short; set method_options.standardize=filter, or optimizer=adamw",
            LavaBsnnWarning,
            stacklevel=2,
        )
    return optimizer(
        recipe.optimizer,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        decay=recipe.decay,
        model=model,
        flip_threshold=recipe.flip_threshold,
        flip_decay=recipe.flip_decay,
    )


def build_mixing(recipe: Recipe) -> Mixing | None:
    """How a recipe mixes its batches."""
    mixing = Mixing(mixup=recipe.mixup, cutmix=recipe.cutmix)
    return None if mixing == Mixing() else mixing


def build_loss(
    recipe: Recipe, model: torch.nn.Module, class_weights: Sequence[float] | None = None
) -> TotalLoss:
    """Loss terms of a recipe, with the weights of :func:`class_weights_of`."""
    term: Term
    if is_code(recipe.loss):
        term = OwnLoss(recipe.loss)
    elif recipe.loss in BY_NAME:
        term = BY_NAME[recipe.loss]
    else:
        term = CrossEntropy(recipe.loss, label_smoothing=recipe.label_smoothing, class_weights=class_weights)
    terms: dict[str, Any] = {recipe.loss: (1.0, term)}
    if recipe.spike_regulation:
        terms["spikes"] = (recipe.spike_regulation, SpikeRegulation(model, reduce=recipe.spike_term))
    if recipe.sop_budget is not None:
        terms["sops"] = (1.0, SopBudget(model, recipe.sop_budget))
    return TotalLoss(terms)


def class_weights_of(recipe: Recipe, splits: data.Splits) -> Sequence[float] | None:
    """Weight of each class in the loss; None where the recipe has none.

    Raises:
        OptionError: weights for another number of classes.
    """
    given, number = recipe.class_weights, splits.info.num_classes
    if given is None:
        return None
    if isinstance(given, str):
        return balanced_weights(labels_of(splits.train), number)
    if len(given) != number:
        raise OptionError(
            f"recipe: class_weights has {len(given)} numbers for {number} classes; give one for each"
        )
    return given


ACCELERATORS = ("auto", "cpu", "cuda")


def make_fabric(recipe: Recipe, accelerator: str = "auto") -> Fabric:
    """Launched Fabric: one device, or DDP over the processes that ``torchrun`` has started.

    Args:
        accelerator: ``"cpu"``, ``"cuda"``, or ``"auto"``: a GPU where torch finds one.
    """
    from lightning_fabric import Fabric

    check_option("train", "accelerator", accelerator, ACCELERATORS)
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise OptionError("train: accelerator='cuda' is not there; use auto or cpu, and see lava-bsnn doctor")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if recipe.precision == "bf16-mixed" and accelerator == "cpu" and not _has_bfloat16():
        warnings.warn(
            "recipe: precision=bf16-mixed is slower than float32 on a processor without instructions for "
            "bfloat16; set precision=32-true",
            LavaBsnnWarning,
            stacklevel=2,
        )
    options: dict[str, Any] = {"devices": 1}
    if "LOCAL_RANK" in os.environ:
        options = {"devices": local, "num_nodes": world // local, "strategy": "ddp"}
    fabric = Fabric(accelerator=accelerator, precision=recipe.precision, **options)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def _has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16; other kinds than x86 are taken at their word."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    checks = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    return not all(checks) or any(
        check() for check in checks if check is not None
    )  # torch before 2.6: unknown
