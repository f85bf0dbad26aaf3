"""From a quantised ANN to an LM-HT network, and from there to single-threshold neurons."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import block
from ..block.base import Shape, Signal
from ..errors import LavaBsnnError, LavaBsnnWarning
from ..models import SpikingNetwork
from ..neuron import QCFS, MultiThresholdLIF, TemporalMix


def _spiking(model: torch.nn.Module) -> Iterator[block.SpikingBlock]:
    for module in model.modules():
        if isinstance(module, block.SpikingBlock) and module.neuron is not None:
            yield module


def to_lmht(model: SpikingNetwork, *, levels: int, num_steps: int, mix: str = "full") -> SpikingNetwork:
    """Replace each QCFS activation of a trained ANN by an LM-HT neuron (LM-HT section 4.4).

    Thresholds become ``theta / L``, potentials start at half a threshold, mixing is uniform
    and lam is 1: then the mean output over T steps equals QCFS with ``L * T`` levels
    (theorem 4.4), so that with ``levels * num_steps`` equal to the ANN's levels nothing
    changes before fine-tuning. Everything stays trainable.

    Args:
        model: network whose neurons are all :class:`lava_bsnn.neuron.QCFS`; not changed.
        levels: L >= 1.
        num_steps: T of the returned network.
        mix: mode of :class:`lava_bsnn.neuron.TemporalMix`.

    Raises:
        LavaBsnnError: a neuron is not QCFS.
    """
    result = copy.deepcopy(model)
    for module in _spiking(result):
        activation = module.neuron
        if not isinstance(activation, QCFS):
            raise LavaBsnnError(
                f"to_lmht: {module.label} has a {type(activation).__name__}; use a model of method='qcfs'"
            )
        theta = activation.theta.detach()
        if theta <= theta.new_tensor(activation.least):  # in the precision of both
            warnings.warn(
                f"to_lmht: {module.label}: its threshold fell to 0 in training and was kept at "
                f"{activation.threshold:.3g}, where it passes next to nothing; train with a smaller lr or "
                "with QCFS(scale_gradient=True)",
                LavaBsnnWarning,
                stacklevel=2,
            )
        module.neuron = MultiThresholdLIF(
            levels,
            activation.threshold / levels,
            initial=0.5,
            learn_threshold=True,
            scaled=True,
            num_steps=num_steps,
            mix=mix,
        ).to(activation.theta)
    result.set_steps(num_steps)
    block.build(result.blocks, result.in_shape)  # counts up to L come in now
    return result


class _FixedMix(TemporalMix):
    """A time mixing with a given matrix ``[T, F]``."""

    def __init__(self, omega: Tensor) -> None:
        super().__init__(len(omega), num_frames=omega.shape[1])
        self.mode = "fixed"
        self.logits = torch.nn.Parameter(omega, requires_grad=False)

    @property
    def omega(self) -> Tensor:
        assert self.logits is not None
        return self.logits


class _WindowedIF(MultiThresholdLIF):
    """A single-threshold neuron whose lam acts at window starts only."""

    def __init__(self, source: MultiThresholdLIF) -> None:
        super().__init__(
            1,
            source.threshold,
            initial=source.initial,
            learn_lam=False,
            scaled=source.scaled,
            scale=source.scale,
        )
        self.to(source.theta)
        if source.mix is None:
            raise LavaBsnnError("to_single_threshold: a neuron without num_steps; give it num_steps")
        window, omega = source.levels, source.mix.omega.detach().to(source.theta)
        square = torch.ones(window, window, dtype=omega.dtype, device=omega.device) / window
        self.mix = _FixedMix(torch.kron(omega, square))
        lam = torch.ones(len(omega) * window, dtype=omega.dtype, device=omega.device)
        lam[::window] = source.lam.detach()
        self.register_buffer("window_lam", lam)

    @property
    def lam(self) -> Tensor:
        lam: Tensor = self.window_lam
        return lam


class SubSteps(block.Block, torch.nn.Module):
    """Spread each time step evenly over ``count`` sub-steps: ``[N, ..., T]`` to ``[N, ..., T * count]``."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.label = f"SubSteps({count})"
        self.count = count

    def _check_shape(self, shape: Shape) -> None:
        pass

    def _output_shape(self, shape: Shape) -> Shape:
        return shape

    def _sends(self, signal: Signal) -> Signal:
        return replace(signal, factor=signal.factor / self.count)

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.count, dim=-1) / self.count


def to_single_threshold(model: SpikingNetwork) -> SpikingNetwork:
    """Reparameterise an LM-HT network to single-threshold neurons over ``L * T`` steps.

    Each ``omega[t, j]`` fills an L x L block divided by L, lam acts at window starts and is 1
    elsewhere, offsets of norm and readout are divided by L, and each input step is spread over
    L sub-steps. Spike sums over a window equal the LM-HT spikes (lemma 4.1) wherever its
    premise holds, as where all windows get the same input (uniform mixing). For inference only:
    the result is in evaluation mode, with the batch norm statistics of ``model``.

    Args:
        model: network whose neurons all are :class:`lava_bsnn.neuron.MultiThresholdLIF` with the same levels
            and ``num_steps``; not changed.

    Raises:
        LavaBsnnError: a neuron of another kind or with other levels.
    """
    result = copy.deepcopy(model).eval()
    levels = {m.neuron.levels for m in _spiking(result) if isinstance(m.neuron, MultiThresholdLIF)}
    for module in _spiking(result):
        if not isinstance(module.neuron, MultiThresholdLIF) or len(levels) != 1:
            raise LavaBsnnError(
                f"to_single_threshold: {module.label} has a {type(module.neuron).__name__}; all neurons "
                "must be MultiThresholdLIF with the same levels"
            )
        module.neuron = _WindowedIF(module.neuron)
    (window,) = levels
    with torch.no_grad():
        for module in result.modules():  # type: ignore[assignment]
            if isinstance(module, block.SpikingBlock) and module.norm is not None:
                for offset in (module.norm.running_mean, module.norm.bias):
                    if offset is not None:
                        offset.div_(window)
            if isinstance(module, block.Readout) and module.bias is not None:
                module.bias.div_(window)
    first: Any = result.blocks[0]
    result.blocks.insert(int(isinstance(first, block.Input)), SubSteps(window))
    block.build(result.blocks, result.in_shape)
    result.set_steps(model.num_steps, window * model.out_steps)
    return result.eval()
