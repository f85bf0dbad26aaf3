"""Samples become the integers of an independent reference, in numpy and torch alike."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lava_bsnn import data
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import OptionError, ShapeError

CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
IMAGES = Encoding.images(*CIFAR)
KINDS = [
    Encoding(),
    Encoding(kind="counts", bits=3),
    Encoding(kind="counts", bits=2, saturate=True),
    Encoding(kind="intensities", bits=1),
    Encoding(kind="intensities", bits=4),
    Encoding(kind="intensities", bits=8),
    IMAGES,
    Encoding.images(*IMAGENET, bits=5),
    dataclasses.replace(IMAGES, bits=7, rails=True),
]


def nearest32(exact):
    """float32 that is nearest to a fraction, ties to the even one."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]

    def wrong(value):
        return abs(Fraction(float(value)) - exact), int(value.view(np.uint32)) & 1

    return min(around, key=wrong)


def read(sample):
    """float32 that a sample of any type means; that of a pixel is x / 255."""
    return nearest32(Fraction(int(sample), 255)) if isinstance(sample, np.uint8) else np.float32(sample)


def slow_message(coding, sample, channel):
    """One message, signed, step by step in exact fractions; halves go to the even integer."""
    real = coding.kind in ("intensities", "images")
    x = Fraction(float(read(sample) if real else np.float32(sample)))
    if coding.kind == "intensities":
        return round(Fraction(float(nearest32(x * (2**coding.bits - 1)))))
    if coding.kind == "images":
        mean, std = (Fraction(v[channel], 10**6) for v in (coding.mean, coding.std))
        return round((x - mean) / std * coding.gain)
    most = 2**coding.bits - 1 if coding.bits else 1
    return min(int(x), most) if coding.saturate else int(x)


def slow_messages(coding, x):
    """Messages of samples ``[N, C, ...]``, one by one."""
    result = np.zeros(x.shape, int)
    for place in np.ndindex(x.shape):
        result[place] = slow_message(coding, x[place], place[1])
    if coding.rails:
        return np.concatenate([np.maximum(result, 0), np.maximum(-result, 0)], 1)
    return result


def samples(coding, shape, dtype, seed=0):
    """Random samples that an encoding takes, with both ends of its range."""
    rng = np.random.default_rng(seed)
    if coding.kind in ("spikes", "counts"):
        most = coding.high + (5 if coding.saturate else 0)
        x = rng.integers(0, most + 1, shape)
        x.flat[:2] = 0, most
        return x.astype(dtype)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    x = rng.random(shape)
    x.flat[:2] = 0, 1
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8, np.int64, bool])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5), (2, 3, 4, 5, 3)])
@pytest.mark.parametrize("coding", KINDS, ids=str)
def test_messages_are_those_of_the_slow_reference_in_numpy_and_torch(coding, shape, dtype):
    x = samples(coding, shape, dtype)
    expected = slow_messages(coding, x)
    ours, saturated = coding.messages(x)
    theirs, also = coding.messages(torch.from_numpy(x))
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(theirs.numpy(), expected)
    assert ours.dtype == theirs.numpy().dtype and ours.dtype.kind == "f"
    assert coding.low <= expected.min() and expected.max() <= coding.high
    most = 3 if coding.saturate else np.inf
    assert saturated == also == sum(1 for value in x.flat if float(value) > most)


@given(st.floats(0, 1), st.sampled_from(KINDS[3:]), st.integers(0, 2))
def test_any_real_number_is_read_as_float32(value, coding, channel):
    x = np.zeros((1, 3))
    x[0, channel] = value
    for one in (x, x.astype(np.float32)):
        np.testing.assert_array_equal(coding.messages(one)[0], slow_messages(coding, one))
        np.testing.assert_array_equal(coding.messages(torch.from_numpy(one))[0], slow_messages(coding, one))


@pytest.mark.parametrize("bits", range(1, 9))
def test_halves_are_rounded_to_even(bits):
    most = 2**bits - 1
    halves = np.float32((np.arange(most) + 0.5) / most)
    x = np.stack([np.nextafter(halves, np.float32(0)), halves, np.nextafter(halves, np.float32(1))])
    near = np.outer([1 - 1e-9, 1, 1 + 1e-9], (np.arange(most) + 0.5) / most)  # float32 sees no difference
    coding = Encoding(kind="intensities", bits=bits)
    for one in (x, near):
        expected = slow_messages(coding, one)
        np.testing.assert_array_equal(coding.messages(one)[0], expected)
        np.testing.assert_array_equal(coding.messages(torch.from_numpy(one))[0], expected)


def test_halves_of_images_are_rounded_to_even():
    coding = Encoding(kind="images", bits=8, mean=(0,), std=(1_000_000,), gain=4)
    x = np.float32([0.125, 0.375, 0.625, 0.875])[:, None]
    assert coding.messages(x)[0].ravel().tolist() == [0, 2, 2, 4]
    assert coding.messages(torch.from_numpy(x))[0].flatten().tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize("coding", KINDS[3:], ids=str)
