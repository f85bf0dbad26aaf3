"""Single-threshold soft-reset neurons as stock ``lava.proc.atrlif.ATRLIF``, which lava-loihi has too.

ATRLIF fires where ``v - r >= theta``, then adds ``2 theta`` to the refractory state r. With a threshold and a
refractory state that neither grow nor decay, and ``theta = th / 2``, that is an integrate-and-fire neuron of
threshold th with soft reset that starts at ``th / 2``: ``m = v + th / 2 - r`` fires where ``m >= th``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.proc.atrlif.process import ATRLIF

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS, ONE
from lava_bsnn.limits import LIMITS
from netx_export.network import Layer
from netx_export.neurons import MultiThreshold

UNIT = 2 << ALIGN_BITS
"""Thresholds are even in weight steps: ``theta`` is half of them."""
FORGETS = 4095 / 4096
"""``delta_i`` that keeps nothing of the current; 1 would be off by one in ATRLIF's rounding."""


def atrlif_parameters(layer: Layer) -> dict[str, Any]:
    """Arguments of an ATRLIF that computes the layer's neurons; ``bias_mant`` per channel.

    Raises:
        ExportError: the neurons are not what ATRLIF can be; every reason is listed.
    """
    neuron = layer.neuron
    if not isinstance(neuron, MultiThreshold):
        raise ExportError(
            f"{layer.name}: ATRLIF makes soft-reset neurons; this layer has {type(neuron).__name__}"
        )
    bias = np.asarray(neuron.bias)
    reasons = []
    if neuron.levels != 1:
        reasons.append(f"levels={neuron.levels}, needs 1: windows of more need uniform inputs")
    if neuron.lam != ONE:
        reasons.append(f"lam={neuron.lam}, needs {ONE}")
    threshold = np.unique(neuron.threshold)
    if len(threshold) > 1 or threshold[0] % UNIT or threshold[0] // UNIT > LIMITS.threshold_max // 2:
        reasons.append(f"thresholds {threshold[0]}..{threshold[-1]}, needs one multiple of {UNIT}")
    elif (np.asarray(neuron.initial) != threshold[0] // 2).any():
        reasons.append(f"initial={neuron.initial}, needs half of the threshold")
    if bias.min() < LIMITS.bias_min or bias.max() > LIMITS.bias_max:
        reasons.append(f"bias {bias.min()}..{bias.max()}, needs {LIMITS.bias_min}..{LIMITS.bias_max}")
    if reasons:
        raise ExportError(f"{layer.name}: stock ATRLIF cannot be these neurons: {'; '.join(reasons)}")
    theta = int(threshold[0]) // UNIT
    still = dict.fromkeys(("delta_v", "delta_r", "delta_theta", "theta_step"), 0)
    return {"theta": theta, "theta_0": theta, "delta_i": FORGETS, "bias_mant": bias, "bias_exp": 0, **still}


def soft_reset_neurons(layer: Layer) -> ATRLIF:
    """Process in the layer's shape, W, H, C: ``a_in`` in weight steps, ``s_out`` spikes.

    Its potential sums all input since the start and must stay within 24 bits; it has no reset by interval,
    so give it a ``lava.proc.io.reset.Reset`` on i, v and r.

    Raises:
        ExportError: see :func:`atrlif_parameters`.
    """
    parameters = atrlif_parameters(layer)
    shape = layer.shape[::-1]
    bias = np.broadcast_to(parameters.pop("bias_mant"), shape).astype(np.int64)  # channels last
    return ATRLIF(shape=shape, bias_mant=bias, **parameters)
