"""When and where numbers stop being finite."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LavaBsnnError


class Watch:
    """Remembers on a GPU the first step that is not finite, without waiting for it.

    From that step on, gradients are 0, so that weights still show what happened when it is looked at.
    """

    def __init__(self, device: torch.device) -> None:
        self._found = torch.full((3,), -1.0, dtype=torch.float64, device=device)  # step, loss, norm

    def step(self, step: int, loss: Tensor, norm: Tensor | None, model: torch.nn.Module) -> None:
        """Note a step, and clear its gradients, which have this norm, if it is the one or behind it."""
        loss = loss.double()
        now = torch.stack([torch.full_like(loss, step), loss, loss if norm is None else norm.to(loss)])
        first = (self._found[0] < 0) & ~now.isfinite().all()
        self._found = torch.where(first, now, self._found)
        behind = self._found[0] >= 0
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(behind, 0)

    def look(self) -> tuple[int, float, float] | None:
        """The step (counted from 0), its loss and its gradient's norm; None if all was finite."""
        step, loss, norm = self._found.tolist()
        return None if step < 0 else (int(step), loss, norm)


def loss_not_finite(
    model: torch.nn.Module, inputs: Tensor, loss: float, epoch: int, step: int
) -> LavaBsnnError:
    """What to raise for the loss of a step; it and its epoch are counted from 0."""
    return _not_finite(epoch, step, f"the loss is {loss}", first_not_finite(model, inputs))


def gradient_not_finite(model: torch.nn.Module, norm: float, epoch: int, step: int) -> LavaBsnnError:
    """The same for the norm of its gradient, which the parameters hold."""
    bad = [n for n, p in model.named_parameters() if p.grad is not None and not is_finite(p.grad)]
    where = bad[0] if bad else "the model"
    return _not_finite(epoch, step, f"the gradient's norm is {norm}", f"gradient of {where}")


def _not_finite(epoch: int, step: int, what: str, where: str) -> LavaBsnnError:
    return LavaBsnnError(
        f"fit: {what} in epoch {epoch + 1}, step {step + 1}; first not finite: {where}; use a "
        "smaller learning rate or clip_norm; the last checkpoint is kept"
    )


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are."""
    return bool(torch.isfinite(tensor).all())


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
