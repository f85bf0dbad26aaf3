"""Data of a user's own: arrays, datasets, loaders; events, frames, images."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import tonic.transforms
import torch
from support.own_code import forgotten
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split

from lava_bsnn import data
from lava_bsnn.data.own import OwnData
from lava_bsnn.errors import DataError, LavaBsnnError, OptionError

WIDTH, HEIGHT = 64, 48
EVENT = [("t", "u8"), ("p", "i1"), ("y", "u2"), ("x", "u2")]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("RETURNED = None\n\n\ndef make():\n    return RETURNED\n")
    with forgotten(tmp_path):
        sys.path.append(str(tmp_path))
        yield tmp_path


def load(returned, **options):
    """What a recipe's function returns, loaded."""
    import mine

    mine.RETURNED = returned
    return data.load("mine:make", **options)


def recording(seed=0, number=300, last=9_999, dtype=EVENT):
    rng = np.random.default_rng(seed)
    events = np.zeros(number, dtype)
    events["x"], events["y"] = rng.integers(0, WIDTH, number), rng.integers(0, HEIGHT, number)
    events["p"] = rng.integers(0, 2, number)
    events["t"] = np.sort(rng.integers(0, last, number))
    events["x"][0], events["y"][0] = WIDTH - 1, HEIGHT - 1
    events["t"][[0, -1]] = 0, last
    return events


def slow_counts(events, num_steps, bin_us=None):
    """Counts [P, H, W, T], event by event in plain Python."""
    start, end = int(events["t"].min()), int(events["t"].max())
    length = bin_us or (end - start) // num_steps
    frames = np.zeros((2, HEIGHT, WIDTH, num_steps))
    for one in events:
        step = (int(one["t"]) - start) // length
        if step < num_steps:
            frames[int(one["p"] > 0), one["y"], one["x"], step] += 1
    return frames


LABELS = np.array([0, 1, 2, 0])
RECORDINGS = [recording(seed) for seed in range(4)]


# events ----------------------------------------------------------------------------------------------


def signed(events):
    changed = events.copy()
    changed["p"] = np.where(events["p"] > 0, 1, -1)
    return changed


def booleans(events):
    changed = np.zeros(len(events), [("x", "i4"), ("y", "i4"), ("t", "i8"), ("p", "?")])
    for name in "xytp":
        changed[name] = events[name]
    return changed


def mapping(events):
    return {name: events[name] for name in ("t", "x", "y", "p")}


def file(events):
    path = f"{events['x'][5]}{events['t'][5]}.npz"
    np.savez(path, **mapping(events))
    return np.load(path)


@pytest.mark.parametrize("change", [lambda events: events, signed, booleans, mapping, file])
@pytest.mark.parametrize("bin_us", [None, 1500])
def test_recordings_are_binned_as_an_independent_count(change, bin_us):
    given = ([change(one) for one in RECORDINGS], LABELS)
    splits = load((given, given), num_steps=4, counts=True, bin_us=bin_us)
    assert splits.shape == (2, HEIGHT, WIDTH)
    assert (splits.info.kind, splits.info.num_classes, splits.classes) == ("events", 3, ())
    for part in (splits.train, splits.test):
        for index, (events, label) in enumerate(zip(RECORDINGS, LABELS, strict=True)):
            frames, found = part[index]
            assert (frames.dtype, found) == (torch.float32, label)
            assert np.array_equal(frames.numpy(), slow_counts(events, 4, bin_us))
    assert any("64 x 48 pixels, the largest coordinates" in note for note in splits.notes)


def test_short_recordings_end_with_empty_bins_of_fixed_duration():
    events = recording(last=2_500)
    splits = load(([events] * 4, LABELS), num_steps=4, counts=True, bin_us=1000, test_fraction=0.5)
    frames = splits.train[0][0]
    assert frames[..., 3].sum() == 0
    assert frames.sum() == len(events)
    assert np.array_equal(frames.numpy(), slow_counts(events, 4, 1000))
    assert any("4000 us after the first event is left out" in note for note in splits.notes)


