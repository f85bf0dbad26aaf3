"""Mixing of F frames into T steps (T-GIM of T x F): integers, backends, files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from support import generators, oracle

from lava_bsnn.errors import ExportError, NetXFormatError, ShapeError
from lava_bsnn.limits import LIMITS
from netx_export import Stepper, compare, cost, network, place, read, report, run, simulate, write
from netx_export.costs.activity import count_messages
from netx_export.reports import html
from netx_export.verify import verify
from netx_export.verify.streamed import step_by_step


def drawn(count, first=0, most_layers=9):
    """The first valid random networks, with data of several samples."""
    found, seed = [], first
    while len(found) < count:
        try:
            net, frames = generators.random_frames(seed)
        except ExportError:
            pass
        else:
            if len(net.layers) <= most_layers:
                found.append((seed, net, generators.random_data(net, 3, frames, seed)))
        seed += 1
    return found


def differences(net, x):
    """Layers whose messages or potentials differ from the oracle's."""
    layers = simulate(net, x, trace=True).layers
    return [
        name
        for n, sample in enumerate(x)
        for name, (messages, before) in oracle.slow_simulation(net, sample).items()
        if not np.array_equal(layers[name].spikes[n], messages)
        or not np.array_equal(layers[name].potential[n], before)
    ]


def test_random_networks_equal_the_slow_reference():
    for seed, net, x in drawn(25):
        assert differences(net, x) == [], f"seed {seed}"


def test_samples_back_to_back_equal_each_alone():
    for seed, net, x in drawn(25, 1000):
        result = step_by_step(net, x)
        assert result.mismatches == 0, f"seed {seed}: {result.by_layer}"


@pytest.mark.lava
@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_lava_gives_the_same(backend):
    for seed, net, x in drawn(2, 2000, most_layers=2):
        result = compare(simulate(net, x, trace=True), run(net, x, backend, trace=True))
        assert result.mismatches == 0, f"seed {seed}: {result.first}"


def dense(rng, source, shape):
    return network.Connection(source=source, synapse=network.Dense(weight=rng.integers(-20, 60, shape)))


def small(frames=6, steps=2, **changes):
    """Frames into steps, a hidden layer with a bias, and a readout."""
    rng = np.random.default_rng(0)
    layers = (
        network.Layer(
            name="mixed",
            connections=(dense(rng, "input", (5, 4)),),
            neuron=network.MultiThreshold(threshold=2000, levels=2),
            shape=(5,),
            mix=network.Mix(omega=rng.integers(0, 2000, (steps, frames))),
        ),
        network.Layer(
            name="hidden",
            connections=(dense(rng, "mixed", (6, 5)),),
            neuron=network.LIF(threshold=30, bias=np.full(6, 40)),
            shape=(6,),
        ),
        network.Layer(
            name="readout",
            connections=(dense(rng, "hidden", (3, 6)),),
            neuron=network.Readout(bias=np.array([5, 0, -5])),
            shape=(3,),
        ),
    )
    layers = tuple(replace(layer, **changes.get(layer.name, {})) for layer in layers)
    return network.FixedPointNetwork(input=network.Input(shape=(4,)), layers=layers, profile="extended")


@pytest.mark.parametrize(("frames", "steps"), [(6, 2), (2, 6)])
def test_a_sample_takes_the_larger_number_of_steps(frames, steps):
    net = small(frames, steps)
    assert (net.num_steps, net.period(frames), net.latency) == (frames, 6, frames - 1 + 3)
    assert {name: net.steps(name, frames) for name in net.shapes} == {
        "input": frames,
        "mixed": steps,
        "hidden": steps,
        "readout": steps,
    }
    x = generators.random_data(net, 2, frames)
    result = simulate(net, x, trace=True)
    assert result.readout.shape == (2, 3, steps)
    assert [trace.spikes.shape[-1] for trace in result.layers.values()] == [steps] * 3
    sent, _ = count_messages(net, x)
    assert [counts.shape[-1] for counts in sent.values()] == [frames, steps, steps, steps]
    assert f"mix/{frames} to {steps} steps" in str(net)


