from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from lava.lib.dl import slayer

from lava_bsnn import block, functional, models
from lava_bsnn.errors import ExportError, OptionError
from lava_bsnn.limits import LOIHI
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, MultiThresholdLIF
from netx_export import FixedPointNetwork, convert, network, simulate

PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}


def agreement(net, shape, steps=4):
    """Share of equal spikes per layer of float and integer arithmetic, given equal inputs."""
    x = torch.rand(64, *shape)
    fixed = convert(net, num_steps=steps)
    result = simulate(fixed, fixed.encode(x.numpy(), steps), trace=True)
    shares, y = {}, functional.direct_code(x, steps)
    layers = iter(fixed.layers)
    with torch.no_grad():
        for module in net:
            y = module(y)
            if isinstance(module, (block.Conv, block.Dense)):
                layer = next(layers)
                integer = torch.from_numpy(result.layers[layer.name].spikes)
                assert 0.1 < integer.float().mean() < 0.9, layer.name
                shares[layer.name] = float((integer == y.bool().reshape(integer.shape)).float().mean())
                y = integer.float().reshape(y.shape)
    return fixed, shares


@pytest.mark.parametrize("pooled", [False, True])
def test_integer_spikes_follow_the_float_model(settle, pooled):
    net = torch.nn.Sequential(
        block.Input(bits=4),
        block.Conv(PARAMS, 2, 16, 3, padding=1, binarize=None),
        *([block.Pool(None, 2)] if pooled else []),
        block.Conv(PARAMS, 16, 16, 3, stride=1 if pooled else 2, padding=1),
        *([block.Pool(None, 2, mode="sum")] if pooled else []),
        block.Dense(PARAMS, 64 if pooled else 256, 32, binarize="layer"),
        block.Readout(None, 32, 5),
    )
    settle(net, (2, 8, 8))
    for module in net:
        if getattr(module, "norm", None) is not None:
            torch.nn.init.constant_(module.norm.bias, 0.5)  # else hardly a neuron fires
    fixed, shares = agreement(net, (2, 8, 8))
    assert min(shares.values()) > 0.99, shares
    assert [type(layer.neuron) for layer in fixed.layers] == [network.LIF] * 3 + [network.Readout]


def test_weights_within_a_channel_are_plus_minus_one_integer(settle):
    net = settle(torch.nn.Sequential(block.Conv(PARAMS, 2, 8, 3), block.Readout(None, 8 * 16, 3)), (2, 6, 6))
    weight = convert(net)["conv0"].connections[0].synapse.weight
    signs = np.where(net[0].synapse.weight.squeeze(-1).detach() >= 0, 1, -1)
    scale = np.abs(weight).reshape(8, -1)
    assert (scale == scale[:, :1]).all() and (scale > 0).all()
    assert (np.sign(weight) == signs).all()


def test_a_negative_norm_gain_flips_the_signs(settle):
    net = settle(torch.nn.Sequential(block.Conv(PARAMS, 2, 8, 3), block.Readout(None, 8 * 16, 3)), (2, 6, 6))
    before = convert(net)["conv0"].connections[0].synapse.weight
    with torch.no_grad():
        net[0].norm.weight[3].neg_()
    after = convert(net)["conv0"].connections[0].synapse.weight
    assert (after[3] == -before[3]).all()
    assert (np.delete(after, 3, 0) == np.delete(before, 3, 0)).all()


def test_a_zero_norm_gain_is_reported_and_gives_zero_weights(settle):
    net = settle(torch.nn.Sequential(block.Conv(PARAMS, 2, 8, 3), block.Readout(None, 8 * 16, 3)), (2, 6, 6))
    with torch.no_grad():
        net[0].norm.weight[3] = 0
    with pytest.warns(UserWarning, match=r"Conv\(2, 8, .*channels \[3\] have a batch norm gain of 0"):
        fixed = convert(net)
    assert (fixed["conv0"].connections[0].synapse.weight[3] == 0).all()


