from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from lava_bsnn import analysis, block, models
from lava_bsnn._slayer import synapse_layer
from lava_bsnn.analysis.operations import taps
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import OptionError, ShapeError

PARAMS = {"threshold": 0.4, "voltage_decay": 0.5}


def network(*blocks, in_shape=(2, 7, 6), num_steps=3):
    model = models.SpikingNetwork(blocks, in_shape=in_shape, num_steps=num_steps).train()
    for module in model.modules():
        if getattr(module, "norm", None) is not None:  # so that about half of the neurons fire
            torch.nn.init.uniform_(module.norm.bias, 0.1, 0.6)
            torch.nn.init.constant_(module.norm.weight, 3)
    return model


def mixed():
    """First conv, pooling without neuron, residual with shortcut, grouped conv, pooling with neuron."""
    return network(
        block.Input(bits=None),
        block.Conv(PARAMS, 2, 4, 3, padding=1, name="first"),
        block.Pool(None, 2, padding=(1, 0)),
        block.Residual([block.Conv(PARAMS, 4, 6, 3, 2, padding=1)], [block.Conv(None, 4, 6, 1, 2)]),
        block.Conv(PARAMS, 6, 4, (2, 1), padding=(2, 1), dilation=(2, 1), groups=2),
        block.Pool({"threshold": 0.2, "voltage_decay": 0.5}, 2),
        block.Flatten(),
        block.Dense(PARAMS, 16, 5),
        block.Readout(None, 5, 3),
    )


def record(model, x, modules):
    """Inputs and outputs of modules, by a hook of the test's own."""
    seen = {}
    handles = [
        module.register_forward_hook(lambda m, a, y, name=name: seen.update({name: (a[0], y)}))
        for name, module in modules.items()
    ]
    model.eval()
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen


def slow_entropy(values):
    counts = Counter(values.ravel().tolist())
    return -sum(n / values.size * math.log(n / values.size) for n in counts.values())


PATHS = {"first": "blocks.1"}
"""Of blocks that were given a name."""


def test_rates_and_entropies_equal_those_of_the_spikes():
    model, x = mixed(), torch.rand(5, 2, 7, 6)
    activities = analysis.activity(model, x)
    modules = {name: model.get_submodule(f"{PATHS.get(name, name)}.neuron") for name in activities}
    assert list(activities) == ["first", "blocks.3.blocks.0", "blocks.4", "blocks.5", "blocks.7"]
    for name, (_, spikes) in record(model, x, modules).items():
        values = spikes.numpy()
        one = activities[name]
        assert one.neuron_steps == values.size
        assert one.firing_rate == pytest.approx(np.mean(values != 0), abs=1e-12)
        assert one.entropy == pytest.approx(slow_entropy(values), abs=1e-12)
        assert 0.05 < one.firing_rate < 0.95


def test_several_batches_are_counted_as_one():
    model, x = mixed(), torch.rand(5, 2, 7, 6)
    assert analysis.activity(model, x.split(2)) == analysis.activity(model, x)


def test_spikes_of_several_sizes_and_no_spikes():
    class Levels(type(mixed().blocks[1].neuron)):
        def forward(self, x):
            return torch.arange(x.numel()).reshape(x.shape).remainder(4).float()

    model = network(block.Conv(PARAMS, 2, 4, 1, neuron=Levels), block.Conv({"threshold": 1e9}, 4, 1, 1))
    graded, silent = analysis.activity(model, torch.rand(2, 2, 7, 6)).values()
    assert graded.firing_rate == 0.75
    assert graded.entropy == pytest.approx(math.log(4))
    assert silent.firing_rate == 0
    assert silent.entropy == 0


@pytest.mark.parametrize("count", [analysis.activity, analysis.count_operations])
def test_hooks_modes_and_states_are_as_before_also_after_an_exception(count):
    persistent = {**PARAMS, "persistent_state": True}
    model = network(block.Conv(persistent, 2, 4, 3), block.Flatten(), block.Readout(None, 80, 2))
    model.blocks[0].norm.eval()
    model(torch.rand(2, 2, 7, 6))
    state = model.blocks[0].neuron.voltage_state.clone()
    modes = [module.training for module in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    count(model, torch.rand(2, 2, 7, 6))
    with pytest.raises(ShapeError):
        count(model, [torch.rand(2, 2, 7, 6), torch.rand(2, 3, 7, 6)])
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model.blocks[0].neuron.voltage_state, state)
    for before, after in zip(buffers, model.buffers(), strict=True):
        assert torch.equal(before, after)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (2, 3, 2, 2), (5, 2, 0, 1)]
)
def test_taps_equal_a_loop_over_outputs(kernel, stride, padding, dilation):
    size = 9
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    expected = [0] * size
    for o, k in itertools.product(range(outputs), range(kernel)):
        if 0 <= (position := o * stride - padding + k * dilation) < size:
            expected[position] += 1
    assert taps(size, outputs, kernel, stride, padding, dilation).tolist() == expected


