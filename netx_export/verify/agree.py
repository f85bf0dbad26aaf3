"""A model and its integers side by side, layer by layer, on data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError, OptionError, ShapeError
from lava_bsnn.fixed_point import ONE
from lava_bsnn.models import SpikingNetwork
from lava_bsnn.modes import evaluating, from_rest
from lava_bsnn.training.batches import as_input
from lava_bsnn.training.hybrid import SubSteps, to_single_threshold

from ..lowering.names import spiking_layers
from ..lowering.wiring import unwrapped
from ..network import FixedPointNetwork
from ..network.graph import check_network
from ..network.samples import as_array, check_fit
from ..simulator import simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

MAX_DROP = 0.01
"""Loss of accuracy from which on :class:`Agreement` warns, if it is more than two samples."""
MIN_SAME = 0.95
"""Share of equal classes below which it warns where no labels are known."""
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class LayerAgreement:
    """One layer of neurons in the model and in integers; shares in 0..1.

    Attributes:
        float_rate: share of neuron-steps with a spike in the model.
        integer_rate: likewise in integers.
        equal: share of neuron-steps with the same spike or spike count.
        silent: share of neurons that never fire in integers.
        float_silent: likewise in the model.
        saturated: share of neurons that in integers send their most at every step of every sample.
    """

    name: str
    float_rate: float
    integer_rate: float
    equal: float
    silent: float
    float_silent: float
    saturated: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Outcome of :func:`agreement`; shares and accuracies in 0..1.

    Attributes:
        samples: number of samples.
        same_class: share of samples of which both give the same class.
        float_accuracy: of the model; None without labels.
        integer_accuracy: of the integers; None without labels.
        layers: those with neurons that spike, in order.
        saturated_inputs: share of input values that were above the largest message.
    """

    samples: int
    same_class: float
    float_accuracy: float | None
    integer_accuracy: float | None
    layers: tuple[LayerAgreement, ...]
    saturated_inputs: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """What should not be overlooked, a line each, such as layers that died and accuracy that is lost."""
        found = []
        if self.float_accuracy is not None and self.integer_accuracy is not None:
            drop = self.float_accuracy - self.integer_accuracy
            if drop > MAX_DROP and drop * self.samples > 2.5:
                found.append(
                    f"accuracy falls from {self.float_accuracy:.2%} to {self.integer_accuracy:.2%} (integers)"
                )
        elif self.same_class < MIN_SAME:
            found.append(f"only {self.same_class:.2%} of the samples keep their class in integers")
        for layer in self.layers:
            if not layer.integer_rate:
                what = "in integers" if layer.float_rate else "at all, in the model neither"
                found.append(f"{layer.name} never fires {what}")
            elif layer.saturated == 1:
                found.append(f"{layer.name}: every neuron fires at every step")
        if self.saturated_inputs:
            found.append(f"{self.saturated_inputs:.2%} of the input counts were above the largest message")
        return found

    def table(self, *, titled: bool = True) -> Table:
        """Table for terminals and notebooks: warnings first, a line per layer.

        Args:
            titled: with the warnings.
        """
        from rich.table import Table

        title = "\n".join(f"WARNING: {text}" for text in self.warnings) if titled else None
        table = Table("layer", title=title or None, title_style="bold red", title_justify="left", box=None)
        for heading in ("rate, float", "integers", "equal", "silent, float", "integers", "saturated"):
            table.add_column(heading, justify="right")
        for one in self.layers:
            shares = (
                one.float_rate,
                one.integer_rate,
                one.equal,
                one.float_silent,
                one.silent,
                one.saturated,
            )
            table.add_row(one.name, *(f"{share:.2%}" for share in shares))
        return table

    def __str__(self) -> str:
        accuracy = ""
        if self.float_accuracy is not None:
            accuracy = (
                f"accuracy {self.float_accuracy:.2%} in floating point, {self.integer_accuracy:.2%} in "
                "integers; "
            )
        return f"{self.samples} samples: {accuracy}{self.same_class:.2%} get the same class"

    def as_dict(self) -> dict[str, Any]:
        """Plain data: the attributes, and ``warnings``."""
        return {**asdict(self), "layers": [asdict(one) for one in self.layers], "warnings": self.warnings}

    def plot(self, axes: Axes) -> Axes:
        """Draw each layer's firing rate in the model and in integers, and, with an axis at the right, the
        share of equal spikes.
        """
        from lava_bsnn.analysis._style import BLUE, GREEN, ORANGE, legend_above, name_ticks, tidy

        places = np.arange(len(self.layers))
        for offset, colour, label, rates in (
            (-0.2, BLUE, "model", [one.float_rate for one in self.layers]),
            (0.2, ORANGE, "integers", [one.integer_rate for one in self.layers]),
        ):
            axes.bar(
                places + offset, 100 * np.array(rates), 0.4, color=colour, label=label, edgecolor="white"
            )
        name_ticks(axes, [one.name for one in self.layers])
        axes.set(xlabel="layer", ylabel="firing rate (%)")
        axes.margins(y=0.15)
        right, equal = axes.twinx(), [100 * one.equal for one in self.layers]
        right.plot(places, equal, color=GREEN, marker="D", linestyle="--", label="equal (right)")
        right.set(ylabel="equal neuron-steps (%)", ylim=(min(90, min(equal) - 5), 100.5))
        right.spines["top"].set_visible(False)
        legend_above(tidy(axes), handles=[*axes.containers, *right.lines])
        return axes


