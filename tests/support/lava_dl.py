"""The tests that lava-dl's wheel holds: a package named ``tests``, as pytest names the folder of ours."""

from __future__ import annotations

import importlib
import sys

import pytest


def wheel_tests(name):
    """A module of lava-dl's tests; skips where they are not installed."""
    with pytest.MonkeyPatch.context() as patch:
        for loaded in [one for one in sys.modules if one.partition(".")[0] == "tests"]:
            patch.delitem(sys.modules, loaded)
        try:
            return importlib.import_module(f"tests.{name}")
        except ModuleNotFoundError:
            pytest.skip("the tests of lava-dl's wheel are not installed")
