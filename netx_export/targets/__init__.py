"""Targets of export, by the name that ``profile`` gives them; a further chip is a further file here."""

from __future__ import annotations

from lava_bsnn.errors import OptionError, check_option

from .base import Target
from .extended import Extended
from .loihi import Loihi
from .stock import Stock

__all__ = ["TARGETS", "Extended", "Loihi", "Stock", "Target", "register_target", "target"]

TARGETS: dict[str, Target] = {one.name: one for one in (Stock(), Loihi(), Extended())}
_OURS = tuple(TARGETS)


def target(name: str) -> Target:
    """The target of a name.

    Raises:
        OptionError: there is none.
    """
    check_option("target", "profile", name, tuple(TARGETS))
    return TARGETS[name]


def register_target(kind: type[Target]) -> type[Target]:
    """Make a target known by its ``name``, as a decorator of its class does.

    A target replaces one of the same name that was registered before.

    Raises:
        OptionError: it has no name, or that of a target of this package.
    """
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not name.isidentifier() or name in _OURS:
        raise OptionError(
            f"register_target: name={name!r} is not allowed; use an identifier other than {', '.join(_OURS)}"
        )
    TARGETS[name] = kind()
    return kind
