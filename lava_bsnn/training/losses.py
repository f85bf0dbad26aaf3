"""Losses over per-step logits ``[N, classes, T]``, and their sum with each term logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import block, distributed
from ..errors import LavaBsnnError, OptionError

Term = Callable[[Tensor, Tensor], Tensor]


def tet_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy at each time step, averaged over batch and steps (TET; Q-SNN eq. 18, first term).

    Args:
        logits: ``[N, classes, T]``.
        labels: int64 ``[N]``.
        label_smoothing: share of the target spread over all classes, 0..1.
    """
    targets = labels[:, None].expand(-1, logits.shape[-1])
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


def rate_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of the logits averaged over time; arguments as in :func:`tet_cross_entropy`."""
    return F.cross_entropy(logits.mean(-1), labels, label_smoothing=label_smoothing)


def spike_regulation(rates: Tensor, target: float = 0.5) -> Tensor:
    """``sum_l (f_l - target)^2`` over the mean firing rates ``[layers]`` (Q-SNN eq. 17)."""
    return (rates - target).square().sum()


class SpikeRegulation:
    """Spike half of WS-DR as a loss term: regulates the firing rates of a model's hidden layers.

    Hooks on the neurons record the mean rate ``f_l`` of each layer in a training forward pass,
    with its gradient. The first spiking layer and the readout are left out (Q-SNN eq. 17).

    Args:
        model: network of :mod:`lava_bsnn.block` modules.
        target: rate that carries most information.

    Raises:
        OptionError: the model has no hidden spiking layer.
    """

    def __init__(self, model: torch.nn.Module, target: float = 0.5) -> None:
        blocks = [m for m in model.modules() if isinstance(m, block.SpikingBlock) and m.neuron is not None]
        if len(blocks) < 2:
            raise OptionError("SpikeRegulation: the model has no hidden spiking layer; use at least two")
        self.target = target
        self._rates: dict[torch.nn.Module, Tensor] = {}
        self._hooks = [b.neuron.register_forward_hook(self._record) for b in blocks[1:] if b.neuron]

    def _record(self, neuron: torch.nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
        if torch.is_grad_enabled():
            self._rates[neuron] = spikes.mean()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the term for the last forward pass and forget its rates.

        Raises:
            LavaBsnnError: there was no forward pass with gradients since the last call.
        """
        if not self._rates:
            raise LavaBsnnError("SpikeRegulation: no rates recorded; run the model with gradients first")
        rates = distributed.mean(torch.stack(list(self._rates.values())))
        self._rates.clear()
        return spike_regulation(rates, self.target)

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()


class TotalLoss:
    """Weighted sum of named terms; ``values`` holds each term of the last call, unweighted.

    Args:
        terms: name -> (weight, term); a term maps logits and labels to a scalar.

    Examples:
        >>> loss = TotalLoss({"tet": (1.0, tet_cross_entropy), "spikes": (1e-3, SpikeRegulation(model))})
    """

    def __init__(self, terms: Mapping[str, tuple[float, Term]]) -> None:
        if not terms:
            raise OptionError("TotalLoss: no terms; give at least one")
        self.terms = dict(terms)
        self.values: dict[str, float] = {}

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum for logits ``[N, classes, T]`` and labels ``[N]``."""
        parts = {name: term(logits, labels) for name, (_, term) in self.terms.items()}
        self.values = {name: float(part.detach()) for name, part in parts.items()}
        total = sum(weight * parts[name] for name, (weight, _) in self.terms.items())
        assert isinstance(total, Tensor)
        return total
