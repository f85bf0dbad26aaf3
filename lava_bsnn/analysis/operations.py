"""Synaptic operations that real inputs cause, and the energy one may estimate from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..encoding import Encoding
from ..errors import OptionError, ShapeError
from ..functional.time import is_constant_in_time
from ..modes import evaluating
from ._model import observing, synapses
from ._style import BLUE, HATCHES, ORANGE, bars, legend_above, prefixes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class LayerOperations:
    """Operations of one synapse, over all samples and time steps.

    Attributes:
        kind: ``"SOP"``, an accumulation that a spike causes, or ``"MAC"``.
        operations: number of operations of that kind.
        dense_operations: number if every input were active at every step; no products with padding.
    """

    kind: str
    operations: int
    dense_operations: int


@dataclass(frozen=True, kw_only=True)
class OperationCount:
    """Operations per layer of ``samples`` samples; ``sops`` and ``macs`` are per sample."""

    layers: Mapping[str, LayerOperations]
    samples: int

    def _per_sample(self, kind: str) -> float:
        return sum(one.operations for one in self.layers.values() if one.kind == kind) / self.samples

    @property
    def sops(self) -> float:
        """Synaptic operations (accumulations) per sample."""
        return self._per_sample("SOP")

    @property
    def macs(self) -> float:
        """Multiply-accumulate operations per sample."""
        return self._per_sample("MAC")


def taps(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """Count the outputs that each position of a 1-D convolution's input reaches, int64 ``[size]``."""
    reached = torch.arange(outputs)[:, None] * stride - padding + torch.arange(kernel) * dilation
    inside = reached[(reached >= 0) & (reached < size)]
    return torch.bincount(inside, minlength=size)


