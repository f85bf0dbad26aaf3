"""Profile "loihi": residual networks as graphs of unmodified lava-nc processes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from lava_bsnn import block, device, models, modulation, neuron, training
from lava_bsnn.errors import ExportError, LavaBsnnError
from netx_export import FixedPointNetwork, compare, convert, network, read, run, simulate, write
from netx_export.targets import target
from netx_export.verify import random_data

LIF = dict(threshold=1.0, voltage_decay=0.5)
SOFT = dict(levels=1, threshold=1.0, learn_lam=False)


def residual_model(params=LIF, kind=neuron.LIF, *, agmm=False, num_steps=3):
    """Double skip, classic skips with identity and with a strided shortcut, a pooling, and a readout."""

    def conv(inputs, outputs, stride=1, **options):
        gate = modulation.AGMM(num_steps) if agmm else None
        return block.Conv(
            dict(params), inputs, outputs, 3, stride, padding=1, neuron=kind, modulation=gate, **options
        )

    shortcut = block.Conv(None, 6, 8, 1, 2, binarize=None)
    blocks = [
        block.Input(bits=4),
        conv(2, 6, binarize=None),
        block.Residual([conv(6, 6)], name="double"),
        block.Residual([conv(6, 6), conv(6, 6)], name="classic"),
        block.Residual([conv(6, 8, 2), conv(8, 8)], [shortcut], name="strided"),
        block.Pool(None, 2),
        block.Flatten(),
        block.Readout(None, 8 * 4, 5),
    ]
    model = models.SpikingNetwork(blocks, in_shape=(2, 8, 8), num_steps=num_steps)
    x = torch.rand(24, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    model.train()
    for _ in range(40):
        model(x)
    return model.eval(), x


def alive(net, x, low=0.01):
    """The run, in which every layer with neurons sends."""
    result = simulate(net, x, trace=True)
    rates = {name: trace.spikes.mean() for name, trace in result.layers.items()}
    assert all(low < rate < 0.95 for name, rate in rates.items() if not net[name].neuron.reads_out), rates
    return result


def classes_of_processes(net):
    from netx_export.process import Network

    process = Network(net, reset_interval=3, reset_offset=1)
    assert process.layers
    return {f"{type(p).__module__}.{type(p).__name__}" for p in process.inner()}


@pytest.mark.lava
@pytest.mark.parametrize(("params", "kind"), [(LIF, neuron.LIF), (SOFT, neuron.MultiThresholdLIF)])
def test_skips_run_on_unmodified_processes(params, kind):
    model, x = residual_model(params, kind)
    net = convert(model, "loihi", calibration=x)
    data = net.encode(x[:3].numpy())
    expected, actual = alive(net, data), run(net, data, "lava", trace=True)
    result = compare(expected, actual)
    assert result.mismatches == 0 and result.compared > 3000, result.first
    assert data.shape[-1] < net.latency  # samples are shorter than the pipeline
    used = classes_of_processes(net)
    assert all(name.startswith("lava.proc.") for name in used), used
    soft = kind is neuron.MultiThresholdLIF
    neurons = {"atrlif.process.ATRLIF", "io.reset.Reset"} if soft else {"lif.process.LIFReset"}
    kinds = {
        "conv.process.Conv",
        "sparse.process.Sparse",
        "sparse.process.DelaySparse",
        "dense.process.Dense",
    }
    assert {f"lava.proc.{name}" for name in kinds | neurons | {"lif.process.LIFReset"}} == used


def test_a_strided_shortcut_of_a_longer_path_goes_through_relays():
    model, x = residual_model()
    net = convert(model, "loihi", calibration=x)
    relay = net["strided_relay0"]
    assert relay.shape == (6, 4, 4)  # of the pixels that the shortcut sees only
    connection = next(c for c in net["strided"].connections if c.source == relay.name)
    assert connection.synapse.stride == (1, 1)
    result = simulate(net, net.encode(x.numpy()), trace=True)
    np.testing.assert_array_equal(
        result.layers["strided_relay0"].spikes, result.layers["classic"].spikes[:, :, ::2, ::2]
    )
    assert [net.balancing_delay(net["classic"], c) for c in net["classic"].connections] == [0, 1]


def test_thresholds_of_skips_are_mantissas_and_conv_weights_8_bits():
    model, x = residual_model()
    net = convert(model, "loihi", calibration=x)
    for name in ("double", "classic"):
        layer = net[name]
        skip = layer.connections[1]
        steps = skip.scale // 64
        exponent = max(0, int(steps.max()).bit_length() - 8)
        assert (steps % (1 << exponent) == 0).all() and steps.max() >> exponent <= 255
        assert abs(int(steps[0]) - (layer.neuron.threshold + 1)) <= (1 << exponent) / 2
        assert np.abs(layer.connections[0].synapse.weight).max() <= 127


@pytest.mark.parametrize("agmm", [False, True])
@pytest.mark.parametrize(
    ("params", "kind"),
    [(LIF, neuron.LIF), (dict(SOFT, threshold=0.9, scaled=True), neuron.MultiThresholdLIF)],
)
def test_a_model_in_matched_mode_computes_what_it_becomes(float_spikes, params, kind, agmm):
    model, x = residual_model(params, kind, agmm=agmm)
    if agmm:
        for module in model.modules():  # so that currents stay as large as thresholds
            if isinstance(module, modulation.AGMM):
                module.alpha.data.fill_(40.0)
    training.match_device(model, "loihi", calibration=x)
    assert not any(isinstance(module, modulation.AGMM) for module in model.modules())
    net = convert(model, "loihi")  # gates are constants already
    data = net.encode(x.numpy())
    ours = alive(net, data, 0.001)
    spikes, logits = float_spikes(model, x)
    names = [name for name in ours.layers if "relay" not in name and not net[name].neuron.reads_out]
    for name, theirs in zip(names, spikes, strict=False):
        np.testing.assert_array_equal(
            ours.layers[name].spikes, theirs.reshape(ours.layers[name].spikes.shape)
        )
    unit = model.blocks[-1].unit
    np.testing.assert_array_equal(ours.readout, (logits.astype(np.float64) * unit).cumsum(-1))
    extended = convert(model, "extended")
    np.testing.assert_array_equal(simulate(extended, data).readout, ours.readout)


def test_finetuning_keeps_the_integers_of_the_chip():
    model, x = residual_model(agmm=True)
    data = (x.numpy(), np.arange(24) % 5)
    training.finetune(model, data, data, epochs=2, target="loihi", batch_size=8)
    net = convert(model, "loihi")
    classes = simulate(net, net.encode(x.numpy())).prediction
    np.testing.assert_array_equal(training.predict(model, x.numpy()), classes)
    gates = [m.factor for m in model.modules() if isinstance(m, modulation.ConstantGate)]
    assert len(gates) == 6 and all(gate.grad is not None for gate in gates)


def test_an_identity_in_matched_mode_counts_what_its_synapse_holds():
    """With 4096 weight steps per unit, spikes that count 0.9 are 3686 steps, of which 230 * 2^4 are held."""
    model, _ = residual_model(dict(SOFT, threshold=0.9, scaled=True), neuron.MultiThresholdLIF)
    skip = model.blocks[2]
    training.match_device(model, "loihi")
    value = skip.input_scale
    last = skip.blocks[-1]
    last.neuron.scale = 4096
    spikes = value * (torch.rand(2, 6, 8, 8, 3) < 0.5)
    m = round(value * 4096 / 16)
    assert 128 <= m <= 255 and m * 16 != round(value * 4096)
    torch.testing.assert_close(skip._on_grid(spikes), spikes / value * (m * 16 / 4096), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [1, 255, 256, 257, 511, 1021, 4000, 131_071])
def test_one_sign_is_the_nearest_of_a_mantissa_and_an_exponent(value):
    nearest = min(
        (m << e for e in range(12) for m in range(1, 256)), key=lambda one: (abs(one - value), -one)
    )
    found = int(device.one_sign(np.array([float(value)]))[0])
    assert abs(found - value) == abs(nearest - value)


@pytest.mark.parametrize("unit", [64 * 100.0, 64 * 333.3])
def test_integers_are_the_nearest_and_end_at_8_and_13_bits(unit):
    rng = np.random.default_rng(0)
    folded = device.Affine(
        q=rng.normal(size=(5, 3, 2, 2)), multiplier=rng.normal(size=5), offset=rng.normal(0, 8, 5)
    )
    grid = device.on_mantissas(folded, unit)
    for channel in range(5):
        exact = folded.offset[channel] * unit / 64
        assert grid.bias[channel] == 64 * max(-4095, min(4095, round(exact)))
        for place in np.ndindex(3, 2, 2):
            exact = folded.q[channel][place] * folded.multiplier[channel] * unit / 64
            assert grid.weight[channel][place] == max(-127, min(127, round(exact)))
    assert (grid.scale == 64).all() and (np.abs(grid.weight) == 127).any() and (grid.weight < 120).any()
    assert unit < 10_000 or (np.abs(grid.bias) == 64 * 4095).any()


def skip_net(scale, *, weight=None, source_first=True):
    """Two layers and a skip around the second."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-20, 21, (3, 3, 3, 3)) if weight is None else weight

    def layer(name, *connections):
        return network.Layer(
            name=name,
            connections=connections,
            neuron=network.LIF(threshold=40, bias=rng.integers(0, 19, 3), voltage_decay=1024),
            shape=(3, 5, 5),
        )

    def conv(source, weight):
        return network.Connection(source=source, synapse=network.Conv(weight=weight, padding=(1, 1)))

    skip = network.Connection(source="a", synapse=network.Identity(), scale=np.full(3, scale))
    return FixedPointNetwork(
        input=network.Input(shape=(3, 5, 5)),
        layers=(
            layer("a", conv("input", rng.integers(-20, 21, (3, 3, 3, 3)))),
            layer("b", conv("a", weight), skip),
        ),
        profile="loihi",
    )