@pytest.mark.parametrize("mode", ["average", "sum"])
def test_pool_without_neuron_merges_exactly_into_conv_and_dense(settle, mode):
    def net_with(*after):
        torch.manual_seed(1)
        net = torch.nn.Sequential(
            block.Conv(PARAMS, 1, 4, 3, padding=1), block.Pool(None, (2, 3), mode=mode), *after
        )
        return settle(net, (1, 8, 12))

    for net in (
        net_with(block.Conv(PARAMS, 4, 4, 3, padding=1), block.Readout(None, 64, 3)),
        net_with(block.Dense(PARAMS, 64, 9), block.Readout(None, 9, 3)),
    ):
        fixed = convert(net)
        first, merged = fixed.layers[:2]
        x = (np.random.default_rng(0).random((5, 1, 8, 12, 4)) < 0.4).astype(int)
        result = simulate(fixed, x, trace=True)
        spikes = torch.from_numpy(result.layers[first.name].spikes).float()
        # pool first, with the integers of the merged layer before they were repeated
        weight = merged.connections[0].synapse.weight
        pooled = functional.time.fold_time(block.Pool(None, (2, 3), mode="sum")(spikes))[0]
        if weight.ndim == 4:
            small = torch.tensor(weight[:, :, ::2, ::3]).float()
            a = torch.nn.functional.conv2d(pooled, small, padding=1)
        else:
            small = torch.tensor(weight.reshape(9, 4, 8, 12)[:, :, ::2, ::3]).float()
            a = pooled.flatten(1) @ small.flatten(1).T
        bias = torch.tensor(merged.neuron.bias).reshape(-1, *[1] * (a.dim() - 2))
        first_step = ((a[:5] + bias) * 64).int().numpy()
        np.testing.assert_array_equal(first_step, result.layers[merged.name].potential[..., 0])


def test_pool_with_neuron_is_exact():
    net = torch.nn.Sequential(
        block.Pool({"threshold": 0.5, "voltage_decay": 1.0}, 2), block.Readout(None, 12, 2)
    )
    block.build(net, (1, 4, 12))
    x = (np.random.default_rng(0).random((8, 1, 4, 12, 5)) < 0.5).astype(int)
    result = simulate(convert(net), x, trace=True)
    with torch.no_grad():
        expected = net[0](torch.from_numpy(x).float())
    assert 0.2 < expected.mean() < 0.9
    np.testing.assert_array_equal(result.layers["pool0"].spikes, expected.numpy().astype(bool))


@pytest.mark.filterwarnings("ignore:.*rounding changes the current")
def test_every_integer_keeps_its_limit_for_extreme_norms(settle):
    for gain, offset in ((1e-4, 0.0), (50.0, -30.0), (1.0, 3.0), (1e-3, 0.9)):
        net = settle(
            torch.nn.Sequential(block.Conv(PARAMS, 2, 8, 3, binarize=None), block.Readout(None, 128, 3)),
            (2, 6, 6),
        )
        with torch.no_grad():
            net[0].norm.weight.mul_(gain)
            net[0].norm.bias.add_(offset)
        fixed = convert(net)  # FixedPointNetwork validates itself
        assert np.abs(fixed["conv0"].connections[0].synapse.weight).max() <= LOIHI.weight_max


def test_the_readout_cannot_overflow_within_num_steps(settle):
    net = settle(torch.nn.Sequential(block.Readout(None, 400, 3)), (400,))
    assert convert(net).max_steps >= block.DEFAULT_STEPS
    long = convert(net, num_steps=100)
    assert long.max_steps >= 100
    x = np.ones((1, 400, 100), int)
    assert np.abs(simulate(long, x).readout).max() < 1 << 23


def test_num_steps_comes_from_the_model(settle):
    net = models.create(
        "cnn", num_classes=10, in_shape=(1, 8, 8), num_steps=300, method="binary", channels=(4,), hidden=64
    )
    assert convert(settle(net, batches=1)).max_steps >= 300


