"""Runs the same inputs on every backend and compares every spike of every layer at every step."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_bsnn.errors import (
    ExportError,
    LavaMissingError,
    LavaRunError,
    OptionError,
    ShapeError,
    check_option,
)

from ..backends import BACKENDS, check_timeout, run
from ..hdf5 import network_of
from ..network import FixedPointNetwork, Shape
from ..simulator import Simulation
from .parity import compare

if TYPE_CHECKING:
    from rich.table import Table

_Network = FixedPointNetwork | str | os.PathLike[str]
REFERENCE = "simulator"
_DEFAULT_STEPS = 8
_DENSITIES = (0.5, 0.1, 0.9, 0.02, 1.0)
"""Shares of active inputs, sample by sample."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one backend gave.

    Attributes:
        ran: whether there is a result.
        mismatches: values that differ from the simulator's; None without result.
        compared: values that were compared; None without result.
        seconds: wall time of the run; None without result.
        why_not: why there is no result.
        failed: the backend should have run, and did not end well.
        first: first difference, in words.
        by_layer: mismatches by layer.
    """

    ran: bool
    mismatches: int | None = None
    compared: int | None = None
    seconds: float | None = None
    why_not: str = ""
    failed: bool = False
    first: str = ""
    by_layer: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Outcome of :func:`verify`.

    Attributes:
        samples: number of samples.
        steps: time steps per sample.
        backends: what each backend gave.
    """

    samples: int
    steps: int
    backends: dict[str, Outcome]

    @property
    def mismatches(self) -> int:
        """Values that differ, over all backends."""
        return sum(outcome.mismatches or 0 for outcome in self.backends.values())

    @property
    def equal(self) -> bool:
        """Whether no backend differs or failed."""
        return not self.mismatches and not any(outcome.failed for outcome in self.backends.values())

    def table(self, *, layers: bool = False) -> Table:
        """Table for terminals and notebooks: a line per backend.

        Args:
            layers: also the mismatches of each layer.
        """
        from rich.table import Table

        table = Table("backend", "compared", "mismatches", "seconds", box=None)
        table.add_column("why it did not run", overflow="fold")
        for name, outcome in self.backends.items():
            if not outcome.ran:
                table.add_row(name, "", "", "", outcome.why_not)
                continue
            table.add_row(name, f"{outcome.compared:,}", f"{outcome.mismatches:,}", f"{outcome.seconds:.1f}")
            if layers:
                for layer, mismatches in outcome.by_layer.items():
                    table.add_row(f"  {layer}", "", f"{mismatches:,}")
        table.caption = f"{self.samples} samples of {self.steps} steps"
        return table

    def as_dict(self) -> dict[str, Any]:
        """Plain data: ``mismatches``, ``samples``, ``steps``, ``backends`` by name."""
        keys = ("ran", "mismatches", "compared", "seconds", "why_not", "first", "by_layer")
        backends = {
            name: {key: getattr(outcome, key) for key in keys} for name, outcome in self.backends.items()
        }
        return {
            "mismatches": self.mismatches,
            "samples": self.samples,
            "steps": self.steps,
            "backends": backends,
        }


def random_data(net: FixedPointNetwork, num_samples: int, num_steps: int, seed: int = 0) -> np.ndarray:
    """Random input ``[N, *shape, T]``.

    Spikes, counts and signed messages have several densities; what is no spike or count is still and moving
    in turn.
    """
    rng, entry = np.random.default_rng(seed), net.input
    graded = entry.signed and not entry.enters_as_bias
    low, high = entry.min_value, entry.max_value
    if entry.transform is not None:  # what intensities 0..1 can become
        weight, offset = entry.transform
        low, high = max(low, min(offset, offset + weight)), min(high, max(offset, offset + weight))
    elif graded:
        low = -high  # as encodings have it, and two rails of one bit less
    x = rng.integers(low, high + 1, (num_samples, *entry.shape, num_steps))
    events = not entry.bits or (entry.encoding is not None and entry.encoding.event_driven)
    for i, sample in enumerate(x):
        if events or graded:
            active = rng.random(sample.shape) < _DENSITIES[i % len(_DENSITIES)]
            sample[...] = np.where(active, sample if entry.bits else 1, 0)
        if not events and i % 2 == 0:
            sample[...] = sample[..., :1]
    return x


