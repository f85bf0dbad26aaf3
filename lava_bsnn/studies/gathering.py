"""Results that are there, paired by seed and by sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from .cells import cells_of, read_result, unpacked
from .definition import Study
from .statistics import Interval, McNemar, mcnemar, mean_interval

Result = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant in a set.

    Attributes:
        set: name of the set.
        variant: name of the variant.
        reference: the row that it is paired with; None for a reference itself.
        results: by seed.
    """

    set: str
    variant: str
    reference: Row | None
    results: Mapping[int, Result]

    def values(self, *path: str) -> list[float]:
        """A figure of each seed that has it, such as ``"deployed", "loihi", "accuracy"``."""
        found = (_at(result, path) for result in self.results.values())
        return [float(value) for value in found if value is not None]

    def interval(self, *path: str) -> Interval | None:
        """Mean and interval of a figure over the seeds; None without any."""
        values = self.values(*path)
        return mean_interval(values) if values else None

    def mean(self, *path: str) -> float | None:
        """Mean of a figure; of one with a value per epoch, over these too."""
        found = [_at(result, path) for result in self.results.values()]
        values = [value for one in found for value in (one if isinstance(one, list) else [one])]
        known = [value for value in values if value is not None]
        return fmean(known) if known else None

    def difference(self, *path: str) -> Interval | None:
        """Of a figure to the reference's, paired by seed."""
        return _paired(self.pairs(), path, path)

    def loss(self, stage: str) -> Interval | None:
        """Accuracy of a stage less that of the trained network, paired by seed."""
        pairs = [(result, result) for result in self.results.values()]
        return _paired(pairs, ("deployed", stage, "accuracy"), ("accuracy",))

    def pairs(self) -> list[tuple[Result, Result]]:
        """Results and the reference's, of seeds that both have."""
        if self.reference is None:
            return []
        theirs = self.reference.results
        return [(result, theirs[seed]) for seed, result in self.results.items() if seed in theirs]

    def mcnemar(self) -> McNemar | None:
        """Against the reference, on the samples of all seeds that both have."""
        pairs = self.pairs()
        if not pairs:
            return None
        return mcnemar(
            (unpacked(a["right"], a["samples"]), unpacked(b["right"], b["samples"])) for a, b in pairs
        )


def flips_follow_gradients(rows: Sequence[Row]) -> float | None:
    """Spearman's rank correlation of flips and gradients over variants, mean over seeds and epochs.

    It compares the same epoch of variants with the same optimizer and learning rate, where steps are equally
    long; None if fewer than three are alike. AGMM's proposition 1 says that it is positive.
    """
    from scipy.stats import spearmanr

    found: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    step = ("optimizer", "lr", "flip_threshold", "flip_decay")
    for row in rows:
        for seed, result in row.results.items():
            flips = _at(result, ("history", "flip_ratio")) or []
            gradients = _at(result, ("history", "gradient_to_weight")) or []
            alike = tuple(result["recipe"].get(name) for name in step)
            for epoch, pair in enumerate(zip(gradients, flips, strict=False)):
                found.setdefault((*alike, seed, epoch), []).append(pair)
    ranks = [float(spearmanr(pairs).statistic) for pairs in found.values() if len(pairs) > 2]
    return fmean(ranks) if ranks else None


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Results of a study.

    Attributes:
        study: the study.
        rows: in the order of the definition, by set.
        missing: names of cells of the study's seeds without a result.
        stale: of cells whose result is of other settings.
    """

    study: Study
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    stale: tuple[str, ...]

    def results(self) -> Iterator[Result]:
        """All of them."""
        for row in self.rows:
            yield from row.results.values()

    def rows_of(self, set_name: str) -> list[Row]:
        """Rows of a set that have a result."""
        return [row for row in self.rows if row.set == set_name and row.results]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "study": self.study.name,
            "missing": list(self.missing),
            "stale": list(self.stale),
            "rows": [
                {
                    "set": row.set,
                    "variant": row.variant,
                    "reference": row.reference and row.reference.variant,
                    "seeds": list(row.results),
                    "accuracy": _dict(row.interval("accuracy")),
                    "difference": _dict(row.difference("accuracy")),
                    "mcnemar": _dict(row.mcnemar()),
                    "stages": {
                        stage.name: {
                            "accuracy": _dict(row.interval("deployed", stage.name, "accuracy")),
                            "loss": _dict(row.loss(stage.name)),
                        }
                        for stage in self.study.stages
                    },
                }
                for row in self.rows
                if row.results
            ],
        }


def gathered(study: Study, results: Path) -> Gathered:
    """Read the results of a study, those of more seeds than it has by default too.

    Raises:
        LavaBsnnError: a file is damaged.
    """
    files = (results / study.name).glob("*/*/*.json")
    there = [int(path.stem) + 1 for path in files if path.stem.isdecimal()]
    cells = cells_of(study, results, results, seeds=max([study.seeds, *there]))
    found: dict[tuple[str, str], dict[int, Result]] = {}
    missing, stale = [], []
    for cell in cells:
        content, row = cell.found(), found.setdefault((cell.set, cell.variant), {})
        if content is not None:
            row[cell.seed] = content
        elif read_result(cell.result) is not None:
            stale.append(cell.name)
        elif cell.seed < study.seeds:
            missing.append(cell.name)
    references = {
        key: Row(set=key[0], variant=key[1], reference=None, results=row) for key, row in found.items()
    }
    rows = tuple(
        Row(
            set=set_name,
            variant=name,
            reference=references.get((set_name, one.reference or "")),
            results=found[set_name, name],
        )
        for set_name in study.sets
        for name, one in study.variants.items()
        if set_name in one.sets
    )
    return Gathered(study=study, rows=rows, missing=tuple(missing), stale=tuple(stale))


def _at(result: Result, path: Sequence[str]) -> Any:
    value: Any = result
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _paired(
    pairs: Sequence[tuple[Result, Result]], ours: Sequence[str], theirs: Sequence[str]
) -> Interval | None:
    values = [(_at(a, ours), _at(b, theirs)) for a, b in pairs]
    differences = [a - b for a, b in values if a is not None and b is not None]
    return mean_interval(differences) if differences else None


def _dict(value: Any) -> dict[str, Any] | None:
    return None if value is None else asdict(value)
