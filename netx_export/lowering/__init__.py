"""From a trained torch model to integers: what can be expressed, and in which profile."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lava_bsnn import block
from lava_bsnn.block.base import set_sources
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError, check_option
from lava_bsnn.fixed_point import NO_MEMORY, STATE_BITS
from lava_bsnn.models import SpikingNetwork
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, QCFS, MultiThresholdLIF, TemporalMix
from lava_bsnn.training.hybrid import SubSteps, to_single_threshold

from ..network import FixedPointNetwork, Input
from .calibration import Calibration, mean_gates
from .extended import lower_extended
from .observe import observe, samples_for
from .resolution import LayerReport
from .stock import lower_stock
from .wiring import check_wiring, unwrapped

PROFILES = ("stock", "extended")


def convert(
    model: torch.nn.Module | Iterable[torch.nn.Module],
    profile: str = "stock",
    calibration: Calibration | None = None,
    *,
    num_steps: int | None = None,
    single_threshold: bool = False,
    ignore_membrane: bool = False,
    report: Callable[[LayerReport], None] | None = None,
) -> FixedPointNetwork:
    """Freeze a model of :mod:`lava_bsnn.block` modules to integers.

    Args:
        model: a ``Sequential``, a list of blocks, or a module with ``blocks`` whose ``forward`` runs them one
            after the other, which is tried with random values; built. ``DataParallel``,
            ``DistributedDataParallel`` and ``AveragedModel`` are unwrapped.
        profile: ``"stock"``: what unmodified lava-dl 0.6.0 loads and runs; ``"extended"``: also
            skip connections, AGMM gates, k-bit membranes, multi-threshold neurons and T-GIM.
        calibration: inputs as the model takes them, or (inputs, labels): rounding is chosen and
            reported for these. Without, it is chosen for messages of usual size, so that equal weights give
            equal networks, and reported for what the model's ``Input`` kept of its training, else for random
            samples. Profile ``"stock"`` replaces AGMM's gates by their means over them, and warns of
            what that costs.
        num_steps: steps per sample for which the readout must not overflow; by default
            ``model.num_steps``, or 16.
        single_threshold: turn LM-HT neurons into single-threshold ones over L times the steps;
            each step of the input is then repeated L times.
        ignore_membrane: let profile ``"stock"`` keep 24 bits where fewer were trained.
        report: called with the accuracy of each converted layer.

    Raises:
        ExportError: something cannot be expressed; the message lists every such block. Or the
            model computes something else than its blocks in a row, batch norm never saw data, or rounding
            would leave nothing of a layer.
    """
    check_option("convert", "profile", profile, PROFILES)
    model = unwrapped(model)
    if single_threshold and not isinstance(model, SpikingNetwork):
        raise ExportError("convert: single_threshold=True needs a SpikingNetwork; make one of the blocks")
    if num_steps is not None and num_steps < 1:
        raise ExportError(f"convert: num_steps={num_steps} is not allowed; use 1 or more")
    blocks = _blocks_of(model)
    problems = [
        problem
        for module in blocks
        for problem in _problems(module, profile, calibration is not None, ignore_membrane)
    ]
    for index, module in enumerate(blocks):
        if isinstance(module, block.Input) and index:
            problems.append(f"{module.label}: an Input in the middle cannot be exported; put it first")
        if isinstance(module, block.Readout) and index < len(blocks) - 1:
            problems.append(f"{module.label}: a Readout in the middle cannot be exported; put it last")
    if problems:
        raise ExportError("; ".join(problems))
    first: Any = blocks[0]
    if not isinstance(first, block.Block) or first.input_shape is None:
        raise ExportError("convert: shapes are not known yet; call block.build(model, input_shape) first")
    set_sources(blocks)
    in_steps = int(getattr(model, "num_steps", 0) or _own_steps(blocks) or num_steps or block.DEFAULT_STEPS)
    check_wiring(model, blocks, in_steps)
    if single_threshold:
        model = to_single_threshold(model)  # type: ignore[arg-type]
        blocks = _blocks_of(model)
    out_steps = getattr(model, "out_steps", None)
    entry = _input_of(blocks, in_steps, out_steps)
    if num_steps is None:
        num_steps = int(out_steps or in_steps)
    inputs = calibration[0] if isinstance(calibration, tuple) else calibration
    if inputs is not None and not len(inputs):
        raise ExportError("convert: calibration has no sample; give at least one")
    samples = samples_for(blocks, first.input_shape, in_steps, inputs)
    seen = observe(blocks, samples, given=inputs is not None)
    tell = report or (lambda layer: None)
    if profile == "extended":
        layers = lower_extended(blocks, entry, num_steps, seen, tell)
    else:
        gates: dict[torch.nn.Module, np.ndarray] = {}
        if calibration is not None and any(isinstance(m, AGMM) for one in blocks for m in one.modules()):
            gates, cost = mean_gates(model, blocks, calibration)
            warnings.warn(f"convert: gates became constants: {cost}", stacklevel=2)
        layers = lower_stock(blocks, num_steps, seen, tell, gates)
    return FixedPointNetwork(
        input=entry, layers=layers, profile=profile, classes=tuple(getattr(model, "classes", ()))
    )


def _input_of(blocks: list[Any], in_steps: int, out_steps: int | None) -> Input:
    """What enters the network: what the first block takes, over the model's own steps if it has such."""
    first = blocks[0]
    shape = first.shape if isinstance(first, block.Input) else first.input_shape
    coding = (first.encoding if isinstance(first, block.Input) else None) or Encoding()
    repeat = math.prod(one.count for one in blocks if isinstance(one, SubSteps))
    steps = int(out_steps) if out_steps else 0
    coding = replace(coding, repeat=repeat, steps=steps)
    return Input(shape=shape, bits=coding.bits, signed=coding.signed, encoding=coding)


