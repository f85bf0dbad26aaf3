"""Sounds: simulated words of two sweeps, and files of Heidelberg digits."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from lava_bsnn import data
from lava_bsnn.errors import DataError, OptionError

WORDS = data.DATASETS["sweeps"].classes


def test_sweeps_are_reproducible_and_in_range():
    labels = np.arange(24) % 12
    words = data.sweeps(labels, seed=3)
    for again, word in zip(data.sweeps(labels[:12], seed=3), words, strict=False):
        assert np.array_equal(again, word)
    assert not np.array_equal(words[0], words[12])
    for word in words:
        assert (np.diff(word["t"]) >= 0).all() and word["t"][0] == 0 and word["t"][-1] == 1_000_000
        assert word["x"].min() >= 0 and word["x"].max() < 64 and not word["y"].any() and not word["p"].any()
        assert 160 < len(word) < 340


def test_words_of_the_same_sweeps_differ_in_their_order_only():
    here, there = WORDS.index("low up, high down"), WORDS.index("high down, low up")
    number = 300
    counts, early = [], []
    for label in (here, there):
        words = data.sweeps(np.full(number, label), seed=label)
        counts.append(np.mean([np.bincount(word["x"], minlength=64) for word in words], axis=0))
        early.append(np.mean([(word["x"][word["t"] < 400_000] < 30).mean() for word in words]))
    assert counts[0].sum() > 120
    np.testing.assert_allclose(counts[0], counts[1], atol=0.5)  # 60 events of a sweep over some 20 channels
    assert early[0] > 0.65 and early[1] < 0.3


@pytest.mark.parametrize("labels", [[0.5], [12], [-1], [[0]]])
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(OptionError, match=r"sweeps: these labels are not allowed; use integers 0..11"):
        data.sweeps(np.array(labels))


def test_sweeps_load_by_name_in_time_bins():
    splits = data.load("sweeps", num_steps=10, size=16)
    assert splits.shape == (1, 1, 16) and len(splits.train) == 1800 and splits.classes == WORDS
    frames, label = splits.train[0]
    assert frames.shape == (1, 1, 16, 10) and 0.05 < frames.mean() < 0.8 and 0 <= label < 12


def heidelberg(folder, number=3):
    for split in ("train", "test"):
        rng = np.random.default_rng(number)
        with h5py.File(folder / f"shd_{split}.h5", "w") as file:
            file["labels"] = np.arange(number, dtype=np.uint16) % 20
            times = np.sort(rng.random((number, 50))).astype(np.float16)
            units = rng.integers(0, 700, (number, 50)).astype(np.uint16)
            for name, values in (("times", times), ("units", units)):
                kind = h5py.vlen_dtype(values.dtype)
                file.create_dataset(f"spikes/{name}", (number,), dtype=kind)[...] = list(values)


def test_heidelberg_digits_are_read(tmp_path):
    heidelberg(tmp_path)
    splits = data.load("shd", root=tmp_path, num_steps=4, size=140, counts=True)
    assert splits.shape == (1, 1, 140) and "zero" in splits.classes and len(splits.train) == 3
    frames, label = splits.train[1]
    assert label == 1 and frames.shape == (1, 1, 140, 4)
    with h5py.File(tmp_path / "shd_train.h5") as file:
        times = np.rint(file["spikes/times"][1].astype(float) * 1e6).astype(int)
        units = file["spikes/units"][1].astype(int)
    expected = np.zeros((140, 4))
    width = (times[-1] - times[0]) // 4
    for time, unit in zip(times, units, strict=True):
        if (bin_ := (time - times[0]) // width) < 4:
            expected[unit // 5, bin_] += 1
    np.testing.assert_array_equal(frames[0, 0].numpy(), expected)


def test_damaged_heidelberg_files_are_named(tmp_path):
    heidelberg(tmp_path)
    (tmp_path / "shd_test.h5").write_bytes(b"no hdf5")
    with pytest.raises(DataError, match="shd_test.h5: not a file of Heidelberg digits"):
        data.load("shd", root=tmp_path, num_steps=4)
    heidelberg(tmp_path)
    with h5py.File(tmp_path / "shd_test.h5", "a") as file:
        del file["labels"]
        file["labels"] = np.zeros(2, np.uint16)
    with pytest.raises(DataError, match="2 labels for"):
        data.load("shd", root=tmp_path, num_steps=4)