def test_long_recordings_are_cut_into_samples():
    given = (RECORDINGS, LABELS)
    splits = load((given, given), num_steps=4, counts=True, bin_us=1000, slice_us=4000)
    assert len(splits.train) == 8
    events = RECORDINGS[0][RECORDINGS[0]["t"] < 4000]
    assert np.array_equal(splits.train[0][0].numpy(), slow_counts(events, 4, 1000))


def test_sensor_and_names_may_be_given():
    given = (RECORDINGS, LABELS)
    own = OwnData(train=given, test=given, sensor_size=(100, 80, 2), classes=["left", "right", "up", "down"])
    splits = load(own, num_steps=4)
    assert splits.shape == (2, 80, 100)
    assert (splits.info.num_classes, splits.classes) == (4, ("left", "right", "up", "down"))
    assert splits.notes == ("no training sample has label 3",)
    given = (RECORDINGS, LABELS + 1)
    from_one = load(OwnData(train=given, test=given, sensor_size=(100, 80, 2)), num_steps=4)
    assert from_one.notes == ("no training sample has label 0; labels count from 0",)


@pytest.mark.parametrize(("factor", "said"), [(1e4, "100 s"), (1, None), (1e-2, "0.0001 s")])
def test_recordings_that_last_oddly_long_or_short_are_noted(factor, said):
    events = np.repeat(recording(last=10_000), 20)
    events["t"] = np.linspace(0, 10_000 * factor, len(events)).astype(np.int64)
    notes = load(
        OwnData(train=([events] * 4, LABELS), test=(RECORDINGS, LABELS), sensor_size=(64, 48, 2)), num_steps=4
    ).notes
    told = [note for note in notes if note.startswith("train[0] lasts")]
    assert told == ([] if said is None else [f"train[0] lasts {said}, with t in us: check its unit"])


@pytest.mark.parametrize(("shape", "noted"), [((12, 12, 3), True), ((3, 12, 12), False), ((3, 12, 3), False)])
def test_images_whose_channels_may_come_last_are_noted(shape, noted):
    given = (np.zeros((6, *shape), np.uint8), TARGETS)
    said = "train[0] is an image of 12 channels; if they come last, set layout: NHWC"
    assert (said in load(both(given), num_steps=4).notes) is noted
    assert not any("come last" in note for note in load(both(given), num_steps=4, layout="NHWC").notes)


# frames and images -----------------------------------------------------------------------------------

FRAMES = (torch.rand(6, 2, 5, 7, 4, generator=torch.Generator().manual_seed(1)) < 0.3).float()
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])


class Listed(Dataset):
    """Items of a transposition, labels of any form."""

    def __init__(self, turn=lambda x: x, label=int):
        self.turn, self.label = turn, label

    def __len__(self):
        return len(FRAMES)

    def __getitem__(self, index):
        return self.turn(FRAMES[index]), self.label(TARGETS[index])


@pytest.mark.parametrize(
    ("given", "layout"),
    [
        ((FRAMES, TARGETS), None),
        ((FRAMES.numpy().astype(np.int16), TARGETS.numpy()), None),
        ((FRAMES.double(), TARGETS.byte()), "NCHWT"),
        ((FRAMES.permute(4, 0, 1, 2, 3), TARGETS), "TNCHW"),
        ((FRAMES.permute(0, 4, 1, 2, 3).numpy(), TARGETS.numpy()), "NTCHW"),
        (TensorDataset(FRAMES, TARGETS), None),
        (Listed(), None),
        (Listed(lambda x: x.permute(3, 0, 1, 2)), "TNCHW"),
        (Listed(lambda x: x.permute(3, 0, 1, 2).bool().numpy(), np.uint8), "NTCHW"),
        (DataLoader(Listed(label=lambda y: y[None]), batch_size=2, shuffle=True), None),
        (Subset(TensorDataset(FRAMES, TARGETS), range(6)), None),
        ([(x, int(y)) for x, y in zip(FRAMES, TARGETS, strict=True)], None),
    ],
)
def test_frames_of_any_source_are_the_same(given, layout):
    splits = load((given, given), num_steps=4, layout=layout)
    assert (splits.shape, splits.info.num_classes, splits.info.kind) == ((2, 5, 7), 3, "events")
    for part in (splits.train, splits.test):
        assert len(part) == 6
        for index in range(6):
            frames, label = part[index]
            assert frames.dtype == torch.float32
            assert torch.equal(frames, FRAMES[index])
            assert label == TARGETS[index]


