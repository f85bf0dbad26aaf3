"""Neuron dynamics as autograd functions over time-major tensors ``[T, N, ...]``.

Each keeps one tensor of the input's size for its backward pass. What is written here in torch is the
definition; where :mod:`~lava_bsnn.functional.backend` has kernels for it, they run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..waiting import is_at_hand
from . import kernels, matched
from .backend import backend_of
from .drive import Drive, as_drive, parts_of
from .membrane import FixedPointMembrane, round_to_levels
from .surrogate import Derivative, exponential, rectangular, triangular

_KINDS: dict[Derivative, int] = {
    triangular: kernels.TRIANGULAR,
    rectangular: kernels.RECTANGULAR,
    exponential: kernels.EXPONENTIAL,
}


class _LeakyIntegrate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, retain: Tensor, state: Tensor) -> Tensor:
        y = torch.empty_like(x)
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


@dataclass(frozen=True, kw_only=True)
class Memory:
    """How a membrane potential is kept from one step to the next in k bits (Q-SNN).

    Attributes:
        bits: 2..24.
        scale: alpha_u of a step, given the potential to be quantised.
        before_spike: quantise before the spike is decided (Q-SNN algorithm 1) instead of
            only what is stored (eq. 12).
        squash: quantise the potential's hyperbolic tangent (Q-SNN's program).
    """

    bits: int
    scale: Callable[[Tensor], Tensor]
    before_spike: bool = False
    squash: bool = False

    def squashed(self, potential: Tensor) -> Tensor:
        """What is rounded."""
        return torch.tanh(potential) if self.squash else potential


@dataclass(frozen=True, kw_only=True)
class Spiking:
    """What makes spikes of a membrane potential.

    Attributes:
        threshold: fires at or above it.
        strict: fire only above it.
        derivative: surrogate ``ds/du`` of ``u - threshold`` and ``gamma``.
        gamma: width of the surrogate.
        scale: factor on it.
        detach_reset: let no gradient flow through the reset.
        ignore_reset: let the gradient pass a step as if there were no reset, as in SLAYER.
        memory: quantisation of the stored potential; None for none.
        fixed_point: run the forward pass in the device's integers; None for floating point.
    """

    threshold: float
    derivative: Derivative
    gamma: float = 1.0
    scale: float = 1.0
    detach_reset: bool = False
    ignore_reset: bool = False
    memory: Memory | None = None
    fixed_point: FixedPointMembrane | None = None
    strict: bool = False

    def fires(self, potential: Tensor, out: Tensor) -> Tensor:
        """Spikes, 0 or 1 in the potential's type: bool masks are far slower on a CPU."""
        return (torch.gt if self.strict else torch.ge)(potential, self.threshold, out=out)

    def slope(self, distance: Tensor) -> Tensor:
        """``ds/du`` for ``u - threshold``."""
        slope = self.derivative(distance, self.gamma)
        return slope if self.scale == 1 else slope * self.scale

    def backend(self, images: Tensor, retain: Tensor) -> ModuleType | None:
        """Kernels that compute this; None where they do not know it, and the definition in torch runs."""
        if self.fixed_point is not None or retain.numel() != 1 or self.derivative not in _KINDS:
            return None
        if self.strict or (self.memory is not None and (self.memory.before_spike or self.memory.squash)):
            return None
        return backend_of(images, bits=self.memory is not None)

    def has_matched_kernels(self, potential: Tensor, retain: Tensor) -> bool:
        """Whether kernels know the gradient of neurons in matched mode."""
        if self.fixed_point is None or self.memory is not None or self.strict:
            return False
        known = retain.numel() == 1 and self.derivative in _KINDS
        return known and matched.knows(potential, self.fixed_point.voltage_decay)

    @property
    def neurons(self) -> kernels.Neurons:
        """The same as parameters of kernels."""
        width, height = _form(self.derivative, self.gamma, self.scale)
        reset = kernels.DETACHED if self.detach_reset else kernels.EXACT
        return kernels.Neurons(
            threshold=np.float32(self.threshold),
            levels=np.float32(0 if self.memory is None else (1 << (self.memory.bits - 1)) - 1),
            width=width,
            height=height,
            surrogate=_KINDS[self.derivative],
            reset=kernels.IGNORED if self.ignore_reset else reset,
        )


