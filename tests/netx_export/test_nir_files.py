"""NIR graphs as files: ``read``, ``describe``, commands; and the tables of the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import nir
import numpy as np
import pytest
from support.cli import command

import netx_export
from lava_bsnn.errors import NetXFormatError, OptionError
from netx_export.nir import DIALECTS, SEMANTICS

PAGE = (Path(__file__).parents[2] / "docs/nir.md").read_text()


@pytest.fixture
def leaky(tmp_path):
    """A graph as snnTorch writes it: a time step of 0.0001 s that it does not tell."""
    shape = (4,)
    nodes = {
        "input": nir.Input(np.array([3])),
        "fc": nir.Linear(weight=np.random.default_rng(0).integers(-4, 9, (4, 3)) / 8),
        "lif": nir.LIF(
            tau=np.full(shape, 2e-4),
            r=np.full(shape, 2.0),
            v_leak=np.zeros(shape),
            v_threshold=np.ones(shape),
        ),
        "output": nir.Output(np.array(shape)),
    }
    graph = nir.NIRGraph(nodes, [("input", "fc"), ("fc", "lif"), ("lif", "output")], type_check=False)
    nir.write(tmp_path / "x.nir", graph)
    return graph, tmp_path


def test_read_takes_graphs(leaky):
    graph, folder = leaky
    net = netx_export.read(folder / "x.nir", semantics="snntorch")
    assert net == netx_export.from_nir(graph, semantics="snntorch")
    found = netx_export.describe(folder / "x.nir", semantics="nir", dt=2e-4)
    assert (found.origin, found.schema, found.digest, found.profile) == ("NIR", None, False, "extended")
    assert found.net["lif"].neuron.voltage_decay == 4096
    with pytest.raises(NetXFormatError, match=r"x.nir: lif: LIF needs the time step"):
        netx_export.read(folder / "x.nir", semantics="nir")
    netx_export.write(net, folder / "x.net")
    assert netx_export.describe(folder / "x.net").origin == "lava-bsnn"


def test_a_path_is_no_graph(leaky):
    with pytest.raises(OptionError, match=r"from_nir: PosixPath is no NIRGraph; use nir.read\(path\), or"):
        netx_export.from_nir(leaky[1] / "x.nir", semantics="snntorch")


def test_a_damaged_graph_is_one_line(leaky):
    import h5py

    _, folder = leaky
    with h5py.File(folder / "x.nir", "a") as file:
        del file["node/nodes/lif/tau"]
    with pytest.raises(
        NetXFormatError, match=r"x.nir: not a readable NIR graph \(TypeError.*\); write it again"
    ):
        netx_export.read(folder / "x.nir")


def test_commands_take_graphs(leaky):
    _, folder = leaky
    asked = command("inspect", "x.nir", cwd=folder)
    assert asked.returncode == 2 and asked.stderr.startswith("lava-bsnn: x.nir: lif: LIF needs the time step")
    assert "give --dt in seconds, or --semantics, whose own is taken" in asked.stderr
    shown = command("inspect", "x.nir", "--dt", "1e-4", cwd=folder)
    assert shown.returncode == 0 and "a NIR graph" in shown.stdout and "2048" in shown.stdout
    assert shown.stderr.startswith("lava-bsnn: from_nir: nothing tells who wrote the graph")
    assert len(shown.stderr.splitlines()) == 1 and "with --semantics, else --semantics 'nir'" in shown.stderr
    made = command(
        "nir", "x.nir", "--out", "x.net", "--semantics", "nir", "--dt", "1e-4", "--json", "-", cwd=folder
    )
    assert json.loads(made.stdout) == {"layers": 1, "file": "x.net"} and not made.stderr.count(
        "nothing tells"
    )
    back = command("nir", "x.net", "--out", "y.nir", "--semantics", "norse", cwd=folder)
    assert back.returncode == 0 and np.all(nir.read(folder / "y.nir").nodes["lif"].r == 1)
    again = command("inspect", "y.nir", cwd=folder)
    assert again.returncode == 0 and not again.stderr
    wrong = command("nir", "x.net", "--out", "z.nir", "--semantics", "sinabs", cwd=folder)
    assert wrong.returncode == 2 and "--semantics 'sinabs' is unknown" in wrong.stderr
    assert not (folder / "z.nir").exists()


@pytest.mark.lava
def test_verify_and_report_take_graphs_that_do_not_say_what_they_mean(leaky):
    for words in (("verify", "--backends", "lava-fused", "--steps", "2"), ("report", "--samples", "1")):
        done = command(*words, "--json", "-", "x.nir", "--semantics", "snntorch", cwd=leaky[1])
        assert done.returncode == 0 and json.loads(done.stdout) and "nothing tells" not in done.stderr


def row(name, table):
    """Cells of a line of the page's table, which is the first or second one with such a line."""
    lines = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip().replace("`", "") for cell in lines[table].strip("|").split("|")]


@pytest.mark.parametrize("name", SEMANTICS)
def test_the_page_has_what_writers_mean(name):
    meaning = SEMANTICS[name]
    assert row(name, 0) == [
        name,
        "" if meaning.dt is None else str(meaning.dt),
        "r i" if meaning.per_step else "dt r i",
        "v >= threshold" if meaning.at_threshold else "v > threshold",
        meaning.reset,
        "w_in S" if meaning.jumps else "dt / tau_syn w_in S",
        "exp(-dt / tau)" if meaning.exponential else "1 - dt / tau",
        "many" if meaning.counts else "one",
    ]


@pytest.mark.parametrize("name", DIALECTS)
def test_the_page_has_what_readers_take(name):
    dialect = DIALECTS[name]
    one = "one threshold: weights are scaled" if dialect.one_threshold else "any"
    assert row(name, 1) == [
        name,
        str(dialect.dt) + ("" if dialect.fixed_dt else ", or any"),
        ("r = 1" if dialect.per_step else "r = 1 / dt") if dialect.has_if else "LIF without end",
        "1: weights hold it" if dialect.r_is_one else "tau / dt",
        one + ("; one decay" if dialect.one_decay else ""),
        "two nodes" if dialect.breaks_loops else "one node",
        "no" if dialect.plain else "yes",
        "yes" if dialect.groups and dialect.forgets else "no",
    ]