def test_each_pixel_means_itself_over_255(coding):
    pixels = np.arange(256, dtype=np.uint8)
    x = np.stack([pixels] * 3)[None, :, None]
    real = np.array([nearest32(Fraction(int(p), 255)) for p in pixels])[None, None, None]
    real = np.broadcast_to(real, (1, 3, 1, 256)).copy()
    expected = slow_messages(coding, x)
    for one in (x, real, torch.from_numpy(x), torch.from_numpy(real)):
        np.testing.assert_array_equal(np.asarray(coding.messages(one)[0]), expected)
    signed = expected[:, :3] - expected[:, 3:] if coding.rails else expected
    table = coding.table(3)
    assert table.dtype == np.int32 and table.shape == (3, 256)
    np.testing.assert_array_equal(table, signed[0, :, 0])
    np.testing.assert_array_equal(np.float32(pixels) / np.float32(255), real[0, 0, 0])


def farthest(mean, std):
    """Deviations from the mean of the pixel that is farthest from it."""
    exact = [(Fraction(str(m)), Fraction(str(s))) for m, s in zip(mean, std, strict=True)]
    return max(max(m, 1 - m) / s for m, s in exact)


@pytest.mark.parametrize(
    ("mean", "std", "bits", "gain"),
    [
        (*CIFAR, 8, 59),
        (CIFAR[0], (0.2023, 0.1994, 0.2010), 8, 46),
        (*IMAGENET, 8, 48),
        (*CIFAR, 4, 3),
        ((0.5,), (0.5,), 8, 127),
        ((0.75, 0.25), (0.25, 0.5), 8, 42),
        ((0.5,), (0.5,), 2, 1),
    ],
)
def test_the_gain_is_the_largest_with_which_no_pixel_leaves_the_bits(mean, std, bits, gain):
    coding, most = Encoding.images(mean, std, bits=bits), 2 ** (bits - 1) - 1
    assert coding.gain == gain
    assert gain * farthest(mean, std) <= most < (gain + 1) * farthest(mean, std)
    assert (coding.low, coding.high, coding.signed) == (-most, most, True)
    ends = coding.table(len(mean))[:, [0, 255]]
    assert np.abs(ends).max() <= most
    assert coding.mean == tuple(round(m * 10**6) for m in mean)
    assert coding.std == tuple(round(s * 10**6) for s in std)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tiny-imagenet", "imagenet", "imagenet-200"])
def test_catalogued_sets_of_images_fill_eight_bits(name):
    info = data.DATASETS[name]
    coding = info.encoding(normalize=True)
    assert coding == Encoding.images(info.mean, info.std)
    assert 100 < np.abs(coding.table(3)).max() <= 127
    if name == "cifar10":
        assert coding.gain == 59


def test_rails_are_the_positive_parts_then_the_negative_ones():
    rails = dataclasses.replace(IMAGES, bits=7, rails=True)
    x = samples(IMAGES, (3, 3, 5, 4), np.float32)
    signed = IMAGES.messages(x)[0]
    for one in (x, torch.from_numpy(x)):
        both = np.asarray(rails.messages(one)[0])
        assert both.shape == (3, 6, 5, 4) and both.min() == 0
        np.testing.assert_array_equal(both[:, :3] - both[:, 3:], signed)
        assert not (both[:, :3] * both[:, 3:]).any()
    assert (rails.low, rails.high, rails.signed) == (0, 127, False)


def test_larger_counts_become_the_largest_and_are_counted():
    coding = Encoding(kind="counts", bits=2, saturate=True)
    x = np.float32([[0, 3, 4, 1e6]])
    for one in (x, torch.from_numpy(x)):
        levels, saturated = coding.messages(one)
        assert np.asarray(levels).tolist() == [[0, 3, 3, 3]] and saturated == 2
    with pytest.raises(ShapeError, match=r"in 0..1e\+06 are no counts of 2 bits; use whole numbers 0..3"):
        dataclasses.replace(coding, saturate=False).messages(x)


def test_nothing_is_encoded_to_nothing():
    for coding in KINDS:
        assert coding.messages(np.zeros((0, 3, 4)))[0].size == 0
        assert coding.messages(torch.zeros(0, 3, 4))[0].numel() == 0


