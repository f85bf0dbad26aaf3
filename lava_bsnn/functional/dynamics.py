"""Neuron dynamics as autograd functions over time-major tensors ``[T, N, ...]``.

Each keeps one tensor of the input's size for its backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .surrogate import Derivative


class _LeakyIntegrate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, retain: Tensor, state: Tensor) -> Tensor:
        y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        previous = state
        for t in range(x.shape[0]):
            torch.addcmul(x[t], previous, retain, out=y[t])
            previous = y[t]
        ctx.save_for_backward(y, retain, state)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        y, retain, state = ctx.saved_tensors
        grad_x = grads[0].clone(memory_format=torch.contiguous_format)
        for t in range(len(y) - 2, -1, -1):
            grad_x[t].addcmul_(grad_x[t + 1], retain)
        grad_retain = None
        if ctx.needs_input_grad[1]:
            grad_retain = (grad_x[0] * state).sum_to_size(retain.shape)
            grad_retain += (grad_x[1:] * y[:-1]).sum(0).sum_to_size(retain.shape)
        return grad_x, grad_retain, None


def leaky_integrate(x: Tensor, retain: Tensor, state: Tensor) -> Tensor:
    """Integrate ``y[t] = retain * y[t-1] + x[t]`` with ``y[-1] = state``.

    Args:
        x: input ``[T, N, ...]``.
        retain: factor in 0..1, broadcast against ``x[t]``; its gradient is computed.
        state: ``y[-1]``, broadcast against ``x[t]``; detached.
    """
    result: Tensor = _LeakyIntegrate.apply(x, retain, state)
    return result


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        retain: Tensor,
        state: Tensor,
        threshold: float,
        derivative: Derivative,
        gamma: float,
        detach_reset: bool,
    ) -> tuple[Tensor, Tensor]:
        potential = torch.empty(current.shape, dtype=current.dtype, device=current.device)
        spikes = torch.empty_like(potential)
        previous = state
        for t in range(current.shape[0]):
            torch.addcmul(current[t], previous, retain, out=potential[t])
            torch.ge(potential[t], threshold, out=spikes[t])  # bool masks are far slower on a CPU
            previous = torch.addcmul(potential[t], potential[t], spikes[t], value=-1)
        ctx.save_for_backward(potential, retain, state)
        ctx.options = (threshold, derivative, gamma, detach_reset)
        ctx.mark_non_differentiable(potential)
        return spikes, potential

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        potential, retain, state = ctx.saved_tensors
        threshold, derivative, gamma, detach_reset = ctx.options
        quiet = torch.lt(potential, threshold, out=torch.empty_like(potential))  # 1 - s
        slope = derivative(potential - threshold, gamma)
        # dL/du[t] = dL/ds[t] * slope[t] + dL/du[t+1] * retain * dv[t]/du[t]
        carry = (quiet if detach_reset else torch.addcmul(quiet, potential, slope, value=-1)) * retain
        grad_current = slope * grads[0]
        for t in range(len(potential) - 2, -1, -1):
            grad_current[t].addcmul_(grad_current[t + 1], carry[t])
        grad_retain = None
        if ctx.needs_input_grad[1]:
            kept = potential[:-1] * quiet[:-1]
            grad_retain = (grad_current[0] * state).sum_to_size(retain.shape)
            grad_retain += (grad_current[1:] * kept).sum(0).sum_to_size(retain.shape)
        return grad_current, grad_retain, None, None, None, None, None


def lif(
    current: Tensor,
    retain: Tensor,
    state: Tensor,
    *,
    threshold: float,
    derivative: Derivative,
    gamma: float,
    detach_reset: bool = False,
) -> tuple[Tensor, Tensor]:
    """Leaky integrate-and-fire with hard reset (AGMM eq. 1-4).

    Forward: ``u[t] = retain * v[t-1] + I[t]``, ``s[t] = u[t] >= threshold``,
    ``v[t] = u[t] * (1 - s[t])``.
    Gradient: ``ds/du = derivative(u - threshold, gamma)``; it also flows through the reset
    factor ``1 - s[t]`` unless ``detach_reset``.

    Args:
        current: I, ``[T, N, ...]``.
        retain: tau in 0..1, broadcast against ``current[t]``; its gradient is computed.
        state: v[-1], broadcast against ``current[t]``; detached.

    Returns:
        Spikes (0 or 1) and membrane potential before reset, both ``[T, N, ...]``. The
        potential carries no gradient.
    """
    spikes, potential = _LIF.apply(current, retain, state, threshold, derivative, gamma, detach_reset)
    return spikes, potential
