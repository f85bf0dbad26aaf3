"""data.load, data.find and data.status, on sets that need no download."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lava_bsnn import data
from lava_bsnn.data import transforms
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import DataError, OptionError

SHARED = os.environ.get("LAVA_BSNN_SHARED_DATA", "")


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAVA_BSNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def shared(name: str) -> Path:
    if not SHARED:
        pytest.skip("LAVA_BSNN_SHARED_DATA names no folder with real recordings")
    path = Path(SHARED) / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path


def write_recordings(path: Path, number: int = 20, side: int = 34, classes: int = 10) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    recordings = []
    for i in range(number):
        events = np.zeros(50 + i, dtype=[("x", int), ("y", int), ("t", int), ("p", int)])
        events["x"], events["y"] = rng.integers(0, side, (2, len(events)))
        events["t"] = np.sort(rng.integers(0, 300_000, len(events)))
        events["p"] = rng.integers(0, 2, len(events))
        recordings.append(events)
    data.write_packed(path, recordings, np.arange(number) % classes)
    return recordings


def test_digits_are_those_of_digits_with_the_same_split():
    expected, splits = data.digits(0.3, seed=5), data.load("digits", test_fraction=0.3, split_seed=5)
    for part, images, labels in (
        (splits.train, expected.train_images, expected.train_labels),
        (splits.test, expected.test_images, expected.test_labels),
    ):
        items = [part[i] for i in range(len(part))]
        assert torch.equal(torch.stack([image for image, _ in items]), torch.from_numpy(images))
        assert [label for _, label in items] == labels.tolist()
    assert splits.train[0][0].dtype == torch.float32
    assert type(splits.train[0][1]) is int
    assert splits.shape == (1, 8, 8)


def test_normalised_digits_have_mean_0_and_deviation_1():
    part = data.load("digits", normalize=True).train
    pixels = torch.stack([image for image, _ in part])
    assert abs(float(pixels.mean())) < 0.02
    assert abs(float(pixels.std()) - 1) < 0.02


def test_images_are_resized():
    image, _ = data.load("digits", size=16).test[0]
    small, _ = data.load("digits").test[0]
    assert image.shape == (1, 16, 16)
    assert torch.nn.functional.avg_pool2d(image, 2).sub(small).abs().max() < 0.3


def test_an_epoch_from_memory_is_fast():
    splits = data.load("digits", augment=("crop",))
    start = time.perf_counter()
    seen = sum(len(labels) for _, labels in DataLoader(splits.train, batch_size=64))
    assert seen == 1347
    assert time.perf_counter() - start < 5  # 0.2 s on an idle core


def test_every_entry_says_how_to_get_it():
    assert len(data.DATASETS) == 14
    for name, info in data.DATASETS.items():
        assert info.name == name
        assert info.kind in ("static", "events")
        assert len(info.shape) == 3 and info.num_classes >= 10
        assert info.licence and info.source and "\n" not in info.source
        assert len(info.mean) == len(info.std) == (info.shape[0] if info.kind == "static" else 0)


def test_classes_have_a_name_each_in_the_order_of_labels():
    import tonic
    import torchvision

    for info in data.DATASETS.values():
        assert len(set(info.classes)) == len(info.classes)
        assert len(info.classes) == (0 if "imagenet" in info.name else info.num_classes), info.name
    names = {name: list(info.classes) for name, info in data.DATASETS.items()}
    assert names["fashion-mnist"] == torchvision.datasets.FashionMNIST.classes
    assert dict(zip(names["cifar10-dvs"], range(10), strict=True)) == tonic.datasets.CIFAR10DVS.classes
    assert names["cifar10"] == names["cifar10-dvs"]
    short = {"counter-clockwise": "ccw", "clockwise": "cw"}
    gestures = [" ".join(short.get(word, word) for word in name.split()) for name in names["dvs-gesture"]]
    assert gestures == tonic.datasets.DVSGesture.classes
    assert names["nmnist"] == [name[0] for name in tonic.datasets.NMNIST.classes]
    assert names["digits"] == names["digits-events"] == names["mnist5k"] == names["nmnist"]
    assert names["cifar100"] == sorted(names["cifar100"])
    assert data.load("digits").classes == data.DATASETS["digits"].classes


def test_what_samples_are_for_a_network():
    events, images = data.DATASETS["nmnist"], data.DATASETS["cifar10"]
    assert events.encoding() == events.encoding(bits=0) == Encoding()
    assert events.encoding(bits=3) == Encoding(kind="intensities", bits=3)
    assert events.encoding(counts=True) == Encoding(kind="counts", bits=8)
    assert events.encoding(counts=True, bits=4, saturate=True) == Encoding(
        kind="counts", bits=4, saturate=True
    )
    assert images.encoding() == Encoding(kind="intensities", bits=8)
    assert images.encoding(bits=1) == Encoding(kind="intensities", bits=1)
    for bits in (None, 8, 3):
        expected = Encoding.images(images.mean, images.std, bits=bits or 8)
        assert images.encoding(bits=bits, normalize=True) == expected


def test_the_encoding_of_images_is_normalize_rounded_to_its_gain():
    encoding = data.DATASETS["digits"].encoding(normalize=True)
    plain, normalised = (data.load("digits", normalize=normalize).test for normalize in (False, True))
    for i in range(20):
        levels, _ = encoding.messages(plain[i][0][None])
        assert (levels / encoding.gain - normalised[i][0]).abs().max() < 0.5 / encoding.gain + 1e-6


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("digits", {"bits": 0}, r"digits: bits=0 gives real-valued images, .* no device takes; use 1\.\.8"),
        ("digits", {"bits": 0, "normalize": True}, r"bits=0 gives real-valued images, .* use 3\.\.8"),
        ("digits", {"bits": 2, "normalize": True}, r"digits: bits=2 cannot hold .* images; use 3\.\.8"),
        ("nmnist", {"bits": 0, "counts": True}, r"nmnist: bits=0 gives counts without limit, .* use 1\.\.8"),
        ("digits", {"bits": 9}, r"bits=9 is not allowed for intensities; use 1\.\.8"),
        ("nmnist", {"bits": 9}, r"bits=9 is not allowed for intensities; use 1\.\.8"),
        ("digits", {"counts": True}, "digits: counts=True is for event sets, not for images; leave it out"),
        ("nmnist", {"saturate": True}, "nmnist: saturate=True is for counts=True only; leave it out"),
        ("digits", {"saturate": True}, "digits: saturate=True is for counts=True only; leave it out"),
        ("nmnist", {"normalize": True}, "nmnist: normalize=True needs a mean per channel, which this set"),
    ],
)
def test_options_that_no_encoding_has_are_named(name, options, match):
    with pytest.raises(OptionError, match=match):
        data.DATASETS[name].encoding(**options)


def test_a_set_without_a_mean_is_not_normalised():
    info = dataclasses.replace(data.DATASETS["digits"], mean=(), std=())
    assert info.encoding() == Encoding(kind="intensities", bits=8)
    with pytest.raises(OptionError, match="digits: normalize=True needs a mean per channel"):
        info.encoding(normalize=True)


def test_the_documentation_lists_every_set_and_transform():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (Path(__file__).parents[2] / "docs/data.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    for info in data.DATASETS.values():
        (row,) = [row for row in rows if row[0] == info.name]
        assert row[1:4] == [info.kind, ", ".join(map(str, info.shape)), str(info.num_classes)]
        assert row[4] == f"{info.train_size} / {info.test_size}"
        assert row[5] == info.licence
        assert re.sub("[`<>]", "", row[6]) == re.sub("[`<>]", "", info.source)
    assert [row[1] for row in rows if row[0] == "events"] == list(transforms.EVENTS)
    assert {row[1] for row in rows if row[0] == "static"} == set(transforms.STATIC)


@pytest.mark.parametrize("name", [name for name, info in data.DATASETS.items() if info.layouts])
def test_a_missing_set_says_where_it_was_looked_for(name, tmp_path, monkeypatch):
    if any(Path(folder).exists() for folder in data.DATASETS[name].folders):
        pytest.skip("a system package carries it")
    monkeypatch.setenv("LAVA_BSNN_DATA", "/nowhere/set")
    with pytest.raises(DataError) as error:
        data.load(name)
    message = str(error.value)
    assert "\n" not in message
    for part in (name, "/nowhere/set", "data", data.DATASETS[name].source):
        assert part in message
    with pytest.raises(DataError, match=re.escape(f"not in {tmp_path / 'mine'};")):
        data.load(name, root=tmp_path / "mine")
    assert data.find(name) is None
    assert data.status(name).startswith("not in /nowhere/set, data")


def test_places_are_searched_in_order(tmp_path, monkeypatch):
    for folder in ("root", "variable", "data"):
        (tmp_path / folder / "NMNIST/Train").mkdir(parents=True)
        (tmp_path / folder / "NMNIST/Test").mkdir()
    assert data.find("nmnist") == tmp_path / "data/NMNIST"
    monkeypatch.setenv("LAVA_BSNN_DATA", str(tmp_path / "variable"))
    assert data.find("nmnist") == tmp_path / "variable/NMNIST"
    assert data.find("nmnist", "root") == tmp_path / "root/NMNIST"
    assert data.find("nmnist", "root/NMNIST") == tmp_path / "root/NMNIST"
    assert data.status("nmnist") == "present"
    assert data.status("digits") == "embedded"


def test_packed_files_are_found_by_name_or_alone_in_root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_recordings(folder / "odd.npz")
    assert data.find("nmnist") is None  # nobody said that it is N-MNIST
    assert data.find("nmnist", folder) == folder / "odd.npz"
    write_recordings(folder / "N-MNIST_train.npz")
    assert data.find("nmnist") == Path("data/N-MNIST_train.npz")
    assert data.find("dvs-gesture", folder) is None
    write_recordings(folder / "nmnist_2.npz")
    with pytest.raises(DataError, match=r"N-MNIST_train\.npz, nmnist_2\.npz; give the path of one"):
        data.find("nmnist")


def test_packed_recordings_are_split_by_class(tmp_path):
    recordings = write_recordings(tmp_path / "some.npz", number=40)
    splits = data.load("nmnist", root=tmp_path / "some.npz", num_steps=3, counts=True)
    assert (len(splits.train), len(splits.test)) == (30, 10)
    assert sorted(label for _, label in splits.test) == list(range(10))
    totals = sorted(int(frames.sum()) for part in (splits.train, splits.test) for frames, _ in part)
    assert totals == sorted(
        int((events["t"] < events["t"][0] + 3 * ((events["t"][-1] - events["t"][0]) // 3)).sum())
        for events in recordings
    )
    again = data.load("nmnist", root=tmp_path / "some.npz", num_steps=3, counts=True)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(splits.test, again.test, strict=True))
    other = data.load("nmnist", root=tmp_path / "some.npz", num_steps=3, counts=True, split_seed=1)
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(splits.test, other.test, strict=True))
    assert "40 samples, 10 of them held out" in splits.notes[0]


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("mnits", {}, "name='mnits' is unknown; use one of 'digits'"),
        ("digits", {"counts": True}, "counts is not for digits"),
        ("digits", {"denoise": 10}, "denoise is not for digits"),
        ("digits", {"slice_us": 10}, "slice_us is not for digits"),
        ("nmnist", {"slice_us": 9}, "slice_us=9 is not allowed; use num_steps=10 us or more"),
        ("nmnist", {"denoise": 0.0}, "denoise=0.0 is not allowed"),
        ("digits", {"test_fraction": 1.0}, r"test_fraction=1.0 is not allowed; use 0\.01"),
        ("digits", {"size": 0}, r"size=0 is not allowed for digits; use 1\.\.1024"),
        ("nmnist", {"size": 35}, r"size=35 is not allowed for nmnist; use 1\.\.34"),
        ("nmnist", {"num_steps": 0}, "num_steps=0 is not allowed"),
        ("nmnist", {"normalize": True}, "normalize is not for nmnist"),
        (
            "digits",
            {"augment": ("roll",)},
            "augment='roll' is unknown for digits .* crop, shift, flip, autoaugment",
        ),
        ("nmnist", {"augment": ("crop",)}, "augment='crop' is unknown for nmnist .* flip, roll, rotate"),
        ("nmnist", {"augment": "crop"}, "augment='crop' is unknown for nmnist"),
        ("digits", {"augment": ("flip", "flip")}, "names 'flip' twice"),
        ("digits", {"augment": ("crop", "random-resized-crop")}, "use one of them"),
        ("digits", {"augment": ("shift", "crop")}, "augment has crop and shift; use one of them"),
    ],
)
def test_wrong_options_are_named(name, options, match):
    with pytest.raises(OptionError, match=match):
        data.load(name, **options)


def test_real_nmnist_recordings():
    splits = data.load("nmnist", root=shared("nmnist_train.npz"))
    assert len(splits.train) + len(splits.test) == 803
    frames, label = splits.train[0]
    assert frames.shape == (2, 34, 34, 10)
    assert frames.unique().tolist() == [0, 1]
    assert 0 <= label < 10
    assert 500 < frames.sum() < 5000


def test_real_gestures_shrink_to_48_pixels():
    splits = data.load(
        "dvs-gesture", root=shared("dvsgesture_10clips.npz"), size=48, num_steps=4, skip_bad=True
    )
    assert len(splits.train) + len(splits.test) == 10
    assert splits.skipped == ()
    assert splits.train[0][0].shape == (2, 48, 48, 4)
    assert "too few samples a class to split by class" in splits.notes
