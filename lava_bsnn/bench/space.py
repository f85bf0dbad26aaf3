"""Peak memory of training, each network in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from . import Row, installed, missing
from .training import INSTALL, TOPOLOGIES, Contender, ours, theirs, turns
from .twins import Kit, SpikingJelly

_CLEAR = Path("/proc/self/clear_refs")


def rows(
    *, quick: bool, rounds: int, device: str = "cpu", on_work: Callable[[str], None] = lambda text: None
) -> Iterator[Row]:
    """Peak of training steps above what the process had with its network made."""
    name = "a" if quick else "c"
    on_work(f"memory of training {name}")
    label, goal = f"memory of training {name}, MB", 1 / 0.7
    if not installed("spikingjelly") or not _CLEAR.exists():
        yield missing(label, "SpikingJelly", goal, INSTALL if _CLEAR.exists() else "measured on Linux only")
        return
    own, peer = (_peak(name, who) for who in ("ours", "spikingjelly"))
    yield Row(name=label, ours=own, peer=peer, peer_name="SpikingJelly", ratio=peer / own, goal=goal)


def _peak(name: str, who: str) -> float:
    """MB that three training steps take in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "lava_bsnn.bench.space", name, who], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def _contender(name: str, who: str) -> Contender:
    topology = TOPOLOGIES[name]
    kits = {"spikingjelly": SpikingJelly, "relu": Kit}
    return ours(topology.create()) if who == "ours" else theirs(topology, kits[who]())


def main() -> None:
    """Print the MB of one network's training."""
    name, who = sys.argv[1:]
    contender = _contender(name, who)
    before = megabytes("VmRSS")
    _CLEAR.write_text("5")  # the peak starts anew
    turns(TOPOLOGIES[name], {who: contender}, 1)
    sys.stdout.write(json.dumps(megabytes("VmHWM") - before))


def megabytes(field: str) -> float:
    """Of this process: VmRSS is the memory it has, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


if __name__ == "__main__":
    main()
