"""Small pieces of HTML; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Markup:
    """Text that is HTML already."""

    text: str


Cell = str | Markup


def safe(cell: Cell) -> str:
    """HTML of a text, escaped unless it is HTML already; control characters become visible."""
    return cell.text if isinstance(cell, Markup) else escape(visible(cell))


def visible(text: str) -> str:
    """Text in which characters that no reader sees, or that move the cursor, are written as escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def element(name: str, *content: Cell, **attributes: object) -> Markup:
    """``<name attributes>content</name>``; ``class_`` becomes ``class``, ``aria_label`` ``aria-label``."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(str(value)))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{''.join(map(safe, content))}</{name}>")


def table(label: str, header: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> Markup:
    """A table that scrolls sideways where the screen is narrow; lines start with their first cell."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    inner = element("table", element("thead", head), element("tbody", *body))
    return element("div", inner, class_="scroll", tabindex=0, role="region", aria_label=label)


def bar(text: str, share: float) -> Markup:
    """A number above a bar of that share of the column."""
    width = f"width:{100 * min(1.0, max(0.0, share)):.1f}%"
    inside = element("i", style=width)
    return Markup(safe(text) + element("span", inside, class_="bar", aria_hidden="true").text)


def text(content: str) -> Markup:
    """A cell of words, which wraps."""
    return element("span", content, class_="text")
