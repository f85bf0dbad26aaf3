"""Looks at a model before it is trained: each layer, and what each target of export says of it."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..encoding import Encoding
from ..errors import ExportError, LavaBsnnError, OptionError, ShapeError, check_option
from ..modes import evaluating
from ..norm import BatchNorm
from ._model import layer_labels, observing, synapses, weight_bits
from .operations import OperationCount, count_operations
from .size import model_size, neuron_counts, parameter_groups
from .summaries import LayerSummary, ProfileSummary, Summary
from .training_memory import OPTIMIZERS, SavedBytes

_RATE = 0.1
_BATCH = 64
_SMALL = 1 << 14
"""Values of a sample up to which memory is measured on eight samples, else on two."""


def summary(
    model: torch.nn.Module,
    in_shape: Sequence[int] | None = None,
    *,
    num_steps: int | None = None,
    rate: float = _RATE,
    batch_size: int = _BATCH,
    optimizer: str = "adamw",
    profiles: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Say of each layer what it has and costs, and what each target of export says of the model.

    The targets' words are those of :func:`netx_export.convert`, which runs for each of them. A model that
    never saw data first gets statistics of random samples and the device's grid
    (:func:`lava_bsnn.training.match_device`), so that rounding of weights that will change is no problem.
    The model is left as it was.

    Args:
        in_shape: ``(C, H, W)`` or ``(C,)``; by default the model's own.
        num_steps: time steps T; by default the model's own.
        rate: assumed share of inputs that are active in a step, 0..1.
        batch_size: for which memory is estimated.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``, which remember different numbers of values.
        profiles: names of targets; by default all.
        progress: told in words what is done next.

    Raises:
        OptionError: an option is out of range.
        ShapeError: the model does not tell its input's shape, and it is not given.
    """
    from netx_export.lowering.observe import random_samples
    from netx_export.targets import TARGETS

    for name, value, good in (
        ("rate", rate, 0 <= rate <= 1),
        ("batch_size", batch_size, batch_size >= 1),
    ):
        if not good:
            allowed = "0..1" if name == "rate" else "1 or more"
            raise OptionError(f"summary: {name}={value} is not allowed; use {allowed}")
    check_option("summary", "optimizer", optimizer, OPTIMIZERS)
    names = tuple(TARGETS) if profiles is None else tuple(profiles)
    for name in names:
        check_option("summary", "profile", name, tuple(TARGETS))
    given = getattr(model, "in_shape", None) if in_shape is None else in_shape
    if given is None:
        raise ShapeError("summary: the shape of a sample is unknown; give in_shape=(C, H, W)")
    shape: tuple[int, ...] = tuple(given)
    steps = int(num_steps or getattr(model, "num_steps", None) or 1)
    number = 8 if math.prod(shape) <= _SMALL else 2
    coding = getattr(model, "encoding", None) or Encoding()
    like = next(model.parameters(), torch.empty(0))
    samples = torch.from_numpy(random_samples(coding, (number, *shape, steps)).copy()).to(like.device)
    progress("running random samples")
    ours = copy.deepcopy(model).train()
    fresh = _unused_norms(ours)
    for norm in fresh:
        norm.momentum = None  # one batch is enough
    saved = SavedBytes()
    with saved:
        value = ours(samples).square().mean()  # a loss of one's own keeps as little
    memory = saved.memory(ours, number, optimizer)
    del value
    if not fresh:
        ours = copy.deepcopy(model)
    layers = _layers(ours, samples[:1], shape, rate)
    says = []
    for name in names:
        progress(f"converting for profile {name}")
        says.append(_profile(ours, name, samples, fresh=bool(fresh)))
    return Summary(
        in_shape=shape,
        num_steps=steps,
        rate=rate,
        layers=layers,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        size=model_size(model),
        batch_size=batch_size,
        memory=memory.at(batch_size),
        largest_batch=memory.largest_batch,
        trained=not fresh,
        profiles=tuple(says),
    )


def _unused_norms(model: torch.nn.Module) -> list[Any]:
    """Batch norms that never saw data."""
    norms: list[Any] = [module for module in model.modules() if isinstance(module, BatchNorm)]
    return [one for one in norms if one.num_batches_tracked == 0 and not one.running_mean.any()]


def _layers(
    model: torch.nn.Module, sample: Tensor, in_shape: tuple[int, ...], rate: float
) -> tuple[LayerSummary, ...]:
    found, labels = synapses(model), layer_labels(model)
    paths = {id(module): name for name, module in model.named_modules()}
    shapes: dict[str, tuple[int, ...]] = {}

    def observer(name: str, synapse: Any, x: Tensor, output: Tensor) -> None:
        shape = tuple(output.shape[1:-1])
        shapes[name] = shape[:1] if all(side == 1 for side in shape[1:]) else shape

    with evaluating(model), observing(found, observer):
        model(sample)
    operations: OperationCount = count_operations(model, sample)
    counts = neuron_counts(model, in_shape)
    owners = {name: paths[id(synapse)].rpartition(".")[0] for name, synapse in found.items()}
    parameters = dict.fromkeys(found, 0)
    for group in parameter_groups(model):
        holders = [name for name, path in owners.items() if group.name.startswith(f"{path}.")]
        name = group.layer or max(holders, key=lambda one: len(owners[one]), default="")
        if name:
            parameters[name] += group.count
    steps = sample.shape[-1]
    rows = []
    for name, synapse in found.items():
        if name not in shapes:
            continue
        done = operations.layers[name]
        is_mac = done.kind == "MAC"
        rows.append(
            LayerSummary(
                name=labels[name],
                kind=type(synapse).__name__,
                shape=shapes[name],
                parameters=parameters[name],
                weight_bits=weight_bits(synapse),
                neurons=counts.get(name, 0),
                macs=done.dense_operations / steps,
                sops=0.0 if is_mac else rate * done.dense_operations,
                is_mac=is_mac,
            )
        )
    return tuple(rows)


def _profile(model: torch.nn.Module, profile: str, samples: Tensor, *, fresh: bool) -> ProfileSummary:
    """Convert a copy of the model; gates become constants over the samples where the target has none."""
    from netx_export import convert
    from netx_export.targets import target

    from ..training.finetuning import match_device
    from ..training.gates import has_gates
    from ..training.targets import TARGETS

    model = copy.deepcopy(model).eval()
    calibration = samples if has_gates(model) and not target(profile).has_gates else None
    problems: tuple[str, ...] = ()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if fresh and profile in TARGETS:
                with contextlib.suppress(LavaBsnnError):  # neurons that it does not have: convert says which
                    match_device(model, profile, calibration)
            convert(model, profile, calibration)
        except ExportError as error:
            problems = error.problems
    notes = [text for one in caught if "gates became constants" not in (text := str(one.message))]
    if calibration is not None:  # what random samples make of them tells nothing
        notes.insert(0, "it has no gates: those of AGMM become constants, over calibration samples")
    return ProfileSummary(profile=profile, problems=problems, notes=tuple(dict.fromkeys(notes)))
