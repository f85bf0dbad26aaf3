"""Layers of neurons in matched mode on a CPU: from tensors to kernels and back.

:meth:`lava_bsnn.functional.membrane.FixedPointMembrane.run` and ``_LIF`` of
:mod:`lava_bsnn.functional.dynamics` are the definition.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .. import fixed_point
from . import kernels
from .layout import Layout
from .machine import numbers
from .threads import share


def knows(current: Tensor, voltage_decay: int | Tensor) -> bool:
    """Whether there are kernels for such neurons: float32 on a CPU, one decay for all."""
    at_hand = current.device.type == "cpu" and not torch.compiler.is_compiling()
    known = current.dtype == torch.float32 and isinstance(voltage_decay, int)
    return at_hand and known and current.numel() > 0


def forward(
    current: Tensor, state: Tensor, *, bits: int, shift: int, unit: int, threshold: int, voltage_decay: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes and potential before reset ``[T, N, ...]``, and the final stored potential.

    Args:
        current: ``[T, N, ...]``.
        state: stored potential before the first step, broadcast against ``current[t]``.
        bits, shift, unit, threshold, voltage_decay: of the membrane.
    """
    layout = Layout(current)
    spikes, potential, stored = layout.empty(), layout.empty(), layout.empty(1)
    flat = [numbers(layout.rows(part)) for part in (current, potential, spikes, stored)]
    flat[3][0] = _state(layout, state)
    membrane = kernels.Membrane(
        bits=bits,
        shift=shift,
        unit=unit,
        threshold=threshold,
        voltage_decay=voltage_decay,
        one=fixed_point.ONE,
        decay_bits=fixed_point.DECAY_BITS,
        state_max=fixed_point.STATE_MAX,
    )
    share(
        lambda *span: kernels.matched_forward(flat[0], flat[3][0], membrane, *flat[1:3], *span),
        layout.neurons,
        flat[0].size,
    )
    return spikes, potential, stored[0]


def backward(
    grad: Tensor,
    potential: Tensor,
    retain: Tensor,
    state: Tensor,
    neurons: kernels.Neurons,
    above: float,
    limit: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of the current and of ``retain``.

    Args:
        grad: of the spikes ``[T, N, ...]``.
        potential: before the reset, likewise.
        retain: share of the potential that is kept, one number.
        state: stored potential before the first step.
        neurons: parameters.
        above: potential above which they fire.
        limit: largest potential that is stored as it is.
    """
    layout = Layout(potential)
    out = layout.empty()
    flat = [numbers(layout.rows(part)) for part in (grad.to(potential.dtype), potential, out)]
    given = _state(layout, state), np.float32(float(retain.detach())), neurons, np.float32(above)
    totals = share(
        lambda *span: kernels.matched_backward(*flat[:2], *given, np.float32(limit), flat[2], *span),
        layout.neurons,
        flat[0].size,
    )
    return out, torch.full_like(retain, sum(totals))


def _state(layout: Layout, state: Tensor) -> np.ndarray:
    """``[1]`` or ``[M]``, float32."""
    if state.numel() == 1:
        return np.full(1, float(state), np.float32)
    return numbers(layout.rows(state.float().expand(layout.shape)[None]))[0]
