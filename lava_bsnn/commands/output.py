"""What commands share: JSON for machines, text for people; how the file of a network is read."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import OptionError
from ..files import check_writable, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from netx_export.hdf5 import Description

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""An option without ``--no-`` form."""
FIRST: list[str] = []
"""Options in front of the command, such as ``--import FILE``, for processes that it starts."""
Assignments = Annotated[
    tuple[tuple[str, ...], ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(name="set", metavar="KEY=VALUE ..."),
]
Accelerator = Annotated[str, tyro.conf.arg(metavar="NAME")]
Semantics = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
TimeStep = Annotated[float | None, tyro.conf.arg(metavar="SECONDS")]


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Warnings as lines on standard error, without the code that they come from."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    for warning in found:
        print(f"lava-bsnn: {as_options(str(warning.message))}", file=sys.stderr)


def as_options(message: str) -> str:
    """A message with the options of commands in the place of the arguments that say how a file is read."""
    message = message.replace("input_shape=(C, H, W)", "--input-shape C,H,W")
    message = re.sub(r"\b(semantics|dt|input_shape)=(?=[\w'(])", r"--\1 ", message)
    return re.sub(r"\b(semantics|dt|input_shape)=", r"--\1", message).replace("--input_", "--input-")


@dataclass(frozen=True, kw_only=True)
class JsonOutput:
    """Adds ``--json``."""

    json: Annotated[str | None, tyro.conf.arg(metavar="FILE|-")] = None
    """Also write the figures as JSON; '-' is standard output."""

    def check_json(self) -> None:
        """Refuse a target that cannot be written, before the work."""
        if self.json not in (None, "-"):
            check_writable(self.json)

    def console(self) -> Console:
        """Console for people: standard error where standard output carries JSON."""
        from rich.console import Console

        # names of data, classes and files are shown as they are: "data:one:" is no emoji, "[/b]" no style
        return Console(stderr=self.json == "-", highlight=False, markup=False, emoji=False)

    def write(self, content: Any) -> None:
        """Write the JSON where it was asked for."""
        if self.json == "-":
            print(json.dumps(content, indent=2))
        elif self.json is not None:
            write_json(Path(self.json), content)


@dataclass(frozen=True, kw_only=True)
class HowToRead:
    """Adds ``--input-shape``, ``--semantics`` and ``--dt``."""

    input_shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """Input of a file of SLAYER without it."""
    semantics: Semantics = None
    """Who wrote the .nir file, e.g. snntorch."""
    dt: TimeStep = None
    """Seconds per step, of a .nir file."""

    def describe(self, file: Path) -> Description:
        """The network of a file; what it warns of stands on standard error.

        Raises:
            NetXFormatError, OptionError: as :func:`netx_export.describe`.
        """
        from netx_export import describe

        with warnings_told():
            return describe(file, self.shape(), dt=self.dt, semantics=self.semantics)

    def shape(self) -> tuple[int, ...] | None:
        """The shape as numbers.

        Raises:
            OptionError: it is none.
        """
        if self.input_shape is None:
            return None
        parts = self.input_shape.split(",")
        if len(parts) not in (1, 3) or not all(part.strip().isdecimal() for part in parts):
            raise OptionError(f"--input-shape {self.input_shape!r} is not allowed; use C,H,W or C")
        return tuple(map(int, parts))
