"""The tasks of lava-dl's tutorials with SLAYER's blocks and with ours: score, and time of an epoch.

    python tests/benchmarks/slayer_tutorials.py [XOR Oxford ...] [--seeds 3] [--epochs 0] [--recordings ROOT]

Prints a Markdown table of means and standard deviations over the seeds, after the last epoch. The three
kinds of blocks take turns, epoch by epoch, on one thread; times are medians of the process's own seconds.
Without recordings of N-MNIST the events simulated from digits are taken.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.slayer_tutorials import KINDS, TUTORIALS, Run, recordings


def measure(tutorial, seeds, step):
    """Scores and seconds of each kind."""
    scores, seconds = ({kind: [] for kind in KINDS} for _ in range(2))
    for seed in range(seeds):
        samples = tutorial.samples(seed)
        runs = {kind: Run(tutorial, kind, samples, seed) for kind in KINDS}
        for _ in range(tutorial.epochs):
            for run in runs.values():
                run.epoch()
            step()
        for kind, run in runs.items():
            scores[kind].append(run.score())
            seconds[kind] += run.seconds
    return scores, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*TUTORIALS, []], default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="0 for each task's own")
    parser.add_argument("--recordings", help="folder or file of N-MNIST, see docs/data.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)  # torch's, of SLAYER's weight norm
    print("| task | measure | " + " | ".join(KINDS) + " | seconds per epoch |")
    print("| --- | --- | " + "--: | " * (len(KINDS) + 1))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name in options.names or TUTORIALS:
            tutorial = TUTORIALS[name]
            if name == "N-MNIST" and options.recordings:
                tutorial = replace(tutorial, samples=recordings("nmnist", options.recordings))
            tutorial = replace(tutorial, epochs=options.epochs or tutorial.epochs)
            task = progress.add_task(name, total=options.seeds * tutorial.epochs)
            scores, seconds = measure(tutorial, options.seeds, lambda task=task: progress.advance(task))
            cells = [
                f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"
                for values in scores.values()
            ]
            times = " / ".join(f"{statistics.median(values):.3g}" for values in seconds.values())
            print(f"| {name} | {tutorial.unit} | " + " | ".join(cells) + f" | {times} |", flush=True)


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # numbers too small for normal floats make SLAYER's deep networks slow
    try:
        main()
    finally:
        torch.set_flush_denormal(False)
