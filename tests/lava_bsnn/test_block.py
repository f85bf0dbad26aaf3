from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lava.lib.dl import slayer

from lava_bsnn import block, functional
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError, OptionError, ShapeError
from lava_bsnn.neuron import MultiThresholdLIF
from lava_bsnn.norm import BatchNorm

PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}


def small_net(**conv_options):
    return torch.nn.Sequential(
        block.Input(bits=4),
        block.Conv(PARAMS, 1, 6, 3, padding=1, binarize=None),
        block.Conv(PARAMS, 6, 8, 3, stride=2, padding=1, **conv_options),
        block.Pool(PARAMS, 2),
        block.Flatten(),
        block.Dense(PARAMS, 32, 12),
        block.Readout(None, 12, 10),
    )


@pytest.mark.parametrize(
    ("ours", "stock"),
    [
        (block.Conv, slayer.block.base.AbstractConv),
        (block.Dense, slayer.block.base.AbstractDense),
        (block.Pool, slayer.block.base.AbstractPool),
        (block.Flatten, slayer.block.base.AbstractFlatten),
        (block.Input, slayer.block.base.AbstractInput),
        (block.Readout, slayer.block.base.AbstractAffine),
    ],
)
def test_blocks_derive_from_slayers(ours, stock):
    assert issubclass(ours, stock)


