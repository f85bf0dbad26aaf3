"""Results of a study as a page in Markdown, the same for the same files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files import atomic_path
from .cells import BATCHES, CHIP
from .gathering import Gathered, Row, flips_follow_gradients
from .statistics import Interval

TABLE = "table.md"
MAXIMA = {"running": "running mean"} | {str(size): f"max of {size}" for size in BATCHES}
"""What scales membranes, and how a column is called."""


def table(found: Gathered) -> str:
    """Markdown: by set a table of variants and one of stages; the figure, how to read it, what is missing."""
    study = found.study
    parts = [f"**{study.title}.** {study.question}"]
    for set_name in study.sets:
        rows = found.rows_of(set_name)
        if rows:
            parts.append(f"Set `{set_name}`:")
            parts.append(_variants(rows))
            correlation = flips_follow_gradients(rows)
            if correlation is not None:
                parts.append(
                    f"Rank correlation of flips and gradients over the variants, mean over seeds and epochs: "
                    f"{correlation:.2f}."
                )
            maxima = _maxima(rows)
            if maxima:
                parts.append(f"Set `{set_name}`, accuracy % by what scales membranes:")
                parts.append(maxima)
            stages = _stages(found, rows)
            if stages:
                parts.append(f"Set `{set_name}`, deployed:")
                parts.append(stages)
    if any(found.results()):
        parts.append(f"![Accuracies and flips of the study {study.name}](../{study.name}.png)")
        parts.append(_how_to_read(found))
    else:
        parts.append("No cell is there yet.")
    for names, what in ((found.missing, "Not there yet"), (found.stale, "Of other settings, to be run anew")):
        if names and any(found.results()):
            parts.append(f"{what}: {_grouped(names)}.")
    return "\n\n".join(parts) + "\n"


def write_table(text: str, folder: Path) -> Path:
    """Write the page into the folder of a study's results; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / TABLE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / TABLE


def _grouped(names: Sequence[str]) -> str:
    """Cells by set and variant, with their seeds."""
    seeds: dict[str, list[str]] = {}
    for name in names:
        where, _, seed = name.rpartition("/")
        seeds.setdefault(where, []).append(seed)
    return "; ".join(f"`{where}` {', '.join(numbers)}" for where, numbers in seeds.items())


def _variants(rows: Sequence[Row]) -> str:
    headings = ["variant", "seeds", "accuracy %", "difference", "to", "gained, lost", "p", "rate %"]
    headings += ["flips %", "gradient", "loss rise", "SOPs", "energy uJ", "validation %", "minutes"]
    lines = []
    for row in rows:
        test = row.mcnemar()
        seconds = row.mean("seconds", "training")
        lines.append(
            [
                row.variant,
                str(len(row.results)),
                _percent(row.interval("accuracy")),
                _percent(row.difference("accuracy"), sign=True),
                row.reference.variant if row.pairs() and row.reference else "",
                "" if test is None else f"{test.gained}, {test.lost}",
                "" if test is None else _p(test.p),
                _number(row.mean("firing_rate"), 100, 1),
                _number(row.mean("history", "flip_ratio"), 100, 2),
                _number(row.mean("history", "gradient_to_weight"), 1, 4),
                _number(row.mean("loss_rise"), 1, 2),
                _number(row.mean("sops"), 1, 0),
                _number(row.mean("energy"), 1e6, 3),
                _number(row.mean("validation_accuracy"), 100, 2),
                _number(seconds, 1 / 60, 1),
            ]
        )
    return _markdown(headings, lines, texts=(0, 4))


def _maxima(rows: Sequence[Row]) -> str:
    scaled = [row for row in rows if row.mean("batch_maxima", "running") is not None]
    lines = [
        [row.variant, *(_number(row.mean("batch_maxima", name), 100, 2) for name in MAXIMA)] for row in scaled
    ]
    return _markdown(["variant", *MAXIMA.values()], lines, texts=(0,)) if lines else ""


