"""NIR graphs that do not tell their time step or their library, and what they cannot mean here."""

from __future__ import annotations

import warnings

import nir
import numpy as np
import pytest
from support.nir_graphs import (
    DT,
    chain,
    cuba,
    fire,
    full,
    lif,
    recurrent,
    two_layers,
)

from lava_bsnn.errors import ExportError, OptionError
from netx_export import from_nir


@pytest.mark.parametrize("neuron", [lif(0.5), cuba(0.5, 0.5), fire(1 / DT)])
def test_a_missing_time_step_is_asked_for_where_one_is_needed(neuron):
    graph = two_layers(neuron)
    with pytest.raises(ExportError, match=r"n1: \w+ needs the time step .* give dt= in seconds"):
        from_nir(graph, semantics="nir")
    net = from_nir(graph, semantics="nir", dt=DT)
    graph.metadata["dt"] = DT
    assert from_nir(graph, semantics="nir") == net
    graph.metadata["dt"] = 1.0  # the argument wins
    assert from_nir(graph, semantics="nir", dt=DT) == net
    for wrong in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ExportError, match="dt=.* is not allowed"):
            from_nir(graph, semantics="nir", dt=wrong)


def test_the_error_knows_the_time_step_of_snntorch():
    with pytest.raises(ExportError, match=r"tau / r = 0.0001 s looks like the dt of snnTorch"):
        from_nir(two_layers(lif(0.9)), semantics="nir")


def test_an_unsigned_graph_brings_one_warning():
    graph = two_layers(fire(1.0))
    with pytest.warns(UserWarning, match="IF adds its input once per step; if it is of 'snntorch'") as found:
        net = from_nir(graph)
    assert len(found) == 1 and found[0].filename == __file__
    assert net == from_nir(graph, semantics="norse")
    with pytest.warns(UserWarning, match="taken as NIR's equations with hard reset; if"):
        net = from_nir(two_layers(fire(1 / DT)), dt=DT)
    assert net == from_nir(two_layers(fire(1 / DT)), semantics="nir", dt=DT)
    with pytest.raises(OptionError, match="from_nir: semantics='brian' is unknown; use one of 'nir'"):
        from_nir(graph, semantics="brian")


def test_tau_below_a_step_tells_of_norse():
    with pytest.raises(ExportError, match="n1: tau of 1e-05 s is shorter than the time step of 0.001 s"):
        from_nir(two_layers(lif(0.0, dt=1e-5)), semantics="norse")


@pytest.mark.parametrize(
    ("graph", "semantics", "message"),
    [
        (two_layers(cuba(0.5, 0.5)), "snntorch", "n1: a CubaLIF with reset by subtraction is not supported"),
        (two_layers(lif(0.5, dt=-1e-4)), "snntorch", "n1: tau of -0.0002 s is not allowed; use more than 0"),
        (two_layers(lif(0.5, v_reset=0.5)), "snntorch", "n1: v_reset other than 0 has no meaning"),
        (
            chain(nir.Linear(np.eye(5)), nir.Linear(np.ones((5, 4))), fire(1), shape=[5]),
            "norse",
            "n1: takes 4 in",
        ),
        (
            chain(nir.Delay(full(2.5e-3)), fire(1), shape=[5]),
            "norse",
            "n0: delays must be whole steps of 0.001",
        ),
        (chain(nir.Delay(full(1)), fire(1e4), shape=[5]), None, "n0: nothing tells how many steps"),
        (
            chain(nir.Affine(np.eye(5), full(1)), nir.Delay(full(1)), fire(1), shape=[5]),
            "sinabs",
            "behind a bias",
        ),
        (
            chain(nir.Linear(np.eye(5)), nir.IF(full(1, (3,)), full(1, (3,))), shape=[5]),
            "norse",
            "does not fit neur",
        ),
        (
            chain(
                nir.Conv2d((4, 4), np.ones((2, 3, 9, 9)), 1, 0, 1, 1, full(0, (2,))), fire(1), shape=[3, 4, 4]
            ),
            "norse",
            "n0: conv kernel",
        ),
        (
            chain(
                nir.Conv2d((4, 4), np.ones((2, 3, 2, 2)), 1, "same", 3, 1, full(0, (2,))),
                fire(1),
                shape=[3, 4, 4],
            ),
            "norse",
            "n0: padding='same'",
        ),
    ],
)
def test_what_a_graph_cannot_mean_here_is_named(graph, semantics, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ExportError, match=message):
            from_nir(graph, semantics=semantics)


def test_neurons_in_a_cycle_and_loops_without_neuron_are_named():
    graph = recurrent(fire(1.0))
    graph.nodes["other"] = fire(1.0)
    graph.edges = [
        ("input", "fc"),
        ("fc", "lif"),
        ("lif", "other"),
        ("other", "w_rec"),
        ("w_rec", "lif"),
        ("lif", "output"),
    ]
    with pytest.raises(ExportError, match="neurons feed each other in a cycle"):
        from_nir(graph, semantics="norse")
    graph.edges = [("input", "fc"), ("fc", "w_rec"), ("w_rec", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    with pytest.raises(ExportError, match="w_rec: the graph has a cycle without a neuron"):
        from_nir(graph, semantics="norse")
    graph.edges = [("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    with pytest.raises(ExportError, match="lif: nothing leads from the input to it"):
        from_nir(graph, semantics="norse")
    readout = recurrent(nir.I(r=full(1)))
    with pytest.raises(ExportError, match="lif: node I sends no spikes, so it must be the last"):
        from_nir(readout, semantics="norse")
    graph.edges = [("lif", "nowhere"), ("lif", "output")]
    with pytest.raises(ExportError, match="nowhere: an edge names it"):
        from_nir(graph, semantics="norse")
