"""Bytes of a model's parameters with packed bits, and of its membranes beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import OptionError, ShapeError, check_option
from ..modes import evaluating
from ._model import latent_weight, neurons, observing, synapses, weight_bits
from ._style import BLUE, HATCHES, ORANGE, bars, legend_above, prefixes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOAT_BITS = 32
ENDS_BITS = 8
"""Bits of the first and the last layer of a network with fewer bits in between (Q-SNN, section 5.1)."""
MEMBRANES = ("largest", "all")


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Values of one tensor.

    Attributes:
        name: as in ``named_parameters()`` or ``named_buffers()``.
        kind: ``"weights"`` of a synapse, ``"scales"`` of these, ``"statistics"`` of batch norm,
            or ``"other"``: biases, gain and offset of batch norm, factors of modulation.
        layer: layer of a weight; empty for other kinds.
        count: number of values.
        bits: bits per value.
    """

    name: str
    kind: str
    layer: str = ""
    count: int
    bits: int = FLOAT_BITS


def packed_bytes(groups: Iterable[ParameterGroup]) -> int:
    """``ceil(sum count * bits / 8)``."""
    return -(-sum(group.count * group.bits for group in groups) // 8)


def _fixed(model: torch.nn.Module) -> set[int]:
    """Parameters that are not counted: of pooling, fixed ones of neurons, lengths that weights contain."""
    from .._slayer import synapse_layer

    pools = [m for m in model.modules() if isinstance(m, (synapse_layer.Pool, synapse_layer.Unpool))]
    constants = [p for one in neurons(model).values() for p in one.parameters() if not p.requires_grad]
    constants += [p for pool in pools for p in pool.parameters()]
    constants += [p for one in synapses(model).values() if (p := getattr(one, "weight_g", None)) is not None]
    return {id(p) for p in constants}


def parameter_groups(
    model: torch.nn.Module, *, scales: bool = False, running_stats: bool = False
) -> list[ParameterGroup]:
    """List what :func:`model_size` counts; options as there."""
    found, fixed = synapses(model), _fixed(model)
    layer_of = {id(latent_weight(synapse)): name for name, synapse in found.items()}
    groups = []
    for name, parameter in model.named_parameters():
        layer, count = layer_of.get(id(parameter), ""), parameter.numel()
        if layer:
            bits = weight_bits(found[layer])
            groups.append(ParameterGroup(name=name, kind="weights", layer=layer, count=count, bits=bits))
        elif id(parameter) not in fixed:
            groups.append(ParameterGroup(name=name, kind="other", count=count))
    for name, synapse in found.items():
        if scales and weight_bits(synapse) < FLOAT_BITS:
            count = synapse.pre_hook_fx.integers(synapse.weight)[1].numel()
            groups.append(ParameterGroup(name=f"{name}.scale", kind="scales", count=count))
    for name, buffer in model.named_buffers():
        if running_stats and name.rpartition(".")[2] in ("running_mean", "running_var"):
            groups.append(ParameterGroup(name=name, kind="statistics", count=buffer.numel()))
    return groups


def model_size(model: torch.nn.Module, *, scales: bool = False, running_stats: bool = False) -> int:
    """Bytes of the parameters with packed bits: ``ceil(sum count * bits / 8)``.

    Synapse weights have the bits of their weight hook (``Binarize``: 1, ``Quantize``: its
    bits, none or one without ``bits``: 32). All other parameters have 32: biases, gain and
    offset of batch norm, factors of modulation, and those of a neuron that are learnt.
    Pooling has none.

    Args:
        scales: count the step per channel or layer (alpha of AGMM eq. 5) of weights below
            32 bits too. By default it is taken as folded into batch norm, as the papers do.
        running_stats: count running mean and variance of batch norm too.
    """
    return packed_bytes(parameter_groups(model, scales=scales, running_stats=running_stats))


def neuron_counts(model: torch.nn.Module, in_shape: Iterable[int]) -> dict[str, int]:
    """Neurons of each layer for one sample of shape ``(C, H, W)`` or ``(C,)``.

    A model built for that shape is read; otherwise one sample of zeros runs through it.
    """
    layers, shape = neurons(model), tuple(in_shape)
    if getattr(model, "in_shape", None) == shape:
        known = {name: neuron.shape for name, neuron in layers.items()}
        if all(one is not None for one in known.values()):
            return {name: prod(one) for name, one in known.items()}
    counts: dict[str, int] = {}

    def observer(name: str, module: torch.nn.Module, x: Tensor, spikes: Tensor) -> None:
        counts[name] = spikes[0, ..., 0].numel()

    first = next(model.parameters(), torch.empty(0))
    with evaluating(model), observing(layers, observer):
        model(first.new_zeros(1, *shape, getattr(model, "num_steps", 1)))
    return {name: counts[name] for name in layers if name in counts}


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of parameters and of membrane potentials."""

    parameters: int
    membranes: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.parameters + self.membranes


def footprint(
    model: torch.nn.Module,
    in_shape: Iterable[int],
    batch: int,
    weight_bits: int,
    membrane_bits: int,
    *,
    ends_bits: int | tuple[int, int] | None = None,
    membranes: str = "largest",
) -> Footprint:
    """Bytes of parameters and membranes while a batch runs (Q-SNN table 2).

    ``parameters = ceil(sum count * bits / 8)`` with ``weight_bits`` for all synapses between the first and
    the last, 1x1 shortcuts included, ``ends_bits`` for these two, and 32 for the rest, as
    in :func:`model_size`; the model's own weight hooks do not matter.
    ``membranes = ceil(batch * neurons * membrane_bits / 8)``.

    Args:
        in_shape: shape of a sample, ``(C, H, W)`` or ``(C,)``.
        batch: samples held at the same time.
        weight_bits: 1..32.
        membrane_bits: 1..32.
        ends_bits: bits of the first and the last layer, one number or two; by default
            ``max(weight_bits, 8)`` for both.
        membranes: ``"largest"``: one buffer, large enough for the largest layer, that all
            layers use in turn, each over all time steps (what the paper's numbers imply);
            ``"all"``: every neuron has its own, as on a device that runs all layers at once.

    Raises:
        OptionError: an option is out of range.
        ShapeError: the model has no neuron.
    """
    for name, value in (("weight_bits", weight_bits), ("membrane_bits", membrane_bits)):
        if isinstance(value, bool) or value not in range(1, FLOAT_BITS + 1):
            raise OptionError(f"memory_footprint: {name}={value!r} is not allowed; use 1..{FLOAT_BITS}")
    if batch < 1:
        raise OptionError(f"memory_footprint: batch={batch!r} is not allowed; use 1 or more")
    check_option("memory_footprint", "membranes", membranes, MEMBRANES)
    layers = list(synapses(model))
    ends = max(weight_bits, ENDS_BITS) if ends_bits is None else ends_bits
    first, last = (ends, ends) if isinstance(ends, int) else ends
    bits = {**dict.fromkeys(layers, weight_bits), layers[0]: first, layers[-1]: last} if layers else {}
    groups = [replace(one, bits=bits.get(one.layer, FLOAT_BITS)) for one in parameter_groups(model)]
    counts = neuron_counts(model, in_shape).values()
    if not counts:
        raise ShapeError("memory_footprint: the model has no neuron; use a model of lava_bsnn.models")
    potentials = batch * (max(counts) if membranes == "largest" else sum(counts))
    return Footprint(parameters=packed_bytes(groups), membranes=-(-potentials * membrane_bits // 8))


def memory_footprint(
    model: torch.nn.Module,
    in_shape: Iterable[int],
    batch: int,
    weight_bits: int,
    membrane_bits: int,
    **options: Any,
) -> int:
    """Bytes of parameters and membranes together; arguments as :func:`footprint` (Q-SNN table 2)."""
    return footprint(model, in_shape, batch, weight_bits, membrane_bits, **options).total


def plot_model_size(models: Mapping[str, torch.nn.Module], axes: Axes, **options: Any) -> Axes:
    """Draw each model's bytes, a colour per kind of parameter; options of :func:`model_size`."""
    from matplotlib import colormaps

    groups = {name: parameter_groups(model, **options) for name, model in models.items()}
    kinds = sorted({(group.bits, group.kind) for listed in groups.values() for group in listed})
    bottom = [0.0] * len(groups)
    for index, (bits, kind) in enumerate(kinds):
        part = {
            name: sum(one.count * one.bits for one in listed if (one.bits, one.kind) == (bits, kind)) / 8
            for name, listed in groups.items()
        }
        label = f"{kind}, {bits} bit"
        colour = colormaps["viridis"](0.9 * index / max(1, len(kinds) - 1))
        look: dict[str, Any] = {"colour": [colour], "label": label, "hatch": HATCHES[index % len(HATCHES)]}
        bars(part, axes, xlabel="model", ylabel="size (bytes)", bottom=bottom, **look)
        bottom = [low + more for low, more in zip(bottom, part.values(), strict=True)]
    axes.yaxis.set_major_formatter(prefixes("B"))
    return legend_above(axes)


def plot_footprint(footprints: Mapping[str, Footprint], axes: Axes) -> Axes:
    """Draw each footprint, parameters below, membranes on top."""
    parameters = {name: one.parameters for name, one in footprints.items()}
    membranes = {name: one.membranes for name, one in footprints.items()}
    options: dict[str, Any] = {"ylabel": "memory (bytes)", "xlabel": "model and bits"}
    bars(parameters, axes, colour=BLUE, label="parameters", **options)
    below = [float(size) for size in parameters.values()]
    bars(membranes, axes, colour=ORANGE, label="membranes", bottom=below, hatch=HATCHES[1], **options)
    axes.yaxis.set_major_formatter(prefixes("B"))
    return legend_above(axes)
