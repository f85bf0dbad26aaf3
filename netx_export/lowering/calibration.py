"""AGMM's gates as constants, for neurons that have none."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lava_bsnn.errors import ExportError
from lava_bsnn.modes import evaluating
from lava_bsnn.modulation import AGMM
from lava_bsnn.training.batches import as_input

Calibration = Tensor | np.ndarray | tuple[Any, Any]
_BATCH = 128


def mean_gates(
    model: Any, blocks: list[torch.nn.Module], calibration: Calibration
) -> tuple[dict[torch.nn.Module, np.ndarray], str]:
    """Mean gate per channel of each AGMM module over inputs, steps and positions; and what that costs.

    Args:
        calibration: inputs as the model takes them, or (inputs, labels).
    """
    inputs, labels = calibration if isinstance(calibration, tuple) else (calibration, None)
    inputs = torch.as_tensor(np.asarray(inputs))
    if labels is not None and np.shape(labels) != (len(inputs),):
        raise ExportError(
            f"convert: calibration has {len(inputs)} samples and labels of shape {np.shape(labels)}; "
            "give one label each"
        )
    network = model if isinstance(model, torch.nn.Module) else torch.nn.Sequential(*blocks)
    modules = [m for one in blocks for m in one.modules() if isinstance(m, AGMM)]
    sums: dict[torch.nn.Module, list[Tensor]] = {module: [] for module in modules}

    def record(module: torch.nn.Module, arguments: tuple[Tensor, ...], gated: Tensor) -> None:
        x = arguments[0]
        # gate = sigmoid(alpha mean): weigh by |x|, so that zeros do not count
        axes = tuple(axis for axis in range(x.dim()) if axis != 1)
        sums[module].append(torch.stack([gated.abs().sum(axes), x.abs().sum(axes)]).double())

    before = _classes(network, inputs, modules, record)
    totals = {module: torch.stack(parts).sum(0) for module, parts in sums.items()}
    gates = {module: (gated / x.clamp(min=1e-30)).numpy() for module, (gated, x) in totals.items()}

    def constant(module: torch.nn.Module, arguments: tuple[Tensor, ...], gated: Tensor) -> Tensor:
        x = arguments[0]
        return x * torch.as_tensor(gates[module]).to(x).reshape(-1, *[1] * (x.dim() - 2))

    after = _classes(network, inputs, modules, constant)
    if labels is None:
        return gates, f"{(before == after).mean():.2%} of {len(inputs)} calibration samples keep their class"
    labels = np.asarray(labels)
    return gates, (
        f"accuracy on {len(inputs)} calibration samples {(before == labels).mean():.2%} -> "
        f"{(after == labels).mean():.2%}"
    )


def _classes(network: torch.nn.Module, inputs: Tensor, modules: list[AGMM], hook: Any) -> np.ndarray:
    """Class of each input, with a forward hook on the gates."""
    with contextlib.ExitStack() as stack, evaluating(network):
        for module in modules:
            stack.callback(module.register_forward_hook(hook).remove)
        results = [
            network(as_input(network, inputs[start : start + _BATCH]))
            for start in range(0, len(inputs), _BATCH)
        ]
    logits = [part[0] if isinstance(part, tuple) else part for part in results]
    parts = [part.sum(-1) if part.dim() == 3 else part for part in logits]  # 2: of a sum over time
    result: np.ndarray = torch.cat([part.argmax(1) for part in parts]).cpu().numpy()
    return result
