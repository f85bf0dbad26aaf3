"""Streams of floating point models: profiles, bounds over any time, what has an end, and files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import generators, oracle

import netx_export
from lava_bsnn import block, models
from lava_bsnn.errors import ExportError
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, MultiThresholdLIF
from netx_export import FixedPointNetwork, convert, network, simulate
from netx_export.network.checks import current_bound


def test_a_model_in_the_middle_of_a_stream_is_left_there_and_gives_the_same_network():
    model = plain()
    x = torch.from_numpy(generators.random_messages(convert(model, "extended"), 5, num_samples=16)).float()
    told = []
    net = convert(model, "extended", calibration=x, report=told.append)
    rested = netx_export.agreement(model, net, x)
    model(x)
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert before["blocks.0.neuron.voltage_state"].shape == (16, 8)
    again = []
    assert convert(model, "extended", calibration=x, report=again.append) == net
    assert again == told
    assert netx_export.agreement(model, net, x) == rested
    after = dict(model.named_buffers())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(n.persistent_state for n in model.modules() if isinstance(n, LIF))


def test_agreement_weighs_steps_as_the_leak_does():
    model = plain()
    net = convert(model, "extended", num_steps=1)
    x = generators.random_messages(net, 30, num_samples=60).astype(np.float32)
    assert netx_export.agreement(model, net, x).same_class > 0.97
    assert len(set(simulate(net, x.astype(int)).prediction)) > 1


MOST = 2**23 - 1


def plain(*, current_decay=1.0, persistent=(True, True), last=True, **options):
    first, second = (
        {
            "threshold": 0.5,
            "voltage_decay": 0.1,
            "current_decay": current_decay,
            "persistent_state": one,
            "surrogate": "slayer",
        }
        for one in persistent
    )
    blocks = [
        block.Dense(first, 6, 8, norm=None, **options),
        block.Dense(second, 8, 5, norm=None),
        *([block.Readout(None, 5, 3)] if last else []),
    ]
    torch.manual_seed(0)
    return models.SpikingNetwork(blocks, in_shape=(6,), num_steps=8).eval()


@pytest.mark.parametrize("profile", ["stock", "extended"])
@pytest.mark.parametrize("current_decay", [1.0, 0.25])
def test_floating_point_models_become_streams_in_both_profiles(profile, current_decay):
    model = plain(current_decay=current_decay)
    net = convert(model, profile)
    assert net.persistent and net.output.neuron.voltage_decay == 512 and net.max_steps is None
    assert "stream, never reset" in str(net)
    x = np.random.default_rng(0).integers(0, 2, (40, 6, 50))
    found = netx_export.agreement(model, net, x.astype(np.float32))
    assert found.same_class > 0.9
    assert all(layer.equal > 0.97 and 0.02 < layer.integer_rate < 0.9 for layer in found.layers)
    assert not any(buffer.any() for name, buffer in model.named_buffers() if name.endswith("_state"))


def test_a_slow_current_never_overflows():
    """Its sum over all steps fits 24 bits, not only that of a sample's steps."""
    decay = 16 / 4096
    streams, samples = (
        convert(plain(current_decay=decay, persistent=(p, p)), "extended") for p in (True, False)
    )
    for net, fits in ((streams, True), (samples, False)):
        layer = net.layers[0]
        assert (int(current_bound(net, layer).max()) * 256 <= MOST) == fits
    x = np.ones((1, 6, 3000), int)
    assert np.array_equal(
        simulate(streams, x).readout[0], oracle.slow_simulation(streams, x[0])["readout2"][1]
    )


def test_a_readout_forgets_with_the_time_constant_that_is_asked_for():
    model = plain()
    for num_steps, decay in ((1, 4096), (3, 1366), (16, 256), (5000, 1)):
        net = convert(model, "extended", num_steps=num_steps)
        assert net.output.neuron.voltage_decay == decay
        assert net.max_steps is None


@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_the_worst_input_for_ever_does_not_overflow(profile):
    net = convert(plain(), profile)
    rows = np.where(net.output.connections[0].synapse.weight > 0, 1, 0)
    silent = replace(net.layers[1], neuron=replace(net.layers[1].neuron, bias=0 * np.zeros(5, int)))
    only = replace(net.output, connections=(replace(net.output.connections[0], source="input"),))
    alone = replace(net, input=network.Input(shape=silent.shape), layers=(only,))
    x = np.repeat(rows[:, :, None], 4000, -1)
    potential = simulate(alone, x).readout
    np.testing.assert_array_equal(
        potential[:, :, 3000:], potential[:, :, 3000:3001].repeat(1000, -1)
    )  # settled
    assert abs(potential).max() <= MOST
    for row, sample in zip(potential, x, strict=True):
        np.testing.assert_array_equal(
            row[:, :300], oracle.slow_simulation(alone, sample[..., :300])["readout2"][1]
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: plain(persistent=(True, False)), r"Dense\(8, 5\): persistent_state=False, while other"),
        (lambda: plain(persistent=(False, True)), r"Dense\(6, 8\): persistent_state=False, while other"),
        (
            lambda: plain(modulation=AGMM(8)),
            r"Dense\(6, 8\): persistent_state=True with AGMM, whose gates are for 8",
        ),
        (lambda: plain(current_decay=0.0), r"Dense\(6, 8\): persistent_state=True with current_decay=0"),
    ],
)
@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_what_has_an_end_is_refused_by_name(model, message, profile):
    with pytest.raises(ExportError, match=message):
        convert(model(), profile, calibration=torch.zeros(2, 6, 8))


