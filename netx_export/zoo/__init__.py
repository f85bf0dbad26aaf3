"""Small trained networks that ship with the package, with a record of what they give, bit for bit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lava_bsnn.errors import NetXFormatError, OptionError, check_option
from lava_bsnn.files import atomic_path, write_json

from ..hdf5 import read, write
from ..network import FixedPointNetwork
from ..simulator import Simulation, Trace, simulate

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, eq=False)
class Golden:
    """A network and what it gave when it was recorded.

    Attributes:
        name: in the zoo.
        net: the network.
        data: integers that enter, ``[N, *shape, T]``, the first samples of the test set.
        labels: their classes ``[N]``.
        expected: spikes of every layer and the output, as recorded.
        accuracy: on the test set, 0..1.
        about: how it was made: summary, data set, command, recipe, seed, digests.
    """

    name: str
    net: FixedPointNetwork
    data: np.ndarray
    labels: np.ndarray
    expected: Simulation
    accuracy: float
    about: dict[str, Any]

    @property
    def path(self) -> Path:
        """Of the .net file."""
        return _FOLDER / f"{self.name}.net"

    def first(self, number: int) -> Golden:
        """The same with fewer samples.

        Raises:
            OptionError: there are not so many.
        """
        if not 1 <= number <= len(self.data):
            raise OptionError(f"zoo: samples={number} is not allowed; {self.name} has 1..{len(self.data)}")
        layers = {
            name: Trace(spikes=trace.spikes[:number], potential=None)
            for name, trace in self.expected.layers.items()
        }
        spikes, readout = self.expected.spikes, self.expected.readout
        expected = replace(
            self.expected,
            spikes=None if spikes is None else spikes[:number],
            readout=None if readout is None else readout[:number],
            layers=layers,
        )
        return replace(self, data=self.data[:number], labels=self.labels[:number], expected=expected)


def names() -> list[str]:
    """Networks of the zoo."""
    return sorted(path.stem for path in _FOLDER.glob("*.net"))


def load(name: str, folder: Path = _FOLDER) -> Golden:
    """A network of the zoo with its record.

    Raises:
        OptionError: there is none of that name.
        NetXFormatError: a file is damaged.
    """
    check_option("zoo", "name", name, sorted(path.stem for path in folder.glob("*.net")))
    about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    net, record = read(folder / f"{name}.net"), folder / f"{name}.npz"
    for what, found in (("digest", net.digest()), ("record", _sha(record))):
        if about[what] != found:
            raise NetXFormatError(
                f"zoo: {name}: {what} is {found[:12]}, not {about[what][:12]}; install the package again"
            )
    with np.load(record) as kept:
        data, labels = kept["data"].astype(np.int32), kept["labels"].astype(np.int64)
        shape = (len(data), data.shape[-1])
        layers = {
            layer.name: Trace(spikes=_bits(kept[f"spikes/{layer.name}"], layer.shape, *shape), potential=None)
            for layer in net.layers
        }
        readout = kept["readout"] if net.reads_out else None
    expected = Simulation(
        spikes=None if net.reads_out else layers[net.output.name].spikes,
        readout=readout,
        latency=net.latency,
        layers=layers,
    )
    return Golden(
        name=name,
        net=net,
        data=data,
        labels=labels,
        expected=expected,
        accuracy=about["accuracy"],
        about=about,
    )


def save(
    folder: Path,
    name: str,
    net: FixedPointNetwork,
    data: np.ndarray,
    labels: np.ndarray,
    about: dict[str, Any],
) -> None:
    """Write a network whose layers send spikes, and record what the simulator gives for some samples.

    Args:
        folder: where to.
        name: of the files.
        net: the network.
        data: integers ``[N, *shape, T]``.
        labels: ``[N]``.
        about: how it was made, with ``summary``, ``accuracy`` and ``command``.
    """
    result = simulate(net, data, trace=True)
    kind = np.int8 if data.min() >= -128 and data.max() <= 127 else np.int32
    arrays = {"data": data.astype(kind), "labels": labels.astype(np.int16)}
    for layer, trace in result.layers.items():
        arrays[f"spikes/{layer}"] = np.packbits(trace.spikes)
    if result.readout is not None:
        arrays["readout"] = result.readout.astype(np.int32)
    write(net, folder / f"{name}.net")
    with atomic_path(folder / f"{name}.npz") as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    record = _sha(folder / f"{name}.npz")
    write_json(folder / f"{name}.json", {**about, "digest": net.digest(), "record": record})


def _bits(packed: np.ndarray, shape: tuple[int, ...], samples: int, steps: int) -> np.ndarray:
    whole = (samples, *shape, steps)
    return np.unpackbits(packed, count=int(np.prod(whole))).reshape(whole).astype(bool)


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
