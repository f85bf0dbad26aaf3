"""Targets: what each refuses, in one place; and one of a user's own, which is one file."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import netx_export
from lava_bsnn import block, cli, modulation
from lava_bsnn.errors import ExportError, NetXFormatError, OptionError
from netx_export import FixedPointNetwork, network, targets

OWN = '''
from dataclasses import replace

import netx_export
from netx_export.targets import Extended


@netx_export.register_target
class Narrow(Extended):
    """A chip with weights of four bits and no gates."""

    name = "narrow"
    limits = replace(Extended.limits, weight_min=-7, weight_max=7)

    def layer_problems(self, layer):
        if any(connection.gate is not None for connection in layer.connections):
            yield "narrow has no gates"

    def block_rules(self):
        from lava_bsnn import block

        rules = super().block_rules()

        def no_gates(module, job):
            yield from rules[block.SpikingBlock](module, job)
            if module.modulation is not None:
                yield f"{module.label}: narrow has no gates; use modulation=None"

        return {**rules, block.SpikingBlock: no_gates}

    def backend_problems(self, net, backend, *, alone):
        yield from super().backend_problems(net, backend, alone=alone)
        if backend == "lava":
            yield "narrow runs fused only"
'''


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "TARGETS", targets.TARGETS)
    before = dict(targets.TARGETS)
    (tmp_path / "narrow.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("narrow")
    targets.TARGETS.clear()
    targets.TARGETS.update(before)
    sys.modules.pop("narrow", None)


def chain(**options):
    torch.manual_seed(0)
    params = {"threshold": 1.0}
    blocks = [block.Dense(params, 6, 5, **options), block.Readout(None, 5, 3, weight_bits=3)]
    block.build(blocks, (6,))
    torch.nn.Sequential(*blocks).train()(torch.rand(8, 6, 4).round())
    return [one.eval() for one in blocks]


@pytest.mark.lava
def test_a_target_of_one_s_own_is_one_file(narrow, tmp_path, capsys):
    net = netx_export.convert(chain(), "narrow", num_steps=4)
    assert net.profile == "narrow"
    netx_export.write(net, "narrow.net")
    assert netx_export.read("narrow.net") == net
    assert cli.main(["--import", "narrow.py", "inspect", "narrow.net"]) == 0
    assert "profile narrow" in capsys.readouterr().out
    assert (
        cli.main(["--import", "narrow.py", "verify", "narrow.net", "--samples", "2", "--json", "v.json"]) == 0
    )
    found = json.loads((tmp_path / "v.json").read_text())["backends"]
    assert found["lava"]["why_not"] == "narrow runs fused only"
    assert found["lava-fused"]["mismatches"] == 0 < found["lava-fused"]["compared"]
    with pytest.raises(ExportError, match="narrow has no gates; use modulation=None"):
        netx_export.convert(chain(modulation=modulation.AGMM(4)), "narrow")
    wide = replace(net.layers[0].connections[0], synapse=network.Dense(weight=np.full((5, 6), 8)))
    with pytest.raises(ExportError, match=r"dense0: weights 8..8 is out of range; -7..7 are allowed"):
        replace(net, layers=(replace(net.layers[0], connections=(wide,)), net.layers[1]))
    gate = replace(
        net.layers[0].connections[0], gate=network.Gate(multiplier=np.ones(4, int), shift=0), scale=None
    )
    with pytest.raises(ExportError, match="dense0: narrow has no gates"):
        replace(net, layers=(replace(net.layers[0], connections=(gate,)), net.layers[1]))


def test_files_name_targets_that_are_not_registered(narrow, capsys):
    netx_export.write(netx_export.convert(chain(), "narrow", num_steps=4), "narrow.net")
    del targets.TARGETS["narrow"]
    with pytest.raises(
        NetXFormatError, match="profile='narrow' is unknown; use 'stock' or 'loihi' or 'extended'"
    ):
        netx_export.read("narrow.net")
    with pytest.raises(OptionError, match="profile='narrow'"):
        netx_export.convert(chain(), "narrow")


def test_targets_without_a_name_of_their_own_are_refused():
    for name in ("stock", "", "two words", None):
        with pytest.raises(OptionError, match="register_target: name="):
            netx_export.register_target(type("Mine", (targets.Extended,), {"name": name}))


def test_what_stock_refuses_of_a_network_is_refused_when_it_is_made(make_network):
    """Not by write or run, later."""
    net = make_network(in_shape=(3,), convs=(), dense=(3, 3), classes=0)
    first, second = net.layers
    skip = replace(
        second,
        connections=(
            *second.connections,
            network.Connection(source="input", synapse=network.Dense(weight=np.eye(3, dtype=int))),
        ),
    )
    with pytest.raises(ExportError, match="dense1: stock lava-dl builds chains only"):
        FixedPointNetwork(input=net.input, layers=(first, skip))


def test_convert_lists_all_poolings_that_stock_cannot_merge():
    params = {"threshold": 1.0}
    blocks = [
        block.Pool(None, 3, stride=2, padding=1),
        block.Conv(params, 2, 4, 3, padding=1, norm=None),
        block.Pool(None, 2),
        block.Pool(None, 2),
        block.Conv(params, 4, 4, 1, norm=None),
        block.Pool(None, 1),
    ]
    block.build(blocks, (2, 16, 16))
    with pytest.raises(ExportError) as refused:
        netx_export.convert(blocks)
    text = str(refused.value)
    assert "overlapping or padded pooling without neuron cannot be merged into Conv" in text
    assert "two poolings in a row" in text
    assert "a pooling without neuron cannot be the last block" in text


def test_convert_lists_all_sums_that_are_no_messages():
    params = {"threshold": 1.0}
    blocks = [
        block.Input(bits=8),
        block.Pool(None, 2),
        block.Conv(params, 1, 4, 3, padding=1, norm=None),
        block.Pool(None, 17),
        block.Conv(params, 4, 4, 1, norm=None),
    ]
    block.build(blocks, (1, 70, 70))
    with pytest.raises(ExportError) as refused:
        netx_export.convert(blocks, "extended")
    assert "sums of 4 messages 0..255" in str(refused.value)
    assert "sums of 289 messages 0..1" in str(refused.value)


def test_a_layer_s_name_hides_no_other_error():
    """Messages were searched for words before: a layer called source0 ended the list."""
    narrow = network.Dense(weight=np.ones((2, 5), int))  # does not fit its input

    def layer(name, source, synapse):
        connection = network.Connection(source=source, synapse=synapse)
        neuron = network.LIF(threshold=1, bias=np.zeros(2, int))
        return network.Layer(name=name, connections=(connection,), neuron=neuron, shape=(2,))

    bad = network.LIF(threshold=-1, bias=np.zeros(2, int))
    second = replace(layer("second", "source0", network.Dense(weight=np.eye(2, dtype=int))), neuron=bad)
    with pytest.raises(ExportError) as refused:
        FixedPointNetwork(input=network.Input(shape=(3,)), layers=(layer("source0", "input", narrow), second))
    assert "source0: dense of 5 inputs cannot take input (3,)" in str(refused.value)
    assert "second: threshold -1 is out of range" in str(refused.value)
