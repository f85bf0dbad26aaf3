"""From a trained torch model to integers, in passes.

``convert`` refuses what the target cannot express (:mod:`~netx_export.lowering.rules` and the target's own),
checks that the model is its blocks in a row (:mod:`~netx_export.lowering.wiring`), lets them see some
samples (:mod:`~netx_export.lowering.observe`), and has the target make integers of them
(:mod:`~netx_export.lowering.stock`, :mod:`~netx_export.lowering.extended`), which are judged against what
was seen (:mod:`~netx_export.lowering.resolution`).
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lava_bsnn import block
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError, LavaBsnnWarning, check_option
from lava_bsnn.models import SpikingNetwork
from lava_bsnn.models.network import steps_behind
from lava_bsnn.modes import from_rest
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import TemporalMix
from lava_bsnn.training.gates import freeze_gates, has_gates
from lava_bsnn.training.hybrid import SubSteps, to_single_threshold

from ..network import FixedPointNetwork, Input
from ..network.samples import as_array, check_fit
from ..targets import TARGETS, target
from .job import Job
from .observe import observe, samples_for
from .resolution import LayerReport
from .rules import block_problems
from .wiring import check_wiring, unwrapped

Calibration = Tensor | np.ndarray | tuple[Any, Any]
__all__ = ["Calibration", "LayerReport", "convert"]


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
        profile: name of the target (:mod:`netx_export.targets`). ``"stock"``: what unmodified lava-dl 0.6.0
            loads and runs; ``"extended"``: also skip connections, AGMM gates, k-bit membranes,
            multi-threshold and registered neurons, and T-GIM.
        calibration: inputs as the model takes them, or (inputs, labels): rounding is chosen and
            reported for these. Without, it is chosen for messages of usual size, so that equal weights give
            equal networks, and reported for what the model's ``Input`` kept of its training, else for random
            samples. Profile ``"stock"`` replaces AGMM's gates by their means over them, and warns of
            what that costs.
        num_steps: steps per sample for which the readout must not overflow; by default
            ``model.num_steps``, or 16. In a stream (neurons with ``persistent_state``), the readout leaks:
            it forgets with this time constant, 1 for the logits of each step.
        single_threshold: turn LM-HT neurons into single-threshold ones over L times the steps;
            each step of the input is then repeated L times.
        ignore_membrane: let profile ``"stock"`` keep 24 bits where fewer were trained.
        report: called with the accuracy of each converted layer.

    Raises:
        ExportError: something cannot be expressed; the message lists every such block. Or the
            model computes something else than its blocks in a row, batch norm never saw data, or rounding
            would leave nothing of a layer.
        ShapeError: the calibration samples do not fit.
    """
    check_option("convert", "profile", profile, tuple(TARGETS))
    model = unwrapped(model)
    if single_threshold and not isinstance(model, SpikingNetwork):
        raise ExportError("convert: single_threshold=True needs a SpikingNetwork; make one of the blocks")
    if num_steps is not None and num_steps < 1:
        raise ExportError(f"convert: num_steps={num_steps} is not allowed; use 1 or more")
    inputs = calibration[0] if isinstance(calibration, tuple) else calibration
    if inputs is not None:
        inputs = as_array("convert: calibration", inputs)
        if not len(inputs):
            raise ExportError("convert: calibration has no sample; give at least one")
    job = Job(
        target=target(profile),
        model=model,
        blocks=_blocks_of(model),
        calibration=calibration,
        ignore_membrane=ignore_membrane,
        report=report or (lambda layer: None),
    )
    job.persistent = any(
        getattr(module.neuron, "persistent_state", False)
        for module in torch.nn.ModuleList(job.blocks).modules()
        if isinstance(module, block.SpikingBlock)
    )
    if single_threshold and job.persistent:
        raise ExportError(
            "convert: single_threshold=True is for windows of T steps; use persistent_state=False"
        )
    first = job.blocks[0]
    built = isinstance(first, block.Block) and first.input_shape is not None
    if built and all(isinstance(one, block.Block) for one in job.blocks):
        block.build(job.blocks, first.input_shape)  # type: ignore[arg-type]
    _refuse(
        [*_place_problems(job.blocks), *(line for one in job.blocks for line in block_problems(one, job))]
    )
    if not built:
        raise ExportError("convert: shapes are not known yet; call block.build(model, input_shape) first")
    if inputs is not None:
        check_fit("convert: calibration", inputs, first.input_shape)  # type: ignore[arg-type]
    in_steps = int(
        getattr(model, "num_steps", 0) or _own_steps(job.blocks) or num_steps or block.DEFAULT_STEPS
    )
    check_wiring(model, job.blocks, in_steps)
    if single_threshold:
        job.model = to_single_threshold(model)  # type: ignore[arg-type]
        job.blocks = _blocks_of(job.model)
    _refuse(list(job.target.chain_problems(job)))
    out_steps = getattr(job.model, "out_steps", None)
    job.entry = _input_of(job.blocks, in_steps if out_steps and not job.persistent else 0)
    job.num_steps = num_steps or int(out_steps or steps_behind(job.blocks, in_steps))
    samples = samples_for(job.blocks, first.input_shape, in_steps, inputs)  # type: ignore[arg-type]
    with from_rest(torch.nn.ModuleList(job.blocks)):
        job.seen = observe(job.blocks, samples, given=inputs is not None)
    _freeze_gates(job)
    return FixedPointNetwork(
        input=job.entry,
        layers=job.target.lower(job),
        profile=profile,
        classes=tuple(getattr(job.model, "classes", ())),
        persistent=job.persistent,
    )


