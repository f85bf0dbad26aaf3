"""Mutates valid .net files and reads them: only NetXFormatError may come out, and quickly.

python tests/benchmarks/netx_fuzz.py [mutations]; the suite runs a small sample of it.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from lava_bsnn.errors import NetXFormatError
from netx_export import FixedPointNetwork, describe, network, read, write

SLOWEST = 5.0
"""Seconds that reading one file may take."""


def stock_network(rng):
    """Input neurons, conv, dense with delays, recurrence, readout."""
    conv = network.Conv(weight=rng.integers(-9, 10, (3, 2, 3, 3)), padding=(1, 1), stride=(2, 1))
    loop = network.Dense(weight=rng.integers(-9, 10, (6, 6)))
    synapses = [
        ("pixels", (2, 6, 5), [("input", network.BiasInput(), None)]),
        ("conv", (3, 3, 5), [("pixels", conv, None)]),
        (
            "dense",
            (7,),
            [("conv", network.Dense(weight=rng.integers(-9, 10, (7, 45))), rng.integers(0, 9, 7))],
        ),
        (
            "loop",
            (6,),
            [("dense", network.Dense(weight=rng.integers(-9, 10, (6, 7))), None), ("loop", loop, None)],
        ),
        ("readout", (4,), [("loop", network.Dense(weight=rng.integers(-9, 10, (4, 6))), None)]),
    ]
    layers = []
    for name, shape, parts in synapses:
        bias = np.zeros(shape[0], int) if name == "pixels" else rng.integers(-9, 9, shape[0])
        neuron = network.LIF(threshold=50, bias=bias, voltage_decay=700)
        layers.append(
            network.Layer(
                name=name,
                connections=tuple(network.Connection(source=s, synapse=w, delay=d) for s, w, d in parts),
                neuron=network.Readout(bias=bias) if name == "readout" else neuron,
                shape=shape,
            )
        )
    entry = network.Input(shape=(2, 6, 5), bits=13, signed=True, transform=(36, 34))
    return FixedPointNetwork(input=entry, layers=tuple(layers))


def extended_network(rng):
    """Skips, a gate, a mixing, a multi-threshold neuron and a k-bit memory."""
    conv = network.Conv(weight=rng.choice([-1, 1], (4, 2, 3, 3)), padding=(1, 1))
    same = network.Conv(weight=rng.choice([-1, 1], (4, 4, 3, 3)), padding=(1, 1))
    gate = network.Gate(multiplier=rng.integers(-99, 99, (3, 4)), shift=9)
    scale, bias = rng.integers(1, 99, 4), rng.integers(-99, 99, 4)
    first = network.Connection(source="input", synapse=conv, scale=scale, bias=bias, gate=gate)
    second = network.Connection(source="first", synapse=same, scale=scale, bias=bias)
    skip = network.Connection(source="first", synapse=network.Identity(), scale=scale)
    dense = network.Dense(weight=rng.integers(-99, 99, (5, 80)))
    memory = network.Membrane(bits=4, shift=6)
    layers = (
        network.Layer(
            name="first",
            connections=(first,),
            neuron=network.LIF(threshold=99, membrane=memory, exponent=0),
            shape=(4, 4, 5),
        ),
        network.Layer(
            name="second",
            connections=(second, skip),
            neuron=network.MultiThreshold(threshold=rng.integers(20, 99, 4), levels=3, lam=4000),
            shape=(4, 4, 5),
            mix=network.Mix(omega=rng.integers(0, 4096, (3, 3))),
        ),
        network.Layer(
            name="readout",
            connections=(network.Connection(source="second", synapse=dense),),
            neuron=network.Readout(bias=rng.integers(-9, 9, 5), exponent=0),
            shape=(5,),
        ),
    )
    coded = network.Encoding.images((0.5, 0.4), (0.2, 0.3), steps=3)
    entry = network.Input(shape=(2, 4, 5), bits=8, signed=True, encoding=coded)
    names = ("a", "b", "c", "d", "e")
    return FixedPointNetwork(input=entry, layers=layers, profile="extended", classes=names)


def described_network(rng):
    """Signed messages with their encoding, and names of classes, in attributes."""
    conv = network.Conv(weight=rng.integers(-9, 10, (3, 2, 3, 3)))
    entry = network.Connection(source="input", synapse=conv)
    layer = network.Layer(
        name="conv",
        connections=(entry,),
        neuron=network.LIF(threshold=50, bias=rng.integers(-9, 9, 3)),
        shape=(3, 2, 3),
    )
    coded = network.Encoding.images((0.5, 0.4), (0.2, 0.3))
    return FixedPointNetwork(
        input=network.Input(shape=(2, 4, 5), bits=8, signed=True, encoding=coded),
        layers=(layer,),
        classes=("cat", "dog", "Kuh"),
    )


NUMBERS = [-1, 0, 1, 2, 3, 255, 1 << 15, 1 << 24, (1 << 31) - 1, -(1 << 31), 1 << 40, 1 << 62]


ATTRIBUTES = (
    "digest",
    "profile",
    "lava_bsnn_schema",
    "name",
    "readout",
    "input_message_bits",
    "input_signed",
    "encoding",
    "classes",
    "x",
)


def mutate_bytes(path, content, rng):
    """Flip, overwrite, cut, repeat or exchange bytes."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        kind, at = int(rng.integers(0, 5)), int(rng.integers(0, len(data)))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at] = int(rng.integers(0, 256))
        elif kind == 2:
            size = int(rng.choice([2, 4, 8]))
            data[at : at + size] = int(rng.choice(NUMBERS)).to_bytes(9, "little", signed=True)[:size]
        elif kind == 3 and rng.random() < 0.3:
            del data[max(1, at) :]
        else:
            size, to = int(rng.integers(1, 64)), int(rng.integers(0, len(data)))
            data[to : to + size] = data[at : at + size]
    path.write_bytes(data)


