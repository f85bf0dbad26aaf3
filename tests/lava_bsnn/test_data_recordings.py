"""Sets of recordings on disk, in miniature but in their true formats, read through tonic and aedat."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
import torch
from support.data_sets import _nowhere, change, one_line  # noqa: F401  a fixture for all tests here

from lava_bsnn import data
from lava_bsnn.errors import DataError

# N-MNIST ---------------------------------------------------------------------------------------------


def write_bin(path, rows):
    """Five bytes an event: x, y, then polarity in the top bit before 23 bits of time in us."""
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = [bytes([x, y]) + ((p << 23) | t).to_bytes(3, "big") for x, y, t, p in rows]
    path.write_bytes(b"".join(packed))


ROWS = [(5, 9, 100, 1), (33, 0, 70_099, 0), (33, 0, 80_100, 0), (2, 2, 160_100, 1)]


@pytest.fixture
def nmnist(tmp_path):
    folder = tmp_path / "sets/NMNIST"
    for split in ("Train", "Test"):
        for digit in (3, 0):
            for number in (2, 1):
                rows = [(digit, number, 50, 1), *ROWS[1:]] if split == "Train" else ROWS
                write_bin(folder / split / str(digit) / f"{number:05}.bin", rows)
    return tmp_path / "sets"


def test_nmnist_values(nmnist):
    splits = data.load("nmnist", root=nmnist, num_steps=2)
    assert [label for _, label in splits.train] == [0, 0, 3, 3]
    expected = torch.zeros(2, 34, 34, 2)
    expected[1, 9, 5, 0] = expected[0, 0, 33, 0] = 1
    expected[0, 0, 33, 1] = 1  # bins of 80 000 us from 100 us on; the last event is in none
    assert all(torch.equal(frames, expected) for frames, _ in splits.test)
    for (frames, digit), number in zip(splits.train, (1, 2, 1, 2), strict=True):
        assert frames[1, number, digit, 0] == 1
    assert splits.notes == ("train has 4 of 60000 samples", "test has 4 of 10000 samples")


def test_nmnist_that_is_cut_short(nmnist):
    path = nmnist / "NMNIST/Train/0/00002.bin"
    content = path.read_bytes()
    for length in (6, 7, 8, 9, 0):
        path.write_bytes(content[:length])
        splits = data.load("nmnist", root=nmnist, num_steps=2)
        splits.train[0]
        with pytest.raises(DataError) as error:
            splits.train[1]
        message = one_line(error)
        assert message.startswith(f"nmnist train[1] ({path}): ")
        assert ("holds no events" if length == 0 else "no multiple of 5") in message
        assert message.endswith("skip_bad=True")
    path.unlink()
    with pytest.raises(DataError, match=r"nmnist train\[1\] .*No such file"):
        splits.train[1]
    path.write_bytes(b"")
    clean = data.load("nmnist", root=nmnist, num_steps=2, skip_bad=True)
    assert (len(clean.train), len(clean.test)) == (3, 4)
    assert clean.skipped == (f"nmnist train[1] ({path}): it holds no events",)


def test_nmnist_with_a_foreign_folder_or_without_files(nmnist):
    write_bin(nmnist / "NMNIST/Train/backup/00001.bin", ROWS)
    with pytest.raises(DataError, match="unknown name") as error:
        data.load("nmnist", root=nmnist)
    assert "tonic.datasets.NMNIST(ROOT" in one_line(error)
    for path in (nmnist / "NMNIST/Train").rglob("*.bin"):
        path.unlink()
    with pytest.raises(DataError, match="holds no recordings"):
        data.load("nmnist", root=nmnist)


def test_nmnist_is_never_downloaded(nmnist, monkeypatch):
    import tonic

    monkeypatch.setattr(tonic.datasets.NMNIST, "download", lambda self: pytest.fail("downloads"))
    data.load("nmnist", root=nmnist / "NMNIST", num_steps=2)


def test_recordings_can_be_sent_to_workers(nmnist):
    train = data.load("nmnist", root=nmnist, num_steps=2).train
    copy = pickle.loads(pickle.dumps(train))
    assert torch.equal(copy[2][0], train[2][0])


# DVS Gesture -----------------------------------------------------------------------------------------


@pytest.fixture
def gestures(tmp_path):
    for split, users in (("Train", ("user02_led", "user01_lab")), ("Test", ("user24_led",))):
        for user in users:
            for label in (10, 2, 0):
                folder = tmp_path / f"DVSGesture/ibmGesture{split}" / user
                folder.mkdir(parents=True, exist_ok=True)
                rows = [(127, 64, 1, 5), (label, 0, 0, 6), (0, 127, 0, 9), (9, 9, 1, 13)]  # x, y, p, t in ms
                np.save(folder / f"{label}.npy", np.array(rows, dtype=np.float64))
    return tmp_path


def test_gesture_values_and_order(gestures, monkeypatch):
    splits = data.load("dvs-gesture", root=gestures, num_steps=2, counts=True)
    assert [label for _, label in splits.train] == [0, 10, 2] * 2
    expected = torch.zeros(2, 128, 128, 2)
    expected[1, 64, 127, 0] = expected[0, 0, 10, 0] = expected[0, 127, 0, 1] = 1  # bins of 4 ms from 5 ms on
    assert torch.equal(splits.train[1][0], expected)
    assert torch.equal(splits.test[1][0], expected)
    source = splits.train.dataset.source
    assert "user01_lab" in source.where(0) and "user02_led" in source.where(3)
    small = data.load("dvs-gesture", root=gestures, num_steps=2, size=48).train[1][0]
    assert small[1, 24, 47, 0] == small[0, 0, 3, 0] == small[0, 47, 0, 1] == 1
    assert small.sum() == 3


def test_gestures_come_in_the_same_order_whatever_the_file_system(gestures, monkeypatch):
    import os

    plain = [frames for frames, _ in data.load("dvs-gesture", root=gestures, num_steps=2).train]

    def backwards(top, walk=os.walk):
        for path, folders, files in walk(top):
            yield path, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    other = [frames for frames, _ in data.load("dvs-gesture", root=gestures, num_steps=2).train]
    assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


def test_gestures_that_cannot_be_read(gestures):
    folder = gestures / "DVSGesture/ibmGestureTrain/user01_lab"
    content = (folder / "0.npy").read_bytes()
    (folder / "0.npy").write_bytes(content[:-8])
    np.save(folder / "2.npy", np.zeros((5, 3)))
    np.save(folder / "10.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    splits = data.load("dvs-gesture", root=gestures, num_steps=2, skip_bad=True)
    assert (len(splits.train), len(splits.test)) == (3, 3)
    assert len(splits.skipped) == 3
    assert all(line.startswith("dvs-gesture train[") and str(folder) in line for line in splits.skipped)
    (folder / "11.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"dvs-gesture train\[2\] .*11\.npy.*label 11 is not in 0\.\.10"):
        data.load("dvs-gesture", root=gestures, num_steps=2).train[2]


# CIFAR10-DVS -----------------------------------------------------------------------------------------


def flatbuffer(identifier, number_of_fields, content):
    """A size-prefixed flatbuffer with one table, of which the last field refers to ``content``."""
    vtable = struct.pack("<HH", 4 + 2 * number_of_fields, 8) + b"\0\0" * (number_of_fields - 1) + b"\4\0"
    vtable += b"\0" * (-len(vtable) % 4)
    table = struct.pack("<iI", len(vtable), 4)
    body = struct.pack("<I", 8 + len(vtable)) + identifier + vtable + table + content
    return struct.pack("<I", len(body)) + body


def write_aedat4(path, rows):
    """AEDAT 4.0 without compression: magic, header with the streams in XML, one packet of events."""
    path.parent.mkdir(parents=True, exist_ok=True)
    xml = (
        b'<dv version="2.0"><node name="outInfo" path="/outInfo/"><node name="0" path="/outInfo/0/">'
        b'<attr key="compression" type="string">NONE</attr>'
        b'<attr key="typeIdentifier" type="string">EVTS</attr><node name="info" path="/0/info/">'
        b'<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>'
        b"</node></node></node></dv>"
    )
    header = flatbuffer(b"IOHE", 3, struct.pack("<I", len(xml)) + xml + b"\0")
    events = b"".join(struct.pack("<qhhb3x", t, x, y, on) for x, y, t, on in rows)
    packet = flatbuffer(b"EVTS", 1, struct.pack("<I", len(rows)) + events)
    path.write_bytes(b"#!AER-DAT4.0\r\n" + header + struct.pack("<ii", 0, len(packet)) + packet)


@pytest.fixture
def cifar10_dvs(tmp_path):
    pytest.importorskip("aedat", reason="tonic reads .aedat4 with the package aedat")
    for label, name in enumerate(("airplane", "truck", "automobile")):
        for i in range(10):
            rows = [(127, label, 5, 1), (9, 0, 1_000, 0), (0, 127, 900_003, 0), (i, 1, 1_800_005, 1)]
            write_aedat4(tmp_path / f"CIFAR10DVS/{name}/cifar10_{name}_{i}.aedat4", rows)
    return tmp_path


def test_cifar10_dvs_values(cifar10_dvs):
    splits = data.load("cifar10-dvs", root=cifar10_dvs, num_steps=2)
    assert (len(splits.train), len(splits.test)) == (27, 3)
    assert sorted(label for _, label in splits.test) == [0, 1, 9]
    for frames, label in splits.train:
        expected = torch.zeros(2, 128, 128, 2)
        expected[1, {0: 0, 9: 1, 1: 2}[label], 127, 0] = expected[0, 0, 9, 0] = 1
        expected[0, 127, 0, 0] = 1  # 5 us + 900 000 us is the first bin's end
        assert torch.equal(frames, expected)


def test_cifar10_dvs_that_is_cut_short(cifar10_dvs):
    path = cifar10_dvs / "CIFAR10DVS/truck/cifar10_truck_3.aedat4"
    content = path.read_bytes()
    for damaged in (content[:-9], content[:300], b""):
        path.write_bytes(damaged)
        splits = data.load("cifar10-dvs", root=cifar10_dvs, num_steps=2, skip_bad=True)
        assert len(splits.train) + len(splits.test) == 29
        assert len(splits.skipped) == 1
        assert str(path) in splits.skipped[0]


def test_cifar10_dvs_without_aedat(tmp_path, monkeypatch):
    import sys

    for name in ("airplane", "truck"):
        (tmp_path / name).mkdir()
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(DataError, match="run pip install aedat"):
        data.load("cifar10-dvs", root=tmp_path)