@pytest.mark.parametrize(
    ("coding", "values", "message"),
    [
        (
            Encoding(),
            [0, 0.5],
            r"values in 0..0.5 that are not whole are no spikes \(0 or 1\).*give bits=1..8",
        ),
        (Encoding(), [0, 2], "values in 0..2 are no spikes"),
        (Encoding(), [-1, 1], "values in -1..1 are no spikes"),
        (Encoding(), [0, np.nan], "nan"),
        (
            Encoding(kind="counts", bits=3),
            [0, 8],
            "0..8 are no counts of 3 bits; use whole numbers 0..7",
        ),
        (Encoding(kind="counts", bits=3), [0, 0.5], "0..0.5 that are not whole are no counts of 3 bits"),
        (Encoding(kind="counts", bits=3, saturate=True), [-1, 9], "-1..9 are no counts"),
        (Encoding(kind="intensities", bits=4), [0, 1.001], "scale them to 0..1, or give uint8 pixels"),
        (Encoding(kind="intensities", bits=4), [-0.001, 1], "-0.001..1 are not allowed"),
        (Encoding(kind="intensities", bits=4), [0, np.nan], "nan..nan are not allowed"),
        (Encoding.images((0.5, 0.5), (0.5, 0.5)), [0, 255], "0..255 are not allowed; scale them to 0..1"),
        (Encoding.images((0.5, 0.5), (0.5, 0.5)), [-1, 1], "-1..1 are not allowed"),
        (IMAGES, [0, 1], r"here: 2 channels do not fit; the encoding has 3 \(mean, std\)"),
    ],
)
def test_samples_that_do_not_fit_are_named(coding, values, message):
    x = np.float64(values)[None]
    for one in (x, torch.from_numpy(x)):
        with pytest.raises(ShapeError, match=f"here: .*{message}" if "here" not in message else message) as e:
            coding.messages(one, "here")
        assert "\n" not in str(e.value)


GOOD = dict(kind="images", bits=8, mean=(0, 0), std=(10**6, 10**6), gain=100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(kind="pixels"),
            "kind='pixels' is unknown; use one of 'spikes', 'counts', 'intensities', 'images'",
        ),
        (dict(bits=1), "bits=1 is not allowed for spikes; use 0"),
        (dict(kind="counts"), "bits=0 is not allowed for counts; use 1..8"),
        (dict(kind="counts", bits=9), "bits=9 is not allowed for counts; use 1..8"),
        (dict(kind="intensities", bits=True), "bits=True is not allowed for intensities"),
        (dict(kind="intensities", bits=4.0), "bits=4.0 is not allowed for intensities"),
        ({**GOOD, "bits": 1}, "bits=1 is not allowed for images; use 2..8"),
        ({**GOOD, "rails": True}, "bits=8 is not allowed for images; use 1..7"),
        (dict(repeat=0), "repeat=0, steps=0 are not allowed"),
        (dict(steps=-1), "repeat=1, steps=-1 are not allowed"),
        (dict(steps=2.5), "steps=2.5 are not allowed"),
        (dict(saturate=True), "saturate is for counts, not for spikes"),
        (dict(kind="intensities", bits=4, gain=3), "are for images, not for intensities"),
        (dict(kind="counts", bits=4, rails=True), "are for images, not for counts"),
        ({**GOOD, "mean": (), "std": ()}, "mean and std of images are integers, one of each per channel"),
        ({**GOOD, "mean": (0,)}, "one of each per channel"),
        ({**GOOD, "mean": (0, 0.5)}, "mean and std of images are integers"),
        ({**GOOD, "gain": 1.5}, "mean and std of images are integers"),
        ({**GOOD, "std": (0, 1)}, r"std=\(0, 1\), gain=100 are not allowed; use 1 or more"),
        ({**GOOD, "gain": 0}, "gain=0 are not allowed; use 1 or more"),
        ({**GOOD, "gain": 128}, "gain=128 gives 128; messages go to 127"),
        ({**GOOD, "mean": (10**6, -(10**6))}, "gain=100 gives 200; messages go to 127"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(OptionError, match=f"Encoding: .*{message}"):
        Encoding(**options)


@pytest.mark.parametrize(
    ("mean", "std"), [((), ()), ((0.5,), (0.5, 0.5)), ((0.5,), (0.0,)), ((0.5,), (-1.0,)), ((0.5,), (1e-7,))]
)
def test_images_need_a_mean_and_a_deviation_per_channel(mean, std):
    with pytest.raises(OptionError, match="are not allowed; give both per channel"):
        Encoding.images(mean, std)


def test_numbers_of_numpy_become_pythons():
    coding = Encoding(
        kind="images",
        bits=np.int64(8),
        mean=(np.int32(3),),
        std=np.array([1_000_000]),
        gain=np.uint8(9),
        repeat=np.int8(2),
        steps=np.int16(4),
    )
    plain = Encoding(kind="images", bits=8, mean=(3,), std=(1_000_000,), gain=9, repeat=2, steps=4)
    assert coding == plain and repr(coding) == repr(plain)


def test_encodings_are_told_in_words():
    rails = dataclasses.replace(IMAGES, bits=7, rails=True)
    words = [str(coding) for coding in (Encoding(), Encoding(kind="counts", bits=3), IMAGES, rails)]
    assert words == ["spikes", "3-bit counts", "signed 8-bit images", "two rails of 7-bit images"]
    assert [coding.event_driven for coding in KINDS] == [True] * 3 + [False] * 6
