"""Fine-tuning in the device's integers, so that nothing changes at export."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch

from .. import block, device, fixed_point
from .._slayer import neuron_base
from ..errors import LavaBsnnError, line_of
from ..files import write_json
from ..fixed_point import ALIGN_BITS
from ..limits import LOIHI
from ..modulation import AGMM
from ..norm import BatchNorm
from .batches import Data, as_dataset
from .gates import freeze_gates, has_gates
from .history import Epoch
from .loop import fit
from .schedule import optimizer
from .targets import check_target, on_chip

GRID = "matched.json"
"""In the folder of a fine-tuned run: what :func:`match_device` chose for each neuron."""
_CALIBRATION = 512
"""Samples of the training set over which gates are averaged."""


def has_matched_mode(model: torch.nn.Module) -> bool:
    """Whether all neurons of a model can compute in the device's integers."""
    return all(hasattr(neuron, "match_device") for neuron in _neurons(model))


def match_device(model: torch.nn.Module, target: str = "extended", calibration: Any = None) -> None:
    """Let a trained model compute as the device will: batch norm frozen, neurons in matched mode.

    From then on the forward pass, in training and evaluation, is that of ``netx_export.convert(model,
    target)``, spike for spike.

    For ``"extended"`` membranes of k bits keep their bits, others get 24, and each layer's grid is the
    finest, a power of two, on which its worst-case current takes half of 24 bits. For ``"stock"`` and
    ``"loihi"`` it is the finest, a power of two, on which weights fit 8 bits, biases 13 bits, and the
    current 24, too; gates of AGMM become factors per channel, which go on learning.

    Args:
        target: in whose integers: ``"extended"``, ``"stock"`` or ``"loihi"``.
        calibration: inputs as the model takes them, or (inputs, labels), over which gates are averaged; for
            models with AGMM and targets without gates.

    Raises:
        LavaBsnnError: a neuron has no matched mode: neither LIF nor MultiThresholdLIF, or a LIF with
            ``current_decay`` below 1, or ``membrane_when`` other than ``"stored"``; or a layer whose currents
            are too large for 24 bits; or one that the target has no neurons for. Nothing is changed then.
    """
    check_target("match_device", model, target)
    chip = on_chip(target)
    if chip and has_gates(model) and calibration is None:
        raise LavaBsnnError(
            f"match_device: gates of AGMM become constants for target={target!r}; give calibration=inputs, "
            "over which they are averaged"
        )
    for neuron in _neurons(model):
        if not hasattr(neuron, "match_device"):
            raise LavaBsnnError(
                f"match_device: {type(neuron).__name__} has no matched mode; use LIF or MultiThresholdLIF "
                "neurons, or give it methods match_device and unit"
            )
    tried = copy.deepcopy(model)  # raises before anything is changed
    pairs = list(zip(model.modules(), tried.modules(), strict=True))
    if chip and has_gates(tried):
        freeze_gates(tried, *(calibration if isinstance(calibration, tuple) else (calibration,)))
    _match(tried, mantissas=chip)
    for module, its_copy in pairs:
        if chip and isinstance(getattr(module, "modulation", None), AGMM):
            module.modulation = its_copy.modulation
    _match(model, mantissas=chip)


def _neurons(model: torch.nn.Module) -> list[torch.nn.Module]:
    found = (getattr(module, "neuron", None) for module in model.modules())
    return [neuron for neuron in found if isinstance(neuron, torch.nn.Module)]


def _prepare(model: torch.nn.Module, *, mantissas: bool) -> None:
    """Tell blocks and neurons whose integers they will have; keep the statistics of batch norm."""
    for part in model.modules():
        if isinstance(part, block.SpikingBlock):
            part.mantissas = mantissas
            if part.neuron is not None:
                part.neuron.mantissas = mantissas  # type: ignore[assignment]
        elif isinstance(part, BatchNorm):
            part.frozen = True
            part.eval()


def _match(model: torch.nn.Module, *, mantissas: bool) -> None:
    _prepare(model, mantissas=mantissas)
    shortcuts = {
        module.blocks[-1]: module  # type: ignore[index]
        for module in model.modules()
        if isinstance(module, block.Residual)
    }
    for part in model.modules():  # in the order of the chain: messages depend on the layers before
        if isinstance(part, block.SpikingBlock) and part.neuron is not None and part.input_shape is not None:
            part.neuron.match_device(_scale(part, shortcuts.get(part)))  # type: ignore[operator]
    for part in model.modules():
        if isinstance(part, neuron_base.Neuron) and hasattr(part, "match_device"):  # those of no block
            part.match_device()


