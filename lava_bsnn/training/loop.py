"""The training loop: for arrays and datasets, one process or many, with resume."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError, check_option
from ..memory import keep_freed_memory
from .batches import Data, as_dataset, epoch_batches
from .engine import Engine, Epoch, Step
from .losses import SopBudget, TotalLoss, tet_cross_entropy
from .schedule import SCHEDULES, optimizer, rate_factor
from .targets import train_for

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from .schedule import MakeOptimizer


def seed_everything(seed: int) -> None:
    """Seed torch, numpy and Python."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)


def fit(
    model: torch.nn.Module,
    train: Data,
    test: Data,
    *,
    epochs: int,
    batch_size: int = 64,
    optimizer: MakeOptimizer = optimizer(),  # noqa: B008  a frozen default
    loss: Callable[[Tensor, Tensor], Tensor] = tet_cross_entropy,
    schedule: str = "cosine",
    warmup_epochs: float = 0,
    clip_norm: float | None = None,
    ema_decay: float | None = None,
    seed: int = 0,
    num_workers: int = 0,
    target: str | None = None,
    sop_budget: float | None = None,
    fabric: Fabric | None = None,
    out: str | os.PathLike[str] | None = None,
    checkpoint_steps: int = 0,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    on_step: Callable[[Step], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train a model; the same seed gives the same weights, also after a resume.

    Order of samples and random numbers of a step depend on seed, epoch, step and process
    only. With weight averaging the model holds the averaged weights in the end. Where the allocator is
    glibc's, it is told to keep freed memory (:func:`lava_bsnn.memory.keep_freed_memory`).

    Args:
        model: maps ``[N, ...]`` to logits per step ``[N, classes, T]``.
        train, test: arrays ``(inputs, labels)``, or map-style datasets of such pairs. A
            dataset with ``set_epoch`` is told each epoch.
        batch_size: samples per step, over all processes.
        optimizer: makes the optimizer of the parameters.
        loss: maps logits and labels to a scalar.
        schedule: ``"cosine"`` to 0, or ``"constant"``, after ``warmup_epochs`` of linear rise.
        clip_norm: largest norm of all gradients.
        ema_decay: exponential moving average of the weights, e.g. 0.999, used for evaluation.
        target: of export, for which to train: ``"stock"`` and ``"loihi"`` have no gates, so that those of
            AGMM are learned factors per channel from the first step on. Round with :func:`finetune` then.
        sop_budget: synaptic operations per sample above which the loss grows
            (:class:`lava_bsnn.training.SopBudget`).
        fabric: launched ``lightning_fabric.Fabric``: devices, precision, DDP; by default the
            model's device in single precision.
        out: existing folder for ``last.pt``, from which ``resume`` continues, and ``best.pt``.
        checkpoint_steps: write ``last.pt`` every so many steps and not only after each epoch.
        settings: plain values kept in ``last.pt``; a resume refuses others.
        on_step, on_epoch: called after each step and epoch in the first process.

    Raises:
        LavaBsnnError: the target does not have the model's neurons, the loss is not finite, a label does not
            fit, or ``last.pt`` is missing, damaged, or of another run.
    """
    check_option("fit", "schedule", schedule, SCHEDULES)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise OptionError(f"fit: {name}={value} is not allowed; use a whole number of 1 or more")
    if not callable(optimizer):
        raise OptionError(f"fit: optimizer={optimizer!r} is not allowed; use training.optimizer(name)")
    if target is not None:
        train_for("fit", model, target)
    if sop_budget is not None:
        loss = TotalLoss({"loss": (1.0, loss), "sops": (1.0, SopBudget(model, sop_budget))})
    folder = None if out is None else Path(out)
    keep_freed_memory()
    seed_everything(seed)
    run = Engine(
        model=model,
        train=as_dataset(train, "train"),
        test=as_dataset(test, "test"),
        optimizer=optimizer,
        fabric=fabric or _fabric_of(model),
        ema_decay=ema_decay,
        batch_size=batch_size,
        seed=seed,
        num_workers=num_workers,
        settings={"epochs": epochs, **(settings or {})},
    )
    if run.world_size > batch_size:
        raise OptionError(f"fit: batch_size={batch_size} is smaller than the {run.world_size} processes")
    if resume:
        if folder is None:
            raise OptionError("fit: resume=True needs out, the folder of last.pt")
        run.load(folder / "last.pt")
    elif folder is not None:
        run.save(folder / "last.pt")
    while run.epoch < epochs:
        batches = epoch_batches(len(run.train), batch_size, seed, run.epoch)
        for indices, batch in run.epoch_loader(batches):
            factor = rate_factor(
                run.epoch * len(batches) + run.step,
                epochs * len(batches),
                round(warmup_epochs * len(batches)),
                schedule,
            )
            run.train_step(indices, batch, loss, factor, clip_norm)
            if on_step is not None and run.is_first:
                on_step(run.progress(len(batches)))
            if folder is not None and checkpoint_steps and run.step % checkpoint_steps == 0:
                run.save(folder / "last.pt")
        record = run.end_epoch()
        if folder is not None:
            if record.test_accuracy == max(epoch.test_accuracy for epoch in run.history):
                run.save_weights(folder / "best.pt")
            run.save(folder / "last.pt")
        if on_epoch is not None and run.is_first:
            on_epoch(record)
    if run.average is not None:
        model.load_state_dict(run.average.module.state_dict())
    run.meter.close()
    return run.history


def _fabric_of(model: torch.nn.Module) -> Fabric:
    from lightning_fabric import Fabric

    device = next(model.parameters()).device
    return Fabric(accelerator=device.type, devices=1 if device.index is None else [device.index])