def test_neurons_pause_until_the_next_sample():
    """They send nothing, and the readout keeps its result, while frames of the next sample come in."""
    net = small()
    x = generators.random_data(net, 3, 6)
    stepper = Stepper(net, reset_interval=6)
    expected = simulate(net, x, trace=True)
    for time in range(3 * 6 + net.latency):
        stepper.step(x[time // 6, :, time % 6] if time < 18 else np.zeros(4, int))
        sample, step = divmod(time - net.latency, 6)
        if sample >= 0 and step >= 2:
            np.testing.assert_array_equal(stepper.potentials["readout"], expected.readout[sample, :, -1])
        sample, step = divmod(time - net.depth("hidden"), 6)
        if sample >= 0 and step >= 2:
            assert not stepper.messages["hidden"].any()
    assert expected.layers["hidden"].spikes[..., -1].any()  # which a bias alone would go on sending


def test_other_intervals_and_data_are_refused():
    net = small(2, 6)
    with pytest.raises(ShapeError, match="reset_interval=2 does not fit gates and mixings; use 6"):
        Stepper(net, reset_interval=2)
    with pytest.raises(ShapeError, match="data: 6 steps do not fit the network's gates and mixings; use 2"):
        simulate(net, generators.random_data(net, 1, 6))


def test_files_hold_frames(tmp_path):
    net = small()
    write(net, tmp_path / "frames.net")
    assert read(tmp_path / "frames.net") == net
    x = generators.random_data(net, 2, 6)
    assert compare(simulate(tmp_path / "frames.net", x), simulate(net, x)).mismatches == 0


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (2, 0), (2, 3, 4), (2, LIMITS.steps_max + 1)])
def test_impossible_matrices_are_refused_by_name(shape):
    message = r"mixed: mixing matrix of shape .* does not fit; use \(T, F\), each in 1\.\."
    with pytest.raises(ExportError, match=message):
        small(mixed={"mix": network.Mix(omega=np.ones(shape, int))})


def test_a_file_with_an_impossible_matrix_is_refused(tmp_path):
    path = tmp_path / "frames.net"
    write(small(), path)
    with h5py.File(path, "r+") as file:
        data = json.loads(file["network"][()].tobytes())
        data["layers"][0]["mix"]["omega"]["integers"] = [2, 2, 3]
        del file["network"]
        file["network"] = np.frombuffer(json.dumps(data).encode(), dtype=np.uint8)
    with pytest.raises(NetXFormatError, match=r"mixed: mixing matrix of shape \(2, 2, 3\) does not fit"):
        read(path)


def test_parts_for_other_numbers_of_steps_are_refused():
    gate = network.Gate(multiplier=np.ones(6, int), shift=0)
    hidden = small().layers[1]
    gated = (replace(hidden.connections[0], gate=gate),)
    with pytest.raises(ExportError, match=r"gates and mixings are made for \[2, 6\] steps; use one number"):
        small(hidden={"connections": gated})
    skip = (*hidden.connections, dense(np.random.default_rng(1), "input", (6, 4)))
    with pytest.raises(ExportError, match="hidden: paths with and without a mixing of frames meet"):
        small(hidden={"connections": skip})


@pytest.mark.lava
def test_verify_runs_frames_everywhere():
    found = verify(small(), num_samples=2)
    assert found.steps == 6
    assert [name for name, one in found.backends.items() if one.ran] == ["lava", "lava-fused"]
    assert found.equal


@pytest.mark.parametrize(("frames", "steps"), [(6, 2), (2, 6)])
def test_costs_and_reports_know_the_steps_of_each_layer(frames, steps):
    net = small(frames, steps)
    x = generators.random_data(net, 4, frames)
    found = cost(net, x, place(net))
    assert found.steps == 6
    assert [len(layer.messages_per_step) for layer in found.layers] == [frames, steps, steps, steps]
    traces = simulate(net, x, trace=True).layers
    for layer in found.layers[1:]:
        expected = np.count_nonzero(traces[layer.name].spikes, axis=1).mean(0)
        np.testing.assert_allclose(layer.messages_per_step, expected)
    assert "samples of 6 steps" in html(report(net, x))
