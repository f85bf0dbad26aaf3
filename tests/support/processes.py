"""Processes that tests start: how many threads they have, and waiting for what they do."""

from __future__ import annotations

import os
import time

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""Environment in which torch starts no thread, which would only wait beside other tests."""


def wait_until(condition, seconds=60.0):
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} seconds")
        time.sleep(0.01)
