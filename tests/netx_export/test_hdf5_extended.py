from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from benchmarks import netx_fuzz
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lava_bsnn.errors import ExportError, NetXFormatError
from netx_export import FixedPointNetwork, network, read, simulate, write
from netx_export.hdf5 import describe, schema
from netx_export.hdf5.extended import unzigzag, zigzag


def binary_network(sizes, seed=0):
    """Dense layers of 1-bit weights with scale and bias per neuron."""
    rng = np.random.default_rng(seed)
    layers, source, width = [], network.INPUT, sizes[0]
    for i, size in enumerate(sizes[1:]):
        synapse = network.Dense(weight=rng.choice([-1, 1], (size, width)))
        scale, bias = rng.integers(200, 900, size), rng.integers(-5000, 5000, size)
        connection = network.Connection(source=source, synapse=synapse, scale=scale, bias=bias)
        neuron = network.LIF(threshold=4095, voltage_decay=2048, exponent=0)
        layers.append(
            network.Layer(name=f"dense{i}", connections=(connection,), neuron=neuron, shape=(size,))
        )
        source, width = layers[-1].name, size
    entry = network.Input(shape=(sizes[0],))
    return FixedPointNetwork(input=entry, layers=tuple(layers), profile="extended")


@pytest.fixture
def file(tmp_path):
    write(binary_network((9, 13, 5)), tmp_path / "net.net")
    return tmp_path / "net.net"


@settings(max_examples=60)
@given(st.integers(0, 1 << 32))
def test_round_trips_are_exact(slow, tmp_path_factory, seed):
    try:
        net, num_steps = slow.random_network(seed)
    except ExportError:
        assume(False)
    path = tmp_path_factory.mktemp("files") / "net.net"
    write(net, path)
    back = read(path)
    assert back == net and back.digest() == net.digest()
    first = path.read_bytes()
    write(back, path)
    assert path.read_bytes() == first
    assume(net.max_steps is None or net.max_steps >= num_steps)
    x = np.random.default_rng(seed).integers(0, net.input.max_value + 1, (1, *net.input.shape, num_steps))
    ours, theirs = simulate(net, x, trace=True), simulate(back, x, trace=True)
    for name in ours.layers:
        np.testing.assert_array_equal(ours.layers[name].potential, theirs.layers[name].potential)


@pytest.mark.parametrize("sizes", [(128, 160), (160, 128), (142, 142)])
def test_a_hidden_layer_takes_at_most_1_3_bits_per_weight(tmp_path, sizes):
    inner, outer = sizes
    bytes_of = []
    for hidden in (2, 3):
        widths = [inner, *[outer, inner] * hidden]
        write(binary_network(widths), tmp_path / "x.net")
        bytes_of.append((tmp_path / "x.net").stat().st_size)
    weights = 2 * inner * outer
    assert inner * outer >= 20_000
    share = 8 * (bytes_of[1] - bytes_of[0]) / weights
    assert 1 < share <= 1.3
    write(binary_network([8, inner, outer, 8]), tmp_path / "x.net")
    assert 8 * (tmp_path / "x.net").stat().st_size / (inner * outer + 8 * (inner + outer)) < 2.5


