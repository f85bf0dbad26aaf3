"""Comparison of two runs, spike for spike."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lava_bsnn.errors import OptionError, ShapeError

from ..simulator import Simulation, Trace


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Outcome of :func:`netx_export.compare`.

    Attributes:
        mismatches: values that differ, over all compared layers, steps and samples.
        compared: values that were compared.
        first: where the first difference is, in words; empty if there is none.
        layer: name of the layer with the first difference; empty if there is none.
        by_layer: mismatches by layer.
    """

    mismatches: int
    compared: int
    first: str = ""
    layer: str = field(default="", compare=False)
    by_layer: dict[str, int] = field(default_factory=dict, compare=False)


def compare(expected: Simulation, actual: Simulation) -> Comparison:
    """Compare spikes of every layer traced in both runs, and the output, exactly.

    The first difference is the one at the earliest layer, then step, sample and neuron; the membrane
    potentials there are named where the runs have them.

    Raises:
        OptionError: an argument is no result of a run.
        ShapeError: the runs have different shapes or nothing in common.
    """
    for run in (expected, actual):
        if not isinstance(run, Simulation):
            raise OptionError(f"compare: a {type(run).__name__} is no result; use what run or simulate give")
    pairs: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    for name in expected.layers:
        if name in actual.layers:
            pairs.append((name, "spike", expected.layers[name].spikes, actual.layers[name].spikes))
    for what in ("spikes", "readout"):
        ours, theirs = getattr(expected, what), getattr(actual, what)
        traced = what == "spikes" and pairs  # then the last layer is compared already
        if ours is not None and theirs is not None and not traced:
            pairs.append(("output", what, ours, theirs))
    if not pairs:
        raise ShapeError("compare: the runs share no layer and no output")
    mismatches, compared, first, layer, by_layer = 0, 0, "", "", {}
    for name, what, ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ShapeError(f"compare: {name} {what}: shapes {ours.shape} and {theirs.shape} differ")
        different = ours != theirs
        compared += different.size
        by_layer[name] = int(different.sum())
        mismatches += by_layer[name]
        if by_layer[name] and not first:
            order = np.argwhere(np.moveaxis(different, -1, 0))[0]  # time first
            step, sample, *neuron = (int(i) for i in order)
            index = (sample, *neuron, step)
            first = (
                f"{name} {what}, step {step}, sample {sample}, neuron {tuple(neuron)}: "
                f"{int(ours[index])} and {int(theirs[index])}"
            )
            layer = name
            first += _potentials(expected.layers.get(name), actual.layers.get(name), index)
    return Comparison(mismatches=mismatches, compared=compared, first=first, layer=layer, by_layer=by_layer)


def _potentials(expected: Trace | None, actual: Trace | None, index: tuple[int, ...]) -> str:
    if expected is None or actual is None or expected.potential is None or actual.potential is None:
        return ""
    return f"; membrane potentials {int(expected.potential[index])} and {int(actual.potential[index])}"
