"""The input block: messages of the device, their gradients, and what it keeps of a training."""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch

from lava_bsnn import block, models, training
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError, OptionError, ShapeError
from lava_bsnn.functional import direct_code
from netx_export import convert

IMAGES = Encoding.images((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
RAILS = dataclasses.replace(IMAGES, bits=7, rails=True)
COUNTS = Encoding(kind="counts", bits=3)


def entry_of(encoding=None, **options):
    entry = block.Input(encoding=encoding, **options)
    entry.build((3, 4, 4))
    return entry


def small_model(num_steps=2, **options):
    """A chain with one hidden layer whose batch norm has seen data."""
    torch.manual_seed(0)
    entry = block.Input(**options)
    shape = entry.build((3, 4, 4))
    chain = [
        entry,
        block.Flatten(),
        block.Dense({"threshold": 0.5}, math.prod(shape), 12),
        block.Readout(None, 12, 4),
    ]
    model = models.SpikingNetwork(chain, in_shape=(3, 4, 4), num_steps=num_steps)
    model.blocks[2].norm.num_batches_tracked.fill_(1)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("encoding", "slopes"),
    [
        (Encoding(), (1, 1, 1)),
        (COUNTS, (1, 1, 1)),
        (Encoding(kind="intensities", bits=4), (15, 15, 15)),
        (IMAGES, (59 / 0.2470, 59 / 0.2435, 59 / 0.2616)),
        (RAILS, (59 / 0.2470, 59 / 0.2435, 59 / 0.2616)),
    ],
    ids=str,
)
def test_the_gradient_goes_straight_through_the_rounding(encoding, slopes, dtype):
    entry = entry_of(encoding).to(dtype)
    whole = encoding.event_driven
    frames = torch.randint(0, 2, (5, 3, 4, 4)).to(dtype) if whole else torch.rand(5, 3, 4, 4, dtype=dtype)
    expected = encoding.messages(frames)[0]
    for x in (frames[..., None].repeat(1, 1, 1, 1, 2), frames.clone()):
        x.requires_grad_()
        y = entry(x if x.dim() == 5 else direct_code(x, 2))
        assert y.dtype == dtype
        assert torch.equal(y, expected[..., None].expand_as(y).to(dtype))
        upstream = torch.randn_like(y)
        (ours,) = torch.autograd.grad(y, x, upstream)
        if encoding.rails:
            upstream = upstream[:, :3] - upstream[:, 3:]
        theirs = upstream * torch.tensor(slopes, dtype=dtype).view(3, 1, 1, 1)
        torch.testing.assert_close(ours, theirs if x.dim() == 5 else theirs.sum(-1))


@pytest.mark.parametrize("encoding", [Encoding(kind="intensities", bits=4), IMAGES, RAILS], ids=str)
def test_a_model_in_double_precision_sends_the_messages_of_its_export(encoding):
    """Halves that float32 cannot tell apart, and values as they come."""
    model = small_model(encoding=encoding).double().eval()
    net = convert(model, "extended")
    close = (np.arange(15) + 0.5)[:, None] * (1 + np.array([-1e-9, 0, 1e-9])) / 15
    x = np.concatenate([[(0.5 + 1e-9) / 15], close.ravel(), np.random.default_rng(0).random(2 * 48 - 46)])
    x = x.reshape(2, 3, 4, 4)
    ours = model.blocks[0](direct_code(torch.from_numpy(x), 2))
    assert ours.dtype == torch.float64
    np.testing.assert_array_equal(ours.numpy(), net.encode(x, 2))
    np.testing.assert_array_equal(ours.numpy(), net.encode(x.astype(np.float32), 2))


def test_real_numbers_in_place_of_spikes_warn_once_and_refuse_export():
    model = small_model()
    spikes, real = torch.randint(0, 2, (5, 3, 4, 4)).float(), torch.rand(5, 3, 4, 4)
    model(spikes)
    assert model.blocks[0].refused == ""
    with pytest.warns(UserWarning, match="are no spikes .*; export will be refused"):
        model(real)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(real * 2)
        model.eval()(real * 3)
    assert torch.equal(model.blocks[0](direct_code(real, 2)), direct_code(real, 2))  # as they are
    message = r"Input: values in \S+ that are not whole are no spikes .*bits=None trains without this warning"
    with pytest.raises(ExportError, match=message):
        convert(model, "extended")
    model(spikes)
    with pytest.raises(ExportError, match=message):
        convert(copy.deepcopy(model), "extended")


def test_any_real_numbers_are_taken_on_request_and_no_device_takes_them():
    model = small_model(bits=None)
    x = torch.randn(5, 3, 4, 4) * 1e3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(x)
    assert model.encoding is None and model.blocks[0].samples is None
    assert torch.equal(model.blocks[0](direct_code(x, 2)), direct_code(x, 2))
    with pytest.raises(ExportError, match="real numbers cannot enter a device; use bits=1..8 or an encoding"):
        convert(model.eval(), "extended")


@pytest.mark.parametrize("encoding", [COUNTS, Encoding(kind="intensities", bits=4), IMAGES], ids=str)
def test_samples_that_the_encoding_does_not_take_are_an_error(encoding):
    with pytest.raises(ShapeError, match=r"pixels: values in -1\.\."):
        entry_of(encoding, name="pixels")(torch.tensor(-1.0).expand(1, 3, 4, 4, 2))


def test_an_input_with_neurons_takes_real_numbers():
    entry = block.Input({"threshold": 0.5}, weight=2.0, bias=0.1)
    assert entry.encoding is None and set(entry(torch.rand(2, 3, 5)).unique().tolist()) == {0, 1}


def test_a_few_samples_of_the_training_are_kept():
    entry = entry_of(Encoding(kind="intensities", bits=4))
    frames = torch.rand(20, 3, 4, 4)
    entry.eval()(direct_code(frames, 4))
    assert entry.samples is None
    entry.train()(direct_code(frames, 4))
    assert torch.equal(entry.samples, frames[:16])
    entry(direct_code(frames.flip(0), 4))
    assert torch.equal(entry.samples, frames[:16])  # the next ones only after a while
    for _ in range(49):
        entry(direct_code(frames[:5] / 2, 4))
    assert torch.equal(entry.samples, frames[:5] / 2)


def test_kept_samples_move_only_if_the_input_does():
    entry = entry_of()
    moving = torch.randint(0, 2, (3, 3, 4, 4, 6)).float()
    entry(moving)
    assert torch.equal(entry.samples, moving)
    moving[:] = 7
    assert entry.samples.max() == 1  # a copy


def test_kept_samples_are_few_where_they_are_large():
    entry = block.Input(bits=8)
    entry.build((3, 300, 400))
    entry(direct_code(torch.rand(4, 3, 300, 400), 2))
    assert len(entry.samples) == 1


def test_kept_samples_are_no_part_of_a_checkpoint_nor_of_an_average():
    model = small_model(bits=4)
    assert not [name for name in model.state_dict() if name.startswith("blocks.0")]
    data = np.random.default_rng(0).random((24, 3, 4, 4)), np.arange(24) % 4
    training.fit(model, data, data, epochs=2, batch_size=8, ema_decay=0.5)
    assert model.blocks[0].samples.shape == (8, 3, 4, 4)
    assert not [name for name in model.state_dict() if name.startswith("blocks.0")]
    fresh = small_model(bits=4)
    fresh.load_state_dict(model.state_dict())
    assert fresh.blocks[0].samples is None


def pixels(number=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, 3, 4, 4), dtype=np.uint8), rng.integers(0, 4, number)


