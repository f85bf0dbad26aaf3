"""Dynamics of neurons that feed each other: :mod:`lava_bsnn.functional.dynamics` step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .dynamics import Spiking
from .membrane import FixedPointMembrane, round_to_levels
from .weights import straight_through


@dataclass(frozen=True, kw_only=True, eq=False)
class Feedback:
    """How the spikes of a layer feed it, one step later.

    Attributes:
        weight: real weights ``[C, C]``, receivers first.
        steps: membrane steps per spike ``[C, C]``, float64, whole: what matched mode computes with.
    """

    weight: Tensor
    steps: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """What a step leaves for the next, ``[N, C]`` each.

    Attributes:
        current: behind its decay.
        potential: stored.
        spikes: sent.
    """

    current: Tensor
    potential: Tensor
    spikes: Tensor


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, potential: Tensor, fires_above: float | None, how: Spiking) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.how = how
        if fires_above is None:
            return how.fires(potential, torch.empty_like(potential))
        return (potential > fires_above).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (potential,), how = ctx.saved_tensors, ctx.how
        return grads[0] * how.slope(potential - how.threshold), None, None


def recurrent_lif(
    x: Tensor, feedback: Feedback, keep_current: Tensor, keep_potential: Tensor, state: State, how: Spiking
) -> tuple[Tensor, Tensor, Tensor, State]:
    """Leaky integrate-and-fire neurons with hard reset that feed each other.

    Forward: ``c[t] = keep_current c[t-1] + I[t] + R s[t-1]``, then as :func:`lava_bsnn.functional.lif` with
    the current c. The gradient flows through time, the reset as ``how`` says, and the feedback.

    Args:
        x: I, ``[T, N, C]``.
        feedback: R.
        keep_current, keep_potential: what is kept of one step in the next, 0..1, ``[1]`` or ``[C]``.
        state: before the first step.
        how: threshold, surrogate, reset and memory.

    Returns:
        Spikes, current, and potential before reset, ``[T, N, C]``, and the state after the last step.
    """
    exact, rows = how.fixed_point, []
    for arriving in x:
        fed = F.linear(state.spikes, feedback.weight)
        current = arriving + fed + keep_current * state.current
        potential = keep_potential * state.potential + current
        if exact is not None:
            assert feedback.steps is not None
            current, potential = _on_grid(exact, feedback.steps, arriving, state, current, potential)
        if how.memory is not None and how.memory.before_spike:
            potential = _kept(potential, how)
        spikes = _Spike.apply(potential, None if exact is None else exact.fires_above, how)
        silent = 1 - (spikes.detach() if how.detach_reset or how.ignore_reset else spikes)
        stored = potential * silent
        if how.ignore_reset:
            stored = straight_through(stored, potential)
        if exact is not None:
            stored = _clipped(exact.stored(stored), stored, exact.limit)
        elif how.memory is not None and not how.memory.before_spike:
            stored = _kept(stored, how)
        state = State(current=current, potential=stored, spikes=spikes)
        rows.append((spikes, current, potential))
    spikes, current, potential = (torch.stack(row) for row in zip(*rows, strict=True))
    return spikes, current, potential, state


def _on_grid(
    exact: FixedPointMembrane, steps: Tensor, arriving: Tensor, state: State, *real: Tensor
) -> tuple[Tensor, ...]:
    """Current and potential in the device's integers, with the gradient of the real ones."""
    with torch.no_grad(), torch.autocast(arriving.device.type, enabled=False):
        entered = (arriving.double() * exact.unit).round() + F.linear(state.spikes.double(), steps)
        potential = exact.integrate(state.potential, entered)
        values = (entered / exact.unit, potential)
    return tuple(straight_through(value.to(one.dtype), one) for value, one in zip(values, real, strict=True))


def _kept(potential: Tensor, how: Spiking) -> Tensor:
    """A potential in k bits (Q-SNN eq. 10)."""
    assert how.memory is not None
    held = how.memory.squashed(potential)
    alpha = how.memory.scale(held.detach())
    return _clipped(round_to_levels(held.detach(), how.memory.bits, alpha), held, alpha)


def _clipped(value: Tensor, carrier: Tensor, limit: Tensor | float) -> Tensor:
    """A rounded value, with the gradient of what was rounded where it is in range."""
    return straight_through(value, carrier * (carrier.detach().abs() <= limit))
