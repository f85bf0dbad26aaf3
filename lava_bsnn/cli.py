"""The ``lava-bsnn`` command."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from . import __version__
from .demo import DemoConfig, run_demo, write_json
from .errors import LavaBsnnError
from .files import check_writable


@dataclass(frozen=True, kw_only=True)
class Demo(DemoConfig):
    """Train a binary spiking network on real digits, export it, run it on Lava, compare.

    Takes about a minute. Example: lava-bsnn demo --out runs/demo --json demo.json
    """

    json: Annotated[str | None, tyro.conf.arg(metavar="FILE|-")] = None
    """Also write the figures as JSON; '-' is standard output."""

    def __call__(self) -> None:
        from rich.console import Console

        target = None if self.json in (None, "-") else Path(self.json)
        if target is not None:
            check_writable(target)
        result = asdict(run_demo(self, Console(stderr=self.json == "-")))
        if target is not None:
            write_json(target, result)
        elif self.json == "-":
            print(json.dumps(result, indent=2))


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show the layers of a NetX file. Example: lava-bsnn inspect runs/demo/demo.net"""

    file: Annotated[Path, tyro.conf.Positional]
    """The .net file."""

    def __call__(self) -> None:
        from netx_export import read

        print(read(self.file))


Command = Annotated[Demo, tyro.conf.subcommand("demo")] | Annotated[Inspect, tyro.conf.subcommand("inspect")]


def _exit_on_sigterm(number: int, frame: object) -> None:
    sys.exit(128 + number)  # unlike a kill, lets Lava's processes be stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 after bad input, or 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments == ["--version"]:
        print(f"lava-bsnn {__version__}")
        return 0
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    try:
        tyro.cli(
            Command,  # type: ignore[arg-type]
            args=arguments,
            prog="lava-bsnn",
            description="Binary-weight spiking networks for Lava and Loihi 2. --version prints the version.",
        )()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (LavaBsnnError, OSError) as error:
        print(f"lava-bsnn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lava-bsnn: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
