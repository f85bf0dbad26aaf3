"""The versions that make and CI install lie in the ranges that pyproject.toml promises, for every Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()
PYTHONS = re.findall(r"Python :: (3\.\d+)", PROJECT)
LINES = (ROOT / ".ci/constraints.txt").read_text().splitlines()
PINS = [Requirement(line) for line in LINES if line and not line.startswith("#")]


def wanted():
    """Requirements of the package, its data readers and its tools."""
    lists = re.findall(
        r"^(?:dependencies|data|peers|docs|lab|dev) = \[\n(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL
    )
    found = [Requirement(text) for part in lists for text in re.findall(r'^    "(.+)",', part, re.MULTILINE)]
    return [one for one in found if not one.name.startswith("lava-")]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_package_has_one_pin_which_lies_in_its_range(python):
    pins: dict[str, list[str]] = {}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            pins.setdefault(pin.name, []).append(str(pin.specifier).removeprefix("=="))
    requirements = {one.name: one.specifier for one in wanted()}
    assert pins.keys() == requirements.keys()
    for name, versions in pins.items():
        assert len(versions) == 1, name
        assert requirements[name].contains(versions[0]), name
