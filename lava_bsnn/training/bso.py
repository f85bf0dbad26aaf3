"""Binary Spiking Online optimisation (BSO): 1-bit weights that flip, without latent weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..errors import OptionError
from ..functional.weights import sign
from ..synapse import Binarize


def one_bit_weights(model: torch.nn.Module) -> dict[str, Any]:
    """Synapses whose 1-bit weights can do without latent ones, by layer name.

    Raises:
        OptionError: a hook needs latent weights, or there are no 1-bit weights.
    """
    from ..analysis._model import select

    found = select(model, "binary", "bso")
    for name, synapse in found.items():
        hook = synapse.pre_hook_fx
        if not isinstance(hook, Binarize) or hook != Binarize(scale=hook.scale, latent=hook.latent):
            raise OptionError(
                f"bso: {name}: {hook} needs latent weights; use Binarize() without clip, standardize and "
                "sharpness"
            )
        if synapse.weight_norm_enabled:
            raise OptionError(f"bso: {name}: weight_norm=True needs latent weights; use weight_norm=False")
    return found


def without_latent_weights(model: torch.nn.Module) -> list[Parameter]:
    """Let each 1-bit weight be its sign, +1 or -1, from now on; return the parameters.

    Norms behind learn the scale that the signs lose. The weights' hooks become ``Binarize(latent=False)``,
    which computes with the parameter itself.

    Raises:
        OptionError: as :func:`one_bit_weights`.
    """
    parameters = []
    for synapse in one_bit_weights(model).values():
        parameter = synapse._parameters["weight"]
        with torch.no_grad():
            parameter.copy_(sign(parameter))
        synapse.pre_hook_fx = dataclasses.replace(synapse.pre_hook_fx, latent=False)
        parameters.append(parameter)
    return parameters


class BSO(torch.optim.Optimizer):
    """Flips weights of +1 and -1 against the mean of their gradients; others take steps of SGD.

    Flip: ``m <- b m + (1 - b) g``; ``w <- -w`` where ``w m > threshold`` (BSO, ICML 2025). The gradient is
    that of all time steps, once per batch. Others: ``v <- momentum v + g + decay w``, ``w <- w - lr v``.

    Args:
        flipping: parameters of +1 and -1.
        groups: other parameters, as for ``torch.optim.SGD``; ``weight_decay`` may be their own.
        lr: learning rate of the others.
        momentum: of the others.
        nesterov: the others step by ``g + decay w + momentum v``.
        threshold: > 0, in units of gradient.
        flip_decay: b, 0..1.
    """

    def __init__(
        self,
        flipping: Iterable[Parameter],
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        nesterov: bool = False,
        threshold: float = 5e-7,
        flip_decay: float = 0.999,
    ) -> None:
        for name, value, fits in (
            ("flip_threshold", threshold, threshold > 0),
            ("flip_decay", flip_decay, 0 <= flip_decay < 1),
        ):
            if not fits:
                allowed = "a number > 0" if name == "flip_threshold" else "0 or more, below 1"
                raise OptionError(f"bso: {name}={value!r} is not allowed; use {allowed}")
        super().__init__(
            [
                {"params": list(flipping), "flips": True},
                *({"flips": False, **group} for group in groups),
            ],
            {
                "lr": lr,
                "momentum": momentum,
                "nesterov": nesterov,
                "weight_decay": 0.0,
                "threshold": threshold,
                "flip_decay": flip_decay,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Flip weights and step the others; ``closure`` computes the gradients anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    (self._flip if group["flips"] else self._descend)(parameter, parameter.grad, group)
        return loss

    def _mean(self, parameter: Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        mean: Tensor = state["momentum"]
        return mean

    def _flip(self, weight: Parameter, grad: Tensor, group: dict[str, Any]) -> None:
        mean = self._mean(weight).lerp_(grad, 1 - group["flip_decay"])
        weight.copy_(torch.where(weight * mean > group["threshold"], -weight, weight))

    def _descend(self, parameter: Parameter, grad: Tensor, group: dict[str, Any]) -> None:
        grad = grad.add(parameter, alpha=group["weight_decay"])
        velocity = self._mean(parameter).mul_(group["momentum"]).add_(grad)
        step = grad.add(velocity, alpha=group["momentum"]) if group["nesterov"] else velocity
        parameter.sub_(step, alpha=group["lr"])
