"""Runs side by side: what each folder holds, and means over those that differ in their seed only."""

from __future__ import annotations

import csv
import json
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LavaBsnnError, OptionError, line_of
from .recipe import Recipe, run_recipe
from .run_folder import METRICS, RESULT, settings_of

if TYPE_CHECKING:
    from rich.table import Table

_SEEDS = ("seed", "split_seed")
"""Fields in which runs of one group may differ."""


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """What a run's folder tells.

    Attributes:
        folder: of the run.
        recipe: with which it was started.
        epochs: rows of ``metrics.csv``; None where a row has no number.
        result: of ``result.json``; empty while the run is not finished, or where it is of an older version.
    """

    folder: Path
    recipe: Recipe
    epochs: tuple[Mapping[str, float | None], ...]
    result: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.epochs) >= int(self.result.get("epochs") or self.recipe.epochs)

    def last(self, name: str) -> float | None:
        """A figure of the result, else of the last epoch; ``"seconds"`` are those of all epochs."""
        value = self.seconds if name == "seconds" else self.result.get(name)
        if value is None and self.epochs:
            value = self.epochs[-1].get(name)
        return None if value is None else float(value)

    @property
    def seconds(self) -> float:
        """Of all epochs."""
        return sum(epoch.get("seconds") or 0.0 for epoch in self.epochs)

    def curve(self, *names: str) -> list[float | None]:
        """The first of these columns that has a number, epoch by epoch; None where there is none."""
        for name in names:
            values = [epoch.get(name) for epoch in self.epochs]
            if any(value is not None for value in values):
                return values
        return []


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """Runs that differ in their seed only.

    Attributes:
        name: in what they differ from other groups.
        runs: at least one.
    """

    name: str
    runs: tuple[RunFigures, ...]

    def values(self, name: str) -> list[float]:
        """A figure of each finished run that has it."""
        found = [run.last(name) for run in self.runs if run.finished]
        return [value for value in found if value is not None]

    def mean(self, name: str) -> float | None:
        """Mean of :meth:`values`; None without any."""
        values = self.values(name)
        return statistics.fmean(values) if values else None

    def deviation(self, name: str) -> float | None:
        """Standard deviation of the sample, ``sqrt(sum (x - mean)^2 / (n - 1))``; None of fewer than two."""
        values = self.values(name)
        return statistics.stdev(values) if len(values) > 1 else None

    def text(self, name: str, show: Callable[[float], str]) -> str:
        """Mean and deviation for readers."""
        mean, deviation = self.mean(name), self.deviation(name)
        if mean is None:
            return ""
        return show(mean) if deviation is None else f"{show(mean)} ± {show(deviation)}"


def percent(value: float) -> str:
    """A share as percent with two digits, without the sign."""
    return f"{100 * value:.2f}"


def digits(value: float) -> str:
    """A number with three digits behind the point, or fewer."""
    return f"{value:.3f}" if value < 100 else f"{value:.0f}"


def whole(value: float) -> str:
    """A number without digits behind the point."""
    return f"{value:.0f}"


COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "test_accuracy": ("test %", percent),
    "macro_f1": ("F1 %", percent),
    "best_test_accuracy": ("best %", percent),
    "loss": ("loss", digits),
    "firing_rate": ("rate %", percent),
    "flip_ratio": ("flips %", percent),
    "seconds": ("seconds", whole),
}
"""By figure, its heading in tables and how a number is written."""


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Outcome of :func:`compare_runs`, in the order in which the runs were given."""

    groups: tuple[RunGroup, ...]

    @cached_property
    def columns(self) -> list[str]:
        """Figures that some run has."""
        return [name for name in COLUMNS if any(group.values(name) for group in self.groups)]

    @property
    def unfinished(self) -> list[RunFigures]:
        """Runs that are in no mean."""
        return [run for group in self.groups for run in group.runs if not run.finished]

    def table(self) -> Table:
        """Table for terminals, from 80 columns on, and notebooks: means, and deviations below them."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        table.add_column("runs that differ in" if len(self.groups) > 1 else "run", overflow="fold")
        table.add_column("runs", justify="right")
        for name in self.columns:
            table.add_column(COLUMNS[name][0], justify="right", no_wrap=True)
        for group in self.groups:
            done = sum(run.finished for run in group.runs)
            count = str(done) if done == len(group.runs) else f"{done} of {len(group.runs)}"
            shown = [group.text(name, COLUMNS[name][1]).replace(" ± ", "\n±") for name in self.columns]
            table.add_row(group.name, count, *shown)
        return table

    def as_dict(self) -> dict[str, Any]:
        """Plain data: ``groups``, each with ``mean`` and ``deviation`` by figure, and its ``runs``."""
        return {
            "groups": [
                {
                    "name": group.name,
                    "mean": {name: group.mean(name) for name in self.columns},
                    "deviation": {name: group.deviation(name) for name in self.columns},
                    "runs": [
                        {
                            "folder": str(run.folder),
                            "seed": run.recipe.seed,
                            "finished": run.finished,
                            "epochs": len(run.epochs),
                            **{name: run.last(name) for name in self.columns},
                        }
                        for run in group.runs
                    ],
                }
                for group in self.groups
            ]
        }


