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
        for name in set(sys.modules) - modules:
            facts = getattr(sys.modules[name], "__dict__", {})
            homes = [facts.get("__file__"), *(facts.get("__path__") or ())]
            if any(str(home).startswith(str(folder)) for home in homes):
                del sys.modules[name]