def _stages(found: Gathered, rows: Sequence[Row]) -> str:
    headings = ["variant", "stage", "seeds", "accuracy %", "difference", "same class %", "equal spikes %"]
    headings += ["rate %", "kB", "cores", "chips", "SOPs", "energy uJ"]
    lines = []
    for row in rows:
        for stage in found.study.variants[row.variant].stages:
            path = ("deployed", stage.name)
            count = len(row.values(*path, "accuracy"))
            problems = {one["deployed"].get(stage.name, {}).get("problem") for one in row.results.values()}
            refused = sorted(str(problem) for problem in problems - {None})
            figures = [
                _percent(row.interval(*path, "accuracy")) if count else f"refused: {_short(refused)}",
                _percent(row.loss(stage.name), sign=True),
                _number(row.mean(*path, "same_class"), 100, 2),
                _number(row.mean(*path, "equal_spikes"), 100, 2),
                _number(row.mean(*path, "firing_rate"), 100, 1),
                _number(row.mean(*path, "bytes"), 1e-3, 1),
                _number(row.mean(*path, "cores"), 1, 0),
                _number(row.mean(*path, "chips"), 1, 0),
                _number(row.mean(*path, "sops"), 1, 0),
                _number(row.mean(*path, "energy"), 1e6, 3),
            ]
            lines.append([row.variant, stage.name, str(count), *figures])
    return _markdown(headings, lines, texts=(0, 1)) if lines else ""


def _how_to_read(found: Gathered) -> str:
    results = list(found.results())
    devices = sorted({name for one in results for name in str(one["device"]).split(", ")})
    versions = sorted({f"torch {one['versions']['torch']}" for one in results})
    hours = sum(one["seconds"]["training"] + one["seconds"]["measuring"] for one in results) / 3600
    lines = [
        "Accuracy: of the whole test set after the last epoch, mean over the seeds and 95 % interval of "
        "Student's t; differences are paired by seed. One seed has no interval.",
        "Gained, lost: test samples that the variant alone, and the reference alone, has right, over all "
        "seeds; p: McNemar's exact test of them. It compares these trained networks, not the methods over "
        "seeds, and counts a test sample once per seed.",
    ]
    if any(one["history"].get("flip_ratio") for one in results):
        lines.append("Flips: share of 1-bit weights that change sign per epoch, mean over the epochs.")
    if any(one["history"].get("gradient_to_weight") for one in results):
        lines.append(
            "Gradient: standard deviation of the loss gradients of a layer's 1-bit weights over the mean "
            "magnitude of their latent weights, mean over layers and epochs."
        )
    if any("loss_rise" in one for one in results):
        lines.append(
            "Loss rise: cross entropy (nats) of 256 training samples, mean over 24 points up to half a "
            "filter norm away in two random directions, less that of the trained weights."
        )
    if any(one.get("validation_accuracy") is not None for one in results):
        lines.append("Validation: of the tenth of the training set that is held out, after the last epoch.")
    if any("batch_maxima" in one for one in results):
        lines.append(
            "Running mean, max of 64: the largest potential of a layer, over training, as in evaluation, or "
            "in a batch of 64 samples and step, as in training; on the first 2,048 test samples."
        )
    lines.append(
        "SOPs per sample, counted; energy per sample, an estimate: of the trained network in 45 nm CMOS from "
        "SOPs and MACs alone, of deployed ones on Loihi from published energies. No hardware was measured."
    )
    if found.study.stages:
        lines.append(
            f"Stage `loihi+3`: fine-tuned for 3 epochs in the integers of loihi; `+0`: matched only. Its "
            f"difference is to the trained network. Cores and chips: of {CHIP}, as placed."
        )
    lines.append(
        f"{len(results)} cells, {hours:.2f} hours of training and measuring; {', '.join(devices + versions)}."
    )
    return "\n".join(f"- {line}" for line in lines)


def _percent(value: Interval | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    mean = f"{round(100 * value.mean, 2) + 0.0:{'+' if sign else ''}.2f}"  # no -0.00
    return mean if value.half is None else f"{mean} ± {100 * value.half:.2f}"


def _number(value: float | None, factor: float, digits: int) -> str:
    return "" if value is None else f"{factor * value:,.{digits}f}"


def _p(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else f"{value:.0e}"


def _short(texts: Sequence[str]) -> str:
    text = texts[0] if texts else "no result"
    return (text if len(text) <= 120 else f"{text[:117]}...").replace("|", "\\|")


def _markdown(headings: Sequence[str], lines: Sequence[Sequence[str]], texts: Sequence[int]) -> str:
    """A table without its empty columns."""
    kept = [column for column in range(len(headings)) if any(line[column] for line in lines)]
    rows = [[headings[column] for column in kept], ["---" if column in texts else "--:" for column in kept]]
    rows += [[line[column] for column in kept] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