def mutate_items(path, content, rng):
    """Delete, replace or add datasets, groups, links and attributes."""
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        names = []
        file.visit(names.append)
        name = str(rng.choice(names))
        parent, key = file[name].parent, name.rsplit("/", 1)[-1]
        kind = int(rng.integers(0, 9))
        if kind == 8:
            holder = file if rng.random() < 0.5 else file[name]
            attribute = str(rng.choice(ATTRIBUTES))
            values = [2, "extended", np.arange(9), np.bytes_(b"x" * 5000), 1.5, np.bytes_(b"[[1]]")]
            holder.attrs[attribute] = values[int(rng.integers(len(values)))]
            return
        del parent[key]
        if kind == 1:
            parent.create_group(key)
        elif kind == 2:
            parent[key] = h5py.SoftLink(str(rng.choice(["/", "/layer", "/nowhere", name])))
        elif kind == 3:
            parent[key] = h5py.ExternalLink("other.h5", "/x")
        elif kind == 4:
            shape = tuple(int(v) for v in rng.choice([0, 1, 2, 3, 1 << 10, 1 << 20], int(rng.integers(0, 6))))
            dtype = str(rng.choice(["i1", "u1", "i4", "i8", "u8", "f4", "f8", "S9", "c16"]))
            chunks = {"chunks": True, "compression": "gzip"} if shape and min(shape) else {}
            parent.create_dataset(key, shape=shape, dtype=dtype, **chunks)
        elif kind == 5:
            parent[key] = int(rng.choice(NUMBERS))
        elif kind == 6:
            parent[key] = rng.choice([np.nan, np.inf, 0.5, -3.0], int(rng.integers(1, 9)))
        elif kind == 7:
            parent[key] = str(rng.choice(["", "conv", "dense", "RF_PHASE", "x" * 9999]))