def counting(mix):
    params = {"levels": 2, "num_steps": 8, "mix": mix, "persistent_state": True, "learn_lam": False}
    blocks = [block.Dense(params, 6, 8, norm=None, neuron=MultiThresholdLIF), block.Readout(None, 8, 3)]
    return models.SpikingNetwork(blocks, in_shape=(6,), num_steps=8).eval()


@pytest.mark.parametrize("mix", ["full", "causal"])
def test_mixings_of_windows_are_refused(mix):
    with pytest.raises(ExportError, match=r"Dense\(6, 8\): persistent_state=True with a mixing of 8 steps"):
        convert(counting(mix), "extended")
    assert convert(counting("identity"), "extended").persistent
    with pytest.raises(ExportError, match="single_threshold=True is for windows"):
        convert(counting("identity"), "extended", single_threshold=True)


def test_slayer_s_export_loop_cannot_tell_of_streams(tmp_path):
    import h5py

    with (
        h5py.File(tmp_path / "x.net", "w") as file,
        pytest.raises(ExportError, match="persistent_state=True cannot be exported by itself"),
    ):
        plain().blocks[0].export_hdf5(file.create_group("layer").create_group("0"))


def test_networks_with_an_end_are_refused(slow):
    kinds = set()
    for seed in range(60):
        try:
            net, _ = slow.random_network(seed)
        except ExportError:
            continue
        gates = any(c.gate is not None for layer in net.layers for c in layer.connections)
        mixed = any(layer.mix is not None for layer in net.layers)
        for kind, there, message in (
            ("gates", gates, "gates of T steps cannot be in a stream"),
            ("mixing", mixed, "mixing of T steps cannot be in a stream"),
            (
                "sum",
                net.reads_out and not gates and not mixed,
                r"could overflow 24 bits after \d+ steps; use",
            ),
        ):
            if there:
                kinds.add(kind)
                with pytest.raises(ExportError, match=message):
                    replace(net, persistent=True)
    assert kinds == {"gates", "mixing", "sum"}


def test_factors_per_step_are_refused():
    neuron = network.MultiThreshold(threshold=9, levels=2, lam=np.full(4, 4096))
    connection = network.Connection(source="input", synapse=network.Dense(weight=np.eye(3, dtype=int)))
    layer = network.Layer(name="own", connections=(connection,), neuron=neuron, shape=(3,))
    entry = network.Input(shape=(3,))
    with pytest.raises(ExportError, match="own: values of T steps cannot be in a stream"):
        FixedPointNetwork(input=entry, layers=(layer,), profile="extended", persistent=True)


@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_files_and_nir_keep_streams(profile, tmp_path):
    net = convert(plain(), profile)
    netx_export.write(net, tmp_path / "a.net")
    assert netx_export.read(tmp_path / "a.net") == net
    assert net.digest() != replace(net, persistent=False).digest()
    again = netx_export.from_nir(netx_export.to_nir(net))
    assert again.persistent and again.output.neuron.voltage_decay == 512
    x = generators.random_messages(net, 40, num_samples=3)
    if profile == "stock":
        assert again == net
    else:
        assert np.mean(simulate(again, x).prediction == simulate(net, x).prediction) == 1


def test_a_stream_s_readout_without_leak_names_the_one_that_it_needs():
    net = convert(plain(), "extended")
    none = replace(net.output, neuron=replace(net.output.neuron, voltage_decay=0))
    with pytest.raises(ExportError, match=r"use voltage_decay=(\d+) or more") as caught:
        replace(net, layers=(*net.layers[:-1], none))
    least = int(str(caught.value).split("voltage_decay=")[1].split()[0])
    for decay, fits in ((least, True), (least - 1, False)):
        made = replace(net.output, neuron=replace(net.output.neuron, voltage_decay=decay))
        try:
            replace(net, layers=(*net.layers[:-1], made))
        except ExportError:
            assert not fits
        else:
            assert fits