def test_three_sets_and_one():
    parts = random_split(TensorDataset(FRAMES, TARGETS), [3, 2, 1], torch.Generator().manual_seed(0))
    splits = load(tuple(parts), num_steps=4)
    assert [len(one) for one in (splits.train, splits.validation, splits.test)] == [3, 2, 1]
    assert torch.equal(splits.validation[1][0], parts[1][1][0])
    splits = load((FRAMES, TARGETS), num_steps=4, test_fraction=0.5)
    assert (len(splits.train), len(splits.test), splits.validation) == (3, 3, None)
    assert sorted(label for _, label in splits.test) == [0, 1, 2]
    splits = load(
        OwnData(train=(FRAMES, TARGETS), validation=(FRAMES, TARGETS)), num_steps=4, test_fraction=0.5
    )
    assert (len(splits.train), len(splits.test), len(splits.validation)) == (3, 3, 6)
    assert load(Listed(), num_steps=4, test_fraction=0.5).notes[0].startswith("6 samples, 3 of them held out")


def test_images_of_bytes_are_scaled_and_floats_are_not():
    pixels = torch.randint(0, 256, (4, 3, 6, 8), dtype=torch.uint8)
    bytes_, floats = (load(((x, LABELS), (x, LABELS))) for x in (pixels, pixels / 255))
    turned = pixels.permute(0, 2, 3, 1).numpy()
    channels_last = load(((turned, LABELS), (turned, LABELS)), layout="NHWC")
    assert bytes_.shape == floats.shape == channels_last.shape == (3, 6, 8)
    for splits in (bytes_, floats, channels_last):
        assert splits.info.kind == "static"
        for part in (splits.train, splits.test):
            assert torch.equal(part[2][0], pixels[2] / 255)
    small = load(((pixels, LABELS), (pixels, LABELS)), size=4)
    assert small.train[0][0].shape == (3, 4, 4)


def test_rows_of_channels_are_one_pixel():
    rows = FRAMES[:, :, 0, 0]
    splits = load(((rows, TARGETS), (rows, TARGETS)), num_steps=4)
    assert splits.shape == (2, 1, 1)
    assert torch.equal(splits.train[3][0][:, 0, 0], rows[3])
    splits = load(((rows.permute(2, 0, 1), TARGETS),) * 2, num_steps=4, layout="TNC")
    assert torch.equal(splits.train[3][0][:, 0, 0], rows[3])
    splits = load(((rows[..., 0], TARGETS),) * 2)
    assert torch.equal(splits.train[3][0][:, 0, 0], rows[3, :, 0])


@pytest.mark.parametrize(
    ("targets", "kind", "dtype"),
    [
        (torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]] * 2), "labels", torch.bool),
        (torch.rand(6, 2, dtype=torch.float64), "values", torch.float32),
        (torch.rand(6), "values", torch.float32),
    ],
)
def test_targets_may_be_labels_or_values(targets, kind, dtype):
    arrays = (FRAMES, targets)
    for given in (arrays, TensorDataset(*arrays), DataLoader(TensorDataset(*arrays))):
        splits = load((given, given), num_steps=4, targets=kind)
        assert splits.info.num_classes == targets.reshape(6, -1).shape[1]
        for index in range(6):
            frames, found = splits.train[index]
            assert torch.equal(frames, FRAMES[index])
            assert found.dtype == dtype
            assert torch.equal(found, torch.atleast_1d(targets[index]).to(dtype))
    splits = load((RECORDINGS, targets[:4]), num_steps=2, slice_us=4000, targets=kind, test_fraction=0.5)
    kept = splits.train.dataset.indices.tolist()
    assert len(splits.train) == 2 * 2 == len(kept)
    found = torch.stack([target for _, target in splits.train])
    assert torch.equal(found[::2], found[1::2])  # slices of one recording have its target
    with pytest.raises(OptionError, match=f"targets='{kind}' is for data of your own, not for digits"):
        data.load("digits", targets=kind)


