"""The training loop: for arrays and datasets, one process or many, with resume."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import OptionError, check_option
from ..memory import keep_freed_memory
from .batches import Data, as_dataset, balanced, epoch_batches, labels_of
from .display import bar
from .engine import Engine
from .estimator import anneal
from .evaluation import Scores, warn_of_one_class
from .history import Epoch, Step, best_epoch, is_stopped
from .loggers import Loggers
from .losses import SopBudget, TotalLoss, tet_cross_entropy, wants_classes
from .mixing import Mixing
from .recipe import SAMPLERS
from .run_folder import BEST, LAST, make_room
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
    validation: Data | None = None,
    patience: int | None = None,
    batch_size: int | None = None,
    optimizer: MakeOptimizer = optimizer(),  # noqa: B008  a frozen default
    loss: Callable[[Tensor, Tensor], Tensor] = tet_cross_entropy,
    sampler: str = "shuffled",
    mixing: Mixing | None = None,
    schedule: str = "cosine",
    warmup_epochs: float = 0,
    clip_norm: float | None = None,
    ema_decay: float | None = None,
    seed: int = 0,
    num_workers: int | None = None,
    target: str | None = None,
    sop_budget: float | None = None,
    fabric: Fabric | None = None,
    out: str | os.PathLike[str] | None = None,
    checkpoint_steps: int = 0,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    loggers: Sequence[Any] = (),
    progress: bool | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_test: Callable[[Scores], None] | None = None,
) -> list[Epoch]:
    """Train a model; the same seed gives the same weights, also after a resume.

    Order of samples and random numbers of a step depend on seed, epoch, step and process
    only. With weight averaging the model holds the averaged weights in the end. Where the allocator is
    glibc's, it is told to keep freed memory (:func:`lava_bsnn.memory.keep_freed_memory`).

    With ``validation`` each epoch is judged by it, and the test set is used once, at the end: for the last
    weights and, with ``out``, for the best. Without, each epoch is judged by the test set; what is chosen by
    its figures, as ``best.pt`` is, is optimistic then.

    Args:
        model: maps ``[N, ...]`` to logits per step ``[N, classes, T]``.
        train, test: arrays ``(inputs, targets)``, or map-style datasets of such pairs, or DataLoaders of
            those. Targets are classes: int64 ``[N]``, or ``[N, T]`` per step; with a loss for them bools
            ``[N, classes]``, or real numbers of any shape. A dataset with ``set_epoch`` is told each epoch.
            Of a DataLoader dataset, ``batch_size``, ``num_workers`` and ``collate_fn`` are taken; the order
            is that of ``sampler``.
        validation: likewise, to choose the best epoch by.
        patience: stop after so many epochs without a better one on ``validation``.
        batch_size: samples per step, over all processes; None is that of the DataLoader ``train``, else 64.
        optimizer: makes the optimizer of the parameters.
        loss: maps logits ``[N, classes, T]`` and targets to a scalar, the mean over the samples.
        sampler: ``"shuffled"``, each sample once an epoch, or ``"balanced"``, drawn with replacement so that
            all classes come alike.
        mixing: mixup or CutMix of each batch; accuracies in training are then those of mixed samples.
        schedule: ``"cosine"`` to 0, or ``"constant"``, after ``warmup_epochs`` of linear rise. A run that is
            resumed with more epochs goes on with the learning rate of such a longer run.
        clip_norm: largest norm of all gradients.
        ema_decay: exponential moving average of the weights, e.g. 0.999, used for evaluation.
        num_workers: processes that load data; None is that of the DataLoader ``train``, else 0.
        target: of export, for which to train: ``"stock"`` and ``"loihi"`` have no gates, so that those of
            AGMM are learned factors per channel from the first step on. Round with :func:`finetune` then.
        sop_budget: synaptic operations per sample above which the loss grows
            (:class:`~lava_bsnn.training.SopBudget`).
        fabric: launched, for other devices, precisions or processes; by default the model's device.
        out: folder that gets ``last.pt`` after each epoch, and ``best.pt`` with the weights of the best one.
        checkpoint_steps: write ``last.pt`` every so many steps too.
        settings: plain values kept in ``last.pt``; a resume refuses others.
        resume: continue from ``last.pt`` in ``out``; with more epochs than it was started with, for longer.
        overwrite: a run in ``out`` may be replaced.
        loggers: of Fabric's interface, as ``lightning_fabric.loggers.CSVLogger``; they get the figures of
            each epoch.
        progress: show a bar; None does so in terminals and notebooks, unless there is ``on_step``.
        on_step, on_epoch: called after each step and epoch in the first process.
        on_test: called in each process with the scores of the last weights on the test set, at the end.

    Raises:
        LavaBsnnError: the target does not have the model's neurons, the loss is not finite, a target does not
            fit, ``out`` holds a run, or ``last.pt`` is missing, damaged, or of another run.
    """
    check_option("fit", "schedule", schedule, SCHEDULES)
    check_option("fit", "sampler", sampler, SAMPLERS)
    loaded = train if isinstance(train, DataLoader) else None
    if batch_size is None:
        batch_size = 64 if loaded is None or loaded.batch_size is None else loaded.batch_size
    if num_workers is None:
        num_workers = 0 if loaded is None else loaded.num_workers
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
        if (value is not None or name != "patience") and (not isinstance(value, int) or value < 1):
            raise OptionError(f"fit: {name}={value} is not allowed; use a whole number of 1 or more")
    if patience is not None and validation is None:
        raise OptionError(
            f"fit: patience={patience} needs a validation set, as the test set must not end training; give "
            "validation (in a recipe validation_fraction above 0)"
        )
    if not callable(optimizer):
        raise OptionError(f"fit: optimizer={optimizer!r} is not allowed; use training.optimizer(name)")
    if target is not None:
        train_for("fit", model, target)
    term = loss
    if sop_budget is not None:
        loss = TotalLoss({"loss": (1.0, term), "sops": (1.0, SopBudget(model, sop_budget))})
    if resume and overwrite:
        raise OptionError("fit: resume and overwrite exclude each other; give one of them")
    folder = None if out is None else Path(out)
    if folder is not None and not resume:
        make_room("fit", folder, overwrite=overwrite)
    keep_freed_memory()
    seed_everything(seed)
    classes = wants_classes(term)
    if mixing is not None and not classes:
        raise OptionError(
            "fit: mixing is for classes, which this loss does not say that it takes; use "
            "tet_cross_entropy or rate_cross_entropy"
        )
    run = Engine(
        model=model,
        train=as_dataset(train, "train", classes),
        test=as_dataset(test, "test", classes),
        validation=None if validation is None else as_dataset(validation, "validation", classes),
        classes=classes,
        optimizer=optimizer,
        fabric=fabric or _fabric_of(model),
        ema_decay=ema_decay,
        batch_size=batch_size,
        seed=seed,
        num_workers=num_workers,
        settings={"epochs": epochs, "sampler": sampler, **(settings or {})},
    )
    run.mixing = mixing
    if run.world_size > batch_size:
        raise OptionError(f"fit: batch_size={batch_size} is smaller than the {run.world_size} processes")
    chances = balanced(labels_of(run.train)) if sampler == "balanced" else None
    if resume:
        if folder is None:
            raise OptionError("fit: resume=True needs out, the folder of last.pt")
        run.load(folder / LAST)
    elif folder is not None:
        run.save(folder / LAST)
    told = Loggers(loggers if run.is_first else (), run.settings)
    shown = progress is not False and run.is_first and (progress or on_step is None)
    with told, bar(epochs, progress) if shown else nullcontext() as show:
        while run.epoch < epochs and not is_stopped(run.history, patience):
            run.sharpness = anneal(model, run.epoch, epochs)
            batches = epoch_batches(len(run.train), batch_size, seed, run.epoch, chances)
            for indices, batch in run.epoch_loader(batches):
                factor = rate_factor(
                    run.epoch * len(batches) + run.step,
                    epochs * len(batches),
                    round(warmup_epochs * len(batches)),
                    schedule,
                )
                run.train_step(indices, batch, loss, factor, clip_norm)
                for listener in (on_step, show) if run.is_first else ():
                    if listener is not None:
                        listener(run.progress(len(batches)))
                if folder is not None and checkpoint_steps and run.step % checkpoint_steps == 0:
                    run.save(folder / LAST)
            record = run.end_epoch(loss)
            if folder is not None:
                if best_epoch(run.history) is record:
                    run.save_weights(folder / BEST)
                run.save(folder / LAST)
            told.epoch(record)
            if on_epoch is not None and run.is_first:
                on_epoch(record)
        before = list(run.history)
        scores = run.finish(loss, None if folder is None else folder / BEST)
        if folder is not None and run.history != before:
            run.save(folder / LAST)
        told.tested(run.history[-1])
    if run.average is not None:
        model.load_state_dict(run.average.module.state_dict())
    run.meter.close()
    if on_test is not None:
        on_test(scores)
    if run.is_first:
        warn_of_one_class(scores, getattr(model, "classes", ()))
    return run.history


def _fabric_of(model: torch.nn.Module) -> Fabric:
    from lightning_fabric import Fabric

    device = next(model.parameters()).device
    return Fabric(accelerator=device.type, devices=1 if device.index is None else [device.index])
