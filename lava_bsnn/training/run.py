"""Runs of recipes in folders: train, resume, evaluate."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import data, models
from ..encoding import Encoding
from ..errors import LavaBsnnError, check_option
from .checkpoint import load_checkpoint
from .engine import Epoch, Step
from .evaluation import evaluate
from .hybrid import to_lmht
from .loop import fit, seed_everything
from .losses import SopBudget, SpikeRegulation, TotalLoss, rate_cross_entropy, tet_cross_entropy
from .recipe import HYBRID, Recipe, load_recipe, run_recipe
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
from .schedule import optimizer
from .targets import train_for

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outcome of a run; accuracies in 0..1.

    Attributes:
        test_accuracy: of the weights in ``checkpoint``, those after the last epoch.
        best_test_accuracy: the highest of all epochs, an optimistic figure: the test set chose it.
        skipped: what was wrong with the samples that were left out.
        saturated: share of the training's input counts that were above the largest message.
    """

    test_accuracy: float
    best_test_accuracy: float
    best_epoch: int
    train_seconds: float
    checkpoint: str
    config: dict[str, Any]
    skipped: list[str]
    saturated: float = 0.0


def load_data(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> data.Splits:
    """Training and test set of a recipe; ``progress(done, total)`` is called in long preparations."""
    return data.load(
        recipe.dataset,
        root=recipe.data_root,
        num_steps=recipe.frames,
        size=recipe.size,
        counts=recipe.counts,
        augment=recipe.augment,
        cutout_fill=data.DATASETS[recipe.dataset].mean if recipe.normalize else None,
        test_fraction=recipe.test_fraction,
        split_seed=recipe.seed if recipe.split_seed is None else recipe.split_seed,
        seed=recipe.seed,
        skip_bad=recipe.skip_bad,
        cache=recipe.cache,
        denoise=recipe.denoise,
        progress=progress,
    )


def input_shape(recipe: Recipe) -> tuple[int, int, int]:
    """``(C, H, W)`` of a recipe's samples, known without the data.

    Raises:
        OptionError: an unknown data set.
    """
    check_option("recipe", "dataset", recipe.dataset, data.DATASETS)
    return data.DATASETS[recipe.dataset].sized(recipe.size)


def input_encoding(recipe: Recipe) -> Encoding:
    """What a recipe's samples are for its network.

    Raises:
        OptionError: no device takes them so.
    """
    return data.DATASETS[recipe.dataset].encoding(
        bits=recipe.input_bits,
        counts=recipe.counts,
        normalize=recipe.normalize,
        saturate=recipe.saturate,
    )


def build_model(
    recipe: Recipe, in_shape: tuple[int, ...], num_classes: int, ann: Recipe | None = None
) -> models.SpikingNetwork:
    """Model of a recipe with fresh weights.

    Args:
        ann: of a hybrid, the recipe of the QCFS network it starts from.
    """
    method, num_steps, options = recipe.method, recipe.num_steps, dict(recipe.method_options)
    if recipe.method == HYBRID:
        method, num_steps, options = "qcfs", 1, {} if ann is None else dict(ann.method_options)
    model = models.create(
        recipe.model,
        num_classes=num_classes,
        in_shape=in_shape,
        num_steps=num_steps,
        method=method,
        width=recipe.width,
        encoding=input_encoding(recipe),
        method_options=options,
        **recipe.model_options,
    )
    if recipe.method == HYBRID:
        model = to_lmht(model, num_steps=recipe.num_steps, **{"levels": 2, **recipe.method_options})
    if recipe.target is not None:
        train_for("recipe", model, recipe.target)
    return model


def build_loss(recipe: Recipe, model: torch.nn.Module) -> TotalLoss:
    """Loss terms of a recipe."""
    entropy = tet_cross_entropy if recipe.loss == "tet" else rate_cross_entropy
    smoothing = recipe.label_smoothing
    terms: dict[str, Any] = {recipe.loss: (1.0, lambda z, y: entropy(z, y, smoothing))}
    if recipe.spike_regulation:
        terms["spikes"] = (recipe.spike_regulation, SpikeRegulation(model))
    if recipe.sop_budget is not None:
        terms["sops"] = (1.0, SopBudget(model, recipe.sop_budget))
    return TotalLoss(terms)


def make_fabric(recipe: Recipe) -> Fabric:
    """Launched Fabric: one device, or DDP over the processes that ``torchrun`` has started."""
    from lightning_fabric import Fabric

    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    options: dict[str, Any] = {"devices": 1}
    if "LOCAL_RANK" in os.environ:
        options = {"devices": local, "num_nodes": world // local, "strategy": "ddp"}
    fabric = Fabric(accelerator=accelerator, precision=recipe.precision, **options)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def train(
    recipe: Recipe | str,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    on_data: Callable[[int, int], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Result:
    """Train a recipe into a folder; ``resume`` continues a run in it, bit for bit.

    Writes ``config.yaml``, ``last.pt``, ``best.pt``, ``metrics.csv``, TensorBoard events and
    ``training_curve.png``.

    Args:
        recipe: a recipe, or what :func:`load_recipe` takes.
        on_data: called with (done, total) while recordings are made.
        on_start: told in words what will be trained.

    Raises:
        LavaBsnnError: the folder holds a run already, the data set is missing, a sample is
            bad, or the loss is not finite.
    """
    out = Path(out)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    fabric = make_fabric(recipe)
    is_first = fabric.global_rank == 0
    resume = resume and (out / LAST).exists()
    with contextlib.ExitStack() as stack:
        if is_first:
            (continue_folder if resume else start_folder)(recipe, out)
            stack.enter_context(alone_in(out))
        fabric.barrier()
        return _train(recipe, out, fabric, resume, on_data, on_start, on_step, on_epoch)


def _train(
    recipe: Recipe,
    out: Path,
    fabric: Fabric,
    resume: bool,
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
    model = _model_in(out, recipe, splits.shape, splits.info.num_classes)
    model.classes = splits.classes
    if recipe.start is not None and not resume:
        _take_weights(recipe, model, splits)
    if on_start is not None and is_first:
        on_start(
            f"{recipe.dataset}: {len(splits.train)} training and {len(splits.test)} test samples"
            + "".join(f" ({note})" for note in splits.notes)
            + (f"; left out: {len(splits.skipped)}" if splits.skipped else "")
            + f"; {recipe.model}, {recipe.method}: "
            f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,} parameters"
        )
    history = history_of(out) if resume else []
    if on_start is not None and is_first and len(history) == recipe.epochs:
        on_start("all epochs are done already")
    log = RunLog(out, history) if is_first else None

    def finish_epoch(epoch: Epoch) -> None:
        if log is not None:
            log.add(epoch)
        if on_epoch is not None:
            on_epoch(epoch)

    history = fit(
        model,
        splits.train,
        splits.test,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        optimizer=optimizer(
            recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum
        ),
        loss=build_loss(recipe, model),
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
        on_step=on_step,
        on_epoch=finish_epoch,
    )
    if log is not None:
        log.finish(history)
    entry: Any = model.blocks[0]
    return dataclasses.replace(
        _result(recipe, out / LAST, history[-1].test_accuracy, history, splits),
        saturated=entry.saturated / max(1, entry.received),
    )


def _result(
    recipe: Recipe, checkpoint: Path, test_accuracy: float, history: list[Epoch], splits: data.Splits
) -> Result:
    best = max(history, key=lambda epoch: epoch.test_accuracy, default=None)
    return Result(
        test_accuracy=test_accuracy,
        best_test_accuracy=test_accuracy if best is None else best.test_accuracy,
        best_epoch=0 if best is None else best.epoch,
        train_seconds=round(sum(epoch.seconds for epoch in history), 2),
        checkpoint=str(checkpoint),
        config=asdict(recipe),
        skipped=list(splits.skipped),
    )


def load_run(out: str | os.PathLike[str], checkpoint: str = LAST) -> tuple[Recipe, models.SpikingNetwork]:
    """Recipe and trained model of a run's folder, in evaluation mode.

    Raises:
        LavaBsnnError: no run there, or a damaged checkpoint.
    """
    out = Path(out)
    recipe = run_recipe(out)
    shape = input_shape(recipe)
    model = _model_in(out, recipe, shape, data.DATASETS[recipe.dataset].num_classes)
    model.classes = data.DATASETS[recipe.dataset].classes
    load_checkpoint(out / checkpoint, model)
    return recipe, model.eval()


def evaluate_run(out: str | os.PathLike[str], checkpoint: str = LAST) -> Result:
    """Test accuracy of a run's checkpoint, computed anew."""
    out = Path(out)
    recipe, model = load_run(out, checkpoint)
    splits = load_data(dataclasses.replace(recipe, augment=()))
    if torch.cuda.is_available():
        model.cuda()
    figures = evaluate(model, splits.test, batch_size=recipe.batch_size, num_workers=recipe.num_workers)
    return _result(recipe, out / checkpoint, figures, history_of(out), splits)


def _model_in(out: Path, recipe: Recipe, shape: tuple[int, ...], classes: int) -> models.SpikingNetwork:
    ann = load_recipe(out / START) if (out / START).is_file() else None
    return build_model(recipe, shape, classes, ann)


def _take_weights(recipe: Recipe, model: models.SpikingNetwork, splits: data.Splits) -> None:
    """Fill the model from ``recipe.start``; of a hybrid, through the QCFS network."""
    start = Path(str(recipe.start))
    if recipe.method != HYBRID:
        load_checkpoint(start / LAST, model)
        return
    first = start_recipe(recipe)
    ann = build_model(first, splits.shape, splits.info.num_classes)
    load_checkpoint(start / LAST, ann)
    converted = to_lmht(ann, num_steps=recipe.num_steps, **{"levels": 2, **recipe.method_options})
    try:
        model.load_state_dict(converted.state_dict())
    except RuntimeError as error:
        raise LavaBsnnError(f"{start}: its network does not fit this recipe's") from error