def slow_conv_operations(synapse, events, out_shape):
    """Walk from each output through its kernel; add the events that it meets."""
    (kh, kw), (sh, sw) = synapse.kernel_size[:2], synapse.stride[:2]
    (ph, pw), (dh, dw) = synapse.padding[:2], synapse.dilation[:2]
    inputs, outputs = synapse.in_channels // synapse.groups, synapse.out_channels // synapse.groups
    total = 0
    for o, i, j in itertools.product(*map(range, out_shape)):
        group = range(o // outputs * inputs, (o // outputs + 1) * inputs)
        for c, a, b in itertools.product(group, range(kh), range(kw)):
            row, column = i * sh - ph + a * dh, j * sw - pw + b * dw
            if 0 <= row < events.shape[1] and 0 <= column < events.shape[2]:
                total += events[c, row, column]
    return int(total)


def test_operations_equal_a_walk_over_every_synapse():
    model, x = mixed(), torch.rand(3, 2, 7, 6)
    count = analysis.count_operations(model, x)
    assert {name: one.kind for name, one in count.layers.items()} == {
        "first": "MAC",
        "blocks.3.shortcut.0": "SOP",
        "blocks.3.blocks.0": "SOP",
        "blocks.4": "SOP",
        "blocks.5": "SOP",
        "blocks.7": "SOP",
        "blocks.8": "MAC",
    }
    names = list(count.layers)
    modules = {name: model.get_submodule(f"{PATHS.get(name, name)}.synapse") for name in names}
    seen = record(model, x, {**modules, "spikes of first": model.blocks[1].neuron})

    fired = seen["spikes of first"][1].sum((0, -1)).numpy()  # 2x2 pooling, one row of padding on top
    pooled = np.zeros((4, 4, 3))
    for c, i, j in np.ndindex(*fired.shape):
        if j // 2 < 3 and (i + 1) // 2 < 4:
            pooled[c, (i + 1) // 2, j // 2] += fired[c, i, j]
    events = {name: (given != 0).sum((0, -1)).numpy() for name, (given, _) in seen.items()}
    events["blocks.3.shortcut.0"] = events["blocks.3.blocks.0"] = pooled
    for name in ("blocks.3.shortcut.0", "blocks.3.blocks.0", "blocks.4"):
        expected = slow_conv_operations(modules[name], events[name], seen[name][1].shape[1:4])
        assert count.layers[name].operations == expected > 0, name
    pool = _depthwise(modules["blocks.5"])
    cells = slow_conv_operations(pool, events["blocks.5"], seen["blocks.5"][1].shape[1:4])
    assert count.layers["blocks.5"].operations == cells > 0
    assert count.layers["blocks.7"].operations == events["blocks.7"].sum() * 5 > 0
    everything = np.full((2, 7, 6), len(x) * 3)
    assert count.layers["first"].operations == slow_conv_operations(modules["first"], everything, (4, 7, 6))
    assert count.layers["blocks.8"].operations == len(x) * 3 * 5 * 3
    for one in count.layers.values():
        assert one.operations <= one.dense_operations
    assert count.macs == (count.layers["first"].operations + count.layers["blocks.8"].operations) / 3
    sops = sum(one.operations for one in count.layers.values() if one.kind == "SOP")
    assert count.sops == sops / 3


def _depthwise(pool):
    return torch.nn.Conv3d(4, 4, pool.kernel_size, pool.stride, pool.padding, pool.dilation, groups=4)


def test_sops_equal_the_convolution_of_the_spikes_with_ones():
    model = network(
        block.Conv(PARAMS, 2, 4, 1),
        block.Conv(PARAMS, 4, 6, 3, 2, padding=2, groups=2),
        block.Conv(PARAMS, 6, 1, 1),
    )
    x = torch.rand(2, 2, 7, 6)
    synapse = model.blocks[1].synapse
    count = analysis.count_operations(model, x)
    spikes = record(model, x, {"it": synapse})["it"][0]
    ones = torch.ones_like(synapse.weight)
    sums = torch.nn.functional.conv3d(spikes, ones, None, synapse.stride, synapse.padding, 1, synapse.groups)
    assert count.layers["blocks.1"].operations == int(sums.double().sum()) > 0


def test_pooled_spikes_are_counted_through_flatten():
    model = network(
        block.Conv(PARAMS, 2, 3, 3),
        block.Pool(None, (5, 4)),
        block.Flatten(),
        block.Dense(PARAMS, 3, 6),
        block.Readout(None, 6, 2),
    )
    x = torch.rand(4, 2, 7, 6)
    fired = analysis.activity(model, x)["blocks.0"].spikes
    assert analysis.count_operations(model, x).layers["blocks.3"].operations == fired * 6
    assert fired > 3 * 4 * 3 * 2  # so that cells hold several spikes


def test_a_static_frame_counts_at_each_step_or_once():
    model, x = mixed(), torch.rand(3, 2, 7, 6)
    each, once = (analysis.count_operations(model, x, repeats=repeats) for repeats in (True, False))
    assert each.layers["first"].operations == 3 * once.layers["first"].operations
    assert each.layers["blocks.8"] == once.layers["blocks.8"]
    assert each.sops == once.sops
    changing = x[..., None].repeat(1, 1, 1, 1, 3)
    assert analysis.count_operations(model, changing, repeats=False) == each


def on_events(*entry):
    return network(
        *entry,
        block.Conv(PARAMS, 2, 4, 3, 2, padding=1),
        block.Flatten(),
        block.Readout(None, 48, 3),
        in_shape=(2, 7, 6),
    )


COUNTS = {"encoding": Encoding(kind="counts", bits=4)}


@pytest.mark.parametrize(
    ("entry", "largest"),
    [([], 1), ([block.Input()], 1), ([block.Input(**COUNTS)], 1), ([block.Input(**COUNTS)], 9)],
)
def test_the_first_synapse_counts_each_event_times_its_fan_out(entry, largest):
    model = on_events(*entry)
    x = (torch.rand(4, 2, 7, 6, 3) < 0.1) * torch.randint(1, largest + 1, (4, 2, 7, 6, 3)).float()
    count = analysis.count_operations(model, x)
    first, *_, last = count.layers
    events = (x != 0).sum((0, -1)).numpy()
    one = count.layers[first]
    expected = slow_conv_operations(model.blocks[len(entry)].synapse, events, (4, 4, 3))
    assert (one.kind, one.operations) == ("SOP", expected)
    everything = np.full((2, 7, 6), 4 * 3)
    assert one.dense_operations == slow_conv_operations(
        model.blocks[len(entry)].synapse, everything, (4, 4, 3)
    )
    assert 0 < expected < 0.2 * one.dense_operations
    assert count.layers[last].kind == "MAC"
    assert (count.sops, count.macs) == (expected / 4, 48 * 3 * 3)


@pytest.mark.filterwarnings("ignore:.*no spikes")
@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ([], 3),
        ([block.Input()], 3),
        ([block.Input(bits=None)], 2),
        ([block.Input(bits=8)], 2),
        ([block.Input(encoding=Encoding.images((0.5, 0.4), (0.2, 0.3)))], 2),
    ],
)
def test_the_first_synapse_counts_every_value_of_images(entry, values):
    model = on_events(*entry)
    x = torch.randint(0, values, (4, 2, 7, 6)).float() / max(1, values - 1)
    assert set(x.unique().tolist()) == {i / (values - 1) for i in range(values)}
    one, *_ = analysis.count_operations(model, x).layers.values()
    everything = np.full((2, 7, 6), 4 * 3)
    expected = slow_conv_operations(model.blocks[len(entry)].synapse, everything, (4, 4, 3))
    assert (one.kind, one.operations, one.dense_operations) == ("MAC", expected, expected)


