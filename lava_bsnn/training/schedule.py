"""Optimizers by name, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..errors import OptionError, check_option

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer

    MakeOptimizer = Callable[[Iterable[Parameter]], Optimizer]
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "constant")


def optimizer(
    name: str = "adamw", *, lr: float = 2e-3, weight_decay: float = 1e-4, momentum: float = 0.9
) -> MakeOptimizer:
    """Return a maker of an optimizer; weight decay acts on weights, not on norms, biases and thresholds.

    Args:
        name: ``"sgd"`` (with ``momentum``), ``"adam"`` or ``"adamw"``.
        lr: learning rate at the top of the schedule.
    """
    check_option("optimizer", "name", name, OPTIMIZERS)
    for what, value in (("lr", lr), ("weight_decay", weight_decay), ("momentum", momentum)):
        if not isinstance(value, (int, float)) or not value >= 0:
            raise OptionError(f"optimizer: {what}={value} is not allowed; use a number of 0 or more")

    def make(parameters: Iterable[Parameter]) -> Optimizer:
        import torch

        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if name == "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=momentum)
        return (torch.optim.Adam if name == "adam" else torch.optim.AdamW)(groups, lr=lr)

    return make


def rate_factor(step: int, total: int, warmup: int = 0, schedule: str = "cosine") -> float:
    """Factor on the learning rate at ``step`` of ``total``: linear warm-up, then cosine to 0 or constant."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
