"""What the pages of the documentation hold: commands and Python examples."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROGRAMS = "lava-bsnn|make|python|torchrun|pip|pre-commit|tensorboard|apt"
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def texts():
    """(name, Markdown) of all pages, and of the notebooks' text cells."""
    for page in PAGES:
        yield page.name, page.read_text()
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        yield path.name, "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def commands():
    """{command: names of the pages} of all lines in fenced blocks, and of inline code."""
    found: dict[str, set[str]] = {}
    for name, text in texts():
        for language, block in FENCE.findall(text):
            if language in ("python", "{toctree}", "{eval-rst}"):
                continue
            for line in re.findall(rf'^(?:{PROGRAMS}) (?:"[^"]*"|[^\n"])*', block, re.MULTILINE):
                found.setdefault(re.sub(r"\s+# .*", "", line).strip(), set()).add(name)
        for line in re.findall(rf"`((?:{PROGRAMS}) [^`]+)`", FENCE.sub("", text)):
            found.setdefault(" ".join(line.split()), set()).add(name)
    return found


def examples():
    """(name, code) of the Python blocks of all pages."""
    for page in PAGES:
        codes = [code for language, code in FENCE.findall(page.read_text()) if language == "python"]
        for index, code in enumerate(codes):
            yield f"{page.stem}-{index}", code
