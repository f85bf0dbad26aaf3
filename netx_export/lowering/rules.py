"""What no target can express about a block; handlers by type of block, which a target may replace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any

import numpy as np
import torch

from lava_bsnn import block
from lava_bsnn.modulation import AGMM, ConstantGate
from lava_bsnn.neuron import QCFS
from lava_bsnn.norm import Bias
from lava_bsnn.training.hybrid import SubSteps

from ..neurons import is_registered, kind_of
from ..targets.base import BlockRule
from .job import Job


def block_problems(module: Any, job: Job) -> Iterator[str]:
    """A line per reason why a block cannot be expressed."""
    rule = _rule_of(type(module), {**_RULES, **job.target.block_rules()})
    if rule is None:
        kind = f"{type(module).__module__}.{type(module).__name__}"
        yield f"{kind} cannot be exported; use blocks of lava_bsnn.block"
        return
    yield from rule(module, job)


def _rule_of(kind: type, rules: Mapping[type, BlockRule]) -> BlockRule | None:
    return next((rules[base] for base in kind.__mro__ if base in rules), None)


def any_problems(module: Any, job: Job) -> Iterator[str]:
    """Of any block: methods that a subclass replaces, and delays of training."""
    for part in (module, *module.children()):
        yield from _subclass_problems(module.label, part)
    if getattr(module, "delay_shift", False):
        yield f"{module.label}: delay_shift=True cannot be exported; use False, the device delays by itself"


def input_problems(module: block.Input, job: Job) -> Iterator[str]:
    """Of an input: neurons, and samples that no device takes."""
    yield from any_problems(module, job)
    if module.neuron is not None:
        yield f"{module.label}: an input neuron cannot be exported; use neuron_params=None"
    elif module.refused:
        yield module.refused
    elif module.encoding is None:
        yield f"{module.label}: real numbers cannot enter a device; use bits=1..8 or an encoding"


def residual_problems(module: block.Residual, job: Job) -> Iterator[str]:
    """Of the blocks of a residual and its shortcut."""
    if isinstance(module.blocks[-1], block.Residual):
        yield f"{module.label}: a Residual that ends in a Residual cannot be exported; put it behind"
    for inner in module.blocks:
        yield from block_problems(inner, job)
    for inner in module.shortcut:
        yield from block_problems(inner, job)


def spiking_problems(module: Any, job: Job) -> Iterator[str]:
    """Of a block with a synapse: norm, modulation, delay, and neurons."""
    yield from any_problems(module, job)
    label, neuron = module.label, module.neuron
    yield from _norm_problems(module)
    if not isinstance(module.modulation, (AGMM, ConstantGate, NoneType)):
        kind = type(module.modulation).__name__
        yield f"{label}: modulation {kind} cannot be exported; use AGMM or modulation=None"
    elif isinstance(module.modulation, AGMM) and isinstance(module, block.Dense) and _is_image(module):
        yield f"{label}: AGMM behind a dense layer on an image; put block.Flatten() in front"
    yield from _stream_problems(module, job)
    if neuron is None:
        if not isinstance(module, (block.Pool, block.Readout)) and module not in job.shortcuts:
            yield f"{label}: a block without neuron cannot be exported; give it neuron_params"
    elif isinstance(neuron, QCFS):
        yield f"{label}: QCFS belongs to an ANN and cannot be exported; use training.hybrid.to_lmht first"
    elif (kind_found := kind_of(neuron)) is None:
        yield (
            f"{label}: neuron {type(neuron).__name__} cannot be exported; use LIF or MultiThresholdLIF, or "
            "netx_export.register_neuron (docs/own_neuron.md)"
        )
    else:
        yield from (f"{label}: {text}" for text in kind_found.module_problems(neuron))


def _stream_problems(module: Any, job: Job) -> Iterator[str]:
    """What has an end, in a model whose neurons carry their state on, and neurons that do not."""
    label, neuron = module.label, module.neuron
    carries = getattr(neuron, "persistent_state", False)
    if not job.persistent:
        if carries:  # of SLAYER's export loop, block by block
            yield f"{label}: persistent_state=True cannot be exported by itself; use convert and write"
        return
    if neuron is not None and not carries:
        yield (
            f"{label}: persistent_state=False, while other neurons carry their state on; use the same for all"
        )
    if isinstance(module.modulation, AGMM):
        steps = len(module.modulation.alpha)
        yield (
            f"{label}: persistent_state=True with AGMM, whose gates are for {steps} steps; "
            "use modulation=None"
        )
    mix = getattr(neuron, "mix", None)
    if mix is not None and mix.mode != "identity":
        yield (
            f"{label}: persistent_state=True with a mixing of {mix.num_steps} steps; use num_steps=None or "
            "mix='identity'"
        )
    if np.min(getattr(neuron, "cx_current_decay", 1)) == 0:
        yield f"{label}: persistent_state=True with current_decay=0, whose current grows for ever; use more"


def _is_image(module: Any) -> bool:
    return module.input_shape is not None and len(module.input_shape) == 3


def _norm_problems(module: Any) -> Iterator[str]:
    """Batch norm without statistics, and weights of half precision."""
    norm = None if isinstance(module.norm, Bias) else module.norm
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
        if is_registered(kind) and kind.__module__.partition(".")[0] != "lava_bsnn":
            return  # its kind of neurons is its own
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


_RULES: dict[type, BlockRule] = {
    block.Input: input_problems,
    block.Flatten: any_problems,
    block.Residual: residual_problems,
    block.SpikingBlock: spiking_problems,
    SubSteps: lambda module, job: iter(()),
}
