from __future__ import annotations

import dataclasses
import os

import h5py
import numpy as np
import pytest

from lava_bsnn.errors import ExportError, LavaBsnnError, NetXFormatError
from lava_bsnn.files import atomic_path
from lava_bsnn.limits import LIMITS
from netx_export import FixedPointNetwork, network, read, write


@pytest.fixture
def file(make_network, tmp_path):
    path = tmp_path / "net.net"
    write(make_network(bits=4, groups=1), path)
    return path


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(bits=8, weight_limit=5),
        dict(in_shape=(4, 5, 3), groups=2, convs=((4, 3, 1, 1),), classes=0),
        dict(in_shape=(9,), convs=(), dense=(8, 6)),
    ],
)
def test_round_trip_is_exact(make_network, tmp_path, options):
    net = make_network(**options)
    write(net, tmp_path / "net.net")
    assert read(tmp_path / "net.net") == net


def test_the_same_network_gives_the_same_bytes(make_network, tmp_path):
    for name in ("a.net", "b.net"):
        write(make_network(), tmp_path / name)
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()


def test_numbers_are_stored_as_integers(file):
    kinds = []
    with h5py.File(file) as handle:
        handle.visititems(
            lambda _, item: kinds.append(item.dtype.kind) if isinstance(item, h5py.Dataset) else None
        )
    assert set(kinds) <= set("iubS")


def test_a_failed_write_leaves_the_old_file(file, make_network, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr(h5py.Group, "create_dataset", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(make_network(5), file)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["net.net"]


def test_atomic_files_need_a_folder(tmp_path):
    with pytest.raises(LavaBsnnError, match="does not exist; make it first"), atomic_path(tmp_path / "a/b"):
        pass
    with pytest.raises(LavaBsnnError, match="is a folder"), atomic_path(tmp_path):
        pass


def test_skips_are_refused_in_the_stock_profile(make_network):
    net = make_network(in_shape=(3,), convs=(), dense=(3, 3), classes=0)
    second = network.Layer(
        name="second",
        connections=(
            network.Connection(source="dense0", synapse=net.layers[1].connections[0].synapse),
            network.Connection(source="input", synapse=network.Dense(weight=np.eye(3, dtype=int))),
        ),
        neuron=net.layers[1].neuron,
        shape=(3,),
    )
    with pytest.raises(ExportError, match="second: stock lava-dl builds chains only"):
        FixedPointNetwork(input=net.input, layers=(net.layers[0], second))


def test_links_are_followed_and_devices_are_refused(tmp_path, make_network):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.net").symlink_to(tmp_path / "folder/real.net")
    write(make_network(), tmp_path / "link.net")
    assert (tmp_path / "link.net").is_symlink()
    assert read(tmp_path / "folder/real.net") == make_network()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LavaBsnnError, match="pipe: is not a regular file; give the name of a file"):
        write(make_network(), tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_neuron_with_the_readouts_numbers_stays_a_neuron(tmp_path, make_network):
    net = make_network(in_shape=(5,), convs=(), dense=(4,), classes=0, threshold=LIMITS.threshold_max)
    layer = net.layers[0]
    neuron = dataclasses.replace(layer.neuron, current_decay=4096, voltage_decay=0)
    net = FixedPointNetwork(input=net.input, layers=(dataclasses.replace(layer, neuron=neuron),))
    write(net, tmp_path / "x.net")
    assert read(tmp_path / "x.net") == net


def replace(group, key, value):
    del group[key]
    group[key] = value


def damage(name):
    """Ways to spoil a file; each with the words its error must have."""

    def spoil(handle):
        layer = handle["layer/1"]
        if name == "missing weight":
            del layer["weight"]
        elif name == "missing layers":
            del handle["layer"]
        elif name == "nan bias":
            replace(layer, "bias", np.array([np.nan, 0, 0]))
        elif name == "fraction":
            replace(layer, "bias", np.array([0.5, 0, 0]))
        elif name == "text for numbers":
            replace(layer, "stride", "abc")
        elif name == "soft link":
            del layer["bias"]
            layer["bias"] = h5py.SoftLink("/layer/2/bias")
        elif name == "external link":
            del layer["bias"]
            layer["bias"] = h5py.ExternalLink("other.h5", "/bias")
        elif name == "huge":
            del layer["weight"]
            layer.create_dataset("weight", shape=(1 << 20, 1 << 20), dtype="i1", chunks=(1024, 1024))
        elif name == "unknown neuron":
            replace(layer["neuron"], "type", np.bytes_("SDNN"))
        elif name == "unknown layer":
            replace(layer, "type", np.bytes_("average"))
        elif name == "changed weight":
            layer["weight"][0, 0, 0, 0] += 1
        elif name == "newer schema":
            handle.attrs["lava_bsnn_schema"] = 99
        elif name == "bad shape":
            replace(layer, "shape", np.array([0, -1]))
        elif name == "long shape":
            del layer["shape"]
            layer.create_dataset("shape", shape=(1 << 22,), dtype="i1", chunks=(1 << 15,), compression="gzip")
            layer["shape"][: 1 << 19] = np.random.default_rng(0).integers(0, 99, 1 << 19)
        elif name == "zero stride":
            replace(layer, "stride", np.array([0, 0]))
        elif name == "empty stride":
            replace(layer, "stride", np.array([], dtype=int))
        elif name == "group for data":
            del layer["weight"]
            layer.create_group("weight")

    return spoil


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing weight", "/layer/1/weight is missing"),
        ("missing layers", "/layer is missing"),
        ("nan bias", "/layer/1/bias: values that are not integers"),
        ("fraction", "/layer/1/bias: values that are not integers"),
        ("text for numbers", "/layer/1/stride"),
        ("soft link", "/layer/1/bias is a link"),
        ("external link", "/layer/1/bias is a link"),
        ("huge", "1099511627776 elements"),
        ("unknown neuron", "'SDNN' is not supported; use CUBA"),
        ("unknown layer", "'average' is not supported"),
        ("changed weight", "does not match its digest"),
        ("newer schema", "schema 99 is not known"),
        ("bad shape", "/layer/1/shape"),
        ("long shape", "/layer/1/shape"),
        ("zero stride", r"conv with stride \(0, 0\)"),
        ("empty stride", "0 values for height and width"),
        ("group for data", "/layer/1/weight is not a dataset"),
    ],
)
def test_a_spoiled_file_is_named(file, name, message):
    with h5py.File(file, "r+") as handle:
        damage(name)(handle)
    with pytest.raises(NetXFormatError, match=message) as error:
        read(file)
    assert "\n" not in str(error.value) and str(file) in str(error.value) and len(str(error.value)) < 400


