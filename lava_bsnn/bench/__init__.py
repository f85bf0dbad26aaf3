"""How fast training and inference are, beside other libraries in the same process: ``lava-bsnn bench``.

Figures are medians of interleaved rounds, and ratios are taken round by round, since the speed of a
machine drifts. Numbers of an occupied machine mean nothing; the load is told.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..memory import keep_freed_memory

PARTS = ("training", "inference", "memory")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        name: what is measured, and in which unit.
        ours, peer: median figures; None where the peer is missing.
        peer_name: what ours is compared with.
        ratio: how many times better ours is.
        goal: least ratio.
        note: why there is no ratio.
    """

    name: str
    ours: float | None
    peer: float | None
    peer_name: str
    ratio: float | None
    goal: float
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a ratio."""
        return None if self.ratio is None else self.ratio >= self.goal

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "met": self.met}


def compared(
    name: str,
    ours: Sequence[float],
    peer: Sequence[float],
    peer_name: str,
    goal: float,
    *,
    amount: float = 1.0,
) -> Row:
    """A row of seconds, taken turn by turn.

    Args:
        amount: of work per turn; figures are amounts per second.
    """
    return Row(
        name=name,
        ours=amount / statistics.median(ours),
        peer=amount / statistics.median(peer),
        peer_name=peer_name,
        ratio=statistics.median(theirs / own for own, theirs in zip(ours, peer, strict=True)),
        goal=goal,
    )


def missing(name: str, peer_name: str, goal: float, note: str) -> Row:
    """A row without a peer."""
    return Row(name=name, ours=None, peer=None, peer_name=peer_name, ratio=None, goal=goal, note=note)


def installed(module: str) -> bool:
    """Whether a peer can be imported, e.g. ``spikingjelly``."""
    return importlib.util.find_spec(module) is not None


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the figures were measured on."""
    found: dict[str, Any] = {
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    if device != "cpu":
        found["device"] = torch.cuda.get_device_name()
    return found


def run(
    parts: Sequence[str] = PARTS,
    *,
    quick: bool = False,
    rounds: int | None = None,
    device: str = "cpu",
    on_row: Callable[[Row], None] = lambda row: None,
    on_work: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Measure.

    Args:
        parts: of :data:`PARTS`.
        quick: small networks and few rounds: to see that it runs.
        rounds: by default 9, with ``quick`` 3.
        device: ``"cuda"`` for training on a GPU.
        on_row: called with each row as it is known.
        on_work: called with what is measured next.
    """
    from . import inference, space, training

    keep_freed_memory()
    sources = {"training": training.rows, "inference": inference.rows, "memory": space.rows}
    found: list[Row] = []
    turns = rounds or (3 if quick else 9)
    for part in parts:
        for row in sources[part](quick=quick, rounds=turns, device=device, on_work=on_work):
            found.append(row)
            on_row(row)
    return found
