"""No process is left of a demo that is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import ONE_THREAD, wait_until

SHORT = ("--epochs", "1", "--num-steps", "2", "--lava-samples", "400")
"""Until Lava runs; what it runs takes long."""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts processes in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_while_lava_runs_leaves_no_process(tmp_path, number, code):
    """Ctrl-C reaches the whole foreground process group, SIGTERM the command alone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lava_bsnn.cli", "demo", *SHORT],
        cwd=tmp_path,
        env=ONE_THREAD,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def members():
        """Processes of the command's session, zombies left out."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
                if int(session) == process.pid and state != "Z":
                    found.append(stat.parent.name)
        return found

    wait_until(lambda: len(members()) >= 6)  # Lava has forked its processes
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(timeout=60) == code
    wait_until(lambda: not members(), 10)
