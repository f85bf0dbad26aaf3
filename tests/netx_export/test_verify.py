"""The comparison of all backends, and its command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lava_bsnn import cli
from lava_bsnn.errors import OptionError, ShapeError
from netx_export import backends, network, simulate, write
from netx_export.backends.runtime import LavaRunError
from netx_export.verify import random_data, verify

pytestmark = pytest.mark.lava


@pytest.fixture
def dense(make_network):
    return make_network(in_shape=(9,), convs=(), dense=(8,))


def changed(net):
    """The network with another bias in its first layer."""
    neuron = net.layers[0].neuron
    first = replace(net.layers[0], neuron=replace(neuron, bias=neuron.bias + 20))
    return replace(net, layers=(first, *net.layers[1:]))


def test_every_backend_is_compared_or_says_why_not(dense):
    result = verify(dense, num_samples=2)
    assert result.equal and result.mismatches == 0
    assert (result.samples, result.steps) == (2, 8)
    assert {name: outcome.ran for name, outcome in result.backends.items()} == {
        "lava": True,
        "lava-fused": True,
        "stock": True,
        "loihi2": False,
    }
    assert "lava-loihi" in result.backends["loihi2"].why_not
    assert "INRC" in result.backends["loihi2"].why_not
    for name in ("lava", "lava-fused", "stock"):
        outcome = result.backends[name]
        assert outcome.compared == 2 * 8 * (8 + 4 + 4)  # spikes of both layers, and the readout
        assert outcome.by_layer == {"dense0": 0, "readout": 0, "output": 0}
        assert outcome.seconds > 0


def test_the_table_has_a_line_per_backend_and_per_layer_if_asked(dense):
    result = verify(changed(dense), num_samples=1, backends=("lava-fused", "loihi2"))
    assert [next(iter(column.cells)) for column in result.table().columns[:3]] == ["lava-fused", "128", "0"]
    assert result.table().row_count == 2
    names = list(result.table(layers=True).columns[0].cells)
    assert names == ["lava-fused", "  dense0", "  readout", "  output", "loihi2"]
    assert "INRC" in list(result.table().columns[4].cells)[1]
    assert result.table().caption == "1 samples of 8 steps"


def test_an_extended_network_has_no_stock_backend(slow):
    net, _ = slow.random_network(21_004)
    result = verify(net, num_samples=1, backends=("stock", "lava-fused"))
    assert not result.backends["stock"].ran and not result.backends["stock"].failed
    assert "profile 'stock' only" in result.backends["stock"].why_not
    assert result.equal


@pytest.mark.parametrize("name", ["lava-fused", "stock"])
def test_a_difference_names_layer_step_neuron_and_both_potentials(dense, monkeypatch, name):
    right = backends._run
    monkeypatch.setattr(
        backends, "_run", lambda net, x, on, *rest: right(net if on == name else changed(net), x, on, *rest)
    )
    result = verify(dense, num_samples=1, backends=(name,))
    assert not result.equal
    outcome = result.backends[name]
    assert outcome.mismatches == sum(outcome.by_layer.values()) > 0
    pattern = (
        r"dense0 spike, step \d, sample 0, neuron \(\d,\): [01] and [01]; membrane potentials -?\d+ and -?\d+"
    )
    assert re.match(pattern, outcome.first), outcome.first
    assert outcome.first.endswith("(the latter after a reset)") == (name == "stock")


def test_a_run_that_fails_is_no_success(dense, monkeypatch):
    def fail(*args):
        raise LavaRunError("too long")

    right = backends._run
    monkeypatch.setattr(
        backends, "_run", lambda net, x, on, *rest: fail() if on == "lava" else right(net, x, on, *rest)
    )
    result = verify(dense, backends=("lava",))
    assert not result.equal and result.mismatches == 0
    assert result.backends["lava"].why_not == "too long"


def test_options_are_checked(dense):
    with pytest.raises(OptionError, match="backend='chip' is unknown"):
        verify(dense, backends=("chip",))
    with pytest.raises(OptionError, match="samples=0 is not allowed; use 1 or more"):
        verify(dense, num_samples=0)
    with pytest.raises(OptionError, match="seed=-1 is not allowed; use 0 or more"):
        verify(dense, seed=-1)
    with pytest.raises(OptionError, match="simulator is what others are compared with; use one of lava, "):
        verify(dense, backends=("simulator",))
    for timeout in (0, -1, float("nan"), float("inf"), "5", True):
        with pytest.raises(OptionError, match=r"timeout=.* is not allowed; use seconds > 0"):
            verify(dense, timeout=timeout)
    with pytest.raises(ShapeError):
        verify(dense, num_steps=1 << 20)


def test_random_inputs_cover_rest_and_saturation(dense, make_network):
    x = random_data(dense, 5, 40)
    rates = x.reshape(5, -1).mean(1)
    assert rates[4] == 1 and rates[3] < 0.1 and x.max() == 1
    np.testing.assert_array_equal(x, random_data(dense, 5, 40))
    graded = random_data(make_network(bits=4), 2, 6)
    assert (graded[0] == graded[0, ..., :1]).all() and not (graded[1] == graded[1, ..., :1]).all()
    assert graded.max() == 15


def test_the_command_prints_a_table_and_writes_json(dense, tmp_path, capsys):
    write(dense, tmp_path / "x.net")
    target = tmp_path / "figures.json"
    arguments = ["verify", str(tmp_path / "x.net"), "--samples", "1", "--backends", "lava-fused", "loihi2"]
    assert cli.main([*arguments, "--layers", "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    assert "lava-fused" in printed and "dense0" in printed and "lava-loihi" in printed
    figures = json.loads(target.read_text())
    assert (figures["mismatches"], figures["samples"]) == (0, 1)
    assert figures["backends"]["lava-fused"].keys() >= {"ran", "mismatches", "seconds", "why_not"}
    assert figures["backends"]["loihi2"]["ran"] is False


def test_the_command_exits_with_1_on_a_mismatch(dense, tmp_path, monkeypatch, capsys):
    right = backends._run
    monkeypatch.setattr(
        backends,
        "_run",
        lambda net, x, on, *rest: right(net if on != "simulator" else changed(net), x, on, *rest),
    )
    write(dense, tmp_path / "x.net")
    arguments = ["verify", str(tmp_path / "x.net"), "--samples", "1", "--backends", "lava-fused"]
    assert cli.main([*arguments, "--json", "-"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["mismatches"] > 0
    assert "first difference from the simulator: dense0 spike" in captured.err.replace("\n", " ")


def test_the_command_exits_with_2_on_bad_input(dense, tmp_path, capsys):
    write(dense, tmp_path / "x.net")
    for arguments in (
        [str(tmp_path / "none.net")],
        [str(tmp_path / "x.net"), "--backends", "chip"],
        [str(tmp_path / "x.net"), "--backends", "loihi2"],
        [str(tmp_path / "x.net"), "--samples", "0"],
        [str(tmp_path / "x.net"), "--timeout", "inf"],
    ):
        assert cli.main(["verify", *arguments]) == 2
        assert "lava-bsnn: " in capsys.readouterr().err


def test_the_command_exits_with_3_if_a_run_fails_or_it_is_defective(dense, tmp_path, monkeypatch, capsys):
    write(dense, tmp_path / "x.net")
    arguments = ["verify", str(tmp_path / "x.net"), "--backends", "lava-fused"]
    for error, told in ((LavaRunError("too long"), "too long"), (KeyError("oops"), "this is a defect")):

        def fail(net, x, on, *rest, error=error):
            if on == "simulator":
                return simulate(net, x, trace=True)
            raise error

        monkeypatch.setattr(backends, "_run", fail)
        assert cli.main(arguments) == 3
        captured = capsys.readouterr()
        assert told in captured.out + captured.err


def test_the_command_loads_no_slayer_for_a_fused_run(dense, tmp_path):
    write(dense, tmp_path / "x.net")
    script = (
        "import sys; from lava_bsnn import cli; "
        f"code = cli.main(['verify', {str(tmp_path / 'x.net')!r}, '--backends', 'lava-fused']); "
        "print(code, 'lava.lib.dl.slayer' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].startswith("0 False"), done.stdout + done.stderr


def test_a_network_of_one_neuron_is_verified():
    layer = network.Layer(
        name="only",
        connections=(network.Connection(source="input", synapse=network.Dense(weight=np.ones((1, 1), int))),),
        neuron=network.LIF(threshold=1, bias=np.zeros(1, int)),
        shape=(1,),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(1,)), layers=(layer,))
    assert verify(net, num_samples=3, num_steps=5).equal