def read_run(folder: str | os.PathLike[str]) -> RunFigures:
    """Figures of a run's folder; nothing of its network is loaded.

    Raises:
        LavaBsnnError: no run there, or a file that is damaged.
    """
    folder = Path(folder)
    recipe = run_recipe(folder)
    rows: list[dict[str, float | None]] = []
    try:
        if (folder / METRICS).is_file():
            with open(folder / METRICS, newline="", encoding="utf-8") as file:
                rows = [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error, AttributeError) as error:
        raise LavaBsnnError(f"{folder / METRICS}: is damaged ({line_of(error)}); train again") from error
    result: Any = {}
    try:
        if (folder / RESULT).is_file():
            result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
            if not isinstance(result, dict):
                raise TypeError(f"a {type(result).__name__}")
    except (OSError, ValueError, TypeError) as error:
        raise LavaBsnnError(f"{folder / RESULT}: is damaged ({line_of(error)}); train again") from error
    return RunFigures(folder=folder, recipe=recipe, epochs=tuple(rows), result=result)


def _number(text: str | None) -> float | None:
    if not text:
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def compare_runs(folders: Sequence[str | os.PathLike[str]]) -> RunComparison:
    """Read runs and group those whose recipes differ in ``seed`` and ``split_seed`` only.

    Raises:
        OptionError: no folder is given, or one twice.
        LavaBsnnError: as :func:`read_run`.
    """
    if not folders:
        raise OptionError("compare: no run is given; give the folders of one or more")
    seen: set[Path] = set()
    for folder in folders:
        if Path(folder).resolve() in seen:
            raise OptionError(f"compare: {folder} is given twice; name each run once")
        seen.add(Path(folder).resolve())
    runs = [read_run(folder) for folder in folders]
    groups: dict[str, list[RunFigures]] = {}
    for run in runs:
        key = repr(sorted(_settings(run.recipe).items()))
        groups.setdefault(key, []).append(run)
    names = _names([group[0] for group in groups.values()])
    return RunComparison(
        groups=tuple(
            RunGroup(name=name, runs=tuple(group)) for name, group in zip(names, groups.values(), strict=True)
        )
    )


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Fields that matter, entries of mappings by ``field.entry``."""
    values: dict[str, Any] = {}
    for name, value in settings_of(recipe).items():
        if name in _SEEDS:
            continue
        if isinstance(value, Mapping):
            values |= {f"{name}.{key}": one for key, one in value.items()}
        else:
            values[name] = value
    return values


def _names(runs: Sequence[RunFigures]) -> list[str]:
    """A name of each: fields and values in which it differs from some other; of one alone, what it is."""
    settings = [_settings(run.recipe) for run in runs]
    fields = dict.fromkeys(name for values in settings for name in values)
    differing = [name for name in fields if len({repr(values.get(name)) for values in settings}) > 1]
    if not differing:
        return [f"{run.recipe.dataset}, {run.recipe.model}, {run.recipe.method}" for run in runs]
    return [
        ", ".join(f"{name}={values[name]}" for name in differing if name in values) or "defaults"
        for values in settings
    ]
