"""The ``lava-bsnn`` command."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from tyro.conf import subcommand

from . import __version__, code
from .commands.analyze import Analyze
from .commands.bench import Bench
from .commands.compare import Compare
from .commands.doctor import Doctor
from .commands.evaluate import Eval
from .commands.export import Export, Nir
from .commands.finetune import Finetune
from .commands.net import Demo, Inspect, Verify
from .commands.new import New
from .commands.output import FIRST, as_options
from .commands.report import Report
from .commands.study import StudyCommand
from .commands.summary import Summary
from .commands.sweep import Sweep
from .commands.train import Datasets, Recipes, Resume, Train
from .commands.zoo import Zoo
from .errors import LavaBsnnError, OptionError

ALLOW = "--allow-code"
COMMANDS = {
    command.__name__.removesuffix("Command").lower(): command
    for command in (
        Demo,
        Doctor,
        Datasets,
        New,
        Recipes,
        Summary,
        Train,
        Resume,
        Eval,
        Analyze,
        Sweep,
        Compare,
        StudyCommand,
        Finetune,
        Export,
        Inspect,
        Report,
        Nir,
        Verify,
        Zoo,
        Bench,
    )
}


def _overview() -> str:
    """The list of commands, a line each; tyro's own does not fit a screen."""
    lines = [f"  {name:9} {(kind.__doc__ or '').splitlines()[0]}" for name, kind in COMMANDS.items()]
    return "\n".join(
        (
            "usage: lava-bsnn [--import FILE] COMMAND ...",
            "",
            f"Binary-weight spiking networks for Lava and Loihi 2, version {__version__}.",
            "--import FILE runs a Python file first, as one that registers neurons.",
            "",
            *lines,
            "",
            "Example: lava-bsnn train --help",
        )
    )


def _commands(asked: str) -> Any:
    """Union of all commands: the one that is asked for with its whole docstring, others with its first line.

    tyro has one description for both the list of commands and a command's own help.
    """
    parts = []
    for name, command in COMMANDS.items():
        summary = None if name == asked else (command.__doc__ or "").splitlines()[0]
        parts.append(Annotated[command, subcommand(name, description=summary)])
    return Union[tuple(parts)]  # noqa: UP007


def import_files(arguments: list[str]) -> list[str]:
    """Run the files of ``--import FILE``, which may register neurons; return the other arguments.

    Raises:
        OptionError: no such file, or it cannot be run.
    """
    rest = list(arguments)
    FIRST.clear()
    while "--import" in rest:
        at = rest.index("--import")
        file = Path(rest[at + 1]) if at + 1 < len(rest) else Path()
        if not file.is_file() or file.suffix != ".py":
            raise OptionError(f"--import: {str(file)!r} is no Python file; give the path of one")
        FIRST.extend(rest[at : at + 2])
        del rest[at : at + 2]
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None and spec.loader is not None
        sys.modules[file.stem] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except LavaBsnnError:
            raise
        except Exception as error:
            raise OptionError(
                f"--import: {file} cannot be run: {type(error).__name__}: {error}; try python {file}"
            ) from error
    return rest


def _exit_on_sigterm(number: int, frame: object) -> None:
    sys.exit(128 + number)  # unlike a kill, lets Lava's processes be stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    0: done; 1: a check found something; 2: bad input; 3: a run failed, or a defect of ours; 130: Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments == ["--version"]:
        print(f"lava-bsnn {__version__}")
        return 0
    if arguments in (["--help"], ["-h"]):
        print(_overview())
        return 0
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    result: object = 0
    try:
        arguments = import_files(arguments)
        allow = ALLOW in arguments
        arguments = [argument for argument in arguments if argument != ALLOW]
        if allow:
            FIRST.append(ALLOW)
        with code.allowing(allow):
            result = tyro.cli(
                _commands(next(iter(arguments), "")),
                args=arguments,
                prog="lava-bsnn",
            )()
        if sys.stdout is not None:  # None where it was closed before
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (LavaBsnnError, OSError) as error:
        print(f"lava-bsnn: {as_options(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lava-bsnn: stopped", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        print("lava-bsnn: this is a defect; please report it with the lines above", file=sys.stderr)
        return 3
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
