"""Augmentation: exact on hand-made frames, and the same draws however the data is read."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from lava_bsnn import data
from lava_bsnn.data import augment, transforms
from lava_bsnn.errors import OptionError


class Numbered(torch.utils.data.Dataset):
    """Twelve frames [2, 6, 6, 3] of zeros and ones."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if not 0 <= index < 12:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        return torch.rand((2, 6, 6, 3), generator=generator).gt(0.5).float(), index


def drawn(draws):
    """Make the two functions that draw return fixed values."""

    class Fixed:
        def __enter__(self):
            self.patch = pytest.MonkeyPatch()
            values = iter(draws)
            for name in ("integer", "uniform"):
                self.patch.setattr(transforms, name, lambda low, high: self.take(next(values), low, high))

        def take(self, value, low, high):
            assert low <= value <= high
            return value

        def __exit__(self, *_):
            self.patch.undo()

    return Fixed()


FRAMES = Numbered()[0][0]


def test_flip_exchanges_left_and_right():
    with drawn([1, 0]):
        assert torch.equal(transforms.Flip()(FRAMES), FRAMES[:, :, [5, 4, 3, 2, 1, 0]])
        assert torch.equal(transforms.Flip()(FRAMES), FRAMES)


def test_roll_moves_rows_and_columns_around():
    with drawn([2, -1]):
        moved = transforms.Roll()(FRAMES)
    for row in range(6):
        for column in range(6):
            assert torch.equal(moved[:, (row + 2) % 6, (column - 1) % 6], FRAMES[:, row, column])


def test_a_quarter_turn_is_exact():
    with drawn([90.0]):
        turned = transforms.Rotate(degrees=90)(FRAMES)
    assert torch.equal(turned, FRAMES.rot90(-1, dims=(1, 2)))  # clockwise


def test_shear_moves_rows_along_x_only():
    frames = torch.zeros(2, 9, 9, 1)
    frames[:, :, 4] = 1
    with drawn([45.0]):
        moved = transforms.Shear(degrees=45)(frames)[0, :, :, 0]
    columns = [row.nonzero().flatten().tolist() for row in moved]
    assert columns in ([[k] for k in range(9)], [[8 - k] for k in range(9)])


def test_cutout_is_a_square_of_zeros_that_may_leave_the_frame():
    ones = torch.ones(2, 6, 6, 3)
    for centre, rows, columns in (((3, 3), (1, 5), (1, 5)), ((0, 5), (0, 2), (3, 6))):
        with drawn(centre):
            cut = transforms.Cutout(length=4)(ones)
        expected = torch.ones(2, 6, 6, 3)
        expected[:, slice(*rows), slice(*columns)] = 0
        assert torch.equal(cut, expected)
    assert ones.min() == 1  # the input is not changed


def test_cutout_of_images_fills_each_channel_with_its_own_value():
    info, fill = data.DATASETS["cifar10"], (0.5, 0.25, 2.0)
    _, (cut,) = transforms.build(info, ("cutout",), (3, 6, 6), cutout_fill=fill)
    image = torch.rand(3, 6, 6)
    with drawn([1, 4]):
        found = cut(image)
    expected = image.clone()
    for channel in range(3):
        expected[channel, :3, 3:] = fill[channel]
    assert torch.equal(found, expected)


def test_the_squares_of_cutout_are_0_where_the_network_normalises():
    info = data.DATASETS["digits"]
    encoding = info.encoding(normalize=True)
    plain, cut = (
        data.load("digits", augment=names, cutout_fill=info.mean).train for names in ((), ("cutout",))
    )
    changed = torch.stack([cut[i][0] for i in range(50)]) != torch.stack([plain[i][0] for i in range(50)])
    assert changed.any()
    levels, _ = encoding.messages(torch.stack([cut[i][0] for i in range(50)]))
    assert (levels[changed] == 0).all()
    black, _ = encoding.messages(torch.stack([data.load("digits").train[0][0]]))
    assert black.min() < 0  # what a square of 0 would have been


@pytest.mark.parametrize(
    ("name", "fill", "match"),
    [
        ("digits", (0.1, 0.2), r"cutout_fill=\(0\.1, 0\.2\) is not allowed; use .* each of 1 channels"),
        ("digits", (float("nan"),), r"cutout_fill=\(nan,\) is not allowed; use one finite number"),
        ("nmnist", (0.0, 0.0), r"cutout_fill is not for nmnist \(events\); leave it out"),
    ],
)
def test_a_wrong_fill_of_cutout_is_refused(name, fill, match):
    with pytest.raises(OptionError, match=match):
        data.load(name, augment="cutout", cutout_fill=fill)


def test_augmented_digits_stay_in_0_to_1():
    train = data.load("digits", augment="autoaugment").train
    for epoch in range(3):
        train.set_epoch(epoch)
        assert all(image.min() >= 0 and image.max() <= 1 for image, _ in train)