def test_positional_arguments_are_slayers():
    ours = block.Conv(PARAMS, 4, 8, (3, 5), (2, 1), (1, 2), 1, 2, binarize=None, weight_bits=None)
    stock = slayer.block.cuba.Conv({**PARAMS, "current_decay": 1.0}, 4, 8, (3, 5), (2, 1), (1, 2), 1, 2)
    for name in ("kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(ours.synapse, name) == getattr(stock.synapse, name)
    assert ours.synapse.weight.shape == stock.synapse.weight.shape
    stock.synapse.pre_hook_fx = None
    ours.synapse.load_state_dict(stock.synapse.state_dict())
    x = torch.rand(2, 4, 9, 11, 5)
    np.testing.assert_allclose(ours.synapse(x).detach(), stock.synapse(x).detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("in_neurons", [30, (3, 2, 5)])
def test_dense_synapse_equals_slayers(in_neurons):
    ours = block.Dense(PARAMS, in_neurons, 7, binarize=None, weight_bits=None)
    stock = slayer.synapse.Dense(in_neurons, 7)
    stock.load_state_dict(ours.synapse.state_dict())
    x = torch.rand(4, 30, 6) if in_neurons == 30 else torch.rand(4, 5, 2, 3, 6)
    np.testing.assert_allclose(ours.synapse(x).detach(), stock(x).detach(), rtol=1e-4, atol=1e-6)


def test_shapes_are_known_after_build_and_match_forward():
    net = small_net()
    assert block.build(net, (1, 8, 8)) == (10,)
    x = functional.direct_code(torch.rand(3, 1, 8, 8), 4)
    for module in net:
        x = module(x)
        assert tuple(x.shape[1:-1]) == tuple(module.shape)


def test_forward_changes_nothing_but_norm_statistics():
    net = small_net().eval()
    block.build(net, (1, 8, 8))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    attributes = [sorted(vars(module)) for module in net.modules()]
    net(functional.direct_code(torch.rand(3, 1, 8, 8), 4))
    assert attributes == [sorted(vars(module)) for module in net.modules()]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_the_callers_parameters_are_not_changed():
    params = {"threshold": 1.0, "voltage_decay": 0.5, "norm": None}
    before = copy.deepcopy(params)
    block.Conv(params, 1, 2, 3)
    block.Pool(params, 2)
    block.Dense(params, 4, 2)
    assert params == before


def test_output_is_stored_time_major():
    net = small_net()
    x = functional.direct_code(torch.rand(3, 1, 8, 8), 4)
    for module in list(net)[:4]:
        x = module(x)
    assert x.movedim(-1, 0).movedim(2, -1).is_contiguous()  # channels last


def test_binary_weights_are_two_values_per_channel():
    conv = block.Conv(PARAMS, 3, 4, 3)
    for channel in conv.synapse.effective_weight():
        assert len(channel.detach().abs().unique()) == 1
    layer = block.Conv(PARAMS, 3, 4, 3, binarize="layer")
    assert len(layer.synapse.effective_weight().detach().abs().unique()) == 1


def test_a_repeated_frame_is_convolved_once_with_the_same_result():
    conv = block.Conv(PARAMS, 2, 4, 3, padding=1).eval()
    frames = torch.rand(3, 2, 6, 6)
    repeated = functional.direct_code(frames, 5)
    current = conv.current(repeated)
    assert current.stride(-1) == 0
    np.testing.assert_allclose(
        current.detach(), conv.current(repeated.clone()).detach(), rtol=1e-5, atol=1e-6
    )
    assert torch.equal(conv(repeated), conv(repeated.clone()))


def test_batch_norm_equals_torch_on_images():
    ours, reference = BatchNorm(4), torch.nn.BatchNorm2d(4)
    x = torch.randn(3, 4, 5, 5, 6)
    images = x.movedim(-1, 0).flatten(0, 1)
    expected = reference(images).unflatten(0, (6, 3)).movedim(0, -1)
    np.testing.assert_allclose(ours(x).detach(), expected.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.running_var, reference.running_var, rtol=1e-6)
    ours.eval()
    gain, offset = ours.affine_terms()
    np.testing.assert_allclose(
        ours(x).detach(),
        (x * gain.view(-1, 1, 1, 1) + offset.view(-1, 1, 1, 1)).detach(),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(("mode", "scale"), [("average", 1 / 6), ("sum", 1.0)])
def test_pool_without_neuron_is_torchs(mode, scale):
    pool = block.Pool(None, (2, 3), mode=mode)
    x = torch.rand(2, 3, 4, 9, 5)
    images = x.movedim(-1, 0).flatten(0, 1)
    expected = F.avg_pool2d(images, (2, 3)) * 6 * scale
    np.testing.assert_allclose(pool(x).movedim(-1, 0).flatten(0, 1), expected, rtol=1e-5)
    assert pool.build((3, 4, 9)) == (3, 2, 3)


def test_pool_with_neuron_fires_on_half_of_its_window():
    pool = block.Pool({"threshold": 0.5, "voltage_decay": 1.0}, 2)
    x = torch.zeros(1, 1, 2, 4, 1)
    x[0, 0, 0, :3, 0] = 1
    assert pool(x).flatten().tolist() == [1, 0]


def test_readout_gives_logits_per_step():
    readout = block.Readout(None, 6, 3, weight_bits=None)
    with torch.no_grad():
        readout.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = torch.randint(0, 2, (2, 6, 4)).float()
    weight = readout.synapse.weight.flatten(1)
    expected = torch.einsum("oi,nit->not", weight, x) + readout.bias[:, None]
    np.testing.assert_allclose(readout(x).detach(), expected.detach(), rtol=1e-5, atol=1e-6)


def test_input_rounds_intensities_to_integers():
    entry = block.Input(bits=4)
    x = functional.direct_code(torch.tensor([[0.0, 0.03, 0.04, 0.5, 1.0]]), 3)
    assert entry(x)[0, :, 0].tolist() == [0, 0, 1, 8, 15]
    with pytest.raises(ShapeError, match=r"0..1.5 are not allowed; scale them to 0..1"):
        entry(torch.tensor([[[0.0], [1.5]]]))
    with pytest.raises(ShapeError, match="nan"):
        entry(torch.tensor([[[0.0], [float("nan")]]]))


def test_delay_shift_and_event_count_are_slayers():
    x = torch.rand(2, 5, 6)
    dense = block.Dense(PARAMS, 5, 4, count_log=True).eval()
    shifted = block.Dense(PARAMS, 5, 4, delay_shift=True).eval()
    shifted.load_state_dict(dense.state_dict())
    spikes, rate = dense(x)
    assert rate == spikes.mean()
    late = shifted(x)
    assert torch.equal(late[..., 1:], spikes[..., :-1]) and late[..., 0].sum() == 0


def test_ours_and_stock_blocks_train_together():
    stock_params = {"threshold": 0.5, "current_decay": 0.5, "voltage_decay": 0.25}
    net = torch.nn.Sequential(
        block.Conv(PARAMS, 1, 4, 3, padding=1),
        slayer.block.cuba.Conv(stock_params, 4, 4, 3, padding=1, weight_scale=3),
        block.Flatten(),
        block.Dense(PARAMS, 4 * 36, 16),
        slayer.block.cuba.Dense(stock_params, 16, 2, weight_scale=3),
    )
    assert block.build(net, (1, 6, 6)) == (2,)
    left_or_right = torch.tensor([0, 1]).repeat(16)
    x = torch.zeros(32, 1, 6, 6, 8)
    for n, side in enumerate(left_or_right):
        x[n, 0, :, 3 * side : 3 * side + 3] = (torch.rand(6, 3, 8) < 0.6).float()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    assistant = slayer.utils.Assistant(
        net,
        slayer.loss.SpikeRate(true_rate=0.6, false_rate=0.05, reduction="sum"),
        optimizer,
        slayer.utils.LearningStats(),
        classifier=slayer.classifier.Rate.predict,
    )
    for _ in range(40):
        assistant.train(x, left_or_right)
    assert all(module.synapse.grad_norm > 0 for module in net if hasattr(module, "synapse"))
    output = assistant.test(x, left_or_right)
    assert (slayer.classifier.Rate.predict(output) == left_or_right).float().mean() > 0.9


def test_blocks_know_the_messages_that_come_in():
    """Range and value of a message; and where the inputs are the pixels of one image."""
    params, levels = {"levels": 3, "threshold": 0.5, "scaled": True}, {"neuron": MultiThresholdLIF}
    net = [
        block.Input(bits=4),
        block.Flatten(),
        block.Dense(params, 2 * 16, 2 * 16, **levels),
        block.Dense(PARAMS, 32, 8),
        block.Readout(None, 8, 2),
    ]
    block.build(net, (2, 4, 4))
    found = [(m.incoming.low, m.incoming.high, m.incoming.value, m.incoming.image) for m in net[2:]]
    assert found == [(0, 15, 1.0, (2, 4, 4)), (0, 3, 0.5, None), (0, 1, 1.0, None)]
    images = Encoding.images((0.5, 0.5), (0.5, 0.5))
    pooled = [block.Input(encoding=images), block.Pool(None, 2), block.Conv(params, 2, 4, 1, **levels)]
    residual = block.Residual(
        [block.Conv(PARAMS, 4, 4, 1)], [block.Pool(None, 1, mode="sum"), block.Conv(None, 4, 4, 1)]
    )
    block.build([*pooled, residual], (2, 8, 8))
    found = [
        (m.incoming.low, m.incoming.high, m.incoming.value, m.incoming.image) for m in (*pooled[1:], residual)
    ]
    assert found == [(-128, 127, 1.0, None), (-512, 508, 0.25, None), (0, 3, 0.5, None)]
    assert {(m.incoming.high, m.incoming.value) for m in (*residual.blocks, *residual.shortcut)} == {(3, 0.5)}
    for entry, shape in (
        (block.Input(), (2, 4, 4)),
        (block.Input(bits=1), (2, 4, 4)),
        (block.Input(bits=8), (32,)),
    ):
        net[0] = entry
        block.build(net, shape) if len(shape) == 3 else block.build([entry, *net[2:]], shape)
        assert net[2].incoming.image is None
        assert net[2].incoming.high == (255 if entry.bits == 8 else 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: block.Conv(PARAMS, 1, 2, 3, binarize="group"), r"binarize='group' is unknown; use one of"),
        (lambda: block.Conv(PARAMS, 1, 2, 3, norm="layer"), "norm='layer' is unknown"),
        (lambda: block.Pool(PARAMS, 2, weight_norm=True), "weight_norm=True is not supported"),
        (lambda: block.Conv(None, 1, 2, 3, delay=True), "delay=True delays spikes; it needs neuron_params"),
        (lambda: block.Conv(PARAMS, 1, 2, 3, name="input"), "name='input' is not allowed"),
        (
            lambda: block.Recurrent(None, 3, 2),
            "neuron_params=None is not allowed; use neuron_params of a LIF",
        ),
        (lambda: block.Conv(PARAMS, 3, 2, 3, groups=2), r"Conv\(3, 2.*divisible by groups"),
        (lambda: block.Conv({"treshold": 1}, 1, 2, 3), "neuron_params.*treshold"),
        (lambda: block.Conv(PARAMS, 1, 2, 3, binarize=None, weight_bits=1), "weight_bits=1 is not allowed"),
        (lambda: block.Dense(PARAMS, 4, 2, mask=torch.ones(2, 4)), "mask"),
        (lambda: block.Conv({"treshold": 1}, 1, 2, 3), "use threshold, current_decay, voltage_decay"),
        (lambda: block.Input({"treshold": 1}), "Input: neuron_params: .*; use threshold"),
        (lambda: block.Conv(PARAMS, 1, 2, 0), "kernel_size=0 is not allowed; use an integer of 1 or more"),
        (lambda: block.Conv(PARAMS, 1, 2, (3, 3, 3)), r"kernel_size=\(3, 3, 3\) is not allowed"),
        (lambda: block.Conv(PARAMS, 1, 2, 2.5), "kernel_size=2.5 is not allowed"),
        (lambda: block.Conv(PARAMS, 1, 2, 3, 0), "stride=0 is not allowed"),
        (lambda: block.Conv(PARAMS, 1, 2, 3, padding="same"), "padding='same' is not allowed"),
        (lambda: block.Conv(PARAMS, 1, 2, 3, padding=-1), "padding=-1 is not allowed"),
        (lambda: block.Conv(PARAMS, 1, 2, 3, binarize=None, weight_bits=8.0), "weight_bits=8.0"),
        (lambda: block.Pool(None, 2, padding=2), "is more than half of the kernel"),
        (lambda: block.Readout(PARAMS, 4, 2), "neuron_params"),
        (lambda: block.Pool(None, 2, mode="max"), "mode='max' is unknown; use one of 'average', 'sum'"),
        (lambda: block.Pool(None, 2, dilation=2), "dilation=2 is not supported"),
        (lambda: block.Input(bits=9), r"bits=9 is not allowed; use 0 \(spikes\), 1..8, or None"),
        (lambda: block.Input(weight=2.0), "weight and bias need neuron_params"),
    ],
)
def test_unknown_options_are_named(make, message):
    with pytest.raises(OptionError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (block.Conv(PARAMS, 3, 2, 3, name="conv_a"), (2, 1, 8, 8, 4), "conv_a: input .* C must be 3"),
        (block.Conv(PARAMS, 3, 2, 3), (2, 3, 8, 8), r"shape \(2, 3, 8, 8\) is not allowed; use \[N, C"),
        (block.Dense(PARAMS, 10, 2), (2, 9, 4), "has 9 values per step; 10 are expected"),
        (block.Readout(None, 10, 2), (2, 2, 2, 2, 4), "has 8 values per step; 10 are expected"),
        (block.Pool(None, 2), (2, 9, 4), r"use \(C, H, W\)"),
    ],
)
def test_wrong_shapes_are_named(module, shape, message):
    with pytest.raises(ShapeError, match=message):
        module(torch.zeros(shape))