def _own_steps(blocks: list[Any]) -> int | None:
    """Steps that gates or mixings of some blocks are made for."""
    for one in blocks:
        for module in one.modules():
            if isinstance(module, AGMM):
                return len(module.alpha)
            if isinstance(module, TemporalMix):
                return module.num_steps
    return None


def _blocks_of(model: Any) -> list[torch.nn.Module]:
    blocks = getattr(model, "blocks", model)
    chain = (torch.nn.Sequential, torch.nn.ModuleList, list, tuple)
    if not isinstance(blocks, chain):
        raise ExportError(
            f"convert: {type(model).__name__} is not a chain of blocks; use a Sequential, a list "
            "of blocks, or a module whose attribute `blocks` is one"
        )
    result = list(blocks)
    if not result:
        raise ExportError("convert: the model has no blocks; give at least a Readout")
    return result


def _problems(
    module: torch.nn.Module, profile: str, calibrated: bool, ignore_membrane: bool
) -> Iterator[str]:
    """What a profile cannot express about one block."""
    stock, use = profile == "stock", "use profile='extended'"
    if isinstance(module, block.Residual):
        if stock:
            yield f"{module.label}: skip connections cannot be exported in profile 'stock'; {use}"
        else:
            if isinstance(module.blocks[-1], block.Residual):
                yield f"{module.label}: a Residual that ends in a Residual cannot be exported; put it behind"
            for inner in module.blocks:
                yield from _problems(inner, profile, calibrated, ignore_membrane)
            for inner in module.shortcut:
                yield from (p for p in _problems(inner, profile, False, False) if "without neuron" not in p)
        return
    if not isinstance(module, (block.SpikingBlock, block.Flatten, block.Input, SubSteps)):
        kind = f"{type(module).__module__}.{type(module).__name__}"
        yield f"{kind} cannot be exported; use blocks of lava_bsnn.block"
        return
    neuron = getattr(module, "neuron", None)
    label = module.label
    for part in (module, *module.children()):
        yield from _subclass_problems(label, part)
    if getattr(module, "delay_shift", False):
        yield f"{label}: delay_shift=True cannot be exported; use False, the device delays by itself"
    if isinstance(module, block.Input) and neuron is not None:
        yield f"{label}: an input neuron cannot be exported; use neuron_params=None"
    elif isinstance(module, block.Input) and module.refused:
        yield module.refused
    elif isinstance(module, block.Input) and module.encoding is None:
        yield f"{label}: real numbers cannot enter a device; use bits=1..8 or an encoding"
    if not isinstance(module, block.SpikingBlock):
        return
    yield from _norm_problems(module)
    if module.modulation is not None:
        yield from _modulation_problems(module, stock and not calibrated)
    bits = getattr(module.synapse.pre_hook_fx, "bits", 8)
    if not stock and bits > 8:
        yield f"{label}: weights of {bits} bits cannot be exported in profile 'extended'; use weight_bits=8"
    if module.delay is not None:
        yield f"{label}: axonal delays cannot be exported; use delay=False"
    if neuron is None:
        if not isinstance(module, (block.Pool, block.Readout)):
            yield f"{label}: a block without neuron cannot be exported; give it neuron_params"
    elif getattr(neuron, "persistent_state", False):
        yield f"{label}: persistent_state=True cannot be exported, samples start anew; use False"
    elif isinstance(neuron, QCFS):
        yield f"{label}: QCFS belongs to an ANN and cannot be exported; use training.hybrid.to_lmht first"
    elif isinstance(neuron, LIF):
        yield from _lif_problems(label, neuron, module, stock, ignore_membrane)
    elif stock or not isinstance(neuron, MultiThresholdLIF):
        hint = use if isinstance(neuron, MultiThresholdLIF) else "use LIF or MultiThresholdLIF"
        yield f"{label}: neuron {type(neuron).__name__} cannot be exported in profile {profile!r}; {hint}"