def test_crop_shifts_by_up_to_its_padding():
    image = torch.arange(36, dtype=torch.uint8).reshape(1, 6, 6)
    with drawn([1, 4]):
        cropped = transforms.Crop(padding=2)(image)
    expected = torch.zeros_like(image)
    expected[:, 1:, :4] = image[:, :5, 2:]
    assert cropped.dtype == torch.uint8
    assert torch.equal(cropped, expected)


@pytest.mark.parametrize("name", transforms.EVENTS)
def test_frames_stay_spikes_and_all_steps_move_alike(name):
    info, shape = data.DATASETS["nmnist"], (2, 34, 34)
    _, (transform,) = transforms.build(info, (name,), shape)
    one = torch.rand(2, 34, 34, 1).gt(0.7).float()
    for _ in range(20):
        moved = transform(one.repeat(1, 1, 1, 4))
        assert moved.shape == (2, 34, 34, 4)
        assert set(moved.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(moved, moved[..., :1].expand_as(moved))


def test_nda_flips_and_draws_one_of_four():
    _, (nda,) = transforms.build(data.DATASETS["nmnist"], ("nda",), (2, 34, 34))
    assert {type(choice).__name__ for choice in nda.choices} == {"Roll", "Rotate", "Shear", "Cutout"}
    frames = torch.rand(2, 6, 6, 1)
    with drawn([1, 0, 3, 0]):  # flip; first of the choices: roll by 3 rows
        assert torch.equal(nda(frames), frames.flip(2).roll(3, 1))


def test_images_are_augmented_in_the_usual_order():
    info = data.DATASETS["cifar10"]
    before, after = transforms.build(info, ("cutout", "autoaugment", "flip", "crop"), (3, 32, 32))
    assert [type(transform).__name__ for transform in before] == ["Crop", "Flip", "AutoAugment"]
    assert before[0].padding == 4
    assert after == [transforms.Cutout(length=16)]
    for side, pixels in ((28, 2), (32, 2), (224, 16), (8, 1)):
        (shift,), _ = transforms.build(info, ("shift",), (3, side, side))
        assert shift == transforms.Crop(padding=pixels)
    (resized,), _ = transforms.build(info, ("random-resized-crop",), (3, 20, 20))
    assert resized(torch.zeros(3, 50, 70, dtype=torch.uint8)).shape == (3, 20, 20)
    for channels in (1, 3):
        image = torch.randint(0, 256, (channels, 32, 32), dtype=torch.uint8)
        assert all(before[2](image).shape == image.shape for _ in range(30))


def items(dataset, workers=0, order=None):
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, sampler=order)
    return {label: tensor for tensor, label in loader}


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in first)


def test_draws_depend_on_seed_epoch_and_sample_only():
    roll = transforms.Roll()
    dataset = data.Augmented(Numbered(), roll, seed=3)
    dataset.set_epoch(2)
    expected = items(dataset)
    torch.manual_seed(99)
    assert same(items(dataset), expected)
    assert same(items(dataset, order=[11, 3, 7, 0]), expected)
    other = data.Augmented(Numbered(), roll, seed=3)
    assert not same(items(other), expected)  # epoch 0
    other.set_epoch(2)
    assert same(items(other), expected)
    other = data.Augmented(Numbered(), roll, seed=4)
    other.set_epoch(2)
    assert not same(items(other), expected)


@pytest.mark.parametrize("context", [pytest.param("fork", marks=pytest.mark.lava), "spawn"])
def test_workers_draw_the_same_and_follow_the_epoch(context):
    dataset = data.load("digits", augment=("crop", "autoaugment", "cutout")).train
    chosen = list(range(8))
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=1 if context == "spawn" else 2,
        sampler=chosen,
        persistent_workers=True,
        multiprocessing_context=context,
    )
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        found = torch.cat([images for images, _ in loader])
        assert torch.equal(found, torch.stack([dataset[i][0] for i in chosen]))
    dataset.set_epoch(0)
    assert not torch.equal(found, torch.stack([dataset[i][0] for i in chosen]))


def test_the_global_generator_is_left_alone():
    dataset = data.Augmented(Numbered(), transforms.Roll())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    dataset[0]
    assert torch.equal(torch.rand(3), expected)


def test_seeds_of_neighbours_differ_in_many_bits():
    seeds = {augment.mix(s, e, i) for s in range(5) for e in range(5) for i in range(50)}
    assert len(seeds) == 5 * 5 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert augment.mix(1, 11, 1) != augment.mix(11, 1, 1)
    assert 15 < bin(augment.mix(0, 0, 0) ^ augment.mix(0, 0, 1)).count("1") < 48


def test_test_data_is_not_augmented():
    plain, rolled = (data.load("digits", augment=names) for names in ((), ("crop",)))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(plain.test, rolled.test, strict=True))
    assert not all(torch.equal(a, b) for (a, _), (b, _) in zip(plain.train, rolled.train, strict=True))