@pytest.mark.parametrize(
    ("targets", "kind", "message"),
    [
        (
            [[0, 2]] * 6,
            "labels",
            r"train\[0\]: its target is int64 \[2\]; allowed are \[K\] of 0 or 1 for each",
        ),
        ([[0.0, np.nan]] * 6, "values", r"allowed are \[K\] of finite numbers"),
        ([[[0.0]]] * 6, "values", r"its target is float64 \[1, 1\]; allowed are \[K\]"),
        (
            [[0.0]] * 5 + [[0.0, 1.0]],
            "values",
            r"train\[5\]: its target has 2 values, others 1; give as many",
        ),
    ],
)
def test_wrong_labels_and_values_are_told(targets, kind, message):
    items = [(frames, np.array(target)) for frames, target in zip(FRAMES, targets, strict=True)]
    with pytest.raises(DataError, match=message):
        load((items, items), num_steps=4, targets=kind)
    few, many = ((FRAMES, torch.zeros(6, number)) for number in (2, 3))
    with pytest.raises(
        DataError, match=r"targets have \[2, 3\] values, for 0 names in classes; give as many in"
    ):
        load((few, many), num_steps=4, targets=kind)
    with pytest.raises(DataError, match=r"targets have \[2\] values, for 3 names in classes"):
        load(OwnData(train=few, classes="abc"), num_steps=4, targets=kind)


class Tonic(Dataset):
    """As tonic's datasets: class names and sensor on the class, labels in ``targets``, a transform."""

    classes, sensor_size = ("a", "b", "c"), (WIDTH, HEIGHT, 2)
    ordering = ("x", "y", "t", "p")

    def __init__(self, transform=None):
        self.transform, self.targets, self.reads = transform, LABELS.tolist(), 0

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.reads += 1
        events = booleans(RECORDINGS[index])
        return (events if self.transform is None else self.transform(events)), self.targets[index]


def test_datasets_and_transforms_of_tonic_as_they_are():
    plain = Tonic()
    splits = load((plain, plain), num_steps=4, counts=True)
    assert (splits.classes, splits.shape, splits.notes) == (("a", "b", "c"), (2, HEIGHT, WIDTH), ())
    assert plain.reads == 1  # labels and sensor are known
    to_frames = tonic.transforms.Compose(
        [
            tonic.transforms.Denoise(filter_time=10_000),
            tonic.transforms.ToFrame(sensor_size=Tonic.sensor_size, n_time_bins=4),
        ]
    )
    framed = Tonic(to_frames)
    ours = load((framed, framed), num_steps=4, counts=True, layout="NTCHW")
    theirs = load((plain, plain), num_steps=4, counts=True, denoise=10_000)
    for index in range(4):
        assert torch.equal(ours.train[index][0], theirs.train[index][0])
        assert ours.train[index][0].sum() > 0


class Drawing(Dataset):
    targets = (0, 1, 2, 0)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        drawn = [float(torch.rand(())), np.random.rand(), random.random()]
        return torch.tensor(drawn).reshape(3, 1, 1), self.targets[index]


def test_draws_of_a_users_dataset_follow_from_seed_epoch_and_index():
    splits = load((Drawing(), Drawing()), seed=5)

    def items(epoch, order):
        splits.train.set_epoch(epoch)
        return {index: splits.train[index][0].flatten().tolist() for index in order}

    first = items(0, range(4))
    torch.manual_seed(9)
    np.random.seed(9)
    state = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    assert items(0, [3, 1, 0, 2]) == first
    assert random.getstate() == state[0]
    assert np.array_equal(np.random.get_state()[1], state[1])
    assert torch.equal(torch.get_rng_state(), state[2])
    every = [*first.values(), *items(1, range(4)).values()]
    assert len({tuple(one) for one in every}) == 8
    assert all(len({one[part] for one in every}) == 8 for part in range(3))


# what is refused ------------------------------------------------------------------------------------


class Streamed(IterableDataset):
    def __iter__(self):
        yield FRAMES[0], 0


class Raises(Listed):
    def __getitem__(self, index):
        if index == 3:
            raise OSError("truncated file")
        return super().__getitem__(index)


def renamed(events):
    return events.view([("timestamp", "u8"), ("p", "i1"), ("y", "u2"), ("x", "u2")])


