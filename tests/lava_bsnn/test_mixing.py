"""Mixup and CutMix pixel by pixel, their labels, and the loss of both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import models, training
from lava_bsnn.errors import OptionError
from lava_bsnn.training import Mixing, Recipe
from lava_bsnn.training.mixing import soft_targets


def images(*shape, dtype=torch.float32):
    return (255 * torch.rand(*shape)).to(torch.uint8) if dtype == torch.uint8 else torch.rand(*shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_mixup_is_the_weighted_mean_of_two_samples(dtype):
    x = images(6, 2, 5, 4, dtype=dtype)
    mixed, (partner, share) = Mixing(mixup=0.8)(x, 0, 1, 2, 0)
    assert mixed.dtype == dtype and 0 < share < 1
    for own, other, made in zip(x, x[partner], mixed, strict=True):
        expected = own.double() * share + other.double() * (1 - share)
        assert (made.double() - expected).abs().max() <= (0.5 + 1e-4 if dtype == torch.uint8 else 1e-6)


@pytest.mark.parametrize("steps", [(), (3,)])
def test_cutmix_fills_a_rectangle_and_its_share_is_that_of_the_pixels(steps):
    shares, areas = [], []
    for step in range(200):
        x = images(4, 2, 12, 9, *steps) + torch.arange(4.0).view(-1, *[1] * (3 + len(steps)))
        mixed, (partner, share) = Mixing(cutmix=1.0)(x, 0, 0, step, 0)
        for own, other, made in zip(x, x[partner], mixed, strict=True):
            theirs = made != own
            assert torch.equal(made, torch.where(theirs, other, own))
        moved = partner != torch.arange(4)
        if moved.any():
            sample = int(moved.nonzero()[0])
            theirs = (mixed[sample] != x[sample]).flatten(0, 0)
            plane = theirs[0, ..., 0] if steps else theirs[0]
            rows, columns = plane.any(1).nonzero(), plane.any(0).nonzero()
            if len(rows):
                block = plane[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
                assert block.all()
            assert 1 - plane.float().mean().item() == pytest.approx(share)
            shares.append(share)
            areas.append(bool(len(rows)))
    assert min(shares) < 0.4 and max(shares) > 0.9
    assert np.mean(areas) > 0.8


def test_the_same_place_mixes_in_the_same_way_and_half_of_the_batches_each():
    x = images(8, 1, 6, 6)
    both = Mixing(mixup=1.0, cutmix=1.0)
    first, again = both(x, 1, 2, 3, 0), both(x, 1, 2, 3, 0)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1][0], again[1][0])
    assert not torch.equal(both(x, 1, 2, 3, 0)[0], both(x, 1, 2, 4, 0)[0])
    pixels = torch.zeros(8, 1, 6, 6)
    pixels[4:] = 1
    cuts = [set(both(pixels, 0, 0, step, 0)[0].unique().tolist()) <= {0.0, 1.0} for step in range(200)]
    assert 0.35 < np.mean(cuts) < 0.65


@pytest.mark.parametrize("loss", [training.tet_cross_entropy, training.rate_cross_entropy])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_mixed_labels_is_the_weighted_mean_of_both(loss, smoothing):
    logits, labels, partner = (
        torch.randn(5, 3, 4),
        torch.tensor([0, 2, 1, 1, 0]),
        torch.tensor([4, 3, 2, 1, 0]),
    )
    mixed = loss(logits, soft_targets(labels, (partner, 0.3), 3), smoothing)
    expected = 0.3 * loss(logits, labels, smoothing) + 0.7 * loss(logits, labels[partner], smoothing)
    torch.testing.assert_close(mixed, expected)


def test_a_run_learns_shares_of_classes_of_mixed_samples():
    seen = []

    def watch(logits, targets):
        if logits.requires_grad:
            seen.append(targets)
        return logits.sum() * 0

    model = models.create("mlp", num_classes=3, in_shape=(1, 4, 4), num_steps=2)
    data = np.random.default_rng(0).random((12, 1, 4, 4, 2)).round().astype(np.float32), np.arange(12) % 3
    loss = training.TotalLoss({"watch": (1.0, watch), "tet": (1.0, training.tet_cross_entropy)})
    training.fit(model, data, data, epochs=1, batch_size=6, loss=loss, mixing=Mixing(cutmix=1.0))
    assert len(seen) == 2 and all(targets.shape == (6, 3) for targets in seen)
    torch.testing.assert_close(torch.cat(seen).sum(1), torch.ones(12))
    assert torch.cat(seen).unique().numel() > 2
    torch.testing.assert_close(torch.cat(seen).sum(0), torch.full((3,), 4.0))  # each partner once


def recipe(**options):
    return Recipe(dataset="digits", model="cnn", epochs=1, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixing(mixup=-1.0), "Mixing: mixup=-1.0 is not allowed; use 0 or more"),
        (lambda: Mixing(cutmix=1.0)(torch.rand(2, 3), 0), r"cutmix of samples \(3,\) is not allowed"),
        (
            lambda: soft_targets(torch.zeros(2, 3).long(), (torch.arange(2), 0.5), 4),
            "use one class per sample",
        ),
        (lambda: recipe(mixup=0.5, loss="mse"), "mixup is for loss 'tet' or 'rate', not 'mse'"),
        (
            lambda: training.fit(
                models.create("mlp", num_classes=2, in_shape=(4,), num_steps=2),
                (np.zeros((4, 4, 2), np.float32), np.zeros((4, 2), np.float32)),
                (np.zeros((4, 4, 2), np.float32), np.zeros((4, 2), np.float32)),
                epochs=1,
                loss=training.mean_squared_error,
                mixing=Mixing(mixup=1.0),
            ),
            "fit: mixing is for classes",
        ),
        (lambda: recipe(optimizer="bso", ema_decay=0.9), "ema_decay=0.9 is not allowed with optimizer='bso'"),
        (lambda: recipe(decay="none"), "decay='none' is unknown"),
        (lambda: recipe(spike_term="max"), "spike_term='max' is unknown"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
