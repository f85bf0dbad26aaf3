"""What a run leaves to look at: a table, TensorBoard events, a figure."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import atomic_path
from .history import Epoch
from .result import Result, write_result
from .run_folder import CONFUSION, CURVES, METRICS, RESULT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RunLog:
    """``metrics.csv``, TensorBoard events and a figure; complete after every epoch.

    Args:
        history: epochs that a resumed run has behind it.
    """

    def __init__(self, out: Path, history: Sequence[Epoch] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.out = out
        self._rows: list[dict[str, Any]] = [asdict(epoch) for epoch in history]
        self._writer = SummaryWriter(str(out))  # type: ignore[no-untyped-call]

    def add(self, epoch: Epoch) -> None:
        row = asdict(epoch)
        self._rows.append(row)
        _write_csv(self.out / METRICS, self._rows)
        for name, value in row.items():
            if name != "epoch":
                self._scalars(name, value, epoch.epoch)
        self._writer.flush()  # type: ignore[no-untyped-call]

    def finish(self, history: Sequence[Epoch], result: Result) -> None:
        """Write what is known at the end: test figures, the result, figures."""
        from matplotlib.figure import Figure

        from ..analysis import confusion_figure, plot_training

        _write_csv(self.out / METRICS, [asdict(epoch) for epoch in history])
        write_result(result, self.out / RESULT)
        figure = Figure(figsize=(8, 3), layout="constrained")
        plot_training(history, figure.subplots(1, 2))
        self._save(figure, CURVES)
        self._scalars("test_accuracy", result.test_accuracy, result.epochs)
        self._scalars("test_loss", result.test_loss, result.epochs)
        self._scalars("macro_f1", result.macro_f1, result.epochs)
        if result.confusion is not None:
            confusion = confusion_figure(np.array(result.confusion), result.classes)
            self._save(confusion, CONFUSION)
            self._writer.add_figure("confusion", confusion, result.epochs)  # type: ignore[no-untyped-call]
        for place, accuracy in enumerate(result.class_accuracy or ()):
            name = result.classes[place] if result.classes else str(place)
            self._scalars(f"class_accuracy/{name}", accuracy, result.epochs)
        self._writer.close()  # type: ignore[no-untyped-call]

    def _scalars(self, name: str, value: float | None, epoch: int) -> None:
        if value is not None:
            self._writer.add_scalar(name, value, epoch)  # type: ignore[no-untyped-call]

    def _save(self, figure: Figure, name: str) -> None:
        with atomic_path(self.out / name) as temporary:
            figure.savefig(temporary, dpi=150, format="png")


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[f.name for f in dataclasses.fields(Epoch)])
        writer.writeheader()
        writer.writerows(rows)
