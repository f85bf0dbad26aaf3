"""Where numbers stop being finite."""

from __future__ import annotations

import torch
from torch import Tensor


def first_not_finite(model: torch.nn.Module, inputs: Tensor) -> str:
    """Say in words where a forward pass in the model's mode first gives nan or infinity.

    Parameters are looked at first, since one step may have spoilt them all. Buffers and with
    them batch norm statistics and neuron states are restored.
    """
    if not torch.isfinite(inputs).all():
        bad = [n for n in range(len(inputs)) if not torch.isfinite(inputs[n]).all()]
        return f"the input (sample {bad[0]} of the batch)"
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"parameter {_called(model, name)}"
    found: list[str] = []

    def check(name: str) -> object:
        def hook(module: torch.nn.Module, args: object, output: object) -> None:
            if isinstance(output, Tensor) and not found and not torch.isfinite(output).all():
                found.append(f"layer {_called(model, name) or 'model'} ({type(module).__name__})")

        return hook

    hooks = [module.register_forward_hook(check(name)) for name, module in model.named_modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for name, buffer in model.named_buffers():
            if name in buffers and buffer.shape == buffers[name].shape:
                buffer.copy_(buffers[name])
    return found[0] if found else "the loss (all layers are finite)"


def _called(model: torch.nn.Module, path: str) -> str:
    """A path in the model, behind the name that its innermost named block was given, if any."""
    named = {name: getattr(module, "name", None) for name, module in model.named_modules()}
    owners = [
        name for name, own in named.items() if isinstance(own, str) and f"{path}.".startswith(f"{name}.")
    ]
    return f"{named[max(owners, key=len)]}: {path}" if owners else path
