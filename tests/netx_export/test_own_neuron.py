"""The neuron of docs/own_neuron.md, as a user adds it: one file, no change of the packages."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from support import documentation, generators

import netx_export
from lava_bsnn import block, cli, models, modulation
from lava_bsnn.errors import ExportError, LavaBsnnError, NetXFormatError, OptionError
from lava_bsnn.models.method import NEURONS
from netx_export import FixedPointNetwork, Stepper, network, neurons, simulate

(SOURCE,) = (code for name, code in documentation.examples() if code.startswith("# adaptive.py"))


@pytest.fixture(autouse=True)
def _registered_for_one_test(monkeypatch):
    monkeypatch.setattr(neurons, "_kinds", dict(neurons._kinds))
    monkeypatch.setattr(neurons, "_trained_as", dict(neurons._trained_as))
    before = dict(NEURONS)
    yield
    NEURONS.clear()
    NEURONS.update(before)
    sys.modules.pop("adaptive", None)


@pytest.fixture
def adaptive(tmp_path, monkeypatch):
    (tmp_path / "adaptive.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("adaptive")


def towards_zero(x, factor):
    return abs(x) * factor // 4096 * (1 if x >= 0 else -1)


def slow(neuron, currents, channel):
    """Spikes, and potentials before the reset, of one neuron, in plain integers."""
    v = extra = 0
    spikes, potentials = [], []
    threshold = neuron.threshold if isinstance(neuron.threshold, int) else int(neuron.threshold[channel])
    for current in currents:
        v = max(-(2**23 - 1), min(2**23 - 1, towards_zero(v, 4096 - neuron.voltage_decay) + int(current)))
        fired = v > threshold + extra
        potentials.append(v)
        spikes.append(int(fired))
        extra = max(0, min(2**23 - 1, towards_zero(extra, 4096 - 512) + neuron.rise * fired))
        v = 0 if fired else v
    return spikes, potentials


def layer_of(adaptive, weight, **fields):
    values = {"threshold": np.array([900, 700, 1500]), "rise": 300, "voltage_decay": 1000} | fields
    connection = network.Connection(source="input", synapse=network.Dense(weight=weight))
    return network.Layer(
        name="own",
        connections=(connection,),
        neuron=adaptive.AdaptiveLIF(**values),
        shape=(len(weight),),
    )


def net_of(adaptive, **fields):
    weight = np.random.default_rng(0).integers(-20, 30, (3, 6))
    return FixedPointNetwork(
        input=network.Input(shape=(6,), bits=2),
        layers=(layer_of(adaptive, weight, **fields),),
        profile="extended",
    )


def test_the_simulator_equals_plain_integers(adaptive):
    net = net_of(adaptive)
    x = np.random.default_rng(1).integers(0, 4, (4, 6, 12))
    result = simulate(net, x, trace=True).layers["own"]
    weight = net.layers[0].connections[0].synapse.weight
    for sample in range(len(x)):
        currents = (weight @ x[sample]) << 6
        for channel in range(3):
            spikes, potentials = slow(net.layers[0].neuron, currents[channel], channel)
            assert result.spikes[sample, channel].tolist() == spikes
            assert result.potential[sample, channel].tolist() == potentials
    assert 0.1 < result.spikes.mean() < 0.9


@pytest.mark.parametrize("seed", range(6))
def test_networks_with_everything_equal_the_stepper(adaptive, seed):
    """Delays, loops, gates, mixings and skips in front of own neurons; the stepper resets between samples."""
    drawn = None
    for attempt in range(40):
        try:
            drawn = generators.random_extended(100 * seed + attempt, depth=3)
        except ExportError:
            continue
        net, num_steps = drawn
        try:
            net = replace(
                net,
                layers=tuple(
                    layer
                    if layer.neuron.reads_out
                    else replace(layer, neuron=adaptive.AdaptiveLIF(threshold=2000, rise=700))
                    for layer in net.layers
                ),
            )
            break
        except ExportError:
            drawn = None
    assert drawn is not None
    x = np.random.default_rng(seed).integers(0, net.input.max_value + 1, (2, *net.input.shape, num_steps))
    expected = simulate(net, x, trace=True)
    stepper = Stepper(net, reset_interval=num_steps)
    stream = np.concatenate([*x, np.zeros((*net.input.shape, net.latency + 1), int)], -1)
    sent = []
    for t in range(stream.shape[-1]):
        stepper.step(stream[..., t])
        sent.append({name: stepper.messages[name] for name in stepper.messages})
    for layer in net.layers:
        depth = net.depth(layer.name)
        for sample in range(len(x)):
            start = depth + sample * num_steps
            ours = np.stack([one[layer.name] for one in sent[start : start + num_steps]], -1)
            np.testing.assert_array_equal(ours, expected.layers[layer.name].spikes[sample])


def test_inputs_that_enter_as_biases_drive_own_neurons(adaptive):
    layer = network.Layer(
        name="own",
        connections=(network.Connection(source="input", synapse=network.BiasInput()),),
        neuron=adaptive.AdaptiveLIF(threshold=100, rise=30),
        shape=(3,),
    )
    entry = network.Input(shape=(3,), bits=13, signed=True)
    net = FixedPointNetwork(input=entry, layers=(layer,), profile="extended")
    x = np.random.default_rng(0).integers(-200, 400, (2, 3, 9))
    result = simulate(net, x, trace=True).layers["own"]
    for sample in range(2):
        for channel in range(3):
            assert result.spikes[sample, channel].tolist() == slow(layer.neuron, x[sample, channel], 0)[0]
    assert result.spikes.any()


@pytest.mark.lava
def test_the_page_s_program_finds_no_difference(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adaptive.py").write_text(SOURCE)
    runpy.run_path("adaptive.py", run_name="__main__")
    agreed, *compared = capsys.readouterr().out.splitlines()[-3:]
    assert "100.00% get the same class" in agreed
    assert all(line.startswith("Comparison(mismatches=0, compared=") for line in compared)
    assert len(compared) == 2


@pytest.mark.lava
def test_every_command_takes_own_neurons(adaptive, tmp_path, capsys):
    def command(*arguments):
        code = cli.main(["--import", "adaptive.py", *map(str, arguments)])
        return code, capsys.readouterr()

    small = ["epochs=1", "width=0.25", "num_steps=2"]
    own = ["method_options.neuron=Adaptive", "method_options.neuron_params={}"]
    code, said = command("train", "digits-agmm", "--set", *own, *small, "--out", "run")
    assert code == 0, said
    code, said = command("train", "digits-agmm", "--dry-run", "--set", *own, *small)
    assert code == 0, said
    assert "differ" not in said.out
    code, said = command("eval", "run", "--json", "eval.json")
    assert code == 0 and json.loads((tmp_path / "eval.json").read_text())
    code, said = command("export", "run", "--profile", "extended", "--out", "own.net")
    assert code == 0, said
    code, said = command("inspect", "own.net")
    assert code == 0 and "AdaptiveLIF" in said.out
    code, said = command("verify", "own.net", "--samples", 1, "--json", "own.json")
    found = json.loads((tmp_path / "own.json").read_text())
    assert code == 0 and found["mismatches"] == 0
    assert found["backends"]["lava"]["compared"] > 0 and found["backends"]["lava-fused"]["compared"] > 0
    code, said = command("nir", "own.net", "--out", "own.nir")
    assert code == 2 and "NIR has no AdaptiveLIF neuron" in said.err.replace("\n", " ")


def test_files_name_neurons_that_are_not_registered(adaptive, tmp_path, capsys):
    netx_export.write(net_of(adaptive), tmp_path / "own.net")
    assert netx_export.read(tmp_path / "own.net") == net_of(adaptive)
    del neurons._kinds["AdaptiveLIF"]
    with pytest.raises(NetXFormatError, match=r"neurons 'AdaptiveLIF' are not known; register them"):
        netx_export.read(tmp_path / "own.net")
    assert cli.main(["inspect", "own.net"]) == 2
    assert "--import FILE" in capsys.readouterr().err


def test_modules_that_are_not_registered_are_refused_with_the_remedy(adaptive):
    neurons._trained_as.clear()
    blocks = [block.Flatten(), block.Dense({}, 4, 3, neuron=adaptive.Adaptive), block.Readout(None, 3, 2)]
    block.build(blocks, (4,))
    with pytest.raises(
        ExportError, match=r"neuron Adaptive cannot be exported; use .*netx_export\.register_neuron"
    ):
        netx_export.convert(blocks, "extended")


def test_modules_without_a_threshold_are_named(adaptive):
    blocks = [block.Dense({}, 4, 3, neuron=adaptive.Adaptive, norm=None), block.Readout(None, 3, 2)]
    block.build(blocks, (4,))
    net = torch.nn.Sequential(*blocks).eval()
    net[0].neuron.threshold = 0
    with pytest.raises(ExportError, match=r"Dense\(4, 3\): Adaptive has threshold=0.0, from which"):
        netx_export.convert(net, "extended")


def test_own_neurons_are_not_for_profile_stock(adaptive):
    blocks = [block.Dense({}, 4, 3, neuron=adaptive.Adaptive), block.Readout(None, 3, 2)]
    block.build(blocks, (4,))
    with pytest.raises(ExportError, match="neuron Adaptive cannot be exported in profile 'stock'"):
        netx_export.convert(blocks, "stock")
    with pytest.raises(ExportError, match="own: AdaptiveLIF is not possible in profile 'stock'"):
        replace(net_of(adaptive), profile="stock")


def test_ranges_of_own_fields_are_checked(adaptive):
    with pytest.raises(ExportError, match=r"own: rise -1 is out of range; 0..8388607 are allowed"):
        net_of(adaptive, rise=-1)
    with pytest.raises(ExportError, match=r"own: threshold of shape \(2,\) does not fit; use \(3,\)"):
        net_of(adaptive, threshold=np.array([1, 2]))


def test_own_neurons_behind_gates_and_skips_are_converted(adaptive):
    torch.manual_seed(0)

    def conv():
        gate = modulation.AGMM(3)
        return block.Conv(
            {"threshold": 0.4}, 4, 4, 3, padding=1, norm="batch", modulation=gate, neuron=adaptive.Adaptive
        )

    model = models.SpikingNetwork(
        [
            block.Input(bits=4),
            block.Conv({}, 1, 4, 3, padding=1, norm="batch", neuron=adaptive.Adaptive),
            block.Residual([conv(), conv()]),
            block.Flatten(),
            block.Readout(None, 4 * 36, 5),
        ],
        in_shape=(1, 6, 6),
        num_steps=3,
    )
    for _ in range(3):
        model.train()(torch.rand(16, 1, 6, 6))
    net = netx_export.convert(model.eval(), "extended")
    found = netx_export.agreement(model, net, torch.rand(40, 1, 6, 6))
    assert found.same_class == 1
    assert min(layer.equal for layer in found.layers) > 0.999  # rounding to 24 bits moves few spikes
    assert all(0 < layer.integer_rate < 0.9 for layer in found.layers), found.layers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": lambda self, s, c, t, i=0: ((s[0] + 2**23, s[1]), c > 0, s[0])}, "left 24 bits"),
        (
            {"step": lambda self, s, c, t, i=0: (s, 2 + (c > 0), s[0])},
            "sent 3..3; its max_message allows 0..1",
        ),
        ({"start": lambda self, zeros: (zeros,)}, "start gives 1 states; use one for each of v, extra"),
    ],
)
def test_steps_that_leave_their_ranges_are_named(adaptive, change, message):
    kind = dataclass(frozen=True, kw_only=True, eq=False)(type("Wrong", (adaptive.AdaptiveLIF,), change))
    netx_export.register_neuron(kind)
    net = net_of(adaptive)
    layer = replace(net.layers[0], neuron=kind(threshold=9, rise=1))
    net = replace(net, layers=(layer,))
    with pytest.raises(LavaBsnnError, match=f"own: Wrong.*{message}"):
        simulate(net, np.ones((1, 6, 3), int))


def test_incomplete_kinds_are_refused():
    def kind(name="Mine", frozen=True, eq=False, **members):
        members = {"__annotations__": {}, "step": lambda *a: None} | members
        return dataclass(frozen=frozen, kw_only=True, eq=eq)(type(name, (netx_export.Neuron,), members))

    register = netx_export.register_neuron
    for wrong, message in (
        (int, "int is not a kind"),
        (kind(eq=True), "Mine is not a kind; use a class derived from netx_export.Neuron under"),
        (kind(__annotations__={"tau": "int"}), "Mine.tau has no range; use integer"),
        (kind(step=netx_export.Neuron.step), "Mine needs a method step"),
        (kind(states=("u",)), "a state named 'v'"),
        (kind("LIF"), "LIF is a name of netx_export; choose another"),
        (kind("Conv"), "Conv is a name of netx_export; choose another"),
    ):
        with pytest.raises(OptionError, match=message):
            register(wrong)
    with pytest.raises(OptionError, match="Mine needs a classmethod from_module"):
        register(kind(), torch.nn.ReLU)
    assert register(kind()) is neurons.kinds()["Mine"]


def test_files_that_cannot_be_imported_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.py").write_text("1 / 0\n")
    for arguments, message in (
        (["--import", "none.py", "recipes"], "--import: 'none.py' is no Python file"),
        (["--import"], "is no Python file; give the path of one"),
        (["--import", "wrong.py", "recipes"], "wrong.py cannot be run: ZeroDivisionError"),
    ):
        assert cli.main(arguments) == 2
        assert message in capsys.readouterr().err
