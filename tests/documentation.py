"""What the pages of the documentation hold: commands and Python examples."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROGRAMS = "lava-bsnn|make|python|torchrun|pip|pre-commit|tensorboard|apt"


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
        for block in re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for line in re.findall(rf'^(?:{PROGRAMS}) (?:"[^"]*"|[^\n"])*', block, re.MULTILINE):
                found.setdefault(re.sub(r"\s+# .*", "", line).strip(), set()).add(name)
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        for line in re.findall(rf"`((?:{PROGRAMS}) [^`]+)`", prose):
            found.setdefault(" ".join(line.split()), set()).add(name)
    return found


def examples():
    """(name, code) of the Python blocks of all pages."""
    for page in PAGES:
        codes = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for index, code in enumerate(codes):
            yield f"{page.stem}-{index}", code