@pytest.mark.parametrize(
    "encoding",
    [Encoding(kind="intensities", bits=8), Encoding(kind="intensities", bits=3), IMAGES, RAILS],
    ids=str,
)
@pytest.mark.parametrize("double", [False, True])
def test_uint8_pixels_train_and_classify_as_x_over_255_does(encoding, double):
    x, y = pixels()
    real = np.float32(x) / np.float32(255)
    weights, classes, rates = [], [], []
    for inputs in (x, real):
        model = small_model(encoding=encoding)
        model = model.double() if double else model
        training.fit(model, (inputs, y), (inputs, y), epochs=2, batch_size=8)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        classes.append(training.predict(model, inputs))
        rates.append(training.accuracy(model, inputs, y))
        kept = model.blocks[0].samples
        assert kept.dtype == (torch.uint8 if inputs is x else weights[-1].dtype)
        assert torch.equal(*(model.blocks[0](direct_code(torch.from_numpy(one), 2)) for one in (x, real)))
    assert torch.equal(*weights)
    np.testing.assert_array_equal(*classes)
    assert rates[0] == rates[1] > 0 and len(np.unique(classes[0])) > 1


@pytest.mark.parametrize("with_input", [False, True])
def test_bytes_are_numbers_to_a_model_that_knows_no_pixels(with_input):
    x, y = pixels()
    weights = []
    for inputs in (x, x.astype(np.float32)):
        model = small_model(bits=None)
        if not with_input:
            model = models.SpikingNetwork(model.blocks[1:], in_shape=(3, 4, 4), num_steps=2)
        training.fit(model, (inputs, y), (inputs, y), epochs=1, batch_size=8)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert training.predict(model, inputs).shape == (24,)
    assert torch.equal(*weights)