def test_other_types_and_empty_time_are_named():
    conv = block.Conv(PARAMS, 3, 2, 3)
    for x in (torch.zeros(2, 3, 8, 8, 4, dtype=torch.int64), torch.zeros(2, 3, 8, 8, 0)):
        with pytest.raises(
            ShapeError, match=r"use floating point, e\.g\. x\.float\(\), and at least one step"
        ):
            conv(x)


def test_another_shape_than_built_is_named():
    conv = block.Conv(PARAMS, 3, 2, 3)
    conv.build((3, 8, 8))
    with pytest.raises(ShapeError, match=r"\(3, 9, 8\) does not fit; it was built for \(3, 8, 8\)"):
        conv(torch.zeros(2, 3, 9, 8, 4))


def test_a_kernel_larger_than_its_input_is_named():
    with pytest.raises(ShapeError, match="smaller than the kernel"):
        block.Conv(PARAMS, 1, 2, 5).build((1, 4, 4))


def test_shape_before_build_says_what_to_do():
    with pytest.raises(ShapeError, match=r"call build\(input_shape\) first"):
        _ = block.Conv(PARAMS, 1, 2, 3).shape


def test_a_block_that_was_not_built_refuses_export():
    with pytest.raises(ExportError, match="call block.build"):
        block.Conv(PARAMS, 1, 2, 3).export_hdf5(None)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(1, 2, 0), ((1, 1), (3, 2), 0), (1, 2, 1), (2, 3, 0)]
)
def test_strides_that_skip_pixels(kernel, stride, padding):
    """Of which channels last oneDNN of torch 2.14 spoils the memory."""
    torch.manual_seed(0)
    made = block.Conv(None, 6, 13, kernel, stride, padding=padding, norm=None)
    x = torch.rand(4, 6, 14, 13, 3)
    results = []
    for ours in (True, False):
        images = x.clone().requires_grad_()
        made.zero_grad()
        if ours:
            y = made(images).movedim(-1, 0).flatten(0, 1)
        else:
            weight = made.synapse.effective_weight().contiguous()
            frames = images.movedim(-1, 0).flatten(0, 1).contiguous()
            y = torch.nn.functional.conv2d(frames, weight, None, stride, padding)
        y.square().sum().backward()
        results.append((y, images.grad, made.synapse.weight.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
