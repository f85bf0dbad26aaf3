"""One self-contained HTML page about runs: table, curves, confusion matrices, layers, what analyze drew."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from netx_export.reports.markup import Cell, Markup, element, safe, table, text

from ..analysis.comparison import CURVES, plot_comparison, plot_curves
from ..errors import LavaBsnnError
from .comparing import COLUMNS, RunComparison, RunFigures, RunGroup
from .run_folder import CONFUSION

CHIP_REPORT = "report.html"
"""Page of ``lava-bsnn report --html`` in the folder of a run."""
ANALYSIS = "analysis"
"""Folder of ``lava-bsnn analyze`` in that of a run."""
_STYLE = (
    "img { max-width: 100%; height: auto; background: #fff; } figure { margin: 0.75rem 0; } "
    "th, [aria-label=runs] td { white-space: normal; }"
)
_MOST_RUNS = 12
"""Runs that have a section of their own."""


def page(comparison: RunComparison, *, beside: Path) -> str:
    """The page; no part of it comes from elsewhere, and its policy allows none.

    Args:
        beside: folder that the page will be in, to which links are relative.
    """
    runs = [run for group in comparison.groups for run in group.runs]
    title = f"Run {runs[0].folder.name}" if len(runs) == 1 else f"{len(runs)} runs side by side"
    css = resources.files("netx_export.reports").joinpath("page.css").read_text("utf-8") + _STYLE
    parts = [element("h1", title), *_overview(comparison), *_curves(comparison)]
    for group in comparison.groups:
        parts += _layers(group, alone=len(comparison.groups) == 1)
    for run in runs[:_MOST_RUNS]:
        parts += _run(run, beside)
    if len(runs) > _MOST_RUNS:
        parts.append(
            element("p", f"{len(runs) - _MOST_RUNS} more runs are in the table only.", class_="soft")
        )
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        ),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        Markup(f"<style>{css}</style>"),
    )
    body = element("body", element("main", *parts))
    return "<!doctype html>\n" + safe(element("html", head, body, lang="en")) + "\n"


def _overview(comparison: RunComparison) -> Iterator[Markup]:
    header = ("runs that differ in", "runs", *(COLUMNS[name][0] for name in comparison.columns))
    rows: list[list[Cell]] = [
        [
            text(group.name),
            str(sum(run.finished for run in group.runs)),
            *(group.text(name, COLUMNS[name][1]).replace("± ", "±\u00a0") for name in comparison.columns),
        ]
        for group in comparison.groups
    ]
    yield table("runs", header, rows)
    yield element("p", "Mean ± standard deviation over the finished runs of a line.", class_="soft")
    for run in comparison.unfinished:
        yield element(
            "p",
            f"Not finished: {run.folder}, {len(run.epochs)} of {run.recipe.epochs} epochs.",
            class_="warn",
        )


def _curves(comparison: RunComparison) -> Iterator[Markup]:
    from matplotlib.figure import Figure

    yield element("h2", "Curves")
    figure: Any = Figure(figsize=(9, max(3.2, 1.6 + 0.5 * len(comparison.groups))), layout="constrained")
    plot_comparison(comparison, figure.subplots(1, 2))
    yield _drawn(figure, "accuracy over the epochs, and test accuracy of each group")
    runs = [run for group in comparison.groups for run in group.runs]
    names = [name for name in CURVES if name != "accuracy" and any(run.curve(*CURVES[name]) for run in runs)]
    if not names:
        return
    figure = Figure(figsize=(3.2 * len(names), 2.9), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        plot_curves(comparison, axes, name)
    yield _drawn(figure, "loss, firing rate and sign flips over the epochs")


def _layers(group: RunGroup, *, alone: bool) -> Iterator[Markup]:
    """Layers and sizes of the first run's network; it is the same for all."""
    from ..analysis import summary
    from .run import load_run

    yield element("h2", "Layers and sizes" if alone else f"Layers and sizes: {group.name}")
    try:
        model = load_run(group.runs[0].folder)[1]
        found = summary(model, profiles=())
    except LavaBsnnError as error:
        yield element("p", f"Unknown: {error}", class_="soft")
        return
    rows = [one.cells for one in found.layers]
    yield table("layers", ("layer", "shape", "parameters", "bits", "neurons", "MACs per step"), rows)
    yield element("p", f"{found.parameters:,} parameters, {found.size / 1e6:.3g} MB with bits packed.")


def _run(run: RunFigures, beside: Path) -> Iterator[Markup]:
    """Figures of one run, its confusion matrix, and what was drawn in its folder."""
    yield element("h2", str(run.folder))
    facts = [(heading, show(value)) for name, (heading, show) in COLUMNS.items() if (value := run.last(name))]
    facts += [("epochs", str(len(run.epochs))), ("seed", str(run.recipe.seed))]
    if run.result.get("chosen_on"):
        facts.append(("best epoch, by", f"{run.result.get('best_epoch')}, {run.result['chosen_on']}"))
    yield element("dl", *(element("div", element("dt", a), element("dd", b)) for a, b in facts))
    yield from _chip(run, beside)
    if (run.folder / CONFUSION).is_file():
        yield _png((run.folder / CONFUSION).read_bytes(), "confusion matrix of the test set")
    drawn = sorted((run.folder / ANALYSIS).glob("*.png"))
    for path in drawn:
        yield _png(path.read_bytes(), path.stem)
    if not drawn:
        words = element("code", f"lava-bsnn analyze {run.folder}")
        yield element("p", "Rates, operations, energy, landscape: ", words, class_="soft")


def _chip(run: RunFigures, beside: Path) -> Iterator[Markup]:
    path = run.folder / CHIP_REPORT
    if path.is_file():
        link = Path(os.path.relpath(path.resolve(), beside.resolve())).as_posix()
        yield element("p", element("a", "chip report: cores, costs, parity", href=link))
        return
    words = element("code", f"lava-bsnn report FILE --run {run.folder} --html {path}")
    yield element("p", "Does it fit a chip, and what does it cost there: ", words, class_="soft")


def _drawn(figure: Any, description: str) -> Markup:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return _png(buffer.getvalue(), description)


def _png(content: bytes, description: str) -> Markup:
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    image = Markup(f'<img src="{source}" alt="{safe(description)}">')
    return element("figure", image, element("figcaption", description))