def test_logits_are_proportional_to_the_readout(settle):
    net = settle(torch.nn.Sequential(block.Readout(None, 50, 4)), (50,))
    with torch.no_grad():
        net[0].bias.copy_(torch.randn(4))
        x = (torch.rand(6, 50, 7) < 0.3).float()
        logits = net(x).cumsum(-1).numpy()
    readout = simulate(convert(net, num_steps=7), x.int().numpy()).readout
    ratio = (readout * logits).sum() / (logits * logits).sum()
    assert np.abs(readout / ratio - logits).max() < 0.02 * np.abs(logits).max()


class Other(LIF):
    """Computes something else than its base."""

    def forward(self, x):
        return super().forward(0.5 * x)


class OtherBlock(block.Conv):
    """Another current."""

    def current(self, x, unit=None):
        return 0.1 * super().current(x, unit)


class OtherGate(AGMM):
    """Another gate."""

    def forward(self, x):
        return 0.1 * x


class Named(block.Conv):
    """Computes what its base does."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.note = "mine"

    def extra_repr(self):
        return self.note


def test_a_subclass_that_replaces_nothing_is_exported(settle):
    net = convert(settle(chain(Named(PARAMS, 1, 2, 3), block.Flatten(), block.Dense(PARAMS, 72, 3))))
    assert len(net.layers) == 2


def late(module):
    """A block with axonal delays of 2 steps."""
    module.delay.delay.data = torch.full_like(module.delay.delay, 2.5)
    module.delay.init = False
    module.delay.build = lambda channels: setattr(module.delay.delay, "data", torch.full((channels,), 2.5))
    return module


def chain(*blocks, shape=(1, 8, 8)):
    net = torch.nn.Sequential(*blocks)
    block.build(net, shape)
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: chain(block.Conv(PARAMS, 1, 2, 3, modulation=torch.nn.Identity(), name="a")),
            "a: modulation Identity cannot be exported; use AGMM",
        ),
        (lambda: chain(block.Conv(PARAMS, 1, 2, 3, delay_shift=True)), "delay_shift=True cannot be"),
        (lambda: chain(late(block.Conv(PARAMS, 1, 2, 3, delay=True))), "delays of a Conv .*lava-dl ignores"),
        (lambda: chain(late(block.Dense(PARAMS, 64, 2, delay=True))), "delays with norm .* use norm=None"),
        (
            lambda: chain(block.Conv({**PARAMS, "current_decay": 0.5}, 1, 2, 3)),
            "current_decay < 1 with norm",
        ),
        (
            lambda: chain(block.Conv({**PARAMS, "norm": slayer.neuron.norm.MeanOnlyBatchNorm}, 1, 2, 3)),
            "norm in neuron_params cannot be exported",
        ),
        (
            lambda: chain(block.Conv(None, 1, 2, 3, name="bare"), block.Readout(None, 72, 2)),
            "bare: a block without neuron cannot be exported; give it neuron_params",
        ),
        (
            lambda: chain(block.Residual([block.Conv(PARAMS, 1, 1, 3, padding=1)])),
            "Residual: skip connections cannot be exported in profile 'stock'",
        ),
        (
            lambda: chain(block.Conv({**PARAMS, "membrane_bits": 4}, 1, 2, 3)),
            "a membrane of 4 bits cannot be exported in profile 'stock'",
        ),
        (
            lambda: chain(block.Conv({}, 1, 2, 3, neuron=MultiThresholdLIF)),
            "neuron MultiThresholdLIF cannot be exported in profile 'stock'; use profile='extended'",
        ),
        (
            lambda: chain(block.Conv(PARAMS, 1, 2, 3, neuron=Other)),
            "Other replaces forward of LIF, which export would not see; use LIF itself",
        ),
        (
            lambda: chain(OtherBlock(PARAMS, 1, 2, 3, name="mine")),
            "mine: OtherBlock replaces current of Conv, which export would not see; use Conv itself",
        ),
        (
            lambda: chain(block.Conv(PARAMS, 1, 2, 3, modulation=OtherGate(16))),
            "OtherGate replaces forward of AGMM, which export would not see; use AGMM itself",
        ),
        (
            lambda: chain(block.Dense(PARAMS, 64, 8), block.Input(bits=4), block.Readout(None, 8, 2)),
            "an Input in the middle cannot be exported; put it first",
        ),
        (
            lambda: chain(block.Readout(None, 64, 8), block.Readout(None, 8, 2)),
            "a Readout in the middle cannot be exported; put it last",
        ),
        (lambda: chain(block.Input(PARAMS)), "an input neuron cannot be exported"),
        (lambda: chain(block.Conv(PARAMS, 1, 2, 3), block.Pool(None, 2)), "cannot be the last block"),
        (
            lambda: chain(block.Pool(None, 2, padding=1), block.Dense(PARAMS, 25, 2)),
            "use stride=kernel_size and padding=0",
        ),
        (
            lambda: chain(block.Pool(None, 3), block.Conv(PARAMS, 1, 2, 2)),
            r"input 8x8 is not a multiple of the window \(3, 3\)",
        ),
        (
            lambda: chain(block.Dense({"threshold": 1e-6}, 64, 2, norm=None), block.Readout(None, 2, 2)),
            "thresholds per step, too large",
        ),
        (
            lambda: chain(block.Dense(PARAMS, 64, 2, weight_scale=float("nan"))),
            "not finite",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(settle, make, message):
    with pytest.raises(ExportError, match=message) as error:
        convert(settle(make()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (torch.nn.Linear(3, 2), "Linear is not a chain of blocks"),
        (torch.nn.Sequential(torch.nn.Linear(3, 2)), "Linear cannot be exported; use blocks"),
        (torch.nn.Sequential(), "has no blocks"),
        (
            torch.nn.Sequential(block.Conv(PARAMS, 1, 2, 3, norm=None)),
            r"call block.build\(model, input_shape\) first",
        ),
        ("net.pt", "str is not a chain of blocks"),
        (None, "NoneType is not a chain of blocks"),
    ],
)
def test_what_is_no_built_chain_is_named(model, message):
    with pytest.raises(ExportError, match=message):
        convert(model)


def test_all_offending_blocks_are_listed():
    net = chain(
        late(block.Conv(PARAMS, 1, 2, 3, delay=True, name="a")),
        block.Conv(PARAMS, 2, 2, 3, modulation=torch.nn.Identity(), name="b"),
    )
    with pytest.raises(ExportError, match="a: axonal delays .*; b: .*b: modulation"):
        convert(net)


def test_unknown_profile_and_steps_are_named():
    net = chain(block.Readout(None, 64, 2))
    with pytest.raises(OptionError, match="profile='loihi3' is unknown; use one of 'stock'"):
        convert(net, "loihi3")
    with pytest.raises(ExportError, match="num_steps=0"):
        convert(net, num_steps=0)


def test_stock_dense_traps_are_refused():
    for weight, message in (
        (np.zeros((2, 3), int), "all weights are zero"),
        (np.full((2, 3), -2), "power of two"),
        (np.array([[-1, -3, -4]]), "power of two"),
        (np.array([[-2, 0, 0]]), "power of two"),
    ):
        layer = network.Layer(
            name="dense",
            connections=(network.Connection(source="input", synapse=network.Dense(weight=weight)),),
            neuron=network.LIF(threshold=1, bias=np.zeros(len(weight), int)),
            shape=(len(weight),),
        )
        with pytest.raises(ExportError, match=message):
            FixedPointNetwork(input=network.Input(shape=(3,)), layers=(layer,))


def test_conversion_does_not_change_the_model(settle):
    net = settle(torch.nn.Sequential(block.Conv(PARAMS, 2, 8, 3), block.Readout(None, 8 * 16, 3)), (2, 6, 6))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