def test_every_flipped_bit_of_a_weight_is_caught(file):
    content = file.read_bytes()
    with h5py.File(file) as handle:
        signs = handle["signs"]
        offset, size = signs.id.get_offset(), signs.size
    assert size == (9 * 13 + 7) // 8 + (13 * 5 + 7) // 8
    for bit in range(8 * size):
        spoiled = bytearray(content)
        spoiled[offset + bit // 8] ^= 1 << bit % 8
        file.write_bytes(spoiled)
        with pytest.raises(NetXFormatError, match=r"does not match its digest|behind its weights"):
            read(file)


def test_zigzag_keeps_every_integer():
    edge = np.array([0, -1, 1, -2, (1 << 31) - 1, -(1 << 31)], dtype=np.int32)
    assert zigzag(edge).tolist() == [0, 1, 2, 3, (1 << 32) - 2, (1 << 32) - 1]
    np.testing.assert_array_equal(unzigzag(zigzag(edge)), edge)


def rewrite(path, change):
    """Change the structure of a file."""
    with h5py.File(path, "r+") as handle:
        data = json.loads(handle["network"][()].tobytes())
        text = change(data)
        text = json.dumps(data) if text is None else text
        del handle["network"]
        handle["network"] = np.frombuffer(text.encode(), dtype=np.uint8)


def first_layer(data):
    return data["layers"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: first_layer(d).update(colour=1), r"network.layers\[0\].colour is not known in a Layer"),
        (lambda d: first_layer(d).pop("shape") and None, r"network.layers\[0\].shape is missing"),
        (
            lambda d: first_layer(d).update(shape=[1 << 40]),
            r"layers\[0\].shape: 1099511627776 is not allowed",
        ),
        (lambda d: first_layer(d).update(shape=[True]), r"layers\[0\].shape: True is not allowed"),
        (lambda d: first_layer(d).update(name="x" * 999), r"layers\[0\].name: a text of 1..256 characters"),
        (
            lambda d: first_layer(d)["neuron"].update(type="SDNN"),
            r"neuron: neurons 'SDNN' are not known; register them .*, or use LIF, MultiThreshold, Readout",
        ),
        (
            lambda d: first_layer(d)["neuron"].update(type=["LIF"]),
            r"neuron: type \"\['LIF'\]\" is not allowed",
        ),
        (lambda d: first_layer(d)["neuron"].update(voltage_decay=9999), "voltage_decay: 9999 is not allowed"),
        (
            lambda d: first_layer(d)["neuron"].update(threshold={"signs": [13]}),
            "threshold: an array with its shape",
        ),
        (
            lambda d: first_layer(d)["neuron"].update(threshold={"integers": [1 << 27]}),
            "/integers ends before",
        ),
        (
            lambda d: first_layer(d)["connections"][0]["synapse"].update(
                weight={"signs": [1 << 14, 1 << 14]}
            ),
            "/signs ends before its 268435456 weights",
        ),
        (lambda d: d.update(layers={}), "network.layers: a list is expected"),
        (lambda d: d["layers"].pop() and None, "are left over"),
        (lambda d: d.update(profile="stock"), "profile 'stock'; use profile='extended'"),
        (lambda d: first_layer(d)["neuron"].update(threshold=7), "does not match its digest"),
        (lambda d: "[" * 100_000, "is not JSON of integers and text"),
        (lambda d: '{"type": NaN}', "NaN is not an integer"),
        (lambda d: '{"type": 1.5}', "1.5 is not an integer"),
        (lambda d: '{"type": 1' + "0" * 5000 + "}", "is not JSON of integers and text"),
        (lambda d: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "is not JSON"),
    ],
)
def test_a_spoiled_structure_is_named(file, change, message):
    rewrite(file, change)
    with pytest.raises(NetXFormatError, match=message) as error:
        read(file)
    assert "\n" not in str(error.value)


def spoil(name, handle):
    """Spoil the datasets."""
    if name == "unknown":
        handle["more"] = 1
    elif name == "missing":
        del handle["signs"]
    elif name == "no digest":
        del handle.attrs["digest"]
    elif name == "float":
        del handle["integers"]
        handle["integers"] = np.full(3, np.nan)
    elif name == "bomb":
        del handle["signs"]
        options = dict(shape=(1 << 27,), dtype="u1", chunks=(1 << 20,), compression="gzip")
        handle.create_dataset("signs", **options)
    elif name == "link":
        del handle["signs"]
        handle["signs"] = h5py.SoftLink("/network")
    elif name == "long text":
        handle.attrs["profile"] = np.bytes_(b"x" * 9999)
    elif name == "filter":
        data = handle["signs"][()]
        del handle["signs"]
        handle.create_dataset("signs", data=data, compression="lzf")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown", "/more is not known; an extended file has integers, network, signs"),
        ("missing", "/signs is missing"),
        ("no digest", "the digest is missing"),
        ("float", "/integers: float64 is not allowed"),
        ("bomb", "/signs: 134217728 bytes cannot come from a file of"),
        ("link", "/signs is a link"),
        ("long text", "attribute profile of /: one integer or string is expected"),
        ("filter", "/signs: compressed by an unknown filter"),
    ],
)
def test_spoiled_datasets_are_named(file, name, message):
    with h5py.File(file, "r+") as handle:
        spoil(name, handle)
    with pytest.raises(NetXFormatError, match=message):
        read(file)


def test_describe_tells_what_a_file_is(file):
    description = describe(file)
    assert (description.profile, description.schema, description.digest) == ("extended", 2, True)
    assert description.size == file.stat().st_size


def test_the_schema_has_every_field_of_the_network():
    import dataclasses

    for name, kind in schema.nodes().items():
        expected = [(f.name, f.metadata.get("optional", False)) for f in dataclasses.fields(kind)]
        assert [(f.name, f.default is not ...) for f in schema.fields(kind)] == expected, name
    assert set(schema.nodes()) >= {"FixedPointNetwork", "Encoding", "Connection", "LIF", "Membrane", "Gate"}


def test_the_docs_show_the_schema():
    page = (Path(__file__).parents[2] / "docs/netx.md").read_text()
    assert schema.markdown() in page


def test_mutated_files_raise_only_our_error(tmp_path):
    outcomes, slowest, messages = netx_fuzz.fuzz(240, seed=1, folder=tmp_path)
    assert outcomes["refused"] > 150 and len(messages) > 50
    assert slowest < netx_fuzz.SLOWEST