@pytest.mark.lava
@pytest.mark.parametrize("scale", [97 * 8 * 64, 255 * 64, 256 * 64, 64])
def test_skips_of_any_exponent_are_exact(scale):
    net = skip_net(scale)
    data = random_data(net, 3, 4, 0)
    result = compare(alive(net, data), run(net, data, "lava", trace=True))
    assert result.mismatches == 0, result.first


@pytest.mark.lava
def test_streams_start_from_rest_and_are_never_reset():
    from lava.magma.core.run_configs import Loihi2SimCfg

    from netx_export.backends.processes import run_on_lava
    from netx_export.process import Network

    net = replace(skip_net(97 * 8 * 64), persistent=True)
    assert any(layer.neuron.bias.any() for layer in net.layers)  # which act before the stream arrives
    data = random_data(net, 1, 40, 0)
    process = Network(net, reset_interval=None, reset_offset=1)
    actual = run_on_lava(net, process, data, Loihi2SimCfg(select_tag="fixed_pt"), trace=True, timeout=120)
    result = compare(alive(net, data), actual)
    assert result.mismatches == 0, result.first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(scale=257 * 64),
            "b: a connection's scale is not possible in profile 'loihi', except of an Ide",
        ),
        (dict(scale=-64), "except of an Identity: 64 times 1..255"),
        (dict(scale=65), "except of an Identity: 64 times 1..255"),
        (dict(scale=64, weight=np.full((3, 3, 3, 3), 128)), "b: weights 128..128 is out of range; -128..127"),
    ],
)
def test_numbers_that_a_synapse_of_8_bits_does_not_hold_are_refused(options, message):
    with pytest.raises(ExportError, match=message):
        skip_net(**options)


