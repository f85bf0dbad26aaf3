"""Errors that name the place, the value received, what is allowed, and the remedy.

The command line prints their single line without a traceback and exits with code 2.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any


class LavaBsnnError(Exception):
    """Base of every error that lava_bsnn and netx_export raise on bad input."""


class OptionError(LavaBsnnError):
    """An option has a value that is not among the allowed ones."""


class ShapeError(LavaBsnnError):
    """A tensor does not have the shape that a layer expects."""


class DataError(LavaBsnnError):
    """A dataset is missing, or one of its samples cannot be read or is not what it should be."""


class ExportError(LavaBsnnError):
    """A model or a network cannot be expressed in the export profile asked for.

    Attributes:
        problems: one by one what the message lists.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class NetXFormatError(LavaBsnnError):
    """A file is not a NetX HDF5 file that this package can read."""


class LavaMissingError(LavaBsnnError, ImportError):
    """lava-nc or lava-dl is not installed in this environment."""


class LavaRunError(LavaBsnnError, RuntimeError):
    """A run on Lava failed or took longer than allowed."""


class LavaBsnnWarning(UserWarning):
    """Something that a user should know of a run that goes on; shown as one line, without a file's path."""


_formatted = warnings.formatwarning


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Warnings of ours as commands print them; those of others as before."""
    if issubclass(category, LavaBsnnWarning):
        return f"lava-bsnn: {message}\n"
    return _formatted(message, category, filename, lineno, line)


warnings.formatwarning = _one_line


def check_option(where: str, name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raise :class:`OptionError` unless ``value`` is one of ``allowed``."""
    choices = list(allowed)
    if not any(value is choice or value == choice for choice in choices):
        shown = ", ".join(repr(choice) for choice in choices)
        raise OptionError(f"{where}: {name}={value!r} is unknown; use one of {shown}")


def line_of(error: BaseException) -> str:
    """Kind and first line of an exception."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