def mutate_structure(path, content, rng):
    """Change one value of an extended file's structure."""
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        data = json.loads(file["network"][()].tobytes())
        places = []

        def collect(node):
            for key in list(node) if isinstance(node, dict) else range(len(node)):
                places.append((node, key))
                if isinstance(node[key], (dict, list)):
                    collect(node[key])

        collect(data)
        for _ in range(int(rng.integers(1, 3))):
            node, key = places[int(rng.integers(0, len(places)))]
            other, its_key = places[int(rng.integers(0, len(places)))]
            values = [*NUMBERS, None, True, "", "LIF", [], {}, [[[]]], 1.5, "é\n", {"integers": [1 << 27]}]
            kind = int(rng.integers(0, 4))
            if kind == 0 and isinstance(node, dict):
                node.pop(key, None)
            elif kind == 1 and isinstance(node, dict):
                node[str(rng.choice(["type", "scale", "gate", "x"]))] = values[
                    int(rng.integers(0, len(values)))
                ]
            elif kind == 2:
                try:
                    node[key] = json.loads(json.dumps(other[its_key]))
                except (KeyError, IndexError):
                    continue
            else:
                try:
                    node[key] = values[int(rng.integers(0, len(values)))]
                except IndexError:
                    continue
        text = json.dumps(data).encode()
        del file["network"]
        file["network"] = np.frombuffer(text, dtype=np.uint8)


def mutate_attributes(path, content, rng):
    """Change characters of an attribute that is text."""
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        key = str(rng.choice(["encoding", "classes"]))
        text = bytearray(bytes(file.attrs[key]))
        for _ in range(int(rng.integers(1, 4))):
            text[int(rng.integers(0, len(text)))] = int(rng.choice(list(b'0123456789{}[]",:-eaZ\\\0\xff')))
        file.attrs[key] = np.bytes_(bytes(text))


KINDS = (
    (stock_network, True),
    (extended_network, True),
    (stock_network, False),
    (described_network, True),
)
"""What is written, and whether it keeps its digest."""


def fuzz(mutations, seed=0, folder=None):
    """Return how often each outcome came, the slowest read in seconds, and examples of messages.

    Raises:
        AssertionError: another exception than NetXFormatError, a slow read, a message of several
            lines, or a file that reads as another network although its digest was not touched.
    """
    rng = np.random.default_rng(seed)
    folder = Path(folder or tempfile.mkdtemp())
    originals = []
    for make, digest in KINDS:
        path = folder / "valid.net"
        write(make(rng), path)
        if not digest:  # as lava-dl writes it
            with h5py.File(path, "r+") as file:
                for key in list(file.attrs):
                    del file.attrs[key]
        originals.append((read(path), path.read_bytes(), digest))
    outcomes, messages, slowest = Counter(), Counter(), 0.0
    path = folder / "mutated.net"
    for index in range(mutations):
        net, content, digest = originals[index % len(originals)]
        extended = net.profile == "extended"
        own = mutate_structure if extended else mutate_attributes if net.classes else mutate_bytes
        mutate = [mutate_bytes, mutate_items, own][index // len(originals) % 3]
        path.unlink(missing_ok=True)
        try:
            mutate(path, content, rng)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError):
            outcomes["not mutated: h5py refused"] += 1
            continue
        start = time.perf_counter()
        try:
            result = describe(path).net
            same = result == net
            outcomes["read, the same network" if same else "read, another network (no digest)"] += 1
            assert same or not digest, (index, seed)
        except NetXFormatError as error:
            outcomes["refused"] += 1
            text = str(error)
            assert "\n" not in text and text.startswith(str(path)), (index, seed, text)
            messages[text[len(str(path)) + 2 :][:60]] += 1
        slowest = max(slowest, time.perf_counter() - start)
        assert slowest < SLOWEST, (index, seed, slowest)
    return outcomes, slowest, messages


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 12_000
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    begin = time.perf_counter()
    found, worst, texts = fuzz(count)
    for outcome, times in found.most_common():
        print(f"{times:7d}  {outcome}")
    print(
        f"{len(texts)} different messages; slowest read {worst:.2f} s; "
        f"{time.perf_counter() - begin:.0f} s in all"
    )