def agreement(
    model: torch.nn.Module,
    net: FixedPointNetwork,
    inputs: Any,
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Agreement:
    """Run a model and the network that :func:`netx_export.convert` made of it on the same samples.

    Args:
        model: in any mode; it is left as it was.
        net: made of it, in either profile.
        inputs: samples as the model takes them, ``[N, *shape]`` or ``[N, *shape, T]``.
        labels: classes ``[N]``; None for no accuracies.
        progress: called with the number of samples done after each batch.

    Raises:
        ExportError: the network was not made of this model.
        ShapeError: samples or labels do not fit.
        OptionError: ``net`` is no network, or there is no sample.
    """
    check_network("agreement", net)
    model = unwrapped(model)
    coding = net.input.coded or Encoding()
    spread = any(isinstance(one, SubSteps) for one in getattr(model, "blocks", ()))
    if coding.repeat > 1 and isinstance(model, SpikingNetwork) and not spread:
        model = to_single_threshold(model)
    chain: Any = getattr(model, "blocks", model)
    blocks = list(chain)
    neurons = {name: module.neuron for name, module in spiking_layers(blocks) if module.neuron is not None}
    missing = [name for name in neurons if name not in {layer.name for layer in net.layers}]
    if missing:
        raise ExportError(f"agreement: the network has no layer {missing[0]}; it was made of another model")
    given = as_array("agreement", inputs)
    if not len(given):
        raise OptionError("agreement: there is no sample; give at least one")
    channels, *image = net.input.shape
    check_fit("agreement", given, (channels // (1 + coding.rails), *image))
    if labels is not None and np.shape(labels) != (len(given),):
        raise ShapeError(
            f"agreement: {len(given)} samples and labels of shape {np.shape(labels)} do not fit; give "
            "classes [N], e.g. labels.argmax(1) of one-hot ones"
        )
    samples = torch.as_tensor(given)
    tallies = {name: _Tally() for name in neurons}
    theirs, ours, clipped = [], [], 0.0
    for start in range(0, len(samples), _BATCH):
        batch = samples[start : start + _BATCH]
        with from_rest(model):
            spikes, logits = _spikes(model, neurons, as_input(model, batch))
        steps = next(iter(spikes.values()), logits).shape[-1]  # the logits may be a sum over time
        x, share = _encoded(net, batch.numpy(), net.num_steps or steps)
        clipped += share * len(batch)
        result = simulate(net, x, trace=True)
        for name, tally in tallies.items():
            tally.add(spikes[name], result.layers[name].spikes, net[name].neuron.max_message)
        theirs.append((logits * _weights(net, logits)).sum(-1).flatten(1).argmax(1).cpu().numpy())
        ours.append(result.prediction)
        if progress is not None:
            progress(start + len(batch))
    float_class, integer_class = np.concatenate(theirs), np.concatenate(ours)
    right = None if labels is None else np.asarray(labels)
    return Agreement(
        samples=len(samples),
        same_class=float((float_class == integer_class).mean()),
        float_accuracy=None if right is None else float((float_class == right).mean()),
        integer_accuracy=None if right is None else float((integer_class == right).mean()),
        layers=tuple(tally.result(name) for name, tally in tallies.items()),
        saturated_inputs=clipped / len(samples),
    )


def _weights(net: FixedPointNetwork, logits: Tensor) -> Tensor:
    """Weight of each step in the final result: a readout that leaks forgets earlier ones."""
    keep = 1 - net.output.neuron.leak / ONE if net.reads_out else 1.0
    return keep ** torch.arange(logits.shape[-1] - 1, -1, -1, device=logits.device)


def _encoded(net: FixedPointNetwork, batch: np.ndarray, num_steps: int) -> tuple[np.ndarray, float]:
    """Integers of a batch, and the share of counts that were above the largest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reported as a whole
        x = net.encode(batch, num_steps)
    coding = net.input.coded or Encoding()
    return x, float((batch > coding.high).mean()) if coding.saturate else 0.0


def _spikes(
    model: torch.nn.Module, neurons: dict[str, Any], x: Tensor
) -> tuple[dict[str, np.ndarray], Tensor]:
    """Spike counts of each layer, and the logits."""
    sent: dict[str, Tensor] = {}
    handles = []

    def keep(name: str) -> Callable[..., None]:
        def hook(neuron: Any, arguments: Any, out: Tensor) -> None:
            sent[name] = (out / neuron.threshold).round() if getattr(neuron, "scaled", False) else out

        return hook

    try:
        for name, neuron in neurons.items():
            handles.append(neuron.register_forward_hook(keep(name)))
        with evaluating(model):
            logits = model(x)
    finally:
        for handle in handles:
            handle.remove()
    logits = logits[0] if isinstance(logits, tuple) else logits
    if logits.dim() == 2:  # a model that sums over time
        logits = logits[..., None]
    return {name: spikes.to(torch.int16).cpu().numpy() for name, spikes in sent.items()}, logits


class _Tally:
    """Counts over batches of one layer."""

    def __init__(self) -> None:
        self.steps = self.float_spikes = self.integer_spikes = self.equal = 0
        self.float_fired: Any = False
        self.fired: Any = False
        self.full: Any = True

    def add(self, theirs: np.ndarray, ours: np.ndarray, most: int) -> None:
        theirs = theirs.reshape(ours.shape)
        ours = ours.astype(np.int16)
        self.steps += ours.size
        self.float_spikes += int((theirs != 0).sum())
        self.integer_spikes += int((ours != 0).sum())
        self.equal += int((theirs == ours).sum())
        axes = (0, ours.ndim - 1)
        self.float_fired = self.float_fired | (theirs != 0).any(axes)
        self.fired = self.fired | (ours != 0).any(axes)
        self.full = self.full & (ours == most).all(axes)

    def result(self, name: str) -> LayerAgreement:
        return LayerAgreement(
            name=name,
            float_rate=self.float_spikes / self.steps,
            integer_rate=self.integer_spikes / self.steps,
            equal=self.equal / self.steps,
            silent=float(1 - self.fired.mean()),
            float_silent=float(1 - self.float_fired.mean()),
            saturated=float(self.full.mean()),
        )