def _scale(last: block.SpikingBlock, residual: block.Residual | None) -> int:
    """Largest power of two as weight steps per unit of current."""
    paths: list[Any] = [last]
    if residual is not None and len(residual.shortcut):
        paths.append(residual.shortcut[-1])
    if isinstance(last, block.Recurrent):
        paths.append(last.feedback)
    bound = sum(_bound(path) for path in paths)
    if residual is not None and not len(residual.shortcut):
        bound += residual.incoming.value * residual.incoming.high
    neuron: Any = last.neuron
    mix = getattr(neuron, "mix", None)
    omega = None if mix is None else mix.on_grid()
    if omega is not None:
        bound *= max(1.0, float(omega.abs().sum(1).max()) / fixed_point.ONE)
    bound = max(bound, neuron.threshold, getattr(neuron, "membrane_range", 0.0))
    unit = fixed_point.STATE_MAX / device.HEADROOM / bound
    if last.mantissas:
        soft = LOIHI.soft_threshold_max / neuron.threshold if hasattr(neuron, "levels") else unit
        unit = min(
            unit,
            soft,
            device.mantissa_unit([device.messages_of(path)[0] for path in paths], neuron.threshold),
        )
    scale = device.power_of_two_below(unit) / (1 << fixed_point.ALIGN_BITS) if unit > 0 else 0.0
    if scale < 1:  # not finite, too
        raise LavaBsnnError(
            f"{last.label}: a step may add {bound / neuron.threshold:.3g} thresholds, too many for 24 bits; "
            "raise the threshold or retrain with norm='batch'"
        )
    return int(scale)


def _bound(module: Any) -> float:
    """Largest current of a block in one step."""
    folded, low, high = device.messages_of(module)
    return folded.bound(low, high)


def finetune(
    model: torch.nn.Module,
    train: Data,
    test: Data,
    *,
    epochs: int = 3,
    lr: float = 2e-4,
    target: str = "extended",
    **options: Any,
) -> list[Epoch]:
    """Train on with the device's integers in the forward pass (quantisation-aware training).

    Batch norm is folded: its statistics stay as they are, gain and offset are rounded to the device's
    grid and still learn. See :func:`match_device`; options are those of :func:`fit`. Where ``target`` has no
    gates, those of AGMM begin as their means over the first samples of ``train``.
    """
    _match_to(model, as_dataset(train, "train"), target)
    return fit(model, train, test, epochs=epochs, optimizer=optimizer(lr=lr), **options)


def _match_to(model: torch.nn.Module, train: Any, target: str) -> None:
    """Match a model to a target; gates become their means over the first samples of a dataset."""
    calibration = None
    if on_chip(target) and has_gates(model):
        samples = range(min(_CALIBRATION, len(train)))
        calibration = torch.stack([torch.as_tensor(train[index][0]) for index in samples])
    match_device(model, target, calibration)


def begin_finetuning(model: torch.nn.Module, train: Any, target: str, out: Path) -> None:
    """Match a trained model to a target, and keep the grid in the folder of its new run."""
    _match_to(model, train, target)
    grid = {
        name: [neuron.unit >> ALIGN_BITS, getattr(neuron, "membrane_shift", None)]
        for name, neuron in _matched(model).items()
    }
    write_json(out / GRID, {"target": target, "neurons": grid})


def restore_grid(out: Path, model: torch.nn.Module) -> None:
    """Match a model as the one whose grid is in a run's folder; without one, do nothing.

    Raises:
        LavaBsnnError: the file is damaged, or of another model.
    """
    if not (out / GRID).is_file():
        return
    neurons = _matched(model)
    try:
        content = json.loads((out / GRID).read_text(encoding="utf-8"))
        mantissas, grid = on_chip(content["target"]), content["neurons"]
        scales = {name: (int(scale), shift) for name, (scale, shift) in grid.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LavaBsnnError(f"{out / GRID}: is damaged ({line_of(error)}); fine-tune again") from error
    if scales.keys() != neurons.keys():
        raise LavaBsnnError(f"{out / GRID}: is of another model; fine-tune again")
    _prepare(model, mantissas=mantissas)
    for name, (scale, shift) in scales.items():
        if shift is not None:
            neurons[name].membrane_shift = shift
        neurons[name].match_device(scale)


def _matched(model: torch.nn.Module) -> dict[str, Any]:
    """Neurons that can compute in the device's integers, by name."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "match_device")}
