"""The annealed gradient of 1-bit weights: wide in the first epoch, nearly the sign's own in the last."""

from __future__ import annotations

import dataclasses

import torch

from ..functional.weights import FIRST_SHARPNESS, LAST_SHARPNESS
from ..synapse import Binarize


def sharpness(epoch: int, epochs: int) -> float:
    """t of the estimator in ``epoch``, counted from 0: from 0.1 to 10, by the same factor each epoch."""
    share = epoch / max(1, epochs - 1)
    return float(FIRST_SHARPNESS * (LAST_SHARPNESS / FIRST_SHARPNESS) ** share)


def annealed(model: torch.nn.Module) -> list[tuple[torch.nn.Module, Binarize]]:
    """Modules whose 1-bit weights are annealed, with their hooks."""
    hooks = ((module, getattr(module, "_pre_hook_fx", None)) for module in model.modules())
    return [(one, hook) for one, hook in hooks if isinstance(hook, Binarize) and hook.sharpness is not None]


def anneal(model: torch.nn.Module, epoch: int, epochs: int) -> float | None:
    """Give all annealed 1-bit weights the t of an epoch; :func:`lava_bsnn.training.fit` does it for each.

    Args:
        model: whose weights' hooks are ``Binarize(sharpness=...)`` where they are annealed.
        epoch: counted from 0.
        epochs: of the whole run.

    Returns:
        t, or None where no weights are annealed.
    """
    now, found = sharpness(epoch, epochs), annealed(model)
    for module, hook in found:
        module.pre_hook_fx = dataclasses.replace(hook, sharpness=now)  # type: ignore[assignment]
    return now if found else None