def test_a_convolution_that_would_have_to_wait_is_refused():
    net = skip_net(64)
    shortcut = network.Connection(
        source="input", synapse=network.Conv(weight=np.ones((3, 3, 1, 1), dtype=np.int64))
    )
    late = network.Layer(
        name="late", connections=(net["b"].connections[0], shortcut), neuron=net["b"].neuron, shape=(3, 5, 5)
    )
    with pytest.raises(ExportError, match="late: the convolution of 'input' meets a path that is 1 longer"):
        FixedPointNetwork(input=net.input, layers=(net["a"], late), profile="loihi")


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        (
            dict(LIF, membrane_bits=4),
            neuron.LIF,
            "a membrane of 4 bits cannot be exported in profile 'loihi'",
        ),
        (
            dict(levels=2, threshold=1.0),
            neuron.MultiThresholdLIF,
            "L=2 thresholds with mixing .* single_thres",
        ),
        (dict(SOFT, learn_lam=True), neuron.MultiThresholdLIF, "a leak lam=0.9 cannot be exported"),
    ],
)
def test_what_loihi_has_no_neurons_for_is_refused_by_name(params, kind, message):
    model, x = residual_model(params, kind)
    for module in model.modules():
        if getattr(module, "lam_logit", None) is not None:
            module.lam_logit.data.fill_(float(np.log(0.4 / 0.6)))
    with pytest.raises(ExportError, match=message) as caught:
        convert(model, "loihi", calibration=x)
    assert str(caught.value).count(message.split(" cannot")[0].split(" .*")[0]) == 6  # all blocks at once
    with pytest.raises(LavaBsnnError, match="match_device: .* do not exist for target='loihi'"):
        training.match_device(model, "loihi")


