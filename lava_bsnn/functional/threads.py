"""Work shared among threads, on a CPU: those that torch computes with, where they can be had.

A second pool of threads would compete for the processors with torch's, which wait for their next task by
spinning; on small layers that costs more than the work. Torch's threads are a team of OpenMP: where the
library is GNU's, tasks are handed to it, else to a pool, which a forked process makes anew.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
Span = tuple[int, int]

_SMALL = 1 << 15
"""Neuron-steps up to which one thread is faster than several."""
_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_STARTED = os.getpid()


def share(work: Callable[[int, int], Result], items: int, size: int) -> list[Result]:
    """Results of ``work(start, stop)`` on items of together ``size`` neuron-steps, in any order.

    Args:
        work: releases the GIL most of the time; called in several threads at once.
        items: number of items.
        size: of all items.
    """
    threads = min(torch.get_num_threads(), items) if size > _SMALL else 1
    if threads < 2:
        return [work(0, items)]
    spans = list(itertools.pairwise(math.ceil(items * i / threads) for i in range(threads + 1)))
    team = _team() if os.getpid() == _STARTED else None
    if team is not None:
        return _in_team(team, work, spans)
    calls = [_pool(torch.get_num_threads(), os.getpid()).submit(work, *span) for span in spans[1:]]
    first = work(*spans[0])
    return [first, *(call.result() for call in calls)]


def _in_team(team: Any, work: Callable[[int, int], Result], spans: list[Span]) -> list[Result]:
    """Share among the threads of an OpenMP team; what it has no threads for is done afterwards."""
    left, results, errors = iter(spans), [], []

    def task(_: Any) -> None:
        for span in itertools.islice(left, 1):
            try:
                results.append(work(*span))
            except BaseException as error:  # raised where it is seen
                errors.append(error)

    team(_TASK(task), None, len(spans), 0)
    while len(results) + len(errors) < len(spans):
        task(None)
    if errors:
        raise errors[0]
    return results


@lru_cache(maxsize=1)
def _team() -> Any:
    """``GOMP_parallel`` of the library that torch has loaded, or None."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    for name in sorted({line.split()[-1] for line in maps.splitlines() if "libgomp" in line}):
        if "torch" in name or maps.count("libgomp") == maps.count(name):
            team = ctypes.CDLL(name).GOMP_parallel
            team.argtypes, team.restype = (_TASK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
            return team
    return None


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="neurons")