def _form(derivative: Derivative, gamma: float, scale: float) -> tuple[np.float32, np.float32]:
    """Width and height of a surrogate gradient as kernels have them."""
    width, height = np.float32(gamma), np.float32(scale)
    if derivative is triangular:
        return width, height / (width * width)
    if derivative is rectangular:
        return width / np.float32(2), height / width
    return width, height / (np.float32(2) * width)


def _number(retain: Tensor) -> float | None:
    """A factor that all neurons share: as a number it is faster than as a tensor, where it is known."""
    return float(retain) if retain.numel() == 1 and is_at_hand(retain) else None


def _run(
    current: Tensor, retain: Tensor, state: Tensor, how: Spiking
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Spikes, potential before reset, final stored potential, and alpha_u of each step."""
    potential = torch.empty_like(current)
    spikes = torch.empty_like(potential)
    memory, scales, stored = how.memory, [], state
    factor = _number(retain)
    scratch = torch.empty_like(potential[0])  # fresh memory costs page faults
    for t in range(current.shape[0]):
        if factor is None:
            u = torch.addcmul(current[t], stored, retain, out=potential[t])
        else:
            u = torch.add(current[t], stored, alpha=factor, out=potential[t])
        if memory is not None and memory.before_spike:
            scales.append(memory.scale(u))
            u = round_to_levels(u, memory.bits, scales[t])
        how.fires(u, spikes[t])
        stored = torch.addcmul(u, u, spikes[t], value=-1, out=scratch)
        if memory is not None and not memory.before_spike:
            stored = memory.squashed(stored)
            scales.append(memory.scale(stored))
            stored = round_to_levels(stored, memory.bits, scales[t])
    return spikes, potential, stored, scales


class _KernelLIF(torch.autograd.Function):
    """A layer by kernels, which compute potentials anew in their backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        gain: Tensor | None,
        offset: Tensor | None,
        skipped: Tensor | None,
        retain: Tensor,
        state: Tensor,
        how: Spiking,
        steps: int,
        with_potential: bool,
        with_stored: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        ctx.steps, ctx.neurons, ctx.backend = steps, how.neurons, how.backend(images, retain)
        drive = as_drive((images, gain, offset, skipped, steps))
        scale = None if how.memory is None else how.memory.scale
        spikes, potential, stored, ctx.alphas = ctx.backend.lif_forward(
            drive,
            retain,
            state,
            ctx.neurons,
            scale,
            with_potential=with_potential,
            with_stored=with_stored,
        )
        ctx.set_materialize_grads(False)  # of potentials
        ctx.save_for_backward(images, gain, offset, skipped, retain, state)
        ctx.mark_non_differentiable(*[given for given in (stored, potential) if given is not None])
        return spikes, potential, stored

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *parts, retain, state = ctx.saved_tensors
        drive, learns = as_drive((*parts, ctx.steps)), ctx.needs_input_grad[4]
        gradients, learned = ctx.backend.lif_backward(
            grads[0], drive, retain, state, ctx.neurons, ctx.alphas, learns
        )
        return *gradients, learned, None, None, None, None, None


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, retain: Tensor, state: Tensor, how: Spiking
    ) -> tuple[Tensor, Tensor, Tensor]:
        bounds: list[Tensor] = []  # of the stored potential, per step; empty without quantisation
        if how.fixed_point is not None:
            spikes, potential, stored = how.fixed_point.run(current, state)
            bounds = [potential.new_full((), how.fixed_point.limit)] * len(potential)
        else:
            spikes, potential, stored, bounds = _run(current, retain, state, how)
        ctx.set_materialize_grads(False)  # of potentials
        ctx.save_for_backward(potential, retain, state, *bounds)
        ctx.how = how
        ctx.mark_non_differentiable(potential, stored)
        return spikes, potential, stored

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        potential, retain, state, *bounds = ctx.saved_tensors
        how: Spiking = ctx.how
        exact = how.fixed_point
        if exact is not None and how.has_matched_kernels(potential, retain):
            grad, learned = matched.backward(
                grads[0], potential, retain, state, how.neurons, exact.fires_above, exact.limit
            )
            return grad, learned if ctx.needs_input_grad[1] else None, None, None
        before = how.memory is not None and how.memory.before_spike
        squash = how.memory is not None and how.memory.squash
        bound = torch.stack(bounds).reshape(-1, *[1] * (potential.dim() - 1)) if bounds else None

        def stored(x: Tensor, limit: Tensor | None) -> Tensor:
            if how.memory is None:
                return x
            return round_to_levels(how.memory.squashed(x), how.memory.bits, limit)  # type: ignore[arg-type]

        grad_current = torch.empty_like(potential)
        learn_retain = ctx.needs_input_grad[1]
        grad_retain = torch.zeros_like(retain) if learn_retain else None
        quiet = torch.empty_like(potential[0])  # 1 - s
        factor = _number(retain)
        for t in range(len(potential) - 1, -1, -1):  # step by step: the scratch stays in the cache
            limit = bound[t] if bound is not None else None
            decided = stored(potential[t], limit) if before else potential[t]
            if how.fixed_point is not None:
                torch.le(decided, how.fixed_point.fires_above, out=quiet)
            else:
                (torch.le if how.strict else torch.lt)(decided, how.threshold, out=quiet)
            slope = how.slope(decided - how.threshold)
            kept = decided * quiet if learn_retain or (bound is not None and not before) else None
            if how.ignore_reset:
                through = quiet.fill_(1)
            else:
                through = quiet if how.detach_reset else quiet.addcmul_(decided, slope, value=-1)
            if limit is not None:  # rounding passes the gradient on inside the range only
                rounded = potential[t] if before else kept
                assert rounded is not None
                rounded = rounded if how.memory is None else how.memory.squashed(rounded)
                inside = (rounded.abs() <= limit).to(potential.dtype)
                through = through * inside
                if squash:
                    through = through * (1 - rounded.square())
                slope = slope * inside if before else slope
            torch.mul(grads[0][t], slope, out=grad_current[t])
            if t + 1 < len(potential):  # dL/du[t] += dL/du[t+1] * retain * d stored[t] / du[t]
                if factor is None:
                    grad_current[t].addcmul_(grad_current[t + 1] * retain, through)
                else:
                    grad_current[t].addcmul_(grad_current[t + 1], through, value=factor)
                if grad_retain is not None and kept is not None:
                    memory = kept if before else stored(kept, limit)
                    grad_retain += (grad_current[t + 1] * memory).sum_to_size(retain.shape)
        if grad_retain is not None:
            grad_retain += (grad_current[0] * state).sum_to_size(retain.shape)
        return grad_current, grad_retain, None, None