def test_two_rails_of_an_image_count_twice():
    model = network(
        block.Input(encoding=Encoding.images((0.5,), (0.2,), bits=7, rails=True)),
        block.Conv(PARAMS, 2, 4, 1),
        block.Flatten(),
        block.Readout(None, 4 * 42, 3),
        in_shape=(1, 7, 6),
    )
    one, *_ = analysis.count_operations(model, torch.rand(5, 1, 7, 6)).layers.values()
    assert (one.kind, one.operations) == ("MAC", 5 * 3 * 2 * 42 * 4)


def test_an_input_with_a_neuron_sends_spikes():
    model = on_events(block.Input({"threshold": 0.6, "voltage_decay": 0.5}))
    x = torch.rand(4, 2, 7, 6)
    spikes = record(model, x, {"entry": model.blocks[0].neuron})["entry"][1]
    one, *_ = analysis.count_operations(model, x).layers.values()
    events = (spikes != 0).sum((0, -1)).numpy()
    expected = slow_conv_operations(model.blocks[1].synapse, events, (4, 4, 3))
    assert (one.kind, one.operations) == ("SOP", expected)
    assert expected > 0


@pytest.mark.parametrize("entry", [[], [block.Input()]])
def test_events_pooled_in_front_of_the_first_synapse_cost_the_fan_out_of_their_cell(entry):
    model = network(
        *entry,
        block.Pool(None, (7, 3)),
        block.Conv(PARAMS, 2, 4, 1),
        block.Flatten(),
        block.Readout(None, 8, 3),
    )
    x = (torch.rand(4, 2, 7, 6, 3) < 0.3).float()
    one, *_ = analysis.count_operations(model, x).layers.values()
    assert (one.kind, one.operations) == ("SOP", int(x.sum()) * 4)


