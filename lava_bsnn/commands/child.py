"""Runs code that may fail to import, crash or hang in a Python process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TIME_LIMIT = 120.0
"""Seconds that a process may take."""
_PROGRAM = """
import json, sys
sys.path[:], argument, _path = json.loads(sys.argv[1])
{code}
with open(_path, "w") as _file:
    json.dump(result, _file)
"""
_running: set[subprocess.Popen[str]] = set()


class CheckError(RuntimeError):
    """A child process did not do what it was asked for; becomes a finding, never an error of the command."""


def child(code: str, argument: Any = None) -> Any:
    """Run code in a Python process that finds the same modules; return what it puts into ``result``.

    Args:
        code: may use ``argument``.
        argument: anything that JSON can hold.

    Raises:
        CheckError: the last line of what it printed, the signal that ended it, or that it took too long.
    """
    with tempfile.TemporaryDirectory(prefix="lava-bsnn-") as folder:
        path = Path(folder) / "result.json"
        given = json.dumps([sys.path, argument, str(path)])
        with subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(code=code), given],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that what it starts ends with it
        ) as process:
            _running.add(process)
            try:
                printed, _ = process.communicate(timeout=TIME_LIMIT)
            except subprocess.TimeoutExpired:
                raise CheckError(f"took longer than {TIME_LIMIT:g} seconds") from None
            finally:
                _running.discard(process)
                _kill(process)
        if path.is_file() and process.returncode == 0:
            return json.loads(path.read_text())
    if process.returncode < 0:
        raise CheckError(f"crashed with {signal.Signals(-process.returncode).name}")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    raise CheckError(lines[-1] if lines else f"ended with exit code {process.returncode}")


def end_children() -> None:
    """End all that runs, with all that it has started."""
    for process in list(_running):
        _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