def lif(
    current: Tensor | Drive,
    retain: Tensor,
    state: Tensor,
    how: Spiking,
    *,
    with_potential: bool = True,
    with_stored: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Leaky integrate-and-fire with hard reset (AGMM eq. 1-4, Q-SNN eq. 1-3 and 12).

    Forward: ``u[t] = retain * Q(v[t-1]) + I[t]``, ``s[t] = u[t] >= threshold``,
    ``v[t] = u[t] * (1 - s[t])``; Q is the identity without ``how.memory``.
    Gradient: ``ds/du = derivative(u - threshold, gamma)``; it also flows through the reset
    factor ``1 - s[t]`` unless ``how.detach_reset``; Q is passed straight through.

    Args:
        current: I, ``[T, N, ...]``, or what makes it.
        retain: tau in 0..1, broadcast against ``current[t]``; its gradient is computed.
        state: stored v[-1], broadcast against ``current[t]``; detached.
        how: threshold, surrogate, reset and memory.
        with_potential, with_stored: False where the second or third result is not needed, and may be None.

    Returns:
        Spikes (0 or 1) and membrane potential before reset, both ``[T, N, ...]``, and the
        stored potential after the last step. The potentials carry no gradient.
    """
    parts = parts_of(current)
    result: tuple[Tensor, Tensor | None, Tensor | None]
    if how.backend(parts[0], retain) is not None:
        wanted = with_potential, with_stored
        result = _KernelLIF.apply(*parts[:4], retain, state, how, parts[4], *wanted)
    else:
        result = _LIF.apply(current.current() if isinstance(current, Drive) else current, retain, state, how)
    return result
