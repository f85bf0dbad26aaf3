"""AGMM's gates as constants, for neurons that have none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LavaBsnnError
from ..modes import evaluating
from ..modulation import AGMM, ConstantGate
from .batches import as_input

_BATCH = 128


def has_gates(model: torch.nn.Module) -> bool:
    """Whether a model has gates that see their input."""
    return any(isinstance(module, AGMM) for module in model.modules())


def freeze_gates(model: torch.nn.Module, inputs: Any, labels: Any = None) -> str:
    """Replace each gate of AGMM by its mean per channel, a :class:`lava_bsnn.modulation.ConstantGate`.

    The mean goes over inputs, steps and positions; larger currents count more, zeros do not.

    Args:
        model: maps inputs to logits; its gates are replaced.
        inputs: samples as the model takes them, tensor or array.
        labels: of the samples, ``[N]``.

    Returns:
        What that costs, in words: accuracy before and after; without labels, how many samples keep their
        class.

    Raises:
        LavaBsnnError: there is no sample, or not one label each.
    """
    inputs = torch.as_tensor(np.asarray(inputs))
    if not len(inputs) or (labels is not None and np.shape(labels) != (len(inputs),)):
        raise LavaBsnnError(
            f"freeze_gates: calibration has {len(inputs)} samples and labels of shape {np.shape(labels)}; "
            "give one label each"
        )
    sums: dict[torch.nn.Module, list[Tensor]] = {}

    def record(module: torch.nn.Module, arguments: tuple[Tensor, ...], gated: Tensor) -> None:
        x = arguments[0]
        axes = tuple(axis for axis in range(x.dim()) if axis != 1)
        sums.setdefault(module, []).append(torch.stack([gated.abs().sum(axes), x.abs().sum(axes)]).double())

    before = _classes(model, inputs, record)
    for module in list(model.modules()):
        if isinstance(getattr(module, "modulation", None), AGMM):
            gated, x = torch.stack(sums[module.modulation]).sum(0)  # type: ignore[index]
            module.modulation = ConstantGate(gated / x.clamp(min=1e-30))
    after = _classes(model, inputs)
    if labels is None:
        return f"{(before == after).mean():.2%} of {len(inputs)} calibration samples keep their class"
    labels = np.asarray(labels)
    return (
        f"accuracy on {len(inputs)} calibration samples {(before == labels).mean():.2%} -> "
        f"{(after == labels).mean():.2%}"
    )


def _classes(model: torch.nn.Module, inputs: Tensor, hook: Callable[..., None] | None = None) -> np.ndarray:
    """Class of each input; ``hook`` sees what the gates do."""
    with contextlib.ExitStack() as stack, evaluating(model):
        for module in model.modules():
            if hook is not None and isinstance(module, AGMM):
                stack.callback(module.register_forward_hook(hook).remove)
        results = [
            model(as_input(model, inputs[start : start + _BATCH])) for start in range(0, len(inputs), _BATCH)
        ]
    logits = [part[0] if isinstance(part, tuple) else part for part in results]
    parts = [part.sum(-1) if part.dim() == 3 else part for part in logits]  # 2: of a sum over time
    result: np.ndarray = torch.cat([part.argmax(1) for part in parts]).cpu().numpy()
    return result
