"""Rasters and membrane traces of a few samples, small enough for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network import INPUT, LIF, FixedPointNetwork, Layer, MultiThreshold
from ..simulator import Simulation, simulate
from .markup import visible

_BUDGET = 900_000
"""Characters that rasters and traces of a report may take."""
_SAMPLES, _STEPS, _ROWS, _TRACES = 8, 128, 32, 3
_LEAST_ROWS = 2
_PER_POTENTIAL = 9
"""Characters of a potential and the comma behind it."""
LEVELS = 9
"""Steps of brightness of a message."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Plain data of the picker.

    Attributes:
        steps: time steps that are shown.
        layers: of each, the input first: name, neurons, names of the rows, and of traced neurons names,
            thresholds in membrane steps (None where there is none).
        samples: of each: title, and of each layer rows of digits 0..9, one per step, and potentials.
    """

    steps: int
    layers: list[dict[str, Any]]
    samples: list[dict[str, Any]]


def shown(
    net: FixedPointNetwork, data: np.ndarray, labels: Sequence[int] | np.ndarray | None = None
) -> Shown:
    """Pick neurons evenly spaced for rasters, and a few for membrane traces."""
    steps, shapes = min(_STEPS, net.period(data.shape[-1])), net.shapes
    per_row = len(shapes) * (steps + 3)
    traces = len(net.layers) * _TRACES * steps * _PER_POTENTIAL
    rows = max(_LEAST_ROWS, min(_ROWS, (_BUDGET - traces) // per_row))
    number = max(1, min(_SAMPLES, len(data), _BUDGET // (rows * per_row + traces)))
    pick = {name: _spread(math.prod(shape), rows) for name, shape in shapes.items()}
    runs = [simulate(net, data[i : i + 1], trace=True) for i in range(number)]
    traced = {layer.name: _traced(layer, runs) for layer in net.layers}
    layers: list[dict[str, Any]] = []
    for name, shape in shapes.items():
        neurons = traced.get(name, np.zeros(0, dtype=np.int64))
        layers.append(
            {
                "name": visible(name),
                "neurons": math.prod(shape),
                "rows": [_place(i, shape) for i in pick[name]],
                "traced": [_place(i, shape) for i in neurons],
                "thresholds": [] if name == INPUT else [_threshold(net[name], i) for i in neurons],
            }
        )
    samples = [
        {
            "title": _title(net, i, run, labels),
            "layers": [
                _layer(net, name, data[i], run, pick[name], traced.get(name), steps) for name in shapes
            ],
        }
        for i, run in enumerate(runs)
    ]
    return Shown(steps=steps, layers=layers, samples=samples)


def _spread(size: int, most: int) -> np.ndarray:
    """Up to ``most`` places of ``size``, evenly spaced."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.int64))


def _traced(layer: Layer, runs: list[Simulation]) -> np.ndarray:
    """Neurons that send most, least and in between, of those that send; of a readout the highest."""
    score: Any = 0
    for run in runs:
        trace = run.layers[layer.name]
        assert trace.potential is not None
        last = trace.potential[0, ..., -1].astype(np.int64)
        score = score + (last if layer.neuron.reads_out else np.count_nonzero(trace.spikes[0], axis=-1))
    score = score.reshape(-1)
    order = np.argsort(-score, kind="stable")
    if layer.neuron.reads_out:
        return np.sort(order[:_TRACES])
    sending = int(np.count_nonzero(score)) or len(order)
    return np.sort(order[_spread(sending, _TRACES)])


def _place(index: int, shape: tuple[int, ...]) -> str:
    return ",".join(str(int(i)) for i in np.unravel_index(index, shape))


def _threshold(layer: Layer, index: int) -> int | None:
    neuron = layer.neuron
    if not isinstance(neuron, (LIF, MultiThreshold)):
        return None
    value: Any = neuron.spread(len(layer.shape) - 1).threshold  # type: ignore[attr-defined]
    one = int(np.broadcast_to(value, layer.shape).reshape(-1)[index])
    return one << neuron.exponent if isinstance(neuron, LIF) else one


def _title(
    net: FixedPointNetwork, index: int, run: Simulation, labels: Sequence[int] | np.ndarray | None
) -> str:
    def name(number: int) -> str:
        return visible(net.classes[number]) if number < len(net.classes) else str(number)

    told = f"sample {index}: class {name(int(run.prediction[0]))}"
    return told if labels is None else f"{told}, labelled {name(int(labels[index]))}"


def _layer(
    net: FixedPointNetwork,
    name: str,
    sample: np.ndarray,
    run: Simulation,
    pick: np.ndarray,
    traced: np.ndarray | None,
    steps: int,
) -> dict[str, Any]:
    """Rows of digits, and potentials, of one sample and layer."""
    sent = sample if name == INPUT else run.layers[name].spikes[0]
    rows = np.abs(sent.reshape(-1, sent.shape[-1])[pick, :steps].astype(np.int64))
    most = max(net.input.largest if name == INPUT else net[name].neuron.max_message, 1)
    digits = -(-rows * LEVELS // most)
    potentials: list[list[int]] = []
    if traced is not None:
        values = run.layers[name].potential
        assert values is not None
        potentials = values[0].reshape(-1, values.shape[-1])[traced, :steps].tolist()
    return {"rows": ["".join(map(str, row)) for row in digits.tolist()], "potentials": potentials}