def fan_out_sum(name: str, synapse: Any, events: Tensor, output: Tensor) -> Tensor:
    """Sum of ``events [N, C, H, W, T]`` or ``[N, C, T]``, each times its number of targets."""
    from .._slayer import synapse_layer

    if isinstance(synapse, synapse_layer.Dense):
        return events.sum(dtype=torch.float64) * int(synapse.out_channels)
    if not isinstance(synapse, (synapse_layer.Conv, synapse_layer.Pool)):
        raise OptionError(
            f"count_operations: {name} is a {type(synapse).__name__}, which is not supported; "
            "use Conv, Dense and Pool"
        )
    per_position = events.sum((0, 1, 4), dtype=torch.float64)
    rows, columns = (
        taps(
            events.shape[2 + axis],
            output.shape[2 + axis],
            synapse.kernel_size[axis],
            synapse.stride[axis],
            synapse.padding[axis],
            synapse.dilation[axis],
        ).to(per_position, non_blocking=True)
        for axis in (0, 1)
    )
    return rows @ per_position @ columns * (synapse.out_channels // synapse.groups)


class _Spikes(NamedTuple):
    """Number of spikes behind each value of a tensor.

    ``possible``: what one sample could have in one step, ``[1, ..., 1]``. ``binary``: all spikes are 1.
    """

    spikes: Tensor
    possible: Tensor
    binary: bool

    def map(self, function: Callable[[Tensor], Tensor]) -> _Spikes:
        return _Spikes(function(self.spikes), function(self.possible), self.binary)


class _Events:
    """Spikes behind a tensor: its non-zero values, or what was pooled without a neuron."""

    def __init__(self) -> None:
        self._known: Any = WeakTensorKeyDictionary()

    def of(self, x: Tensor) -> _Spikes:
        known: _Spikes | None = self._known.get(x)
        binary = known is None and bool(((x == 0) | (x == 1)).all())
        return known or _Spikes((x != 0).to(x.dtype), _one_step(x), binary)

    def pool(self, name: str, block: Any, x: Tensor, output: Tensor) -> None:
        tap = block.synapse.tap_weight
        self._known[output] = self.of(x).map(lambda e: (block.synapse.forward(e) / tap).round())

    def flatten(self, name: str, block: Any, x: Tensor, output: Tensor) -> None:
        if x in self._known:
            self._known[output] = self._known[x].map(lambda e: e.movedim(-1, 0).flatten(2).movedim(0, -1))


def _one_step(x: Tensor) -> Tensor:
    return torch.ones_like(x[:1, ..., :1], memory_format=torch.contiguous_format)


class _Tally:
    """Operations of one synapse, as either kind: ``[done, dense]``; and whether all its input was 0 or 1."""

    def __init__(self) -> None:
        self.sops, self.macs, self.binary = [0, 0], [0, 0], True

    def result(self, is_mac: bool) -> LayerOperations:
        done, dense = self.macs if is_mac else self.sops
        return LayerOperations(kind="MAC" if is_mac else "SOP", operations=done, dense_operations=dense)


def _event_driven(model: torch.nn.Module) -> bool | None:
    """Whether the first synapse receives events; None where only its input can tell."""
    from .. import block

    entry = next((module for module in model.modules() if isinstance(module, block.Input)), None)
    if entry is not None and entry.neuron is not None:  # it sends spikes, whatever it receives
        return True
    encoding = entry.encoding if entry is not None else Encoding()
    if encoding is None or not encoding.event_driven:
        return False
    return True if encoding.kind == "counts" else None  # what is no spike may have passed with a warning


def count_operations(
    model: torch.nn.Module, inputs: Tensor | Iterable[Tensor], *, repeats: bool = True
) -> OperationCount:
    """Count the operations that inputs cause in each synapse, in evaluation mode.

    SOPs of a synapse: ``sum over its input spikes of the spike's fan-out``, exact at borders
    and for any stride, padding, dilation and groups. The last synapse that is no feedback (the readout), and
    the one that runs first where images or intensities enter, count as MACs: every input value
    times its fan-out (the convention of AGMM and Q-SNN). Where events enter, the first one counts
    SOPs as the others do: counts and spikes by the encoding of ``block.Input``, the latter if all
    are 0 or 1, also without ``Input``; and what an ``Input`` with a neuron sends. Assumptions:

    - a spike or count of any size is one operation per target, also where the weight is zero;
    - pooling without a neuron is merged into the next synapse, as export does: each pooled
      spike costs the fan-out of its cell; pooling with a neuron costs one SOP per target;
    - 1x1 shortcuts are synapses and count as SOPs; an identity skip (one addition per spike),
      batch norm, modulation and neurons are not counted.

    The model is left as it was, also after an exception.

    Args:
        inputs: a batch, or several: what the model is called with.
        repeats: count a static frame at every time step, as a device does that receives it
            again each step; ``False`` counts it once, as our CPU path computes it.

    Raises:
        OptionError: a kind of synapse that cannot be counted.
        ShapeError: there is no input.
    """
    from .. import block
    from .._slayer import synapse_layer

    events = _Events()
    tallies: dict[str, _Tally] = {}

    def observer(name: str, synapse: Any, x: Tensor, output: Tensor) -> None:
        tally = tallies.setdefault(name, _Tally())
        spikes, possible, binary = events.of(x)
        sample_steps = x.shape[0] * x.shape[-1]
        once = is_constant_in_time(x) and not repeats
        counted = x.shape[0] if once else sample_steps
        tally.binary &= binary
        tally.sops[0] += int(fan_out_sum(name, synapse, spikes[..., :1] if once else spikes, output))
        tally.sops[1] += int(fan_out_sum(name, synapse, possible, output)) * sample_steps
        each = int(fan_out_sum(name, synapse, _one_step(x), output))
        tally.macs[0] += each * counted
        tally.macs[1] += each * sample_steps

    observed: dict[str, torch.nn.Module] = synapses(model)
    silent, flatten = {}, {}
    for name, module in model.named_modules():
        if isinstance(module, block.Pool) and module.neuron is None:
            silent[name] = module
        elif isinstance(module, block.Flatten):
            flatten[name] = module
        elif isinstance(getattr(module, "synapse", None), synapse_layer.Pool):
            observed[name] = module.synapse
    samples = 0
    with (
        evaluating(model),
        observing(observed, observer),
        observing(silent, events.pool),
        observing(flatten, events.flatten),
    ):
        for batch in [inputs] if isinstance(inputs, Tensor) else inputs:
            model(batch)
            samples += len(batch)
    if not samples or not tallies:
        raise ShapeError(f"count_operations: {samples} samples ran {len(tallies)} synapses; use one or more")
    loops = {getattr(module, "recurrent_synapse", None) for module in model.modules()}
    first, last = next(iter(tallies)), next(one for one in reversed(tallies) if observed[one] not in loops)
    known = _event_driven(model)
    macs = {last} if (tallies[first].binary if known is None else known) else {first, last}
    return OperationCount(layers={n: t.result(n in macs) for n, t in tallies.items()}, samples=samples)


@dataclass(frozen=True, kw_only=True)
class EnergyConstants:
    """Energy of one operation in joule, and where the numbers come from."""

    name: str
    accumulate: float
    multiply_accumulate: float


ENERGY_45NM = EnergyConstants(name="45 nm CMOS", accumulate=0.9e-12, multiply_accumulate=4.6e-12)
"""32-bit floating point in 45 nm (Horowitz, ISSCC 2014), the usual choice for SNNs."""
ENERGY_AGMM = EnergyConstants(
    name="fitted to AGMM table 2", accumulate=0.38e-12, multiply_accumulate=1.66e-12
)
"""What AGMM's table 2 was computed with, as far as its own numbers tell; the paper names none."""


@dataclass(frozen=True, kw_only=True)
class EnergyEstimate:
    """An estimate from operation counts alone, per sample; memory access and leakage are not in it."""

    sops: float
    macs: float
    constants: EnergyConstants

    @property
    def joule(self) -> float:
        """``E_AC * SOPs + E_MAC * MACs`` in joule per sample."""
        return self.constants.accumulate * self.sops + self.constants.multiply_accumulate * self.macs

    def __str__(self) -> str:
        one = self.constants
        return (
            f"estimate {self.joule:.3g} J ({one.name}: {one.accumulate * 1e12:g} pJ x {self.sops:.4g} SOPs "
            f"+ {one.multiply_accumulate * 1e12:g} pJ x {self.macs:.4g} MACs)"
        )


def estimate_energy(count: OperationCount, constants: EnergyConstants = ENERGY_45NM) -> EnergyEstimate:
    """Estimate the energy of a sample from counted operations."""
    return EnergyEstimate(sops=count.sops, macs=count.macs, constants=constants)


def plot_operations(count: OperationCount, axes: Axes) -> Axes:
    """Draw each layer's operations per sample: SOPs blue, MACs orange, logarithmic."""
    from matplotlib.patches import Patch
    from matplotlib.ticker import LogLocator

    values = {name: one.operations / count.samples for name, one in count.layers.items()}
    colours = [BLUE if one.kind == "SOP" else ORANGE for one in count.layers.values()]
    bars(values, axes, ylabel="operations per sample", colour=colours)
    axes.set_yscale("log")
    if max(values.values()) < 100 * min((value for value in values.values() if value), default=1):
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # a power of ten alone says little
    axes.yaxis.set_major_formatter(prefixes())
    handles = [Patch(color=BLUE, label="SOPs"), Patch(color=ORANGE, label="MACs")]
    return legend_above(axes, handles=handles)


def plot_energy(estimates: Mapping[str, EnergyEstimate], axes: Axes) -> Axes:
    """Draw estimates, each split into its SOPs' and its MACs' part."""
    sops = {name: one.constants.accumulate * one.sops for name, one in estimates.items()}
    macs = {name: one.constants.multiply_accumulate * one.macs for name, one in estimates.items()}
    constants = ", ".join(sorted({one.constants.name for one in estimates.values()}))
    options: dict[str, Any] = {
        "ylabel": "estimated energy per sample",
        "xlabel": f"model (constants: {constants})",
    }
    bars(sops, axes, colour=BLUE, label="SOPs", **options)
    bars(macs, axes, colour=ORANGE, label="MACs", bottom=list(sops.values()), hatch=HATCHES[1], **options)
    axes.yaxis.set_major_formatter(prefixes("J"))
    return legend_above(axes)
