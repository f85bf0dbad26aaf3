"""Lay out the site's sources as in the repository, with notebooks that were run.

    python docs/assemble.py build/site

makes a folder of links: pages, sources, and ``build/notebooks`` in the place of
``notebooks``. So a relative link means the same on the site and in the repository.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAME = (
    ".ci",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "pyproject.toml",
    "docs",
    "lava_bsnn",
    "netx_export",
    "tests",
)


def assemble(site: Path) -> None:
    """Make the folder ``site`` anew."""
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    for name in SAME:
        (site / name).symlink_to(ROOT / name)
    (site / "index.md").symlink_to(ROOT / "docs/index.md")
    (ROOT / "build/notebooks").mkdir(parents=True, exist_ok=True)
    (site / "notebooks").symlink_to(ROOT / "build/notebooks")


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
