"""Code of a user in a working folder, as recipes name it."""

from __future__ import annotations

import contextlib
import sys


@contextlib.contextmanager
def forgotten(folder):
    """Modules below a folder, and places to look in, are forgotten afterwards."""
    modules, places = set(sys.modules), list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = places
        new = [name for name in set(sys.modules) - modules if _is_below(sys.modules[name], folder)]
        for name in new:  # all have been asked: paths of packages without __init__ need their parents
            del sys.modules[name]


def _is_below(module, folder):
    facts = getattr(module, "__dict__", {})
    homes = [facts.get("__file__"), *(facts.get("__path__") or ())]
    return any(str(home).startswith(str(folder)) for home in homes)
