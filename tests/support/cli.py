"""The ``lava-bsnn`` command in this process, which saves the imports of a new one."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from lava_bsnn import cli


@dataclass(frozen=True)
class Done:
    """What a command left, as ``subprocess.run`` names it."""

    returncode: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def working_in(folder):
    """The current folder, as ``contextlib.chdir`` of Python 3.11."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def exit_code(arguments):
    """Exit code of the command as a process would have it; signal handlers are put back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        return cli.main([str(one) for one in arguments])
    except SystemExit as end:  # of --help, and of words that the command does not know
        return end.code or 0
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def shown_warnings():
    """Warnings go to standard error, as outside of pytest, where ours are errors."""

    def show(message, category, filename, lineno, file=None, line=None):
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr, end="")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.showwarning = show
        yield


class Text(io.StringIO):
    """A stream that takes all characters, and says so."""

    encoding = "utf-8"


def command(*arguments, cwd="."):
    """Run the command."""
    out, err = Text(), Text()
    with working_in(cwd), shown_warnings(), redirect_stdout(out), redirect_stderr(err):
        code = exit_code(arguments)
    return Done(code, out.getvalue(), err.getvalue())
