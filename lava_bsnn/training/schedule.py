"""Optimizers by name, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..errors import OptionError, check_option

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter
    from torch.optim import Optimizer

    MakeOptimizer = Callable[[Iterable[Parameter]], Optimizer]
OPTIMIZERS = ("sgd", "adam", "adamw", "bso")
DECAYS = ("weights", "all")
SCHEDULES = ("cosine", "constant")


def optimizer(
    name: str = "adamw",
    *,
    lr: float = 2e-3,
    weight_decay: float = 1e-4,
    momentum: float = 0.9,
    nesterov: bool = False,
    decay: str = "weights",
    model: torch.nn.Module | None = None,
    flip_threshold: float = 5e-7,
    flip_decay: float = 0.999,
) -> MakeOptimizer:
    """Return a maker of an optimizer.

    Args:
        name: ``"sgd"``, ``"adam"``, ``"adamw"``, or ``"bso"``: 1-bit weights flip
            (:class:`lava_bsnn.training.bso.BSO`), all others take steps of SGD.
        lr: learning rate at the top of the schedule.
        weight_decay: on parameters that ``decay`` names, of ``"bso"`` those that do not flip.
        momentum: of SGD.
        nesterov: Nesterov's momentum in place of the classical one.
        decay: ``"weights"``: parameters of more than one dimension, not norms, biases and thresholds;
            ``"all"``: these, too.
        model: of ``"bso"``, the model, whose 1-bit weights become their signs.
        flip_threshold: of ``"bso"``: a weight flips where its sign times the mean gradient is above it.
        flip_decay: of ``"bso"``: what is kept of the mean gradient at a step.

    Raises:
        OptionError: an unknown name, an option of another optimizer, or weights that cannot flip.
    """
    check_option("optimizer", "name", name, OPTIMIZERS)
    check_option("optimizer", "decay", decay, DECAYS)
    if nesterov and (name not in ("sgd", "bso") or not momentum > 0):
        raise OptionError(
            f"optimizer: nesterov=True is not allowed with {name!r} and momentum={momentum}; use 'sgd' or "
            "'bso' and momentum > 0"
        )
    if name == "bso" and model is None:
        raise OptionError("optimizer: 'bso' flips weights of a model; give model=model")
    for what, value in (("lr", lr), ("weight_decay", weight_decay), ("momentum", momentum)):
        if not isinstance(value, (int, float)) or not value >= 0:
            raise OptionError(f"optimizer: {what}={value} is not allowed; use a number of 0 or more")

    def make(parameters: Iterable[Parameter]) -> Optimizer:
        import torch

        from .bso import BSO, without_latent_weights

        flipping = without_latent_weights(model) if name == "bso" and model is not None else []
        own = {id(parameter) for parameter in flipping}
        parameters = [p for p in parameters if p.requires_grad and id(p) not in own]
        least = 0 if decay == "all" else 2  # dimensions
        groups = [
            {"params": [p for p in parameters if p.dim() >= least], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() < least], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if name == "bso":
            return BSO(
                flipping,
                groups,
                lr=lr,
                momentum=momentum,
                nesterov=nesterov,
                threshold=flip_threshold,
                flip_decay=flip_decay,
            )
        if name == "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)
        return (torch.optim.Adam if name == "adam" else torch.optim.AdamW)(groups, lr=lr)

    return make


def rate_factor(step: int, total: int, warmup: int = 0, schedule: str = "cosine") -> float:
    """Factor on the learning rate at ``step`` of ``total``: linear warm-up, then cosine to 0 or constant."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
