"""Streams: networks that start from rest and are never reset, against plain integers and torch."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import generators, oracle
from support.torch_models import ModelMaker, random_samples

import netx_export
from lava_bsnn import block, models
from lava_bsnn.errors import ExportError
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, MultiThresholdLIF
from netx_export import FixedPointNetwork, Stepper, convert, network, simulate
from netx_export.lowering.names import spiking_layers
from netx_export.network.checks import current_bound

LEAST, MOST = -(2**23) + 1, 2**23 - 1


def random_stream(seed):
    """A stream with skips, delays, loops, biases, and a leaking readout at times."""
    for attempt in range(50):
        try:
            return generators.as_stream(generators.random_extended(100 * seed + attempt, num_steps=5)[0])
        except ExportError:
            continue
    raise AssertionError("no network")


def random_input(net, num_steps, seed=0, num_samples=1):
    rng = np.random.default_rng(seed)
    return rng.integers(
        net.input.min_value, net.input.max_value + 1, (num_samples, *net.input.shape, num_steps)
    )


def in_stepper(net, x, **options):
    """Messages and potentials of every layer for one stream ``[*shape, T]``, pipeline delays cut off."""
    stepper, kept = Stepper(net, **options), []
    deepest = max(net.depth(layer.name) for layer in net.layers)
    for t in range(x.shape[-1] + deepest):
        stepper.step(x[..., t] if t < x.shape[-1] else np.zeros(net.input.shape, int))
        kept.append((dict(stepper.messages), dict(stepper.potentials)))
    return {
        layer.name: tuple(
            np.stack([one[part][layer.name] for one in kept], -1)[..., net.depth(layer.name) :][
                ..., : x.shape[-1]
            ]
            for part in (0, 1)
        )
        for layer in net.layers
    }


@pytest.mark.parametrize("seed", range(12))
def test_simulator_and_stepper_equal_plain_integers(seed):
    net = random_stream(seed)
    x = random_input(net, 11, seed, num_samples=2)
    result = simulate(net, x, trace=True)
    for sample, one in enumerate(x):
        expected, stepped = oracle.slow_simulation(net, one), in_stepper(net, one)
        for name, (sent, potentials) in expected.items():
            np.testing.assert_array_equal(result.layers[name].spikes[sample], sent, err_msg=name)
            np.testing.assert_array_equal(result.layers[name].potential[sample], potentials, err_msg=name)
            np.testing.assert_array_equal(stepped[name][0], sent, err_msg=name)
            np.testing.assert_array_equal(stepped[name][1], potentials, err_msg=name)


def test_biases_in_the_filling_pipeline_do_not_count():
    """What starts at rest differs from what ran on before, for most random networks."""
    different = 0
    for seed in range(12):
        net = random_stream(seed)
        (x,) = random_input(net, 11, seed)
        running = in_stepper(replace(net, persistent=False), x)
        different += any(
            not np.array_equal(part, other)
            for name, both in in_stepper(net, x).items()
            for part, other in zip(both, running[name], strict=True)
        )
    assert different >= 6


class StreamMaker(ModelMaker):
    """Makes models whose neurons carry their state on."""

    def neuron(self, channels, *, gates=True):
        made = super().neuron(channels, gates=False)
        params = made["neuron_params"]
        for name in ("num_steps", "mix"):
            params.pop(name, None)
        return {**made, "neuron_params": {**params, "persistent_state": True}}


def stream_model(seed, *, num_steps=4, depth=3):
    """A model, and the network of it; the first of some for which 24 bits are enough."""
    for attempt in range(1000 * seed, 1000 * seed + 50):
        torch.manual_seed(attempt)
        model = StreamMaker(np.random.default_rng(attempt), num_steps).model(depth)
        rest(model)
        try:
            return model, convert(model, "extended")
        except ExportError:
            continue
    raise AssertionError("no model")


def rest(model):
    for module in model.modules():
        if hasattr(module, "reset_state"):
            module.reset_state()


@torch.no_grad()
def in_torch(model, x, chunks):
    """Counts and potentials of each layer by name, and logits, of calls on parts of ``[N, *shape, T]``."""
    layers = dict(spiking_layers(model.blocks))
    found = {name: ([], []) for name, module in layers.items() if module.neuron is not None}
    logits, handles = [], []

    def before(neuron, arguments, name):  # a twin, as dynamics steps the neuron on
        found[name][1].append(copy.deepcopy(neuron).dynamics(*arguments)[1] * neuron.unit)

    def behind(neuron, out, name):
        found[name][0].append((out / neuron.theta).round() if getattr(neuron, "scaled", False) else out)

    for name in found:
        neuron = layers[name].neuron
        handles.append(neuron.register_forward_pre_hook(lambda n, a, name=name: before(n, a, name)))
        handles.append(neuron.register_forward_hook(lambda n, a, out, name=name: behind(n, out, name)))
    for part in np.split(x, np.cumsum(chunks)[:-1], -1):
        part = torch.from_numpy(part)
        logits.append(model(part if part.dtype == torch.uint8 else part.float()))
    for handle in handles:
        handle.remove()
    joined = {name: tuple(torch.cat(one, -1).numpy() for one in both) for name, both in found.items()}
    return joined, torch.cat(logits, -1).numpy()


def leaky_sum(steps, decay):
    """Potential ``[..., T]`` of plain integers that add up and leak."""
    result = np.zeros_like(steps)
    for index in np.ndindex(steps.shape[:-1]):
        v = 0
        for t, step in enumerate(steps[index]):
            v = oracle.towards_zero(v * (4096 - decay)) + int(step)
            result[(*index, t)] = v
    return result


@pytest.mark.filterwarnings("ignore:input. .* counts were above")
@pytest.mark.parametrize("seed", range(14))
def test_torch_that_carries_its_state_gives_every_spike_and_potential(seed):
    model, net = stream_model(seed)
    assert net.persistent
    x = np.asarray(random_samples(model, 2, 13, np.random.default_rng(seed)))
    entered = net.encode(x)
    expected, logits = in_torch(model, x, (5, 1, 4, 3))
    result = simulate(net, entered, trace=True)
    stepped = [in_stepper(net, one) for one in entered]
    for name, (spikes, potentials) in expected.items():
        ours = result.layers[name]
        np.testing.assert_array_equal(ours.spikes, spikes.reshape(ours.spikes.shape), err_msg=name)
        np.testing.assert_array_equal(ours.potential, potentials.reshape(ours.spikes.shape), err_msg=name)
        for part in (0, 1):
            np.testing.assert_array_equal(
                np.stack([one[name][part] for one in stepped]), (ours.spikes, ours.potential)[part]
            )
    if net.reads_out:
        steps = np.rint(logits.astype(np.float64) * model.blocks[-1].unit).astype(np.int64)
        decay = net.output.neuron.voltage_decay
        assert decay == 4096 // model.num_steps
        np.testing.assert_array_equal(result.readout, leaky_sum(steps, decay))
        each = replace(net.output, neuron=replace(net.output.neuron, voltage_decay=4096))
        np.testing.assert_array_equal(
            simulate(replace(net, layers=(*net.layers[:-1], each)), entered).readout, steps
        )


def test_torch_that_starts_anew_with_each_part_differs():
    """The comparison above would see it."""
    different = 0
    for seed in range(14):
        model, _ = stream_model(seed)
        x = np.asarray(random_samples(model, 2, 13, np.random.default_rng(seed)))
        whole, _ = in_torch(model, x, (13,))
        rest(model)
        for module in model.modules():
            if hasattr(module, "persistent_state"):
                module.persistent_state = False
        parts, _ = in_torch(model, x, (5, 1, 4, 3))
        different += any(not np.array_equal(whole[name][1], parts[name][1]) for name in whole)
    assert different >= 7


def test_a_model_in_the_middle_of_a_stream_is_left_there_and_gives_the_same_network():
    model = plain()
    x = torch.from_numpy(random_input(convert(model, "extended"), 5, num_samples=16)).float()
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
    x = random_input(net, 30, num_samples=60).astype(np.float32)
    assert netx_export.agreement(model, net, x).same_class > 0.97
    assert len(set(simulate(net, x.astype(int)).prediction)) > 1


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
    x = random_input(net, 40, num_samples=3)
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