def test_bytes_of_0_and_1_are_spikes():
    x = torch.randint(0, 2, (3, 3, 4, 4, 2), dtype=torch.uint8)
    assert torch.equal(entry_of()(x), x.float())
    assert torch.equal(entry_of().double()(x), x.double())


def test_saturated_counts_are_counted():
    entry = entry_of(dataclasses.replace(COUNTS, saturate=True))
    x = torch.full((2, 3, 4, 4, 5), 7.0)
    x[0, 0] = 9
    y = entry(x)
    assert y.max() == 7 and (entry.saturated, entry.received) == (80, 480)
    entry(direct_code(x[..., 0], 5))
    assert (entry.saturated, entry.received) == (96, 576)  # a frame that is repeated counts once


def test_rails_double_the_channels_of_the_blocks_behind():
    model = small_model(encoding=RAILS)
    assert model.blocks[0].shape == (6, 4, 4) and model.blocks[2].input_shape == (96,)
    assert model(torch.rand(2, 3, 4, 4)).shape == (2, 4, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: block.Input(bits=True),
            OptionError,
            r"bits=True is not allowed; use 0 \(spikes\), 1..8, or None",
        ),
        (lambda: block.Input(bits=-1), OptionError, "bits=-1 is not allowed"),
        (lambda: block.Input(bits=4.0), OptionError, "bits=4.0 is not allowed"),
        (lambda: block.Input(bias=1.0), OptionError, "weight and bias need neuron_params"),
        (
            lambda: block.Input(encoding=IMAGES, name="in").build((1, 4, 4)),
            ShapeError,
            r"in: input shape \(1, 4, 4\) does not fit the encoding's 3 channels",
        ),
        (
            lambda: block.Input().build((4, 4)),
            ShapeError,
            r"\(4, 4\) is not allowed; use \(C, H, W\) or \(C,\)",
        ),
        (lambda: block.Input()(torch.zeros(4, 4)), ShapeError, r"shape \(4, 4\) is not allowed; use \[N, C"),
    ],
)
def test_what_does_not_fit_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_input_tells_what_it_takes():
    assert [repr(block.Input(bits=bits)) for bits in (None, 0, 8)] == [
        "Input(real numbers)",
        "Input(spikes)",
        "Input(8-bit intensities)",
    ]
    assert [block.Input(bits=bits).bits for bits in (None, 0, 8)] == [0, 0, 8]
    assert block.Input(bits=4, encoding=IMAGES).encoding is IMAGES
