"""Cores of each chip, coloured by how full they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from ..costs import CoreCost
from ..placement import Core
from .content import Report
from .markup import Cell, Markup, element, table, text

_CELL, _EDGE = 10, 8.6
MOST_CORES = 2000
"""Cores that are drawn; the page would grow beyond its size."""
_MOST_ROWS = 300


def core_map(report: Report) -> Iterator[Markup]:
    """A map per chip, and a table."""
    placed = report.placement
    pairs = list(zip(placed.cores, report.cost.cores, strict=True))
    yield element("h2", "Cores")
    if not pairs:
        yield element("p", "No core is used: the network could not be placed.")
        return
    shades = [
        element("span", Markup(f'<i style="--u:{share}"></i>'), f"{share} %") for share in (10, 40, 70, 100)
    ]
    yield element("p", element("span", "fullest limit of a core:"), *shades, class_="key")
    by_chip: dict[int, list[tuple[Core, CoreCost]]] = defaultdict(list)
    for core, cost in pairs[:MOST_CORES]:
        by_chip[core.chip].append((core, cost))
    count = placed.chip.cores.value
    yield element("div", *(_chip(number, count, held) for number, held in by_chip.items()), class_="maps")
    yield element("output", "A tap or the arrow keys tell what a core holds.", id="core", aria_live="polite")
    if len(pairs) > MOST_CORES:
        yield element("p", f"The first {MOST_CORES:,} of {len(pairs):,} cores are drawn.", class_="soft")
    limits = list(pairs[0][0].utilisation)
    rows: list[list[Cell]] = [
        [
            f"{core.chip}.{core.index}",
            text(_slices(core)),
            *(f"{core.utilisation[name]:.0%}" for name in limits),
            f"{cost.sops:,.1f}",
            f"{cost.messages_in:,.1f}",
        ]
        for core, cost in pairs[:_MOST_ROWS]
    ]
    header = (
        "core",
        "holds",
        *(name.replace("_", " ") for name in limits),
        "SOPs per step",
        "messages in per step",
    )
    told = (
        f"Table of the first {len(rows)} of {len(pairs):,} cores"
        if len(rows) < len(pairs)
        else "Table of all cores"
    )
    yield element("details", element("summary", told), table("cores", header, rows))


def _chip(number: int, count: int, held: list[tuple[Core, CoreCost]]) -> Markup:
    columns = math.ceil(math.sqrt(count))
    free = set(range(count)) - {core.index for core, _ in held}
    off = "".join(
        f"M{_CELL * (i % columns)} {_CELL * (i // columns)}h{_EDGE}v{_EDGE}h-{_EDGE}z" for i in sorted(free)
    )
    shapes = [element("path", d=off, class_="off")]
    for core, cost in held:
        fullest = max(core.utilisation.values())
        told = (
            f"core {core.chip}.{core.index}: {_slices(core)}; {_shares(core)}; {cost.sops:,.1f} SOPs per step"
        )
        shapes.append(
            element(
                "rect",
                element("title", told),
                class_="core" if fullest <= 1 else "core over",
                style=f"--u:{100 * fullest:.0f}",
                x=_CELL * (core.index % columns),
                y=_CELL * (core.index // columns),
                width=_EDGE,
                height=_EDGE,
            )
        )
    label = f"chip {number}: {len(held)} of {count} cores used; arrow keys go from core to core"
    size = f"-1 -1 {_CELL * columns + 1} {_CELL * math.ceil(count / columns) + 1}"
    svg = element(
        "svg", *shapes, class_="map", viewBox=size, tabindex=0, role="application", aria_label=label,
        data_columns=columns,
    )  # fmt: skip
    return element("figure", svg, element("figcaption", f"chip {number}: {len(held)} of {count} cores"))


def _slices(core: Core) -> str:
    texts = []
    for one in core.slices[:6]:
        rows = "" if one.rows is None else f", rows {one.rows[0]}-{one.rows[1] - 1}"
        texts.append(f"{one.layer} channels {one.channels[0]}-{one.channels[1] - 1}{rows}")
    more = len(core.slices) - len(texts)
    return " + ".join(texts) + (f" and {more} more" if more else "")


def _shares(core: Core) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in core.utilisation.items())
