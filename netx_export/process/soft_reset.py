"""Single-threshold soft-reset neurons as stock ``lava.proc.atrlif.ATRLIF``, proven on the CPU only.

ATRLIF fires where ``v - r >= theta``, then adds ``2 theta`` to the refractory state r. With a threshold and a
refractory state that neither grow nor decay, and ``theta = th / 2``, that is an integrate-and-fire neuron of
threshold th with soft reset: ``m = v + th / 2 - r`` fires where ``m >= th``. Its potential sums all input
since the last reset and must stay within 24 bits. It has no reset of its own; stock ``Reset`` processes do.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.proc.atrlif.process import ATRLIF
from lava.proc.io.reset import Reset

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS
from netx_export.network import Layer
from netx_export.neurons import MultiThreshold
from netx_export.targets.loihi import bias_exponent, soft_reset_problems

FORGETS = 4095 / 4096
"""``delta_i`` that keeps nothing of the current; 1 would be off by one in ATRLIF's rounding."""


def soft_reset_neurons(layer: Layer) -> ATRLIF:
    """Process in the layer's shape, W, H, C: ``a_in`` in weight steps, ``s_out`` spikes.

    Raises:
        ExportError: the neurons are not what ATRLIF can be; every reason is listed.
    """
    neuron, shape = layer.neuron, layer.shape[::-1]
    if not isinstance(neuron, MultiThreshold):
        raise ExportError(
            f"{layer.name}: ATRLIF makes soft-reset neurons; this layer has {type(neuron).__name__}"
        )
    reasons = list(soft_reset_problems(neuron))
    if reasons:
        raise ExportError(f"{layer.name}: stock ATRLIF cannot be these neurons: {'; '.join(reasons)}")
    theta, exponent = _threshold(neuron) >> (ALIGN_BITS + 1), bias_exponent(neuron.bias)
    assert exponent is not None
    bias = np.broadcast_to(np.asarray(neuron.bias) >> exponent, shape)  # channels last
    return ATRLIF(
        shape=shape,
        v=np.full(shape, _start(layer), dtype=np.int32),
        theta=theta,
        theta_0=theta,
        theta_step=0,
        delta_i=FORGETS,
        delta_v=0,
        delta_r=0,
        delta_theta=0,
        bias_mant=bias.astype(np.int64),
        bias_exp=exponent,
    )


def resets(neurons: ATRLIF, layer: Layer, interval: int, arrival: int) -> list[AbstractProcess]:
    """Processes that put neurons to rest before a sample's first step.

    Args:
        neurons: of :func:`soft_reset_neurons`.
        layer: of which they are.
        interval: steps of a sample.
        arrival: Lava's time of the first sample's first step at the neurons.
    """
    made = []
    for var, value in ((neurons.v, _start(layer)), (neurons.r, 0)):
        reset = Reset(reset_value=value, interval=interval, offset=arrival - 2)  # behind the step before
        reset.connect_var(var)
        made.append(reset)
    return made


def _threshold(neuron: MultiThreshold) -> int:
    return int(np.max(neuron.threshold))


def _start(layer: Layer) -> int:
    neuron = layer.neuron
    assert isinstance(neuron, MultiThreshold)
    return int(np.max(neuron.initial)) - _threshold(neuron) // 2