def _freeze_gates(job: Job) -> None:
    """Gates that the target does not have become their means over the calibration samples.

    What was seen stays what the model with its gates did, by which the constants are judged.
    """
    if job.target.has_gates or not has_gates(torch.nn.ModuleList(job.blocks)):
        return
    modules = torch.nn.ModuleList(job.blocks)
    network = job.model if isinstance(job.model, torch.nn.Module) else torch.nn.Sequential(*modules)
    network, frozen = copy.deepcopy((network, modules))
    copies: dict[Any, Any] = dict(zip(modules.modules(), frozen.modules(), strict=True))
    loops = [module for module in copies if isinstance(module, block.Recurrent)]
    copies.update({module.feedback: copies[module].feedback for module in loops})
    given = job.calibration if isinstance(job.calibration, tuple) else (job.calibration,)
    warnings.warn(
        f"convert: gates became constants: {freeze_gates(network, *given)}", LavaBsnnWarning, stacklevel=3
    )
    job.model, job.blocks, job.frozen = network, list(frozen), True
    job.seen.inputs = {copies[module]: x for module, x in job.seen.inputs.items()}
    job.seen.currents = {copies[module]: x for module, x in job.seen.currents.items()}


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ExportError(*problems)


def _place_problems(blocks: list[Any]) -> Iterator[str]:
    """Inputs that are not first, and readouts that are not last."""
    for index, module in enumerate(blocks):
        if isinstance(module, block.Input) and index:
            yield f"{module.label}: an Input in the middle cannot be exported; put it first"
        if isinstance(module, block.Readout) and index < len(blocks) - 1:
            yield f"{module.label}: a Readout in the middle cannot be exported; put it last"


def _input_of(blocks: list[Any], steps: int) -> Input:
    """What enters the network: what the first block takes, over the model's own steps, 0 if it has none."""
    first = blocks[0]
    shape = first.shape if isinstance(first, block.Input) else first.input_shape
    coding = (first.encoding if isinstance(first, block.Input) else None) or Encoding()
    repeat = math.prod(one.count for one in blocks if isinstance(one, SubSteps))
    coding = replace(coding, repeat=repeat, steps=steps * repeat)
    return Input(shape=shape, bits=coding.bits, signed=coding.signed, encoding=coding)


def _own_steps(blocks: list[Any]) -> int | None:
    """Steps that gates or mixings of some blocks are made for."""
    for one in blocks:
        for module in one.modules():
            if isinstance(module, AGMM):
                return len(module.alpha)
            if isinstance(module, TemporalMix):
                return module.num_frames
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