def test_a_static_frame_of_spikes_counts_at_each_step_or_once():
    model, x = on_events(block.Input()), (torch.rand(4, 2, 7, 6) < 0.3).float()
    each, once = (analysis.count_operations(model, x, repeats=repeats).sops for repeats in (True, False))
    assert each == 3 * once > 0


def test_operations_per_sample_do_not_depend_on_the_batches():
    model, x = mixed(), torch.rand(4, 2, 7, 6)
    assert analysis.count_operations(model, x.split(3)) == analysis.count_operations(model, x)


def test_what_cannot_be_counted_is_named():
    class Odd(synapse_layer.GenericLayer):
        weight = torch.ones(1)
        in_channels = 4

        def forward(self, x):
            return x

    model = network(block.Conv(PARAMS, 2, 4, 1), block.Conv(PARAMS, 4, 4, 1))
    model.blocks[1].synapse = Odd()
    with pytest.raises(OptionError, match=r"blocks\.1 is a Odd, .* use Conv, Dense and Pool"):
        analysis.count_operations(model, torch.rand(1, 2, 7, 6))
    with pytest.raises(ShapeError, match="0 samples ran 0 synapses"):
        analysis.count_operations(mixed(), [])


@pytest.mark.parametrize(
    ("sops", "macs", "millijoule"),
    [(0.045e9, 0.028e9, 0.064), (0.056e9, 0.027e9, 0.066), (0.75e9, 0.027e9, 0.330)],
)
def test_the_fitted_constants_give_the_energies_of_agmm_table_2(sops, macs, millijoule):
    estimate = analysis.EnergyEstimate(sops=sops, macs=macs, constants=analysis.ENERGY_AGMM)
    assert estimate.joule * 1e3 == pytest.approx(millijoule, abs=0.0006)


def test_an_energy_says_that_it_is_an_estimate_and_from_what():
    count = analysis.count_operations(mixed(), torch.rand(2, 2, 7, 6))
    estimate = analysis.estimate_energy(count)
    assert (estimate.sops, estimate.macs) == (count.sops, count.macs)
    assert estimate.joule == pytest.approx(0.9e-12 * count.sops + 4.6e-12 * count.macs)
    assert str(estimate).startswith("estimate ")
    for part in ("45 nm", "0.9 pJ", "4.6 pJ", "SOPs", "MACs"):
        assert part in str(estimate)


def test_spikes_are_what_the_neurons_send_and_the_model_stays_in_training():
    model, x = mixed(), torch.rand(2, 2, 7, 6)
    layers = {name: module for name, module in model.named_modules() if name.endswith("neuron")}
    expected = record(model, x, layers)
    model.train()
    sent = analysis.spikes(model, x)
    paths = {f"{PATHS.get(name, name)}.neuron": spikes for name, spikes in sent.items()}
    assert list(paths) == list(expected)
    for path, spikes in paths.items():
        assert torch.equal(spikes, expected[path][1])
        assert not spikes.requires_grad
    assert model.training
    assert any(spikes.any() for spikes in sent.values())


def test_spikes_of_scaled_multi_threshold_neurons_are_counts():
    options = {"num_classes": 3, "in_shape": (6,), "num_steps": 2, "hidden": (20,), "input_bits": None}
    params = {"levels": 3, "threshold": 0.3, "scaled": True}
    model = models.create("mlp", method="lmht", method_options={"neuron_params": params}, **options)
    (spikes,) = analysis.spikes(model, 5 * torch.rand(8, 6)).values()
    assert spikes.unique().tolist() == [0, 1, 2, 3]
