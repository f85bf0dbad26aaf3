"""Studies: what is claimed of the methods, measured over sets, variants and paired seeds."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Cell": "cells",
    "Stage": "definition",
    "Study": "definition",
    "Variant": "definition",
    "cells_of": "cells",
    "load_study": "definition",
    "mcnemar": "statistics",
    "mean_interval": "statistics",
    "run_cells": "running",
    "study_names": "definition",
    "table": "table",
    "unpacked": "cells",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
