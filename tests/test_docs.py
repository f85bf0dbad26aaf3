"""What the documentation names exists."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAPERS = (ROOT / "docs/papers.md").read_text()


def named_tests():
    """(file, test pattern) pairs of docs/papers.md; the pattern may be empty."""
    found = re.findall(r"`(test_\w+\.py)(?:::([\w*]+))?`", PAPERS)
    assert len(found) > 30
    return sorted(set(found))


@pytest.mark.parametrize(("file", "pattern"), named_tests())
def test_every_test_that_the_papers_page_names_exists(file, pattern):
    text = (ROOT / "tests/lava_bsnn" / file).read_text()
    names = re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    assert fnmatch.filter(names, pattern or "*")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:\w+/)*\w+\.py)`", PAPERS)) | {"neuron/lif.py"}))
def test_every_module_that_the_papers_page_names_exists(path):
    if not path.startswith("test_"):
        assert (ROOT / "lava_bsnn" / path).is_file()


def test_every_relative_link_leads_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = [
    pytest.param(code, id=f"{page.stem}-{index}")
    for page in PAGES
    for index, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


def test_commands_in_the_documentation_exist():
    from lava_bsnn.training import recipe_names

    for page in PAGES:
        for name in re.findall(r"lava[-_]bsnn train ([\w-]+)(?= |$|`)", page.read_text(), re.MULTILINE):
            assert name in recipe_names(), f"{page.name}: {name}"


@pytest.mark.lava
@pytest.mark.parametrize("code", CODE)
def test_the_examples_run(code, tmp_path):
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "netx_export.compare" in code:
        accuracy, comparison = done.stdout.splitlines()
        assert float(accuracy) > 0.9
        assert comparison.startswith("Comparison(mismatches=0, compared=")
