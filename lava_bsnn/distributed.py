"""Reductions over the processes of a distributed run; without one, values stay as they are."""

from __future__ import annotations

from typing import Any

import torch.distributed
from torch import Tensor


def world_size() -> int:
    """Number of processes; 1 outside of a distributed run."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def rank() -> int:
    """Number of this process; 0 outside of a distributed run."""
    return torch.distributed.get_rank() if world_size() > 1 else 0


class _Sum(torch.autograd.Function):
    """Sum over the processes in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(gradient)
        return gradient


def total(x: Tensor) -> Tensor:
    """Sum over the processes; gradients are summed likewise."""
    return x if world_size() == 1 else _Sum.apply(x)


def mean(x: Tensor) -> Tensor:
    """Mean over the processes, with its gradient."""
    return total(x) / world_size()


def largest(x: Tensor) -> Tensor:
    """Maximum over the processes, without gradient."""
    if world_size() == 1:
        return x
    x = x.detach().clone()
    torch.distributed.all_reduce(x, torch.distributed.ReduceOp.MAX)
    return x
