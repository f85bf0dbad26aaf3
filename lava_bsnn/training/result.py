"""Outcome of a run: figures, as JSON and as a picture in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files import write_json
from .evaluation import Scores
from .history import Epoch, best_epoch
from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outcome of a run; accuracies in 0..1, None for targets that are no classes.

    Attributes:
        test_accuracy: of the weights in ``checkpoint``, those after the last epoch.
        test_loss: likewise.
        macro_f1: likewise; the mean over the classes.
        class_accuracy: likewise, of each class; None for one without samples.
        confusion: likewise; a row of counts per true class, a column per predicted one.
        classes: names of the classes, where the set has them.
        best_test_accuracy: of the best epoch.
        best_epoch: by ``chosen_on``.
        chosen_on: ``"validation"``, or ``"test"`` of sets without: then the best accuracy is optimistic.
        validation_accuracy: of the last epoch; None without a validation set.
        validation_loss: likewise.
        epochs: that were trained; fewer than the recipe's where ``patience`` stopped the run.
        skipped: what was wrong with the samples that were left out.
        saturated: share of the training's input counts that were above the largest message.
    """

    test_accuracy: float | None
    test_loss: float | None
    macro_f1: float | None
    class_accuracy: list[float | None] | None
    confusion: list[list[int]] | None
    classes: list[str]
    best_test_accuracy: float | None
    best_epoch: int
    chosen_on: str
    validation_accuracy: float | None
    validation_loss: float | None
    epochs: int
    train_seconds: float
    checkpoint: str
    config: dict[str, Any]
    skipped: list[str]
    saturated: float = 0.0

    @property
    def figure(self) -> str:
        """Test accuracy in words; the loss of targets without accuracy."""
        if self.test_accuracy is None:
            return f"test loss {self.test_loss:.4f}"
        return f"test accuracy {self.test_accuracy:.2%}"


def result_of(
    recipe: Recipe,
    checkpoint: Path,
    scores: Scores,
    history: Sequence[Epoch],
    *,
    classes: Sequence[str] = (),
    skipped: Sequence[str] = (),
    saturated: float = 0.0,
) -> Result:
    """Result of a run whose ``checkpoint`` has ``scores`` on the test set."""
    best, last = best_epoch(history), history[-1]
    return Result(
        test_accuracy=scores.accuracy,
        test_loss=scores.loss,
        macro_f1=scores.macro_f1,
        class_accuracy=scores.class_accuracy,
        confusion=None if scores.confusion is None else scores.confusion.tolist(),
        classes=list(classes),
        best_test_accuracy=best.test_accuracy,
        best_epoch=best.epoch,
        chosen_on="test" if last.validation_loss is None else "validation",
        validation_accuracy=last.validation_accuracy,
        validation_loss=last.validation_loss,
        epochs=last.epoch,
        train_seconds=round(sum(epoch.seconds for epoch in history), 2),
        checkpoint=str(checkpoint),
        config=asdict(recipe),
        skipped=list(skipped),
        saturated=saturated,
    )


def write_result(result: Result, path: Path) -> None:
    """Write a result as JSON."""
    write_json(path, asdict(result))
