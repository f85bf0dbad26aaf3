"""Losses over per-step logits ``[N, classes, T]``, and their sum with each term logged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import block, distributed
from ..analysis.operations import fan_out_sum
from ..code import imported, told
from ..errors import LavaBsnnError, OptionError, check_option
from .rates import spiking_modules
from .recipe import SPIKE_TERMS

Term = Callable[[Tensor, Tensor], Tensor]


def tet_cross_entropy(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Cross entropy at each time step, averaged over batch and steps (TET; Q-SNN eq. 18, first term).

    Args:
        logits: ``[N, classes, T]``.
        labels: int64 ``[N]``, or ``[N, T]``: a class per step; or float ``[N, classes]``: shares of the
            classes.
        label_smoothing: share of the target spread over all classes, 0..1.
        class_weights: ``[classes]``, factors on the terms of each class; the mean is over the samples, not
            over their weights, so that batches of several processes add up.
    """
    if labels.is_floating_point():
        return _cross_entropy(logits, labels[..., None].expand_as(logits), label_smoothing, class_weights)
    targets = labels if labels.dim() == 2 else labels[:, None].expand(-1, logits.shape[-1])
    return _cross_entropy(logits, targets, label_smoothing, class_weights)


def rate_cross_entropy(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Cross entropy of the logits averaged over time; labels ``[N]`` or shares of the classes.

    Else as :func:`tet_cross_entropy`.
    """
    return _cross_entropy(logits.mean(-1), labels, label_smoothing, class_weights)


def _cross_entropy(logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    if weights is None:
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
    weights = weights.to(logits)
    return F.cross_entropy(
        logits, targets, weight=weights, label_smoothing=smoothing, reduction="none"
    ).mean()


def multilabel_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy per class of the logits averaged over time; targets ``[N, classes]`` in 0..1."""
    return F.binary_cross_entropy_with_logits(logits.mean(-1), targets.to(logits.dtype))


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of means over time, targets ``[N, outputs]``, or per step, ``[N, outputs, T]``."""
    return F.mse_loss(
        outputs if targets.dim() == outputs.dim() else outputs.mean(-1), targets.to(outputs.dtype)
    )


BY_NAME: dict[str, Term] = {"multilabel": multilabel_cross_entropy, "mse": mean_squared_error}
"""Losses without options, by the names that recipes have for them."""


class CrossEntropy:
    """Cross entropy with options, as a term.

    Args:
        name: ``"tet"`` or ``"rate"``.
        label_smoothing: share of the target spread over all classes, 0..1.
        class_weights: a factor per class.
    """

    def __init__(
        self, name: str = "tet", *, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None
    ) -> None:
        self._entropy = tet_cross_entropy if name == "tet" else rate_cross_entropy
        self._smoothing = label_smoothing
        self._weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits ``[N, classes, T]`` and labels ``[N]``."""
        if self._weights is not None and self._weights.device != logits.device:  # once
            self._weights = self._weights.to(logits.device)
        return self._entropy(logits, labels, self._smoothing, self._weights)


class OwnLoss:
    """A function of the user's own that a recipe names.

    Args:
        name: ``"package.module:function"``.

    Raises:
        OptionError: it cannot be imported.
    """

    def __init__(self, name: str) -> None:
        self._name, self._function = name, imported(name)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits ``[N, classes, T]`` and labels ``[N]``.

        Raises:
            OptionError: the function raised something.
        """
        try:
            value: Tensor = self._function(logits, labels)
        except LavaBsnnError:
            raise
        except Exception as error:
            raise OptionError(f"{self._name}: raised {told(error)}; mend it") from error
        return value


def balanced_weights(labels: np.ndarray, num_classes: int) -> list[float]:
    """A weight per class, ``N / (classes that occur * samples of it)``: all count alike, with mean 1.

    Args:
        labels: int ``[N]``.
    """
    counts = np.bincount(labels, minlength=num_classes)
    occurring = int((counts > 0).sum())
    return [len(labels) / (occurring * int(count)) if count else 0.0 for count in counts]


def wants_classes(loss: Term) -> bool:
    """Whether a loss takes classes only; of a function that is not ours nothing is known."""
    if isinstance(loss, TotalLoss):
        return any(wants_classes(term) for _, term in loss.terms.values())
    return isinstance(loss, CrossEntropy) or loss in (tet_cross_entropy, rate_cross_entropy)


def spike_regulation(rates: Tensor, target: float = 0.5, reduce: str = "sum") -> Tensor:
    """``sum_l (f_l - target)^2`` over the mean firing rates ``[layers]`` (Q-SNN eq. 17), or their mean."""
    squares = (rates - target).square()
    return squares.sum() if reduce == "sum" else squares.mean()


class SpikeRegulation:
    """Spike half of WS-DR as a loss term: regulates the firing rates of a model's hidden layers.

    Hooks record the mean rate ``f_l`` of each layer in a training forward pass,
    with its gradient. The first spiking layer and the readout are left out (Q-SNN eq. 17).

    Args:
        model: network of :mod:`lava_bsnn.block` modules.
        target: rate that carries most information.
        reduce: ``"sum"`` over the layers, or, as in Q-SNN's program, their ``"mean"``, without the last
            spiking layer.

    Raises:
        OptionError: the model has no hidden spiking layer.
    """

    def __init__(self, model: torch.nn.Module, target: float = 0.5, reduce: str = "sum") -> None:
        check_option("SpikeRegulation", "reduce", reduce, SPIKE_TERMS)
        layers, last = spiking_modules(model), -1 if reduce == "mean" else None
        if not layers[1:last]:
            least = "two" if reduce == "sum" else "three"
            raise OptionError(f"SpikeRegulation: the model has no hidden spiking layer; use at least {least}")
        self.target, self.reduce = target, reduce
        self._rates: dict[torch.nn.Module, Tensor] = {}
        self._hooks = [layer.register_forward_hook(self._record) for layer in layers[1:last]]

    def _record(self, layer: torch.nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if torch.is_grad_enabled():
            self._rates[layer] = (output[0] if isinstance(output, tuple) else output).mean()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the term for the last forward pass and forget its rates; 0 in evaluation, without gradients.

        Raises:
            LavaBsnnError: there was no forward pass with gradients since the last call.
        """
        if not torch.is_grad_enabled():
            return logits.new_zeros(())
        if not self._rates:
            raise LavaBsnnError("SpikeRegulation: no rates recorded; run the model with gradients first")
        rates = distributed.mean(torch.stack(list(self._rates.values())))
        self._rates.clear()
        return spike_regulation(rates, self.target, self.reduce)

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()


class SopBudget:
    """Synaptic operations above a budget, as a loss term: ``max(0, SOPs / budget - 1)``.

    SOPs are those of a sample in all synapses that neurons feed, the readout included: each spike times its
    fan-out, exact at borders; poolings without neuron are a part of the synapse behind (as
    :func:`lava_bsnn.analysis.count_operations` counts).

    Args:
        model: network of :mod:`lava_bsnn.block` modules.
        budget: SOPs per sample.

    Raises:
        OptionError: a budget that is no number > 0, or no synapse that neurons feed.
    """

    def __init__(self, model: torch.nn.Module, budget: float) -> None:
        if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 < budget < math.inf:
            raise OptionError(f"SopBudget: budget={budget!r} is not allowed; use a number > 0")
        blocks = [m for m in model.modules() if isinstance(m, block.SpikingBlock) and m.incoming.sender]
        fed: list[Any] = [m for m in blocks if m.neuron is not None or not isinstance(m, block.Pool)]
        fed += [m.feedback for m in model.modules() if isinstance(m, block.Recurrent)]
        if not fed:
            raise OptionError("SopBudget: the model has no synapse that neurons feed; use two layers")
        self.budget = float(budget)
        self._sops = torch.zeros(())
        self._parts: list[Tensor] = []
        self._hooks = [one.synapse.register_forward_hook(partial(self._record, one)) for one in fed]

    @property
    def sops(self) -> float:
        """Operations per sample of the last forward pass."""
        return float(self._sops)

    def _record(
        self, owner: Any, synapse: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        if torch.is_grad_enabled() and inputs[0].requires_grad:
            events = inputs[0] / owner.input_scale
            self._parts.append(fan_out_sum(owner.label, synapse, events, output) / len(events))

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the term for the last forward pass; ``sops`` holds its operations per sample.

        In evaluation, without gradients, it is 0.

        Raises:
            LavaBsnnError: there was no forward pass with gradients since the last call.
        """
        if not torch.is_grad_enabled():
            return logits.new_zeros(())
        if not self._parts:
            raise LavaBsnnError("SopBudget: no spikes recorded; run the model with gradients first")
        total = distributed.mean(torch.stack(self._parts).sum())
        self._parts.clear()
        self._sops = total.detach()
        return (total / self.budget - 1).clamp(min=0).to(logits.dtype)

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()


class TotalLoss:
    """Weighted sum of named terms; ``values`` holds each term of the last call with gradients, unweighted.

    Args:
        terms: name -> (weight, term); a term maps logits and labels to a scalar.

    Examples:
        >>> loss = TotalLoss({"tet": (1.0, tet_cross_entropy), "spikes": (1e-3, SpikeRegulation(model))})
    """

    def __init__(self, terms: Mapping[str, tuple[float, Term]]) -> None:
        if not terms:
            raise OptionError("TotalLoss: no terms; give at least one")
        self.terms = dict(terms)
        self._values: dict[str, Tensor] = {}

    @property
    def values(self) -> dict[str, float]:
        """Each term of the last call, unweighted."""
        return {name: float(value) for name, value in self._values.items()}

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum for logits ``[N, classes, T]`` and labels ``[N]``."""
        parts = {name: term(logits, labels) for name, (_, term) in self.terms.items()}
        if torch.is_grad_enabled():
            self._values = {name: part.detach() for name, part in parts.items()}
        total = sum(weight * parts[name] for name, (weight, _) in self.terms.items())
        assert isinstance(total, Tensor)
        return total
