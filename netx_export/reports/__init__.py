"""Whether a network fits a chip and what it costs there, for terminals, browsers and programs."""

from __future__ import annotations

from .content import Report, report
from .page import html
from .terminal import lines_of

__all__ = ["Report", "html", "lines_of", "report"]