def seconds(events):
    return {**mapping(events), "t": events["t"] / 1e6}


def changed(name, value):
    events = RECORDINGS[0].copy()
    events[name][7] = value
    return events


def both(given):
    return given, given


WRONG = {
    "time first, dataset": (
        both(Listed(lambda x: x.permute(3, 0, 1, 2))),
        r"train\[0\] has the shape \[4, 2, 5, 7\], read as \[C, H, W, T\] with 7 steps; if time comes "
        r"first, set layout: TNCHW in the recipe, or give x.permute\(1, 2, 3, 0\)$",
    ),
    "time first, arrays of numpy": (
        both((FRAMES.permute(0, 4, 1, 2, 3).numpy(), TARGETS.numpy())),
        r"with 7 steps; if time comes first, set layout: NTCHW in the recipe, or give "
        r"x.transpose\(0, 2, 3, 4, 1\)$",
    ),
    "time first, tensors": (
        both((FRAMES.permute(0, 4, 1, 2, 3), TARGETS)),
        r"x.permute\(0, 2, 3, 4, 1\)$",
    ),
    "SpikingJelly's [T, N, C, H, W]": (
        both((FRAMES.permute(4, 0, 1, 2, 3), TARGETS)),
        r"has inputs \[4, 6, 2, 5, 7\] and 6 labels; samples come first: .* layout: TNCHW .* "
        r"x.permute\(1, 2, 3, 4, 0\)",
    ),
    "other steps": (
        both((FRAMES[..., :3], TARGETS)),
        r"with 3 steps; set num_steps: 3 in the recipe \(it is 4\)$",
    ),
    "grey images without a channel": (
        both((np.zeros((6, 5, 7), np.uint8), TARGETS)),
        r"shape \[5, 7\], read as \[C, T\] with 7 steps; if it is a grey image, give it a channel: "
        r"x\[:, None\]; else set num_steps: 7 in the recipe \(it is 4\)$",
    ),
    "names as labels": (
        both((FRAMES, np.array(list("abcabc")))),
        r"train\[0\]: its label is 'a'; allowed are integers from 0 on: classes.index\(label\)$",
    ),
    "one-hot, dataset": (
        both(Listed(label=lambda y: torch.eye(3)[y])),
        r"train\[0\]: its label is one-hot, \[3\]; allowed are integers: label.argmax\(\), here 0",
    ),
    "one-hot, arrays": (both((FRAMES, torch.eye(3)[TARGETS])), r"train\[0\]: its label is one-hot"),
    "labels of floats": (both((FRAMES, TARGETS.float())), r"its label is .*; allowed are integers from 0 on"),
    "negative labels": (both((FRAMES, TARGETS - 1)), r"train\[0\]: its label is -1; allowed are integers"),
    "labels beyond the names": (
        OwnData(train=(FRAMES, TARGETS), test=(FRAMES, TARGETS), classes="ab"),
        r"train\[2\]: its label is 2; allowed are 0\.\.1",
    ),
    "an iterable loader": (both(DataLoader(Streamed())), r"train is a Streamed; use a dataset with a length"),
    "a generator": (both(iter([])), r"train is a list_iterator; use a dataset with a length"),
    "arrays without labels": (
        (FRAMES.numpy(), FRAMES.numpy()),
        r"train\[0\]: its label is float32 \[2, 5, 7, 4\]; allowed are integers from 0 on",
    ),
    "four things": (
        (1, 2, 3, 4),
        r"returned 4 things; return \(train, test\) or \(train, validation, test\)",
    ),
    "nothing": (None, r"mine:make: returned a NoneType; return"),
    "no sample": (both([]), r"train is empty; give at least one sample"),
    "fewer labels": (both((FRAMES[:5], TARGETS)), r"has 5 inputs and 6 labels; give one label each"),
    "a dataset that raises": (
        both(Raises()),
        r"train\[3\]: OSError: truncated file; mend it, or .*skip_bad: true",
    ),
    "numbers": (
        both([1, 2, 3]),
        r"train\[0\] has 0 dimensions; allowed are \[C, H, W, T\] or .*; set layout",
    ),
    "no pairs": (both([{"x": 1}]), r"train\[0\]: it is a dict; allowed is a pair of input and label"),
    "pictures": (
        both([("text", 0)]),
        r"train\[0\]: it is a str; allowed are arrays and tensors of numbers \(of pictures through",
    ),
    "images of integers": (
        both((torch.zeros(6, 3, 4, 4, dtype=torch.int64), TARGETS)),
        r"it is an image of int64; allowed are uint8, and floats in 0..1",
    ),
    "seconds": (
        both(([seconds(one) for one in RECORDINGS], LABELS)),
        r"train\[0\]: t is float64; allowed are integers in us: of seconds np.round\(t \* 1e6\)",
    ),
    "other fields": (
        both(([renamed(one) for one in RECORDINGS], LABELS)),
        r"its fields are \('timestamp', 'p', 'y', 'x'\); allowed are x, y, t, p; give "
        r"\{\"x\": e\[\"x\"\], \"y\": e\[\"y\"\], \"t\": e\[\"timestamp\"\], \"p\": e\[\"p\"\]\}, t in us",
    ),
    "polarities": (
        both(([changed("p", -1)] * 4, LABELS)),
        r"p holds \[-1, 0, 1\]; allowed are 0 and 1, or -1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_one_line_with_the_remedy(case):
    returned, message = WRONG[case]
    with pytest.raises(DataError, match=message) as found:
        load(returned, num_steps=4)
    assert "\n" not in str(found.value)
    assert str(found.value).startswith("mine:make")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((FRAMES[0][..., :3], 0), r"its shape is \[2, 5, 7, 3\], allowed is \[2, 5, 7, 4\]"),
        ((FRAMES[0, :, :, :, 0], 0), r"its shape is \[2, 5, 7\]; allowed are C, H, W, T"),
        ((FRAMES[0] * torch.nan, 0), "it holds values that are not finite"),
    ],
)
def test_bad_samples_are_named_when_they_are_read(item, message):
    items = [*zip(FRAMES, TARGETS.tolist(), strict=True), item]
    splits = load((items, items), num_steps=4)
    with pytest.raises(DataError, match=rf"mine:make train\[6\]: {message}"):
        splits.train[6]
    assert len(load((items, items), num_steps=4, skip_bad=True).train) == 6
    splits = load((Raises(), Raises()), num_steps=4, skip_bad=True)
    assert [label for _, label in splits.train] == [0, 1, 2, 1, 2]
    assert "train[3]: OSError: truncated file" in splits.skipped[0]


