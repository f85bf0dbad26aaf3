"""What enters, and what classes are called, in files of both layouts and in NIR graphs."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import nir
import numpy as np
import pytest

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, NetXFormatError
from lava_bsnn.limits import LIMITS
from netx_export import FixedPointNetwork, from_nir, network, read, simulate, to_nir, write
from netx_export.process import Network

IMAGES = network.Encoding.images((0.4, 0.5), (0.25, 0.2), steps=4)
NAMES = ("cat", "große Katze", "猫")


def make(profile="stock", bits=8, signed=True, encoding=IMAGES, classes=NAMES, shape=(2, 4, 3)):
    rng = np.random.default_rng(1)
    conv = network.Conv(weight=rng.integers(-9, 10, (4, shape[0], 3, 3)), padding=(1, 1))
    dense = network.Dense(weight=rng.integers(-9, 10, (3, 48)))
    layers = (
        network.Layer(
            name="conv",
            connections=(network.Connection(source="input", synapse=conv),),
            neuron=network.LIF(threshold=20, bias=np.arange(4), voltage_decay=300),
            shape=(4, 4, 3),
        ),
        network.Layer(
            name="readout",
            connections=(network.Connection(source="conv", synapse=dense),),
            neuron=network.Readout(bias=np.arange(3)),
            shape=(3,),
        ),
    )
    entry = network.Input(shape=shape, bits=bits, signed=signed, encoding=encoding)
    return FixedPointNetwork(input=entry, layers=layers, profile=profile, classes=classes)


ENTRIES = {
    "images": {},
    "images without encoding": {"encoding": None},
    "narrow": {"bits": 3, "encoding": network.Encoding.images((0.5, 0.5), (0.5, 0.5), bits=3)},
    "rails": {
        "bits": 7,
        "signed": False,
        "shape": (4, 4, 3),
        "encoding": replace(IMAGES, bits=7, rails=True),
    },
    "counts": {
        "bits": 4,
        "signed": False,
        "encoding": network.Encoding(kind="counts", bits=4, saturate=True, repeat=2),
    },
    "intensities": {
        "bits": 5,
        "signed": False,
        "encoding": network.Encoding(kind="intensities", bits=5),
    },
    "spikes": {"bits": 0, "signed": False, "encoding": network.Encoding(steps=9), "classes": ()},
    "plain": {"bits": 0, "signed": False, "encoding": None},
}


@pytest.mark.parametrize("profile", ["stock", "extended"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_round_trips_keep_input_and_names(tmp_path, entry, profile):
    net = make(profile, **ENTRIES[entry])
    write(net, tmp_path / "a.net")
    back = read(tmp_path / "a.net")
    assert back == net and back.digest() == net.digest()
    assert back.input.encoding == net.input.encoding and back.classes == net.classes
    write(back, tmp_path / "b.net")
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()
    x = np.random.default_rng(0).integers(
        net.input.min_value, net.input.max_value + 1, (2, *net.input.shape, 4)
    )
    ours, theirs = simulate(net, x, trace=True), simulate(back, x, trace=True)
    assert ours.layers["conv"].spikes.any()
    np.testing.assert_array_equal(ours.readout, theirs.readout)


def test_images_enter_as_the_file_says(tmp_path):
    net = make()
    write(net, tmp_path / "a.net")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 3), dtype=np.uint8)
    levels = read(tmp_path / "a.net").encode(pixels)
    expected = np.zeros((2, 2, 4, 3), int)
    for n, c, y, z in np.ndindex(expected.shape):
        value = float(np.float32(pixels[n, c, y, z]) / np.float32(255)) * 1e6 - IMAGES.mean[c]
        expected[n, c, y, z] = round(value * IMAGES.gain / IMAGES.std[c])
    assert levels.shape == (2, 2, 4, 3, 4) and levels.min() < -60 and levels.max() > 60
    np.testing.assert_array_equal(levels, np.repeat(expected[..., None], 4, -1))


def test_what_a_network_does_not_have_is_not_written(tmp_path):
    """Files of networks without sign, encoding and names are those of versions that knew neither."""
    plain = make(bits=4, signed=False, encoding=None, classes=())
    write(plain, tmp_path / "stock.net")
    with h5py.File(tmp_path / "stock.net") as file:
        assert set(file.attrs) == {"lava_bsnn_schema", "profile", "input_message_bits", "digest"}
    assert plain.digest() == "03a605dd5b9c2ac170b74c039490617d3393b0c6b827040e8aeb19871b8854bd"
    write(replace(plain, profile="extended"), tmp_path / "extended.net")
    with h5py.File(tmp_path / "extended.net") as file:
        structure = json.loads(file["network"][()].tobytes())
        assert set(file.attrs) == {"lava_bsnn_schema", "profile", "digest"}
    assert set(structure) == {"type", "input", "layers", "profile"}
    assert structure["input"] == {"type": "Input", "shape": [2, 4, 3], "bits": 4}


def test_unmodified_lava_dl_reads_files_with_names_and_signs(tmp_path):
    net = make()
    write(net, tmp_path / "a.net")
    stock = import_lava("lava.lib.dl.netx.hdf5").Network(
        net_config=str(tmp_path / "a.net"), input_message_bits=8
    )
    assert len(stock.layers) == 2 and stock.layers[0].input_message_bits == 8
    stock.net_config.f.close()
    ours = Network(tmp_path / "a.net", reset_interval=4)
    assert ours.input_message_bits == 8 and ours.net == net
    assert ours.layers[0].input_message_bits == 8


def test_another_width_than_the_files_makes_a_plain_input(tmp_path):
    write(make(), tmp_path / "a.net")
    narrow = Network(tmp_path / "a.net", input_message_bits=6).net.input
    assert narrow == network.Input(shape=(2, 4, 3), bits=6, signed=True)
    with pytest.raises(ExportError, match="bits=0 is not allowed for signed input"):
        Network(tmp_path / "a.net", input_message_bits=0)
    tail = Network(tmp_path / "a.net", skip_layers=2).net
    assert tail.input == network.Input(shape=(4, 4, 3)) and tail.classes == NAMES


def test_the_most_names_and_channels_are_read_quickly(tmp_path):
    count = 100_000
    layer = network.Layer(
        name="out",
        connections=(network.Connection(source="input", synapse=network.Identity()),),
        neuron=network.LIF(threshold=1),
        shape=(count,),
    )
    names = tuple(f"class {i}" for i in range(count))
    net = FixedPointNetwork(
        input=network.Input(shape=(count,)), layers=(layer,), profile="extended", classes=names
    )
    write(net, tmp_path / "a.net")
    assert read(tmp_path / "a.net").classes == names
    dense = network.Dense(weight=np.ones((1, LIMITS.channels_max), int))
    wide = network.Encoding.images((0.5,) * LIMITS.channels_max, (0.5,) * LIMITS.channels_max, bits=2)
    for profile in ("stock", "extended"):
        net = FixedPointNetwork(
            input=network.Input(shape=(LIMITS.channels_max,), bits=2, signed=True, encoding=wide),
            layers=(
                network.Layer(
                    name="out",
                    connections=(network.Connection(source="input", synapse=dense),),
                    neuron=network.LIF(threshold=1, bias=np.zeros(1, int)),
                    shape=(1,),
                ),
            ),
            profile=profile,
        )
        write(net, tmp_path / "b.net")
        assert read(tmp_path / "b.net") == net
    long = tuple(f"{i:0256d}" for i in range(count))
    net = FixedPointNetwork(
        input=network.Input(shape=(count,)), layers=(layer,), profile="extended", classes=long
    )
    with pytest.raises(ExportError, match="structure take 2.* bytes; at most 16777216 are allowed"):
        write(net, tmp_path / "c.net")


def change_attribute(key, value):
    def change(file):
        if value is None:
            del file.attrs[key]
        else:
            file.attrs[key] = value

    return change


SPOILED = [
    ("encoding", None, "does not match its digest"),
    ("classes", None, "does not match its digest"),
    ("input_signed", None, r"bits=8, signed=False do not fit the encoding"),
    ("input_signed", np.bytes_(b"yes"), "attribute input_signed: 'yes' is not allowed; use 0 or 1"),
    ("input_signed", 7, "attribute input_signed: '7' is not allowed"),
    ("encoding", 7, "attribute encoding: a text of at most 16777216 bytes is expected"),
    ("encoding", np.bytes_(b"{"), "attribute encoding: is not JSON of integers and text"),
    ("encoding", np.bytes_(b"[" * 60_000), "attribute encoding: is not JSON of integers and text"),
    ("encoding", np.bytes_(b"[]"), "attribute encoding: type 'None' is not allowed; use Encoding"),
    ("encoding", np.bytes_(b'{"type":"LIF"}'), "attribute encoding: type 'LIF' is not allowed"),
    ("encoding", np.bytes_(b'{"type":"Encoding","x":1}'), "attribute encoding.x is not known in a Encoding"),
    ("encoding", np.bytes_(b'{"type":"Encoding"}'), "attribute encoding.kind is missing"),
    ("classes", np.bytes_(b'"cat"'), r"attribute classes: a list of 1..100000 texts is expected"),
    ("classes", np.bytes_(b"[]"), r"attribute classes: a list of 1..100000 texts is expected"),
    ("classes", np.bytes_(b'["a","b",3]'), "attribute classes: a text of 1..256 characters"),
    ("classes", np.bytes_(b'["a","b"]'), "classes: 2 names do not fit 3 output channels"),
    ("classes", np.bytes_(b'["a","b","\\u001b"]'), "is not allowed; use texts of 1..256 printable"),
    ("classes", np.bytes_(b'["a","b","c"]'), "does not match its digest"),
    ("classes", np.arange(3), "attribute classes: a text of at most"),
]


@pytest.mark.parametrize(("key", "value", "message"), SPOILED)
def test_spoiled_attributes_are_named(tmp_path, key, value, message):
    write(make(), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        change_attribute(key, value)(file)
    with pytest.raises(NetXFormatError, match=message) as caught:
        read(tmp_path / "a.net")
    assert "\n" not in str(caught.value)


def an_encoding(**values):
    return lambda data: data["input"]["encoding"].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (an_encoding(kind="voltage"), "kind='voltage' is unknown"),
        (an_encoding(bits=9), "encoding.bits: 9 is not allowed; use 0..8"),
        (an_encoding(mean=[1] * 5000), r"encoding.mean: a list of 0..4096 integers is expected"),
        (an_encoding(mean=[1]), "mean and std of images are integers, one of each per channel"),
        (an_encoding(std=[0, 0]), "encoding.std: 0 is not allowed; use 1.."),
        (an_encoding(std=[True, 1]), "encoding.std: True is not allowed"),
        (an_encoding(gain=(1 << 31) - 1), "gain=2147483647 gives .*; messages go to 127"),
        (an_encoding(gain=1 << 31), "encoding.gain: 2147483648 is not allowed"),
        (an_encoding(rails=1), "encoding.rails: true or false is expected"),
        (an_encoding(rails=True), "bits=8 is not allowed for images; use 1..7"),
        (an_encoding(repeat=0), "encoding.repeat: 0 is not allowed"),
        (an_encoding(steps=5), "does not match its digest"),
        (lambda d: d["input"].update(encoding=[]), "encoding: type 'None' is not allowed; use Encoding"),
        (lambda d: d.update(classes="cat"), "network.classes: a list of 1..100000 texts is expected"),
        (lambda d: d.update(classes=[""] * 3), "network.classes: a text of 1..256 characters"),
        (lambda d: d["input"].update(signed=False), "do not fit the encoding"),
    ],
)
def test_spoiled_structures_are_named(tmp_path, change, message):
    write(make("extended"), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        data = json.loads(file["network"][()].tobytes())
        change(data)
        del file["network"]
        file["network"] = np.frombuffer(json.dumps(data).encode(), dtype=np.uint8)
    with pytest.raises(NetXFormatError, match=message) as caught:
        read(tmp_path / "a.net")
    assert "\n" not in str(caught.value)


def test_files_of_others_with_attributes_of_these_names_are_read_as_before(tmp_path):
    write(make(signed=False, encoding=None, classes=(), bits=0), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        for key in list(file.attrs):
            del file.attrs[key]
        file.attrs["encoding"], file.attrs["classes"], file.attrs["input_signed"] = "rate", 10, 1
    net = read(tmp_path / "a.net")
    assert net.input == network.Input(shape=(2, 4, 3)) and net.classes == ()


@pytest.mark.parametrize("entry", [name for name in ENTRIES])
def test_a_nir_graph_keeps_input_and_names(tmp_path, entry):
    net = make(**ENTRIES[entry])
    assert from_nir(to_nir(net)) == net
    nir.write(tmp_path / "a.nir", to_nir(net))
    assert from_nir(nir.read(tmp_path / "a.nir", type_check=False)) == net


def test_a_nir_graph_tells_nothing_of_a_plain_network_and_arguments_go_first():
    plain = make(**ENTRIES["plain"] | {"classes": ()})
    assert set(to_nir(plain).metadata) == {"dt", "input_bits", "profile", "lava_bsnn_semantics"}
    graph = to_nir(make())
    assert from_nir(graph, input_bits=4).input == network.Input(shape=(2, 4, 3), bits=4)
    graph.metadata |= {"encoding": "rate", "classes": 10}  # of others
    assert from_nir(graph) == make()
    graph.metadata["lava_bsnn_encoding"] = "{"
    with pytest.raises(ExportError, match="metadata lava_bsnn_encoding: is not JSON"):
        from_nir(graph)


def test_a_rounded_nir_network_holds_signed_sums():
    graph = to_nir(make(bits=8, encoding=None))
    graph.nodes["conv.0.conv"].weight *= 1.37
    net = from_nir(graph)
    assert net.profile == "extended" and net.input.signed
    x = np.full((1, 2, 4, 3, 4), -128)
    assert simulate(net, x, trace=True).layers["conv"].potential.any()