def test_gates_need_samples():
    model, _ = residual_model(agmm=True)
    with pytest.raises(
        ExportError, match="modulation AGMM cannot be exported in profile 'loihi'; .*calibration"
    ):
        convert(model, "loihi")
    with pytest.raises(
        LavaBsnnError, match="match_device: gates of AGMM become constants for target='loihi'"
    ):
        training.match_device(model, "loihi")


def test_a_pooling_in_front_of_a_skip_is_refused():
    conv = block.Conv(LIF, 2, 2, 3, padding=1)
    blocks = [
        block.Input(),
        block.Pool(None, 2),
        block.Residual([conv], name="skip"),
        block.Readout(None, 32, 3),
    ]
    model = models.SpikingNetwork(blocks, in_shape=(2, 8, 8), num_steps=2)
    model.train()(torch.rand(4, 2, 8, 8).round())
    with pytest.raises(
        ExportError, match="cannot become a part of skip, a skip, behind it; give it neuron_param"
    ):
        convert(model.eval(), "loihi")


def test_messages_that_outlive_a_reset_are_refused_on_stock_processes():
    net = skip_net(64)
    loop = network.Connection(source="b", synapse=network.Identity())
    looped = network.Layer(
        name="b", connections=(*net["b"].connections, loop), neuron=net["b"].neuron, shape=(3, 5, 5)
    )
    net = FixedPointNetwork(input=net.input, layers=(net["a"], looped), profile="loihi")
    for backend in ("lava", "loihi2"):
        (problem,) = target("loihi").backend_problems(net, backend, alone=False)
        assert re.search("b: stock Lava keeps messages .* use backend 'lava-fused'", problem)
        assert not list(target("loihi").backend_problems(net, backend, alone=True))
    assert not list(target("loihi").backend_problems(net, "lava-fused", alone=False))
    with pytest.raises(ExportError, match="unmodified lava-dl computes networks of profile 'stock' only"):
        run(net, random_data(net, 2, 3, 0), "stock")


def test_files_keep_the_profile(tmp_path):
    model, x = residual_model()
    net = convert(model, "loihi", calibration=x)
    write(net, tmp_path / "r.net")
    assert read(tmp_path / "r.net") == net