def test_files_that_are_not_netx_are_named(tmp_path, file):
    text = tmp_path / "text.net"
    text.write_text("hello")
    empty = tmp_path / "empty.net"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.net"
    cut.write_bytes(file.read_bytes()[:-2000])
    for path, what in ((text, "is a text"), (empty, "is empty"), (cut, "not a readable NetX HDF5 file")):
        with pytest.raises(NetXFormatError, match=what):
            read(path)
    with pytest.raises(NetXFormatError, match="no such file"):
        read(tmp_path / "none.net")


def test_truncated_and_flipped_bytes_raise_only_our_error(file, tmp_path):
    content = bytearray(file.read_bytes())
    original = read(file)
    rng = np.random.default_rng(0)
    for i in range(300):
        mutated = bytearray(content)
        if i % 3:
            for position in rng.integers(0, len(content), 1 + i % 5):
                mutated[position] = rng.integers(0, 256)
        else:
            mutated = mutated[: rng.integers(0, len(content))]
        path = tmp_path / "mutated.net"
        path.write_bytes(mutated)
        try:
            assert read(path) == original  # a byte that carries nothing
        except NetXFormatError as error:
            assert "\n" not in str(error)


def test_a_bias_beside_an_input_as_bias_is_refused(tmp_path):
    from netx_export import FixedPointNetwork, network

    def net(bias):
        layer = network.Layer(
            name="entry",
            connections=(network.Connection(source="input", synapse=network.BiasInput()),),
            neuron=network.LIF(threshold=5, bias=np.full(3, bias)),
            shape=(3,),
        )
        return FixedPointNetwork(input=network.Input(shape=(3,), bits=13, signed=True), layers=(layer,))

    write(net(0), tmp_path / "a.net")
    with pytest.raises(ExportError, match="entry: an input layer of stock lava-dl has no bias"):
        write(net(2), tmp_path / "a.net")
