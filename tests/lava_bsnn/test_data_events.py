"""Events: framing, the saccade simulator, packed files, caches, and bad input."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier

from lava_bsnn import data
from lava_bsnn.data import embedded, packed
from lava_bsnn.data.frames import Framing
from lava_bsnn.errors import DataError, LavaBsnnError, OptionError


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAVA_BSNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def events_of(*rows):
    """Structured events from (x, y, t, p)."""
    return np.array(list(rows), dtype=[("x", int), ("y", int), ("t", int), ("p", int)])


GOOD = events_of((3, 5, 0, 1), (3, 5, 10, 1), (7, 2, 99, 0), (7, 2, 100, 0), (33, 0, 250, 1), (0, 0, 400, 0))


def framing(**options):
    return Framing(**{"sensor": (34, 34), "num_steps": 4} | options)


# framing ---------------------------------------------------------------------------------------------


def test_events_land_in_their_channel_row_column_and_bin():
    expected = np.zeros((2, 34, 34, 4), int)
    expected[1, 5, 3, 0] = 2
    expected[0, 2, 7, 0] = 1
    expected[0, 2, 7, 1] = 1
    expected[1, 0, 33, 2] = 1  # the last event, at the end of the last bin, is in none
    frames = framing(counts=True)(GOOD)
    np.testing.assert_array_equal(frames, expected)
    binary = framing()(GOOD)
    assert binary.dtype == np.uint8
    np.testing.assert_array_equal(binary, expected > 0)


def test_unsorted_events_of_any_field_order_give_the_same_frames():
    shuffled = GOOD[[3, 0, 5, 2, 1, 4]][["t", "p", "y", "x"]]
    np.testing.assert_array_equal(framing(counts=True)(shuffled), framing(counts=True)(GOOD))


def test_coordinates_are_scaled_before_framing():
    frames = framing(sensor=(128, 128), size=48, counts=True, num_steps=1)(
        events_of((0, 127, 0, 0), (127, 0, 1, 0), (64, 63, 2, 1), (0, 0, 3, 0))
    )
    expected = np.zeros((2, 48, 48, 1))
    expected[0, 47, 0] = expected[0, 0, 47] = expected[1, 23, 24] = 1
    np.testing.assert_array_equal(frames, expected)


def test_denoise_drops_events_without_a_neighbour():
    rows = [(3, 3, 0), (4, 3, 5), (20, 20, 30), (5, 3, 40), (5, 4, 44), (5, 5, 46)]
    noisy = events_of(*((x, y, t + 100, 1) for x, y, t in rows))
    frames = framing(num_steps=2, counts=True, denoise=20)(noisy)
    assert frames[:, 20, 20].sum() == 0
    assert frames.sum() == 2  # (4, 3) and (5, 4); (5, 5) ends the recording
    with pytest.raises(ValueError, match="no event is left by denoise=1e-06 us"):
        framing(denoise=1e-6)(noisy[:3])


@pytest.mark.parametrize(
    ("events", "match"),
    [
        (GOOD[:0], "holds no events"),
        (GOOD[:1], "lasts 0 us, allowed is num_steps=4 or more"),
        (events_of((34, 0, 0, 0), (0, 0, 99, 0)), r"x is 0\.\.34, allowed is 0\.\.33"),
        (events_of((0, -1, 0, 0), (0, 0, 99, 0)), r"y is -1\.\.0, allowed is 0\.\.33"),
        (events_of((0, 0, 0, 2), (0, 0, 99, 0)), r"p is 0\.\.2, allowed is 0\.\.1"),
        (GOOD[["x", "y", "t"]], "fields are .*allowed are x, y, t, p"),
        (np.zeros((5, 4)), "fields are None"),
    ],
)
def test_impossible_recordings_are_refused(events, match):
    with pytest.raises(ValueError, match=match):
        framing()(events)


# saccades --------------------------------------------------------------------------------------------

DIGITS = load_digits()
SOME = np.random.default_rng(0).permutation(1797)[:700]
RECORDINGS = data.saccades(DIGITS.images[SOME] / 16, seed=1)


def test_a_linear_classifier_reads_simulated_digits():
    bins = np.stack([framing(num_steps=3, counts=True)(one).ravel() for one in RECORDINGS]).astype(float)
    model = RidgeClassifier(alpha=100.0).fit(bins[:500], DIGITS.target[SOME[:500]])
    assert model.score(bins[500:], DIGITS.target[SOME[500:]]) > 0.9


def test_simulated_recordings_look_like_nmnist():
    assert 3000 < np.mean([len(events) for events in RECORDINGS]) < 4500
    for events in RECORDINGS[:50]:
        assert events.dtype.names == ("x", "y", "t", "p")
        assert (np.diff(events["t"]) >= 0).all()
        assert events["t"][0] >= 0 and 300_000 < events["t"][-1] < 315_000
        assert min(events["x"].min(), events["y"].min()) >= 0
        assert max(events["x"].max(), events["y"].max()) < 34
        assert 0.4 < events["p"].mean() < 0.6


def test_the_same_seed_gives_the_same_events_for_any_batch():
    images = DIGITS.images[SOME[:3]] / 16
    again = data.saccades(images, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(again, RECORDINGS, strict=False))
    assert not np.array_equal(data.saccades(images, seed=2)[0], RECORDINGS[0])
    content = b"".join(events[name].astype("<i8").tobytes() for events in RECORDINGS[:20] for name in "xytp")
    # where this changes on purpose, raise saccades.VERSION too
    assert hashlib.sha256(content).hexdigest()[:16] == "ac05a772dfe858d0"


def test_a_bar_that_moves_right_turns_on_ahead_and_off_behind():
    bar = np.zeros((1, 13, 13))
    bar[0, :, 6] = 1
    (events,) = data.saccades(bar, seed=0, mismatch=0.0)
    first = events[events["t"] < 105_000]  # moves right and down
    on, off = first[first["p"]], first[~first["p"]]
    assert on["x"].mean() > off["x"].mean() + 2
    still = data.saccades(np.zeros((2, 8, 8)), seed=0)
    assert [len(events) for events in still] == [0, 0]


def test_progress_is_reported():
    calls = []
    data.saccades(np.zeros((70, 4, 4)), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(64, 70), (70, 70)]


@pytest.mark.parametrize(
    ("images", "options", "match"),
    [
        (np.zeros((8, 8)), {}, r"images of shape \[8, 8\]"),
        (np.full((1, 8, 8), 1.5), {}, "values 0..1"),
        (np.full((1, 8, 8), np.nan), {}, "values 0..1"),
        (np.zeros((0, 8, 8)), {}, "values 0..1"),
        (np.zeros((1, 8, 8)), {"object_size": 28}, r"object_size=28 is not allowed; use 1\.\.27"),
        (np.zeros((1, 8, 8)), {"threshold": 0}, "threshold=0"),
    ],
)
def test_saccades_name_wrong_arguments(images, options, match):
    with pytest.raises(OptionError, match=match):
        data.saccades(images, **options)


def test_generated_recordings_are_kept_and_made_again_when_damaged(tmp_path):
    path, labels, calls = tmp_path / "new/file.npz", np.arange(20), []

    def generate():
        calls.append(1)
        return RECORDINGS[:20]

    for _ in range(2):
        source = embedded.cached_recordings(path, generate, labels)
        assert np.array_equal(source.read(7)["t"], RECORDINGS[7]["t"])
    assert len(calls) == 1
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", content.replace(content[5000:5010], b"0123456789")):
        path.write_bytes(damaged)
        source = embedded.cached_recordings(path, generate, labels)
        assert all(np.array_equal(source.read(i)["x"], RECORDINGS[i]["x"]) for i in range(20))
        assert path.read_bytes() != damaged
    assert len(calls) == 4
    (tmp_path / "file").touch()
    assert (
        len(embedded.cached_recordings(tmp_path / "file/x.npz", generate, labels)) == 20
    )  # no folder: no cache


def test_digits_events_load_from_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(
        embedded.saccades, "saccades", lambda images, seed, progress: RECORDINGS * 2 + RECORDINGS[:397]
    )
    splits = data.load("digits-events", num_steps=3)
    assert (len(splits.train), len(splits.test)) == (1347, 450)
    assert len(list((tmp_path / "cache/lava-bsnn").glob("digits-events-*.npz"))) == 1
    frames, _ = splits.test[0]
    assert frames.shape == (2, 34, 34, 3)
    assert frames.unique().tolist() == [0, 1]


# packed files and bad samples ------------------------------------------------------------------------


def write(path, recordings, labels):
    """A packed file of recordings as they are; write_packed refuses bad ones."""
    events = np.concatenate(recordings)
    offsets = np.cumsum([0, *map(len, recordings)])
    np.savez(path, labels=np.asarray(labels), offsets=offsets, **{name: events[name] for name in "xytp"})
    return path


def test_bad_recordings_raise_on_access_or_are_left_out(tmp_path):
    recordings = [GOOD] * 40
    labels = [i % 10 for i in range(40)]
    recordings[3], recordings[8] = GOOD[:0], events_of((40, 0, 0, 0), (0, 0, 99, 0))
    labels[21] = 10
    path = write(tmp_path / "bad.npz", recordings, labels)
    splits = data.load("nmnist", root=path, num_steps=4)
    problems = []
    for part in (splits.train, splits.test):
        for i in range(len(part)):
            try:
                part[i]
            except DataError as error:
                problems.append(str(error))
    assert len(problems) == 3
    assert all("\n" not in line and line.startswith("nmnist t") for line in problems)
    for number, text in (
        (3, "holds no events"),
        (8, "x is 0..40, allowed is 0..33"),
        (21, "label 10 is not in 0..9"),
    ):
        (line,) = [line for line in problems if text in line]
        assert f"{path} recording {number}" in line
    clean = data.load("nmnist", root=path, num_steps=4, skip_bad=True)
    assert len(clean.train) + len(clean.test) == 37
    assert len(clean.skipped) == 3
    for part in (clean.train, clean.test):
        assert sum(1 for _ in part) == len(part)


def test_a_damaged_packed_file_is_one_line(tmp_path):
    path = write(tmp_path / "some.npz", [GOOD] * 4, [0, 1, 0, 1])
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(DataError, match="not a readable npz file") as error:
        data.load("nmnist", root=path)
    assert "\n" not in str(error.value)
    path.write_bytes(content)
    arrays = dict(np.load(path))
    for change, match in (
        ({"offsets": arrays["offsets"][:-1]}, "4 offsets for 4 labels"),
        ({"offsets": arrays["offsets"][::-1]}, "do not rise from 0 to 24"),
        ({"x": arrays["x"][:-1]}, "x, y, t, p differ in length|do not rise"),
        ({"t": arrays["t"].astype(float)}, "t is float64"),
        ({"p": np.array([None, 1])}, "not a readable npz file .*allow_pickle"),
    ):
        np.savez(path, **arrays | change)
        with pytest.raises(DataError, match=match):
            packed.PackedSource(path)
    arrays.pop("t")
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="lacks t; packed recordings hold labels, offsets, x, y, t, p"):
        packed.PackedSource(path)
    write(path, [GOOD], [0])
    with pytest.raises(DataError, match="1 sample cannot be split"):
        data.load("nmnist", root=path)


def test_ids_name_a_recording(tmp_path):
    path = write(tmp_path / "some.npz", [GOOD] * 2, [0, 1])
    np.savez(path, **dict(np.load(path)), ids=np.array([60, 61]))
    assert packed.PackedSource(path).where(1) == f"{path} recording 1 id 61"


def test_slices_are_samples_and_no_recording_is_on_both_sides(tmp_path):
    recordings = []
    for i in range(20):  # recording i has all its events at x = i
        times = np.arange(0, 1000 if i else 90, 10)
        recordings.append(events_of(*((i, 0, t, 1) for t in times)))
    path = write(tmp_path / "long.npz", [*recordings, GOOD[:0]], [0, 1] * 10 + [1])
    splits = data.load("nmnist", root=path, num_steps=3, slice_us=300, counts=True)
    columns = []
    for part in (splits.train, splits.test):
        seen = []
        for i in range(len(part)):
            try:
                frames, label = part[i]
            except DataError as error:
                assert "recording 20 events None:None): it holds no events" in str(error)
                continue
            (column,) = frames.sum((0, 1, 3)).nonzero().flatten().tolist()
            assert label == column % 2
            seen.append(column)
            if column:
                assert frames[1, 0, column].tolist() == [10, 10, 9]  # bins of 290 // 3 us
        columns.append(seen)
    assert not set(columns[0]) & set(columns[1])
    counts = np.bincount(columns[0] + columns[1])
    assert counts.tolist() == [1] + [3] * 19


# disk cache ------------------------------------------------------------------------------------------


def disk_splits(path, cache, monkeypatch, **options):
    monkeypatch.setattr("lava_bsnn.data.loading.MEMORY_LIMIT", 0)
    return data.load("nmnist", root=path, num_steps=4, cache=cache, **options)


def test_frames_on_disk_are_reused_and_damaged_ones_made_again(tmp_path, monkeypatch):
    recordings = [GOOD[: 4 + i % 3] for i in range(20)]
    path = write(tmp_path / "some.npz", recordings, [0, 1] * 10)
    cache = tmp_path / "frames"
    first = [x for x, _ in disk_splits(path, cache, monkeypatch).test]
    files = sorted(cache.rglob("*.hdf5"))
    assert len(files) == len(first) == 5
    read = []
    monkeypatch.setattr(
        packed.PackedSource,
        "read",
        lambda self, i, read_=packed.PackedSource.read: read.append(i) or read_(self, i),
    )
    again = [x for x, _ in disk_splits(path, cache, monkeypatch).test]
    assert read == []
    files[0].write_bytes(files[0].read_bytes()[:300])
    files[1].write_bytes(b"")
    import h5py

    with h5py.File(files[4], "w") as file:
        file["data/0"] = np.zeros((1, 2), np.uint8)
        file["target/0"] = int(files[4].stem[:-2]) % 2  # the right label
    mended = [x for x, _ in disk_splits(path, cache, monkeypatch).test]
    assert len(read) == 3
    for a, b, c in zip(first, again, mended, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    # other options and other files never share frames
    disk_splits(path, cache, monkeypatch, counts=True).test[0]
    assert len(list(cache.iterdir())) == 2


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "some.npz", [GOOD] * 20, [0, 1] * 10)
    (tmp_path / "file").touch()
    with pytest.raises(LavaBsnnError, match="file"):
        disk_splits(path, tmp_path / "file", monkeypatch).test[0]


@pytest.mark.parametrize(("index", "time"), [(3, -5), (7, 1 << 62)])
def test_impossible_times_are_refused(index, time):
    from lava_bsnn.data.frames import Framing

    events = np.zeros(10, dtype=[("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])
    events["t"] = np.arange(10) * 1000
    framing = Framing(sensor=(34, 34), num_steps=3)
    assert framing(events).shape == (2, 34, 34, 3)
    events["t"][index] = time
    with pytest.raises(ValueError, match=r"t is .* us, allowed are times from 0"):
        framing(events)


def test_packed_files_keep_long_times_and_check_their_ids(tmp_path):
    events = np.zeros(3, dtype=[("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])
    events["t"] = [1 << 32, (1 << 32) + 10, (1 << 32) + 50]
    data.write_packed(tmp_path / "a.npz", [events, events], np.array([0, 1]))
    assert data.PackedSource(tmp_path / "a.npz").read(1)["t"].tolist() == events["t"].tolist()
    arrays = dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", ids=np.arange(1), **arrays)
    with pytest.raises(DataError, match="1 ids for 2 labels"):
        data.PackedSource(tmp_path / "b.npz")
