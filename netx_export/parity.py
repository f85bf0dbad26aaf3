"""Comparison of two runs, spike for spike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lava_bsnn.errors import ShapeError

from .simulator import Simulation


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Outcome of :func:`compare`.

    Attributes:
        mismatches: values that differ, over all compared layers, steps and samples.
        compared: values that were compared.
        first: where the first difference is, in words; empty if there is none.
    """

    mismatches: int
    compared: int
    first: str = ""


def compare(expected: Simulation, actual: Simulation) -> Comparison:
    """Compare spikes of every layer traced in both runs, and the output, exactly.

    The first difference is the one at the earliest layer, then step, sample and neuron.

    Raises:
        ShapeError: the runs have different shapes or nothing in common.
    """
    pairs: list[tuple[str, np.ndarray, np.ndarray]] = []
    for name in expected.layers:
        if name in actual.layers:
            pairs.append((f"{name} spike", expected.layers[name].spikes, actual.layers[name].spikes))
    for what in ("spikes", "readout"):
        ours, theirs = getattr(expected, what), getattr(actual, what)
        traced = what == "spikes" and pairs  # then the last layer is compared already
        if ours is not None and theirs is not None and not traced:
            pairs.append((f"output {what}", ours, theirs))
    if not pairs:
        raise ShapeError("compare: the runs share no layer and no output")
    mismatches, compared, first = 0, 0, ""
    for what, ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ShapeError(f"compare: {what}: shapes {ours.shape} and {theirs.shape} differ")
        different = ours != theirs
        compared += different.size
        mismatches += int(different.sum())
        if different.any() and not first:
            order = np.argwhere(np.moveaxis(different, -1, 0))[0]  # time first
            step, sample, *neuron = (int(i) for i in order)
            index = (sample, *neuron, step)
            first = (
                f"{what}, step {step}, sample {sample}, neuron {tuple(neuron)}: "
                f"{int(ours[index])} and {int(theirs[index])}"
            )
    return Comparison(mismatches=mismatches, compared=compared, first=first)
