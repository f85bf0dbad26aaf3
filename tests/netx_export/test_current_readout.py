"""Readouts whose current has a memory, and whose sums may saturate, as SLAYER's Affine has them."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
from support.oracle import slow_simulation

from lava_bsnn.errors import ExportError, ShapeError
from netx_export import FixedPointNetwork, compare, network, read, run, simulate, to_nir, write
from netx_export.backends import backend_problems
from netx_export.simulator.stepper import stream


def affine(profile="stock", limit=100, **options):
    rng = np.random.default_rng(2)
    hidden = network.Layer(
        name="hidden",
        connections=(
            network.Connection(source="input", synapse=network.Dense(weight=rng.integers(-40, 60, (9, 6)))),
        ),
        neuron=network.LIF(threshold=40, bias=np.zeros(9, int), voltage_decay=500),
        shape=(9,),
    )
    weight = rng.integers(-limit, limit, (4, 9))
    options = {"threshold": 262_143, "current_decay": 300, "voltage_decay": 100} | options
    readout = network.Layer(
        name="affine",
        connections=(network.Connection(source="hidden", synapse=network.Dense(weight=weight)),),
        neuron=network.Readout(bias=np.array([3, 0, -9, 70]), **options),
        shape=(4,),
    )
    return FixedPointNetwork(input=network.Input(shape=(6,)), layers=(hidden, readout), profile=profile)


def samples(num_samples=2, num_steps=40):
    return (np.random.default_rng(3).random((num_samples, 6, num_steps)) < 0.5).astype(int)


@pytest.mark.parametrize("profile", ["stock", "extended"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"voltage_decay": 0},
        {"current_decay": 0, "voltage_decay": 4096},
        {"current_decay": 0, "limit": 127},
    ],
)
def test_the_potential_is_that_of_the_slow_reference(options, profile):
    net, x = affine(profile, **options), samples(num_steps=120)
    assert net.max_steps is None
    result = simulate(net, x)
    for sample, readout in zip(x, result.readout, strict=True):
        np.testing.assert_array_equal(readout, slow_simulation(net, sample)["affine"][1])
    steps = stream(net, np.concatenate([x[0], np.zeros((6, 2), int)], -1)).potentials["affine"]
    assert np.abs(result.readout).max() > 40_000 and steps.shape == (4, 122)


def test_sums_saturate_or_wrap_as_in_lavas_neurons():
    net, x = affine(current_decay=0, voltage_decay=0, limit=127), np.ones((1, 6, 300), int)
    readout = simulate(net, x).readout
    np.testing.assert_array_equal(readout[0], slow_simulation(net, x[0])["affine"][1])
    assert np.abs(readout).max() == 2**23 - 1


def test_a_threshold_that_can_be_reached_limits_the_steps():
    net = affine(threshold=131_071)
    bound = max(
        int(np.abs(row).sum()) * 64 + abs(int(bias)) * 64
        for row, bias in zip(net.output.connections[0].synapse.weight, net.output.neuron.bias, strict=True)
    )
    steps, current, total = 0, 0, 0
    while total <= 131_071 * 64:  # the worst case without any decay
        steps, current = steps + 1, current + bound
        total += current
    assert 2 <= net.max_steps < steps
    with pytest.raises(ShapeError, match="40 steps could overflow the readout's 24-bit potential"):
        simulate(net, samples())


@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_files_keep_them_and_other_files_do_not_change(tmp_path, profile):
    net = affine(profile)
    write(net, tmp_path / "a.net")
    assert read(tmp_path / "a.net") == net
    if profile == "stock":
        with h5py.File(tmp_path / "a.net") as file:
            assert file["layer/2/neuron/vThMant"][()] == 262_143 and file["layer/2/neuron/iDecay"][()] == 300
    plain = replace(net.output.neuron, threshold=131_071, current_decay=4096)
    assert plain == network.Readout(bias=plain.bias, voltage_decay=100)
    assert plain.digest() == network.Readout(bias=plain.bias, voltage_decay=100).digest()


def test_the_chip_cannot_hold_a_threshold_out_of_reach():
    (problem,) = backend_problems(affine(), "loihi2", 1)
    assert problem == "affine: a threshold of 262143 does not fit the chip's 17 bits; use 131071"
    assert not backend_problems(affine(threshold=131_071), "loihi2", 1)
    assert not backend_problems(affine(), "stock", 1)


def test_nir_has_none():
    with pytest.raises(ExportError, match="affine: NIR has no readout whose current has a memory"):
        to_nir(affine(), dt=1e-4)


@pytest.mark.lava
@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_every_backend_gives_the_same(profile):
    net, x = affine(profile), samples(num_steps=12)
    for backend in ("lava", "lava-fused", *["stock"] * (profile == "stock")):
        result = compare(simulate(net, x, trace=True), run(net, x, backend, trace=True))
        assert result.mismatches == 0, (backend, result.first)