def default_steps(net: FixedPointNetwork) -> int:
    """Time steps of random samples: the network's own, else 8 or what its readout can hold."""
    return net.num_steps or min(_DEFAULT_STEPS, net.max_steps or _DEFAULT_STEPS)


def verify(
    net: FixedPointNetwork | str | os.PathLike[str],
    *,
    input_shape: Shape | None = None,
    num_samples: int = 5,
    num_steps: int | None = None,
    backends: Sequence[str] | None = None,
    seed: int = 0,
    timeout: float | None = None,
    data: np.ndarray | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Verification:
    """Run samples everywhere, random ones unless they are given, and compare with the simulator.

    Args:
        net: the network, or the path of a file, which backend ``"stock"`` runs itself.
        input_shape: ``(C, H, W)`` of what enters, for a file that does not say it.
        num_samples: samples, streamed back to back with resets.
        num_steps: time steps per sample; by default the network's own, else 8.
        backends: names; by default all.
        seed: of the samples.
        timeout: seconds per backend.
        data: samples ``[N, *shape, T]`` as :meth:`netx_export.FixedPointNetwork.encode` gives them, in the
            place of random ones; number, steps and seed are not used then.
        progress: called with each backend's name before it runs.

    Raises:
        OptionError, ShapeError: an argument is not allowed.
        NetXFormatError: the file cannot be read.
    """
    file, net = net, network_of("verify", net, input_shape)
    names = [name for name in BACKENDS if name != REFERENCE] if backends is None else list(backends)
    for name in names:
        check_option("verify", "backend", name, BACKENDS)
    if names == [REFERENCE]:
        others = ", ".join(name for name in BACKENDS if name != REFERENCE)
        raise OptionError(f"verify: {REFERENCE} is what others are compared with; use one of {others}")
    for what, value, least in (("samples", num_samples, 1), ("steps", num_steps, 1), ("seed", seed, 0)):
        if value is not None and value < least:
            raise OptionError(f"verify: {what}={value} is not allowed; use {least} or more")
    check_timeout("verify", timeout)
    if data is None:
        data = random_data(net, num_samples, num_steps or default_steps(net), seed)
    expected = run(net, data, REFERENCE, trace=True)
    found = {}
    for name in dict.fromkeys(names):
        if name != REFERENCE:
            progress(name)
            found[name] = _outcome(file if name == "stock" else net, data, expected, name, timeout)
    return Verification(samples=len(data), steps=data.shape[-1], backends=found)


def _outcome(
    net: _Network, data: np.ndarray, expected: Simulation, name: str, timeout: float | None
) -> Outcome:
    on_chip = name == "loihi2"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the file, which has been read
            actual = run(net, data, name, trace=not on_chip, timeout=None if on_chip else timeout)
    except LavaRunError as error:
        return Outcome(ran=False, why_not=str(error), failed=True)
    except (ExportError, LavaMissingError, ShapeError) as error:
        return Outcome(ran=False, why_not=str(error))
    result = compare(expected, actual)
    first = result.first
    if first and "membrane" not in first and result.layer in actual.layers:
        first = compare(expected, _with_potential(net, data, name, result.layer, timeout)).first or first
        first += " (the latter after a reset)"
    return Outcome(
        ran=True,
        mismatches=result.mismatches,
        compared=result.compared,
        seconds=actual.seconds,
        first=first,
        by_layer=result.by_layer,
    )


def _with_potential(
    net: _Network, data: np.ndarray, name: str, layer: str, timeout: float | None
) -> Simulation:
    """The run again, with the membrane potential of a layer of stock processes."""
    return run(net, data, name, trace=True, timeout=timeout, probe=layer)
