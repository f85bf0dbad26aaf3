"""The folder of a run: what it was started with, and that one process alone trains in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..errors import LavaBsnnError
from ..files import atomic_path, check_writable
from .checkpoint import read_checkpoint
from .history import Epoch
from .recipe import CONFIG, HYBRID, Recipe, load_recipe, run_recipe

START, LAST, BEST, RESULT = "start.yaml", "last.pt", "best.pt", "result.json"
METRICS, CURVES, CONFUSION = "metrics.csv", "training_curve.png", "confusion.png"

_FREE = ("summary", "published", "data_root", "cache", "num_workers", "checkpoint_steps", "patience")
"""Fields of a recipe that may differ when a run is resumed: what an epoch learns stays."""


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Fields that a resumed run may not change, as plain values."""
    values = {name: value for name, value in asdict(recipe).items() if name not in _FREE}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def history_of(out: Path) -> list[Epoch]:
    """Epochs of a run, as its last checkpoint tells."""
    try:
        return [Epoch(**epoch) for epoch in read_checkpoint(out / LAST)["history"]]
    except (KeyError, TypeError) as error:
        raise LavaBsnnError(f"{out / LAST}: not a run's checkpoint; use another folder") from error


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Keep other processes from training in the same folder."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open(out / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LavaBsnnError(f"{out}: another process trains in it; wait, or use another --out") from error
        yield


def continue_folder(recipe: Recipe, out: Path) -> None:
    """Check that a run can be continued with a recipe.

    Raises:
        LavaBsnnError: it was started with other settings, or cannot be written.
    """
    check_writable(out / LAST)
    before = run_recipe(out)
    ours, theirs = settings_of(recipe), settings_of(before)
    if recipe.epochs < before.epochs:
        raise LavaBsnnError(
            f"{out}: was started with epochs={before.epochs}, not {recipe.epochs}; a run can only be "
            "made longer"
        )
    for name, value in ours.items():
        if name != "epochs" and theirs[name] != value:
            raise LavaBsnnError(
                f"{out}: was started with {name}={theirs[name]}, not {value}; a run is resumed with the "
                "settings that it was started with"
            )
    if recipe != before:
        _write_recipe(recipe, out / CONFIG)


def _write_recipe(recipe: Recipe, path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(recipe.to_yaml(), encoding="utf-8")


def _has_trained(out: Path) -> bool:
    if not (out / LAST).exists():
        return False
    content = read_checkpoint(out / LAST)
    return (content.get("epoch"), content.get("step")) != (0, 0)


def _clear(out: Path) -> None:
    for name in (LAST, BEST, RESULT, METRICS, CURVES, CONFUSION, START, CONFIG, "events.out.tfevents.*"):
        for path in out.glob(name):
            path.unlink()


def make_room(who: str, out: Path, *, overwrite: bool) -> None:
    """Make a folder for a new run; what another one left in it is removed, if that is allowed.

    Raises:
        LavaBsnnError: it holds a run that took a step, or cannot be made.
    """
    if overwrite and out.is_dir():
        with alone_in(out):
            _clear(out)
    elif not overwrite and _has_trained(out):
        how = (
            "resume=True, replace it with overwrite=True"
            if who == "fit"
            else f"lava-bsnn resume {out}, replace it with --overwrite"
        )
        raise LavaBsnnError(f"{out}: holds a run already; continue it with {how}, or use another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LavaBsnnError(f"{out}: cannot make the folder ({error.strerror}); use another --out") from error


def start_folder(recipe: Recipe, out: Path, *, overwrite: bool = False) -> None:
    """Make the folder of a new run.

    Raises:
        LavaBsnnError: it holds a run already, or cannot be made, or the recipe has no start.
    """
    if recipe.matched and recipe.start is None:
        raise LavaBsnnError(
            "recipe: matched=true goes on from a trained run; use --set start=DIR, or lava-bsnn finetune DIR"
        )
    if recipe.method == HYBRID and recipe.start is None:
        raise LavaBsnnError(
            "recipe: a hybrid starts from a trained QCFS network; use --set start=DIR, the folder of its run"
        )
    make_room("train", out, overwrite=overwrite)
    if recipe.start is not None:
        _write_recipe(ann_recipe(recipe), out / START)
    _write_recipe(recipe, out / CONFIG)


def ann_recipe(recipe: Recipe) -> Recipe:
    """Recipe of the run that the network is made of: the start's, or of a fine-tuned hybrid the ANN's."""
    first = start_recipe(recipe)
    before = Path(str(recipe.start)) / START
    return load_recipe(before) if recipe.matched and before.is_file() else first


def start_recipe(recipe: Recipe) -> Recipe:
    """Recipe of the run that a recipe starts from.

    Raises:
        LavaBsnnError: no run there, or not one that a hybrid can start from.
    """
    start = Path(str(recipe.start))
    first = run_recipe(start)
    if recipe.method == HYBRID and not recipe.matched and first.method != "qcfs":
        raise LavaBsnnError(f"{start}: was trained with method {first.method}; a hybrid starts from qcfs")
    return first


def finetuning_recipe(trained: Recipe, start: Path, target: str, epochs: int, lr: float = 2e-4) -> Recipe:
    """Recipe that trains the run in ``start`` on in the integers of a target; the rate falls to 0."""
    return replace(
        trained,
        summary=f"{trained.summary}, fine-tuned for {target}".lstrip(", "),
        published=None,
        start=str(start),
        target=target,
        matched=True,
        epochs=epochs,
        optimizer="adamw",
        nesterov=False,
        lr=lr,
        schedule="cosine",
        warmup_epochs=0.0,
        weight_decay=1e-4,
        ema_decay=None,
    )
