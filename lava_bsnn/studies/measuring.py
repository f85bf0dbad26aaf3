"""What is measured of a cell's network, on the processor and the whole test set."""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

import netx_export
from netx_export.targets import target as export_target

from .. import analysis
from ..data import Splits
from ..errors import DataError, LavaBsnnError
from ..models import SpikingNetwork
from ..neuron import LIF
from ..training import match_device, predict, rate_cross_entropy
from ..training.batches import as_input
from ..training.gates import has_gates
from .cells import BATCHES, CHIP, packed

_COSTED, _COMPARED, _CALIBRATION, _SCALED, _BATCH = 256, 32, 512, 2048, 64
"""Samples of which operations are counted, spikes compared, gates averaged, membranes scaled; of a batch."""


class Examples:
    """Inputs as models take them, ``[N, ...]``, and classes ``[N]``; and samples of the training set."""

    def __init__(self, splits: Splits) -> None:
        pairs = [splits.test[index] for index in range(len(splits.test))]
        if not all(isinstance(label, int) for _, label in pairs):
            raise DataError(f"{splits.info.name}: targets are no classes; a study compares sets with classes")
        self.inputs = torch.stack([inputs for inputs, _ in pairs])
        self.labels = np.array([label for _, label in pairs])
        some = [splits.train[index] for index in range(min(_CALIBRATION, len(splits.train)))]
        self.calibration = torch.stack([inputs for inputs, _ in some])
        self.calibration_labels = torch.tensor([label for _, label in some])

    def scored(self, classes: np.ndarray) -> dict[str, Any]:
        """Accuracy, and which samples are right."""
        right = classes == self.labels
        return {"accuracy": float(right.mean()), "right": packed(right)}


def measured(model: SpikingNetwork, tests: Examples) -> tuple[dict[str, Any], np.ndarray]:
    """Figures of a trained model, and the classes ``[N]`` that it gives."""
    classes = predict(model, tests.inputs.numpy(), _BATCH)
    some = tests.inputs[:_COSTED].split(_BATCH)
    operations = analysis.count_operations(model, some)
    rates = [layer.firing_rate for layer in analysis.activity(model, some).values()]
    return {
        "samples": len(tests.labels),
        **tests.scored(classes),
        "firing_rate": rounded(fmean(rates)),
        "sops": rounded(operations.sops),
        "macs": rounded(operations.macs),
        "energy": rounded(analysis.estimate_energy(operations).joule),
        "bytes": rounded(analysis.model_size(model)),
        **_landscape(model, tests),
        **_batch_maxima(model, tests, classes),
    }, classes


def _landscape(model: SpikingNetwork, tests: Examples) -> dict[str, Any]:
    """Loss on training samples on a plane of 5 by 5 points, up to half a filter norm away, and its rise."""
    inputs, labels = as_input(model, tests.calibration[:_COSTED]), tests.calibration_labels[:_COSTED]

    def loss(model: torch.nn.Module) -> torch.Tensor:
        return rate_cross_entropy(model(inputs), labels)

    losses = analysis.loss_landscape(model, loss, span=0.5, points=5).losses
    rise = (losses.sum() - losses[2, 2]) / (losses.size - 1) - losses[2, 2]
    return {"landscape": [[rounded(value) for value in row] for row in losses], "loss_rise": rounded(rise)}


def _batch_maxima(model: SpikingNetwork, tests: Examples, classes: np.ndarray) -> dict[str, Any]:
    """Accuracy with membranes scaled by the largest potential of the batch and step, as in training.

    By the size of the batch, and ``"running"`` for the running mean of evaluation, on the first test samples;
    nothing of a network whose membranes have no such scale.
    """
    model = copy.deepcopy(model).eval()
    scaled = [
        one
        for one in model.modules()
        if isinstance(one, LIF) and one.membrane_bits and one.membrane_mode != "matched"
    ]
    if not scaled:
        return {}
    inputs, labels = tests.inputs[:_SCALED], tests.labels[:_SCALED]

    def accuracy(size: int) -> float:
        with torch.no_grad():
            found = [model(as_input(model, part)).sum(-1).argmax(1) for part in inputs.split(size)]
        return rounded((torch.cat(found).numpy() == labels).mean())

    for neuron in scaled:
        neuron.training = True
    running = rounded((classes[:_SCALED] == labels).mean())
    return {"batch_maxima": {"running": running, **{str(size): accuracy(size) for size in BATCHES}}}


def deployed(
    model: SpikingNetwork,
    target: str,
    tests: Examples,
    *,
    match: bool = False,
    classes: np.ndarray | None = None,
) -> dict[str, Any]:
    """Figures of a trained model's integers; of what is refused, the reason.

    Args:
        match: bring a copy to matched mode first.
        classes: that the model gives ``[N]``, where they are known.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = copy.deepcopy(model).eval()
            gates = has_gates(model) and not export_target(target).has_gates
            calibration = tests.calibration if gates else None
            if match:
                match_device(model, target, calibration)
                calibration = None
            net = netx_export.convert(model, target, calibration)
        except LavaBsnnError as error:
            return {"problem": " ".join(str(error).split())[:500]}
        theirs = predict(model, tests.inputs.numpy(), _BATCH) if classes is None else classes
        return _integers(model, net, tests, theirs)


def _integers(
    model: SpikingNetwork, net: netx_export.FixedPointNetwork, tests: Examples, theirs: np.ndarray
) -> dict[str, Any]:
    timed = tests.inputs.ndim == len(net.input.shape) + 2
    steps = None if timed else net.num_steps or model.num_steps

    def coded(first: int, last: int) -> np.ndarray:
        return net.encode(tests.inputs[first:last].numpy(), steps)

    parts = [
        netx_export.simulate(net, coded(first, first + _BATCH)).prediction
        for first in range(0, len(tests.labels), _BATCH)
    ]
    classes = np.concatenate(parts)
    layers = netx_export.agreement(model, net, tests.inputs[:_COMPARED].numpy()).layers
    placement = netx_export.place(net, CHIP)
    costs = netx_export.cost(net, coded(0, _COSTED), placement if placement.fits else None)
    with tempfile.TemporaryDirectory() as folder:
        netx_export.write(net, path := Path(folder) / "network.net")
        size = path.stat().st_size
    spiking = {layer.name for layer in layers}
    return {
        **tests.scored(classes),
        "same_class": rounded(float((classes == theirs).mean())),
        "equal_spikes": rounded(min((layer.equal for layer in layers), default=1.0)),
        "firing_rate": rounded(fmean(one.rate for one in costs.layers if one.name in spiking)),
        "bytes": size,
        "cores": len(placement.cores) if placement.fits else None,
        "chips": placement.chips if placement.fits else None,
        **({} if placement.fits else {"unplaced": placement.problems[0][:300]}),
        "sops": rounded(costs.sops),
        "energy": rounded(costs.energy),
    }


def rounded(value: float) -> float:
    """A figure with five digits."""
    return float(f"{value:.5g}")
