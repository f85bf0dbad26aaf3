"""Random networks give the same on every backend: every spike of every layer at every step.

Networks of all profiles are made of random integers; random torch models are converted, and what enters
them, their own spikes, and their logits in evaluation are compared, too. The fast tests are a sample;
``pytest -m nightly -rP`` runs at least 300 different networks of each kind and prints how many.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lava_bsnn import block
from lava_bsnn.errors import ExportError
from lava_bsnn.training.batches import as_input
from netx_export import FixedPointNetwork, compare, convert, network, run, simulate
from netx_export.lowering import LayerReport
from netx_export.simulator.stepper import stream
from netx_export.verify import random_data

CHECKS = [HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
BACKENDS = {
    "stock": ("lava-fused", "lava", "stock"),
    "loihi": ("lava-fused", "lava"),
    "extended": ("lava-fused", "lava"),
    "torch": ("lava-fused", "lava"),
}


def some(examples):
    return settings(max_examples=examples, suppress_health_check=CHECKS)


def cases():
    return given(
        seed=st.integers(0, 1 << 32),
        depth=st.integers(1, 5),
        num_steps=st.integers(1, 20),
        num_samples=st.integers(1, 4),
    )


@dataclass(frozen=True)
class Case:
    """A network and its integers; for a torch model also the model, its samples, and how it was converted."""

    net: FixedPointNetwork
    x: np.ndarray
    model: torch.nn.Module | None = None
    samples: np.ndarray | None = None
    reports: tuple[LayerReport, ...] = ()


def network_and_data(generate, kind, seed, depth, num_steps, num_samples):
    """A random :class:`Case`."""
    seed = ((seed * 6 + depth) * 21 + num_steps) * 5 + num_samples  # another case is another network
    reports = []
    try:
        if kind == "torch":
            model = generate.torch(seed, depth, num_steps)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # gains of 0
                net = convert(model, "extended", report=reports.append)
        else:
            net, num_steps = getattr(generate, kind)(seed, depth, num_steps)
    except ExportError:
        assume(False)
    assume(net.max_steps is None or net.max_steps >= num_steps)
    if kind != "torch":
        return Case(net, random_data(net, num_samples, num_steps, seed))
    samples = generate.samples(model, num_samples, num_steps, np.random.default_rng(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # saturated counts
        return Case(net, net.encode(samples), model, samples, tuple(reports))


def assert_model_agrees(case, float_spikes):
    """The torch model in evaluation, without Lava's pipeline: what enters, spikes, and logits."""
    model, net, x = case.model, case.net, case.x
    entered = []
    first = model.blocks[0]
    hook = first.register_forward_hook(lambda module, arguments, out: entered.append(out.numpy()))
    spikes, logits = float_spikes(model, as_input(model, torch.from_numpy(case.samples)))
    hook.remove()
    if isinstance(first, block.Input):
        np.testing.assert_array_equal(x, entered[0], err_msg="input")
    ours, reports = simulate(net, x, trace=True), case.reports
    if isinstance(net.output.neuron, network.Readout):
        *reports, readout = reports
        steps = logits.astype(np.float64) * readout.unit
        np.testing.assert_array_equal(ours.readout, steps.cumsum(-1), err_msg="readout")
    for report, theirs in zip(reports, spikes, strict=True):
        counts = ours.layers[report.name].spikes
        np.testing.assert_array_equal(counts, theirs.reshape(counts.shape), err_msg=report.name)


def assert_stream_agrees(net, x):
    """The stepper in Lava's time, samples back to back."""
    num_samples, num_steps = len(x), x.shape[-1]
    deepest = max(net.depth(layer.name) for layer in net.layers)
    joined = np.moveaxis(x, 0, -2).reshape(*net.input.shape, -1)
    joined = np.concatenate([joined, np.zeros((*net.input.shape, deepest), int)], -1)
    found = stream(net, joined, reset_interval=num_steps, clear_delays=True)
    for name, trace in simulate(net, x, trace=True).layers.items():
        depth = net.depth(name)
        for ours, theirs in ((found.messages, trace.spikes), (found.potentials, trace.potential)):
            cut = ours[name][..., depth : depth + num_samples * num_steps]
            cut = np.moveaxis(cut.reshape(*cut.shape[:-1], num_samples, num_steps), -2, 0)
            np.testing.assert_array_equal(cut, theirs, err_msg=name)


def assert_backends_agree(net, x, names, run=run):
    """Number of values that were compared."""
    expected, compared = simulate(net, x, trace=True), 0
    for name in names:
        actual = run(net, x, name, trace=True, timeout=300)
        result = compare(expected, actual)
        assert result.mismatches == 0, f"{name}: {result.first}"
        assert set(actual.layers) == set(expected.layers)
        for layer, trace in actual.layers.items():
            if trace.potential is not None and name != "stock":
                np.testing.assert_array_equal(
                    trace.potential, expected.layers[layer].potential, err_msg=f"{name} {layer}"
                )
        compared += result.compared
    return compared


@pytest.mark.parametrize(
    ("kind", "examples"), [("stock", 60), ("loihi", 60), ("extended", 60), ("torch", 120)]
)
def test_the_simulator_agrees_with_the_stepper_and_with_torch(generate, float_spikes, kind, examples):
    @some(examples)
    @cases()
    def check(**case):
        made = network_and_data(generate, kind, **case)
        if made.model is not None:
            assert_model_agrees(made, float_spikes)
        assert_stream_agrees(made.net, made.x)

    check()


@pytest.mark.lava
@pytest.mark.parametrize(
    ("kind", "names", "examples"),
    [
        ("stock", ("lava-fused", "stock"), 5),
        ("loihi", ("lava-fused", "lava"), 7),
        ("extended", ("lava-fused", "lava"), 7),
        ("torch", ("lava-fused", "lava"), 3),
    ],
)
def test_lava_agrees(generate, float_spikes, run_lightly, kind, names, examples):
    @some(examples)
    @cases()
    def check(**case):
        made = network_and_data(generate, kind, **case)
        if made.model is not None:
            assert_model_agrees(made, float_spikes)
        assert_backends_agree(made.net, made.x, names, run_lightly)

    check()


@pytest.mark.nightly
@pytest.mark.parametrize("kind", BACKENDS)
def test_three_hundred_networks_agree_everywhere(generate, float_spikes, run_lightly, kind):
    digests, compared, start = set(), 0, time.perf_counter()

    @some(320)
    @cases()
    def check(**case):
        nonlocal compared
        made = network_and_data(generate, kind, **case)
        if made.model is not None:
            assert_model_agrees(made, float_spikes)
        assert_stream_agrees(made.net, made.x)
        compared += assert_backends_agree(made.net, made.x, BACKENDS[kind], run_lightly)
        digests.add(made.net.digest())
        if len(digests) % 50 == 0:
            print(f"{kind}: {len(digests)} networks, {time.perf_counter() - start:.0f} s", flush=True)

    check()
    took = time.perf_counter() - start
    print(f"{kind}: {len(digests)} networks, {compared} values compared, 0 mismatches, {took:.0f} s")
    assert len(digests) >= 300
