"""Multi-threshold neurons and the QCFS activation that they equal (LM-HT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import fixed_point
from ..errors import OptionError
from .backend import backend_of
from .drive import Drive, as_drive, parts_of


@dataclass(frozen=True, kw_only=True)
class FixedPointMultiThreshold:
    """Integer arithmetic of one layer of multi-threshold neurons, as the device runs it.

    Attributes:
        unit: membrane steps per unit of current.
        threshold: theta > 0, membrane steps.
        initial: v[-1], membrane steps.
        levels: L >= 1.
        lam: factor on the kept potential in 1/4096, one number or one per step ``[T]``.
        omega: mixing of steps in front of the neurons in 1/4096, ``[T, F]``; None for none.
    """

    unit: float
    threshold: int
    initial: int
    levels: int
    lam: Tensor
    omega: Tensor | None = None

    def mix(self, current: Tensor, omega: Tensor) -> Tensor:
        """Currents ``[T', N, ...]`` mixed by rows of ``omega``, without gradient."""
        steps = fixed_point.mix((current * self.unit).round().long(), omega)
        return (steps / self.unit).to(current.dtype)

    def run(self, current: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Spike counts and potential m ``[T, N, ...]``, and v after the last step.

        Currents are rounded to membrane steps; everything behind is exact.
        """
        spikes, membrane = torch.empty_like(current), torch.empty_like(current)
        v = (state * self.unit).round().long().expand(current.shape[1:])
        lam = self.lam.expand(len(current)).tolist()
        for t, steps in enumerate(current):
            counts, m, v = fixed_point.multi_threshold_step(
                v,
                (steps * self.unit).round().long(),
                threshold=self.threshold,
                levels=self.levels,
                lam=lam[t],
            )
            spikes[t], membrane[t] = counts, m / self.unit
        return spikes, membrane, (v / self.unit).to(current.dtype)


class _MultiThreshold(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        lam: Tensor,
        threshold: Tensor,
        state: Tensor,
        levels: int,
        exact: FixedPointMultiThreshold | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if exact is not None:
            spikes, membrane, v = exact.run(current, state)
        else:
            membrane = torch.empty_like(current)
            spikes = torch.empty_like(membrane)
            v = state
            for t in range(current.shape[0]):
                torch.addcmul(current[t], v, lam[t], out=membrane[t])
                torch.div(membrane[t], threshold, out=spikes[t]).floor_().clamp_(0, levels)
                v = membrane[t] - threshold * spikes[t]
        ctx.set_materialize_grads(False)  # of potentials
        ctx.save_for_backward(membrane, threshold, state)
        ctx.levels = levels
        ctx.mark_non_differentiable(membrane, v)
        return spikes, membrane, v

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        membrane, threshold, state = ctx.saved_tensors
        band = (membrane >= 0.5 * threshold) & (membrane <= (ctx.levels + 0.5) * threshold)
        grad_current = grads[0] * band / threshold
        grad_lam = grad_threshold = None
        if ctx.needs_input_grad[1]:
            fired = (membrane / threshold).floor_().clamp_(0, ctx.levels)
            kept = (membrane - threshold * fired).roll(1, 0)
            kept[0] = state
            grad_lam = (grad_current * kept).flatten(1).sum(1)
        if ctx.needs_input_grad[2]:
            # s = m / theta on the band (floor passed straight through): ds/dtheta = -m / theta^2
            grad_threshold = -(grad_current * membrane / threshold).sum().sum_to_size(threshold.shape)
        return grad_current, grad_lam, grad_threshold, None, None, None


class _KernelMultiThreshold(torch.autograd.Function):
    """A layer by kernels, which compute potentials anew in their backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        gain: Tensor | None,
        offset: Tensor | None,
        skipped: Tensor | None,
        lam: Tensor,
        threshold: Tensor,
        state: Tensor,
        levels: int,
        steps: int,
        with_membrane: bool,
        with_stored: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        ctx.levels, ctx.steps, ctx.backend = levels, steps, backend_of(images)
        spikes, membrane, v = ctx.backend.levels_forward(
            as_drive((images, gain, offset, skipped, steps)),
            lam,
            threshold,
            levels,
            state,
            with_membrane=with_membrane,
            with_stored=with_stored,
        )
        ctx.set_materialize_grads(False)  # of potentials
        ctx.save_for_backward(images, gain, offset, skipped, lam, threshold, state)
        ctx.mark_non_differentiable(*[given for given in (v, membrane) if given is not None])
        return spikes, membrane, v

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *parts, lam, threshold, state = ctx.saved_tensors
        gradients, *learned = ctx.backend.levels_backward(
            grads[0], as_drive((*parts, ctx.steps)), lam, threshold, ctx.levels, state
        )
        needed = ctx.needs_input_grad[4:6]
        return *gradients, *[g if n else None for g, n in zip(learned, needed, strict=True)], *[None] * 5


def multi_threshold(
    current: Tensor | Drive,
    lam: Tensor,
    threshold: Tensor,
    state: Tensor,
    levels: int,
    exact: FixedPointMultiThreshold | None = None,
    *,
    with_membrane: bool = True,
    with_stored: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Multi-threshold integrate-and-fire with soft reset (LM-HT eq. 8-11).

    Forward: ``m[t] = lam * v[t-1] + I[t]``, ``s[t] = clip(floor(m[t] / theta), 0, L)``,
    ``v[t] = m[t] - theta * s[t]``.
    Gradient: ``ds/dm = 1 / theta`` where ``0.5 theta <= m <= (L + 0.5) theta``, else 0;
    ``v[t-1]`` is detached (eq. 13-16): between steps only ``lam`` learns.

    Args:
        current: I, ``[T, N, ...]``, or what makes it.
        lam: factor on the kept potential, one number or one per step ``[T]``.
        threshold: theta > 0, one number.
        state: v[-1], broadcast against ``current[t]``; detached.
        levels: L >= 1.
        exact: compute the forward pass in integers; the gradient is the same.
        with_membrane, with_stored: False where the second or third result is not needed, and may be None.

    Returns:
        Spike counts 0..L and membrane potential m, both ``[T, N, ...]``, and v after the
        last step. The potentials carry no gradient.
    """
    parts = parts_of(current)
    lam = lam.expand(parts[4])
    images = parts[0]
    result: tuple[Tensor, Tensor | None, Tensor | None]
    if exact is None and backend_of(images) is not None:
        result = _KernelMultiThreshold.apply(
            *parts[:4], lam, threshold, state, levels, parts[4], with_membrane, with_stored
        )
    else:
        whole = current.current() if isinstance(current, Drive) else current
        result = _MultiThreshold.apply(whole, lam, threshold, state, levels, exact)
    return result


def mixing_matrix(logits: Tensor, mode: str) -> Tensor:
    """T-GIM ``[T, F]``: ``2 sigmoid(logits) / F``, lower triangular for ``"causal"`` (LM-HT eq. 12)."""
    omega = 2 * torch.sigmoid(logits) / logits.shape[1]
    return omega.tril() if mode == "causal" else omega


class _QCFS(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor, levels: int) -> Tensor:
        steps = torch.floor(x * levels / threshold + 0.5).clamp_(0, levels)
        ctx.save_for_backward(x, threshold)
        ctx.levels = levels
        return steps * (threshold / levels)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, threshold = ctx.saved_tensors
        shifted = x * ctx.levels / threshold + 0.5
        inside, above = (shifted >= 0) & (shifted < ctx.levels), shifted >= ctx.levels
        grad_threshold = None
        if ctx.needs_input_grad[1]:
            rounding = (shifted.floor() / ctx.levels - x / threshold) * inside
            grad_threshold = (grads[0] * (rounding + above)).sum().sum_to_size(threshold.shape)
        return grads[0] * inside, grad_threshold, None


def qcfs(x: Tensor, threshold: Tensor, levels: int) -> Tensor:
    """Quantisation-clip-floor-shift activation (LM-HT eq. 7; Bu et al. 2022).

    Forward: ``theta * clip(floor(x * n / theta + 1/2) / n, 0, 1)``.
    Gradient: floor straight-through: ``dx`` is 1 where ``-theta / 2n <= x < theta - theta / 2n``;
    ``dtheta`` is ``(a - x) / theta`` there, 1 above, 0 below.

    Args:
        x: any shape.
        threshold: theta > 0, one number; its gradient is computed.
        levels: n >= 1.
    """
    if levels < 1:
        raise OptionError(f"qcfs: levels={levels} is not allowed; use 1 or more")
    result: Tensor = _QCFS.apply(x, threshold, levels)
    return result
