"""Runs the networks of the zoo on a backend and compares every layer with what was recorded."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

from lava_bsnn import __version__
from lava_bsnn.errors import LavaMissingError, OptionError, check_option, line_of

from ..backends import BACKENDS, run
from ..network import INPUT, FixedPointNetwork
from ..simulator import Simulation
from ..verify import compare
from . import Golden

PACKAGES = ("lava-nc", "lava-dl", "lava-loihi", "nxsdk", "nxcore", "numpy", "scipy", "torch")
"""Whose versions a report names."""
ENVIRONMENT = ("SLURM", "LOIHI_GEN", "PARTITION", "BOARD", "NXSDKHOST")
"""Variables that tell lava-loihi which board to take."""


@dataclass(frozen=True, kw_only=True)
class LayerCheck:
    """One layer against its record.

    Attributes:
        layer: name.
        compared: values compared; 0 where the run failed.
        mismatches: values that differ.
        first: the first difference, in words; empty where there is none.
        error: why there is no result; empty where there is one.
    """

    layer: str
    compared: int = 0
    mismatches: int = 0
    first: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One network against its record.

    Attributes:
        net: name in the zoo.
        digest: of the network.
        samples: that ran, back to back.
        steps: of each.
        layers: in the network's order.
        right: samples that got their class; None where the last layer has no result.
        seconds: wall time of all its runs.
    """

    net: str
    digest: str
    samples: int
    steps: int
    layers: tuple[LayerCheck, ...]
    right: int | None
    seconds: float

    @property
    def mismatches(self) -> int:
        """Values that differ, over all layers."""
        return sum(layer.mismatches for layer in self.layers)

    @property
    def failed(self) -> int:
        """Layers without a result."""
        return sum(bool(layer.error) for layer in self.layers)

    @property
    def line(self) -> str:
        """The outcome, with the first layer that is not as recorded."""
        compared = sum(layer.compared for layer in self.layers)
        what = f"{self.net}: {self.samples} samples of {self.steps} steps, {len(self.layers)} layers, "
        what += f"{compared:,} values compared, {self.mismatches:,} mismatches"
        what += f", {self.failed} layers failed" if self.failed else ""
        what += "" if self.right is None else f", {self.right} of {self.samples} classes right"
        wrong = next((layer for layer in self.layers if layer.first or layer.error), None)
        return f"{what}, {self.seconds:.1f} s" + (
            f"; {wrong.first or wrong.layer + ': ' + wrong.error}" if wrong else ""
        )


def up_to(net: FixedPointNetwork, layer: str) -> FixedPointNetwork:
    """The network whose output is ``layer``: that layer and all that feed it."""
    if layer == net.output.name:
        return net
    needed, waiting = {layer}, [layer]
    while waiting:
        sources = {c.source for c in net[waiting.pop()].connections} - needed - {INPUT}
        needed |= sources
        waiting += sources
    kept = tuple(one for one in net.layers if one.name in needed)
    return replace(net, layers=kept, classes=())


def check(
    golden: Golden,
    backend: str,
    *,
    progress: Callable[[str], None] = lambda text: None,
    on_layer: Callable[[Check], None] = lambda so_far: None,
    **options: Any,
) -> Check:
    """Run the recorded samples on a backend and compare every layer at every step.

    On a chip only the output of a network is read, so there each layer is the output of a run of its own:
    the network up to it. A run that fails, in whatever way, is told and the others go on.

    Args:
        golden: network, samples and record.
        backend: of :func:`netx_export.run`.
        progress: called with what runs next.
        on_layer: called with all that is known after each run.
        options: of backend ``"loihi2"``, see :func:`netx_export.backends.loihi2.run_loihi2`.

    Raises:
        OptionError: no such backend, or options for one that has none.
        LavaMissingError: what the backend needs is not installed.
    """
    check_option("zoo", "backend", backend, BACKENDS)
    on_chip = backend == "loihi2"
    if options and not on_chip:
        raise OptionError(f"zoo: {', '.join(options)} tell where a board is; use backend 'loihi2' with it")
    net, start = golden.net, time.perf_counter()
    found: list[LayerCheck] = []
    right = None
    names = [layer.name for layer in net.layers]
    for together in [[name] for name in names] if on_chip else [names]:
        part = up_to(net, together[-1])
        progress(f"{golden.name}, {together[-1]}" if on_chip else golden.name)
        try:
            actual = run(part, golden.data, backend, trace=not on_chip, **options)
            found += [_compared(golden.expected, actual, net, name) for name in together]
        except (LavaMissingError, OptionError):
            raise
        except Exception as error:  # of closed software, too: the other runs still tell something
            found += [LayerCheck(layer=name, error=line_of(error)) for name in together]
        else:
            if part is net:
                right = int((actual.prediction == golden.labels).sum())
        so_far = Check(
            net=golden.name,
            digest=net.digest(),
            samples=len(golden.data),
            steps=golden.data.shape[-1],
            layers=tuple(found),
            right=right,
            seconds=round(time.perf_counter() - start, 2),
        )
        on_layer(so_far)
    return so_far


def _compared(expected: Simulation, actual: Simulation, net: FixedPointNetwork, layer: str) -> LayerCheck:
    found = compare(_output(expected, net, layer), _output(actual, net, layer))
    first = f"{layer}: {found.first}" if found.first else ""
    return LayerCheck(layer=layer, compared=found.compared, mismatches=found.mismatches, first=first)


def _output(result: Simulation, net: FixedPointNetwork, layer: str) -> Simulation:
    """Of a result only what a layer gives: potentials of a readout, else spikes."""
    if layer == net.output.name and net.reads_out:
        return replace(result, layers={}, spikes=None)
    spikes = result.layers[layer].spikes if result.layers else result.spikes
    return replace(result, layers={}, spikes=spikes, readout=None)


def report(backend: str, checks: Iterable[Check], **options: Any) -> dict[str, Any]:
    """Plain data to keep or send: where it ran, with which versions, and every layer's outcome."""
    checks = list(checks)
    versions = {"lava-bsnn": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "backend": backend,
        "equal": bool(checks) and not any(one.mismatches or one.failed for one in checks),
        "text": [one.line for one in checks],
        "host": platform.node(),
        "system": platform.platform(),
        "options": options,
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "versions": versions,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "nets": [{**asdict(one), "mismatches": one.mismatches, "failed": one.failed} for one in checks],
    }
