"""Waiting for what other processes do."""

from __future__ import annotations

import time


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