def test_pictures_and_floats_beyond_one_are_refused():
    from PIL import Image

    picture = Image.new("RGB", (4, 4))
    with pytest.raises(DataError, match=r"it is a Image; .*PILToTensor"):
        load(both([(picture, 0)] * 4))
    large = torch.full((6, 3, 4, 4), 200.0)
    with pytest.raises(DataError, match=r"its values are 200..200; allowed are uint8, or floats in 0..1"):
        load(both((large, TARGETS)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "size is for recordings, mine:make gives frames; leave it out"),
        ({"bin_us": 10}, "bin_us is for recordings"),
        ({"cache": "frames"}, "cache is not for mine:make; leave it out"),
        ({"normalize": True}, "normalize is not for mine:make"),
        ({"layout": "TCHW"}, "layout='TCHW' is not allowed; use the axes NCHWT, NCHW, NCT, NC in any order"),
        ({"layout": "NXHWT"}, "layout='NXHWT' is not allowed"),
        ({"layout": "NHWC"}, r"train has 5 dimensions; allowed are \[N, H, W, C\]; set layout"),
        ({"augment": "crop"}, "augment='crop' is unknown for mine:make"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(LavaBsnnError, match=message):
        load(both((FRAMES, TARGETS)), num_steps=4, **options)
    with pytest.raises(OptionError, match="is for data of your own, not for digits; leave it out"):
        data.load("digits", layout="NCHW")
    with pytest.raises(
        OptionError, match="data.load: name='mine' is unknown; use one of .*'package.module:func"
    ):
        data.load("mine")
    with pytest.raises(OptionError, match="data_options is for data of your own"):
        data.load("digits", options={"a": 1})