def _norm_problems(module: Any) -> Iterator[str]:
    """Batch norm without statistics, and weights of half precision."""
    norm = module.norm
    if norm is not None and norm.running_mean is not None and norm.running_var is not None:
        unused = not norm.num_batches_tracked and not norm.running_mean.any()
        if unused and bool((norm.running_var == 1).all()):
            yield (
                f"{module.label}: its batch norm never saw data; train the model, or run some batches "
                "through it in training mode"
            )
    kinds = {p.dtype for p in module.parameters()} & {torch.float16, torch.bfloat16}
    if kinds:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        yield (
            f"{module.label}: {names} parameters cannot be exported, training in them computes otherwise; "
            "use model.float()"
        )


def _subclass_problems(label: str, part: torch.nn.Module) -> Iterator[str]:
    """Methods that a subclass of ours replaces: export would compute those of the base."""
    own: set[str] = set()
    for kind in type(part).__mro__:
        if kind.__module__.partition(".")[0] == "lava_bsnn":
            if own:
                base, names = kind.__name__, ", ".join(sorted(own))
                yield (
                    f"{label}: {type(part).__name__} replaces {names} of {base}, which export would not see; "
                    f"use {base} itself"
                )
            return
        methods = (name for name, value in vars(kind).items() if callable(value))
        own.update(name for name in methods if not name.startswith("__") and name != "extra_repr")


def stock_block_problems(module: torch.nn.Module) -> Iterator[str]:
    """What the stock profile cannot express about one block."""
    yield from _problems(module, "stock", False, False)


def _modulation_problems(module: block.SpikingBlock, needs_calibration: bool) -> Iterator[str]:
    kind = type(module.modulation).__name__
    if not isinstance(module.modulation, AGMM):
        yield f"{module.label}: modulation {kind} cannot be exported; use AGMM or modulation=None"
    elif needs_calibration:
        yield (
            f"{module.label}: modulation {kind} cannot be exported in profile 'stock'; use "
            "profile='extended', or calibration=inputs (--calibration N) for constant gates"
        )
    elif isinstance(module, block.Dense) and module.input_shape is not None and len(module.input_shape) == 3:
        yield f"{module.label}: {kind} behind a dense layer on an image; put block.Flatten() in front"


def _lif_problems(
    label: str, neuron: LIF, module: block.SpikingBlock, stock: bool, ignore_membrane: bool
) -> Iterator[str]:
    bits = neuron.membrane_bits
    if bits is not None and bits < STATE_BITS and stock and not ignore_membrane:
        yield (
            f"{label}: a membrane of {bits} bits cannot be exported in profile 'stock', whose neurons have "
            f"{STATE_BITS}; use profile='extended', train with membrane_bits={STATE_BITS} or None, or accept "
            "other spikes with ignore_membrane=True"
        )
    if bits is not None and neuron.membrane_when != "stored" and not stock:
        yield (
            f"{label}: membrane_when={neuron.membrane_when!r} cannot be exported: the device quantises "
            "what it stores; use membrane_when='stored'"
        )
    if neuron.norm is not None:
        yield f"{label}: norm in neuron_params cannot be exported; use the block's norm='batch'"
    if neuron.cx_current_decay < NO_MEMORY and module.norm is not None and stock:
        yield (
            f"{label}: current_decay < 1 with norm cannot be exported, since the device adds biases "
            "behind the current filter; use current_decay=1 or norm=None"
        )
