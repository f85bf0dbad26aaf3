"""Runs of recipes in folders: train, resume, evaluate."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import code, data, models
from ..errors import LavaBsnnError, OptionError
from .build import build_loss, build_mixing, build_model, build_optimizer, class_weights_of, make_fabric
from .checkpoint import load_checkpoint
from .evaluation import Scores, score
from .finetuning import begin_finetuning, restore_grid
from .history import Epoch, Step, is_stopped
from .hybrid import to_lmht
from .loop import fit, seed_everything
from .recipe import HYBRID, Recipe, load_recipe, run_recipe
from .result import Result, result_of
from .run_data import check_info, described, info_of_run, is_own, load_data, write_info
from .run_folder import (
    LAST,
    START,
    alone_in,
    continue_folder,
    history_of,
    settings_of,
    start_folder,
    start_recipe,
)
from .run_log import RunLog

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    recipe: Recipe | str,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    accelerator: str = "auto",
    loggers: Sequence[Any] = (),
    allow_code: bool = False,
    on_data: Callable[[int, int], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Result:
    """Train a recipe into a folder; ``resume`` continues a run in it, bit for bit.

    Writes ``config.yaml``, ``last.pt``, ``best.pt``, ``metrics.csv``, ``result.json``, TensorBoard events,
    ``training_curve.png`` and ``confusion.png``.

    Args:
        recipe: a recipe, or what :func:`load_recipe` takes.
        resume: with a recipe of more epochs than the run was started with, it is trained for longer.
        overwrite: a run in the folder may be replaced.
        accelerator: ``"cpu"``, ``"cuda"``, or ``"auto"``: a GPU where torch finds one.
        loggers: of Fabric's interface, besides TensorBoard; they get the figures of each epoch.
        allow_code: whether it may name code that is not below the working folder, or in a run's folder.
        on_data: called with (done, total) while recordings are made.
        on_start: told in words what will be trained.

    Raises:
        LavaBsnnError: the folder holds a run already, the data set is missing, a sample is
            bad, or the loss is not finite.
    """
    out = Path(out)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    with code.allowing(allow_code):
        code.check(recipe.code)
    fabric = make_fabric(recipe, accelerator)
    is_first = fabric.global_rank == 0
    if resume and overwrite:
        raise OptionError("train: resume and overwrite exclude each other; give one of them")
    resume = resume and (out / LAST).exists()
    with contextlib.ExitStack() as stack:
        stack.enter_context(code.allowing(allow_code))
        if is_first:
            if resume:
                continue_folder(recipe, out)
            else:
                start_folder(recipe, out, overwrite=overwrite)
            stack.enter_context(alone_in(out))
        fabric.barrier()
        return _train(recipe, out, fabric, resume, loggers, on_data, on_start, on_step, on_epoch)


def _train(
    recipe: Recipe,
    out: Path,
    fabric: Fabric,
    resume: bool,
    loggers: Sequence[Any],
    on_data: Callable[[int, int], None] | None,
    on_start: Callable[[str], None] | None,
    on_step: Callable[[Step], None] | None,
    on_epoch: Callable[[Epoch], None] | None,
) -> Result:
    is_first = fabric.global_rank == 0
    splits = load_data(recipe, on_data)
    if not len(splits.train) or not len(splits.test):
        raise LavaBsnnError(f"{recipe.dataset}: no good sample is left, e.g. {splits.skipped[0]}")
    seed_everything(recipe.seed)
    if is_own(recipe) and is_first:
        check_info(recipe, out, splits.info) if resume else write_info(out, splits.info)
    model = _model_in(out, recipe, splits.info)
    model.classes = splits.classes
    if recipe.start is not None and not resume:
        _take_weights(recipe, model, splits, out)
    restore_grid(out, model)
    if on_start is not None and is_first:
        on_start(
            f"{recipe.dataset}: {len(splits.train)} training"
            + (f", {len(splits.validation)} validation" if splits.validation is not None else "")
            + f" and {len(splits.test)} test samples"
            + (f" of {described(splits.info)}" if is_own(recipe) else "")
            + "".join(f" ({note})" for note in splits.notes)
            + (f"; left out: {len(splits.skipped)}" if splits.skipped else "")
            + f"; {recipe.model}, {recipe.method}: "
            f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,} parameters"
        )
    history = history_of(out) if resume else []
    if on_start is not None and is_first and history:
        on_start(_where(recipe, history))
    log = RunLog(out, history) if is_first else None

    def finish_epoch(epoch: Epoch) -> None:
        if log is not None:
            log.add(epoch)
        if on_epoch is not None:
            on_epoch(epoch)

    found: list[Scores] = []
    history = fit(
        model,
        splits.train,
        splits.test,
        epochs=recipe.epochs,
        validation=splits.validation,
        patience=recipe.patience,
        batch_size=recipe.batch_size,
        optimizer=build_optimizer(recipe, model),
        loss=build_loss(recipe, model, class_weights_of(recipe, splits)),
        sampler=recipe.sampler,
        mixing=build_mixing(recipe),
        schedule=recipe.schedule,
        warmup_epochs=recipe.warmup_epochs,
        clip_norm=recipe.clip_norm,
        ema_decay=recipe.ema_decay,
        seed=recipe.seed,
        num_workers=recipe.num_workers,
        fabric=fabric,
        out=out,
        checkpoint_steps=recipe.checkpoint_steps,
        settings=settings_of(recipe),
        resume=resume,
        loggers=loggers,
        progress=False,
        on_step=on_step,
        on_epoch=finish_epoch,
        on_test=found.append,
    )
    entry: Any = model.blocks[0]
    result = result_of(
        recipe,
        out / LAST,
        found[0],
        history,
        classes=splits.classes,
        skipped=splits.skipped,
        saturated=entry.saturated / max(1, entry.received),
    )
    if log is not None:
        log.finish(history, result)
    return result


def _where(recipe: Recipe, history: list[Epoch]) -> str:
    """What is left of a run that is resumed, in words."""
    if len(history) == recipe.epochs:
        return "all epochs are done already"
    if is_stopped(history, recipe.patience):
        return (
            f"stopped after epoch {len(history)}: {recipe.patience} epochs brought no better one; to go on: "
            "train --resume --set patience=null"
        )
    return f"goes on after epoch {len(history)} of {recipe.epochs}"


def load_run(
    out: str | os.PathLike[str], checkpoint: str = LAST, *, allow_code: bool = False
) -> tuple[Recipe, models.SpikingNetwork]:
    """Recipe and trained model of a run's folder, in evaluation mode.

    Args:
        allow_code: whether it may name code that is not below the working folder, or in a run's folder.

    Raises:
        LavaBsnnError: no run there, code that is not allowed, or a damaged checkpoint.
    """
    out = Path(out)
    recipe = run_recipe(out)
    info = info_of_run(recipe, out)
    with code.allowing(allow_code):
        model = _model_in(out, recipe, info)
    model.classes = info.classes
    restore_grid(out, model)
    load_checkpoint(out / checkpoint, model)
    return recipe, model.eval()


def evaluate_run(out: str | os.PathLike[str], checkpoint: str = LAST, *, allow_code: bool = False) -> Result:
    """Test figures of a run's checkpoint, computed anew; ``allow_code`` as in :func:`load_run`."""
    out = Path(out)
    with code.allowing(allow_code):
        code.check(run_recipe(out).code)
        recipe, model = load_run(out, checkpoint)
        splits = load_data(dataclasses.replace(recipe, augment=()))
    if torch.cuda.is_available():
        model.cuda()
    scores = score(
        model,
        splits.test,
        loss=build_loss(recipe, model, class_weights_of(recipe, splits)),
        batch_size=recipe.batch_size,
        num_workers=recipe.num_workers,
    )
    return result_of(
        recipe, out / checkpoint, scores, history_of(out), classes=splits.classes, skipped=splits.skipped
    )


def _model_in(out: Path, recipe: Recipe, info: data.DatasetInfo) -> models.SpikingNetwork:
    ann = load_recipe(out / START) if (out / START).is_file() else None
    return build_model(recipe, info.sized(recipe.size), info.num_classes, ann, info)


def _take_weights(recipe: Recipe, model: models.SpikingNetwork, splits: data.Splits, out: Path) -> None:
    """Fill the model from ``recipe.start``; of a hybrid, through the QCFS network."""
    start = Path(str(recipe.start))
    if recipe.matched:
        trained = load_run(start)[1]
        begin_finetuning(trained, splits.train, recipe.target or "extended", out)
        model.load_state_dict(trained.state_dict())
        return
    if recipe.method != HYBRID:
        load_checkpoint(start / LAST, model)
        return
    first = start_recipe(recipe)
    ann = build_model(first, splits.shape, splits.info.num_classes, info=splits.info)
    load_checkpoint(start / LAST, ann)
    converted = to_lmht(ann, num_steps=recipe.num_steps, **{"levels": 2, **recipe.method_options})
    try:
        model.load_state_dict(converted.state_dict())
    except RuntimeError as error:
        raise LavaBsnnError(f"{start}: its network does not fit this recipe's") from error
