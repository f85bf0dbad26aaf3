"""What a run leaves to look at: a table, TensorBoard events, a figure."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import atomic_path
from .engine import Epoch


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
        _write_csv(self.out / "metrics.csv", self._rows)
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, epoch.epoch)  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def finish(self, history: Sequence[Epoch]) -> None:
        from matplotlib.figure import Figure

        from ..analysis import plot_training

        self._writer.close()  # type: ignore[no-untyped-call]
        figure = Figure(figsize=(8, 3), layout="constrained")
        plot_training(history, figure.subplots(1, 2))
        with atomic_path(self.out / "training_curve.png") as temporary:
            figure.savefig(temporary, dpi=150, format="png")


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[f.name for f in dataclasses.fields(Epoch)])
        writer.writeheader()
        writer.writerows(rows)
