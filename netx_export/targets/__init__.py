"""Targets of export, by the name that ``profile`` gives them; a further chip is a further file here."""

from __future__ import annotations

from lava_bsnn.errors import check_option

from .base import Target
from .extended import Extended
from .stock import Stock

TARGETS: dict[str, Target] = {one.name: one for one in (Stock(), Extended())}


def target(name: str) -> Target:
    """The target of a name.

    Raises:
        OptionError: there is none.
    """
    check_option("target", "profile", name, tuple(TARGETS))
    return TARGETS[name]


__all__ = ["TARGETS", "Target", "target"]
