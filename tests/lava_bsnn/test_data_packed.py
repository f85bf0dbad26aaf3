"""Packed recordings of any sensor: what is checked when they are written, and how they are loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lava_bsnn import data
from lava_bsnn.errors import DataError, LavaBsnnError

RNG = np.random.default_rng(0)
NAMES = ("left", "right", "none")
LABELS = np.arange(24) % 3


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def recording(number=200):
    return {
        "t": np.sort(RNG.integers(0, 20_000, number)),
        "x": RNG.integers(0, 64, number),
        "y": RNG.integers(0, 48, number),
        "p": RNG.integers(0, 2, number),
    }


RECORDINGS = [recording() for _ in LABELS]


def counts(events):
    """Counts [P, H, W] over all time bins, event by event."""
    frames = np.zeros((2, 48, 64))
    for x, y, p in zip(events["x"], events["y"], events["p"], strict=True):
        frames[int(p > 0), y, x] += 1
    return frames


def write(recordings=RECORDINGS, labels=LABELS, path="own.npz", **options):
    data.write_packed(path, recordings, labels, **{"sensor_size": (64, 48, 2), "classes": NAMES} | options)
    return path


def test_a_file_knows_its_sensor_and_classes():
    splits = data.load("packed", root=write(), num_steps=5, counts=True, bin_us=4000)
    assert splits.shape == (2, 48, 64)
    assert (splits.classes, splits.info.num_classes) == (NAMES, 3)
    assert (len(splits.train), len(splits.test)) == (18, 6)
    found = {}
    for part in (splits.train, splits.test):
        samples = part.dataset
        for index in range(len(part)):
            frames, label = part[index]
            found[int(samples.indices[index])] = frames.sum(-1).numpy(), label
    assert len(found) == 24
    for index, (frames, label) in found.items():
        assert label == LABELS[index]
        assert np.array_equal(frames, counts(RECORDINGS[index]))


def test_a_folder_has_the_splits_as_files():
    Path("own").mkdir()
    for split, number in (("train", 12), ("validation", 6), ("test", 3)):
        write(RECORDINGS[:number], LABELS[:number], f"own/{split}.npz")
    splits = data.load("packed", root="own", num_steps=4)
    assert [len(one) for one in (splits.train, splits.validation, splits.test)] == [12, 6, 3]
    write(RECORDINGS[:3], LABELS[:3], "own/test.npz", classes=("a", "b", "c"))
    with pytest.raises(DataError, match=r"test.npz has classes=\('a', 'b', 'c'\), train.npz has \('left'"):
        data.load("packed", root="own", num_steps=4)


def test_old_files_load_with_the_largest_coordinates():
    data.write_packed("old.npz", RECORDINGS, LABELS)
    assert "sensor_size" not in np.load("old.npz")
    splits = data.load("packed", root="old.npz", num_steps=4)
    assert (splits.shape, splits.info.num_classes, splits.classes) == ((2, 48, 64), 3, ())
    assert any("64 x 48 pixels, the largest coordinates" in note for note in splits.notes)
    data.write_packed(
        "nmnist_train.npz", [{**one, "x": one["x"] // 2, "y": one["y"] // 2} for one in RECORDINGS], LABELS
    )
    assert data.load("nmnist", root="nmnist_train.npz", num_steps=4).shape == (2, 34, 34)


@pytest.mark.parametrize(
    ("unit", "times"),
    [
        ("us", lambda t: t),
        ("ns", lambda t: t * 1000),
        ("ms", lambda t: t / 1000),
        ("s", lambda t: t.astype(np.float64) / 1e6),
        ("s", lambda t: torch.tensor(t / 1e6).numpy()),
    ],
)
def test_times_of_any_unit_become_microseconds(unit, times):
    write([{**one, "t": times(one["t"])} for one in RECORDINGS], time_unit=unit)
    source = data.PackedSource(Path("own.npz"))
    for index, one in enumerate(RECORDINGS):
        assert np.array_equal(source.read(index)["t"], one["t"])


@pytest.mark.parametrize(
    "polarity", [lambda p: p * 2 - 1, lambda p: p.astype(bool), lambda p: p.astype(np.uint8)]
)
def test_polarities_become_0_and_1(polarity):
    write([{**one, "p": polarity(one["p"])} for one in RECORDINGS])
    source = data.PackedSource(Path("own.npz"))
    for index, one in enumerate(RECORDINGS):
        assert np.array_equal(source.read(index)["p"], one["p"])


def changed(**fields):
    return [RECORDINGS[0], RECORDINGS[0] | fields]


ZEROS = np.zeros(200, np.int64)
WRONG = {
    "t of floats": (
        changed(t=RECORDINGS[0]["t"] / 1e6),
        {},
        r"recording 1: t is float64; allowed are integers",
    ),
    "t in ns": (
        changed(t=np.linspace(0, 4e9, 200).astype(int)),
        {},
        r"recording 1: t is 0..4000000000 us, allow",
    ),
    "t below 0": (changed(t=RECORDINGS[0]["t"] - 10_000), {}, r"recording 1: t is -"),
    "t not finite": (
        [RECORDINGS[0] | {"t": ZEROS * np.nan}] * 2,
        {"time_unit": "s"},
        "t holds values that are not finite",
    ),
    "p of 2": (changed(p=ZEROS + 2), {}, r"recording 1: p is 2..2, allowed is 0..1"),
    "p mixed": (
        changed(p=RNG.integers(-1, 2, 200)),
        {},
        r"p holds \[-1, 0, 1\]; allowed are 0 and 1, or -1 and 1",
    ),
    "p of floats": (changed(p=ZEROS + 1.0), {}, r"p is float64; allowed are integers"),
    "one polarity": (changed(), {"sensor_size": (64, 48, 1)}, r"recording 0: p is 0..1, allowed is 0..0"),
    "x outside": (changed(x=ZEROS + 64), {}, r"recording 1: x is 64..64, allowed is 0..63"),
    "H and W exchanged": (
        changed(),
        {"sensor_size": (48, 64, 2)},
        r"recording 0: x is 0..63, allowed is 0..47",
    ),
    "no events": ([recording(0)] * 2, {}, r"recording 0: it holds no events; mend it or leave it out"),
    "lengths": (changed(x=ZEROS[:9]), {}, r"its fields have the shapes .*; allowed is one length for all"),
    "field names": (
        [{"ts": ZEROS, "x": ZEROS, "y": ZEROS, "p": ZEROS}] * 2,
        {},
        r"its fields are \('ts', 'x'",
    ),
    "plain arrays": (
        [np.zeros((9, 4))] * 2,
        {},
        r"it is a ndarray of shape \[9, 4\]; allowed are a structured",
    ),
    "no recordings": ([], {}, r"0 recordings and labels \[2\] of int64; use one integer per recording"),
    "labels": (changed(), {"labels": np.eye(3)[:2]}, r"labels \[2, 3\] of float64; use one integer per"),
    "label outside": (changed(), {"labels": [0, 3]}, r"labels are 0..3; allowed are 0..2"),
    "label below": (changed(), {"labels": [0, -1]}, r"labels are -1..0; allowed are 0..2"),
    "sensor": (
        changed(),
        {"sensor_size": (64, 48)},
        r"sensor_size=\(64, 48\) is not allowed; use \(W, H, P\)",
    ),
    "unit": (changed(), {"time_unit": "h"}, r"time_unit='h' is unknown; use one of 'ns', 'us', 'ms', 's'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_when_it_is_written(case):
    recordings, options, message = WRONG[case]
    with pytest.raises(LavaBsnnError, match=rf"write_packed: .*{message}") as found:
        write(recordings, **{"labels": np.array([0, 1])} | options)
    assert "\n" not in str(found.value)
    assert not Path("own.npz").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sensor_size": np.array([64, 48])}, r"sensor_size is \[64, 48\]; allowed is \(W, H, P\)"),
        ({"classes": np.array([1, 2, 3])}, r"classes are int64 \[3\]; allowed are names"),
        ({"classes": np.array(["a", None, "b"], dtype=object)}, "not a readable npz file"),
    ],
)
def test_damaged_files_are_told(fields, message):
    write()
    np.savez("bad.npz", **dict(np.load("own.npz")) | fields)
    with pytest.raises(DataError, match=message):
        data.load("packed", root="bad.npz", num_steps=4)


def test_where_it_is_has_to_be_said():
    with pytest.raises(DataError, match="packed: needs data_root, the file that data.write_packed wrote"):
        data.load("packed")
    for root in ("nowhere.npz", "."):
        with pytest.raises(DataError, match=r"is no file of packed recordings, nor a folder with train.npz"):
            data.load("packed", root=root)
