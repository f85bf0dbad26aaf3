"""Axonal delays and feedback of trained blocks: from torch to every profile and backend."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from lava_bsnn import block, models, training
from netx_export import compare, convert, read, run, simulate, write
from netx_export.network import Conv, Dense, Identity

MATCHED = {"threshold": 1.0, "voltage_decay": 0.25, "membrane_bits": 24, "membrane_mode": "matched"}
STEPS = 9


def chain(*blocks, shape, seed=0):
    """A model with delays of 0..4 steps, and random inputs."""
    torch.manual_seed(seed)
    model = models.SpikingNetwork(blocks, in_shape=shape, num_steps=STEPS)
    for module in model.modules():
        if isinstance(module, block.SpikingBlock) and module.delay is not None:
            module.delay.delay.data.uniform_(0, 4.99)
            module.delay.delay.data[0] = 3.5
    return model.eval(), (torch.rand(6, *shape, STEPS) < 0.5).float()


def residual_model(params=MATCHED, *, delay=True):
    options = {"norm": None, "weight_scale": 3}
    return chain(
        block.Conv(params, 2, 3, 3, padding=1, delay=delay, name="first", **options),
        block.Residual(
            [
                block.Conv(params, 3, 3, 3, padding=1, delay=delay, name="inner", **options),
                block.Conv(params, 3, 3, 3, padding=1, delay=delay, **options),
            ],
            name="skip",
        ),
        block.Pool(params, 2, mode="sum", delay=delay, name="pooled"),
        block.Flatten(),
        block.Dense(params, 12, 5, delay=delay, name="last", norm=None, weight_scale=2),
        shape=(2, 4, 4),
    )


def spikes_of(model, x):
    with torch.no_grad():
        return model(x).numpy()


def test_delays_behind_every_block_are_exact_in_profile_extended(tmp_path):
    model, x = residual_model()
    net = convert(model, "extended")
    late = {layer.name: [c.delay is not None for c in layer.connections] for layer in net.layers}
    assert late == {
        "first": [False],
        "inner": [True],
        "skip": [True, True],
        "pooled": [True],
        "last": [True],
        "last_delay": [True],
    }
    skip = net["skip"]
    kinds = [type(connection.synapse) for connection in skip.connections]
    assert kinds == [Conv, Identity] and skip.connections[1].delay.shape == (1, 3)
    assert isinstance(net["last"].connections[0].synapse, Dense)
    assert net["last"].connections[0].delay.shape == (1, 12)
    ours, theirs = simulate(net, x.long().numpy()).spikes, spikes_of(model, x)
    np.testing.assert_array_equal(ours, theirs)
    assert 0.01 < theirs.mean() < 0.9
    model.blocks[0].delay = None
    assert (spikes_of(model, x) != theirs).any()
    write(net, tmp_path / "late.net")
    assert read(tmp_path / "late.net") == net


def test_delays_of_0_leave_no_trace():
    model, _ = residual_model()
    plain, _ = residual_model(delay=False)
    plain.load_state_dict(model.state_dict(), strict=False)
    for module in model.modules():
        if getattr(module, "delay", None) is not None and isinstance(module, block.SpikingBlock):
            module.delay.delay.data.uniform_(0, 0.99)
    assert convert(model, "extended") == convert(plain, "extended")


def dense_model(target, kind=block.Dense):
    params = {"threshold": 1.0, "voltage_decay": 0.25}
    model, x = chain(
        kind(params, 6, 8, norm=None, weight_scale=4, delay=kind is block.Dense, name="first"),
        block.Dense(params, 8, 5, norm=None, weight_scale=3, delay=True, name="last"),
        shape=(6,),
    )
    training.match_device(model, target)
    return model, x


def test_stock_delays_the_weighted_input_of_dense_blocks():
    model, x = dense_model("stock")
    net = convert(model, "stock")
    assert [layer.name for layer in net.layers] == ["first", "last"]
    for layer, module in zip(net.layers, model.blocks, strict=True):
        np.testing.assert_array_equal(layer.connections[0].delay, module.delay.steps)
    ours = simulate(net, x.long().numpy()).spikes
    np.testing.assert_array_equal(ours, spikes_of(model, x))
    assert 0.02 < ours.mean() < 0.9


@pytest.mark.lava
@pytest.mark.parametrize(
    ("profile", "kind", "backend"),
    [
        ("stock", block.Dense, "stock"),
        ("loihi", block.Dense, "lava"),
        ("loihi", block.Recurrent, "lava"),
        ("extended", block.Recurrent, "lava"),
    ],
)
def test_lava_gives_the_same_where_unmodified_synapses_would_mix_samples(profile, kind, backend):
    model, x = dense_model(profile, kind)
    if profile == "stock":
        model.blocks[1].delay = None  # a run per sample costs a second
    net, data = convert(model, profile), x[:3].long().numpy()
    expected = simulate(net, data, trace=True)
    result = compare(expected, run(net, data, backend, trace=True))
    assert result.mismatches == 0 and result.compared > 300
    assert all(trace.spikes.any() for trace in expected.layers.values())
    np.testing.assert_array_equal(expected.spikes, spikes_of(model, x[:3]))


@pytest.mark.lava
def test_a_chip_graph_of_delays_holds_unmodified_delay_synapses():
    from netx_export.process import Network

    model, x = residual_model({"threshold": 1.0, "voltage_decay": 0.25})
    training.match_device(model, "loihi")
    model.blocks[0].delay.delay.data[:] = 0.0  # its conv needs no relay
    net = convert(model, "loihi")
    assert "inner_delay0" not in {layer.name for layer in net.layers}
    assert {"skip_delay0", "pooled_delay0"} <= {layer.name for layer in net.layers}
    graph = Network(net, reset_interval=STEPS, reset_offset=1)
    len(graph.layers)
    kinds = Counter(type(process) for process in graph.inner())
    assert {kind.__module__.partition(".")[0] for kind in kinds} == {"lava"}
    assert {"DelayDense", "DelaySparse", "Conv", "LIFReset"} <= {kind.__name__ for kind in kinds}
    data = x[:2].long().numpy()
    expected = simulate(net, data, trace=True)
    assert compare(expected, run(net, data, "lava", trace=True)).mismatches == 0
    assert all(trace.spikes.any() for trace in expected.layers.values())
    np.testing.assert_array_equal(expected.spikes, spikes_of(model, x[:2]))


@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_feedback_survives_the_file(profile, tmp_path):
    torch.manual_seed(2)
    model, x = dense_model(profile, block.Recurrent)
    model.blocks[1].delay = None
    net = convert(model, profile)
    assert [c.source for c in net["first"].connections] == ["input", "first"]
    write(net, tmp_path / "loop.net")
    assert read(tmp_path / "loop.net") == net
    ours = simulate(net, x.long().numpy()).spikes
    np.testing.assert_array_equal(ours, spikes_of(model, x))
    with torch.no_grad():
        model.blocks[0].recurrent_synapse.weight.mul_(-1)
    assert (spikes_of(model, x) != ours).any()
