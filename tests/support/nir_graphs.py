"""NIR graphs as libraries write them, and the comparison of what they compute with ours."""

from __future__ import annotations

import itertools

import nir
import numpy as np

from netx_export import simulate
from support import nir_libraries as libraries

DT = 1e-4


def full(value, shape=(5,)):
    return np.full(shape, float(value))


def lif(keep, *, dt=DT, r=None, shape=(5,), **options):
    tau = dt / (1 - keep)
    values = {"v_leak": 0.0, "v_threshold": 1.0, **options}
    r = tau / dt if r is None else r
    return nir.LIF(tau=full(tau, shape), r=full(r, shape), **{k: full(v, shape) for k, v in values.items()})


def cuba(keep_syn, keep, *, dt=DT, **options):
    syn, mem = dt / (1 - keep_syn), dt / (1 - keep)
    values = {"r": mem / dt, "w_in": syn / dt, "v_leak": 0.0, "v_threshold": 1.0, **options}
    return nir.CubaLIF(tau_syn=full(syn), tau_mem=full(mem), **{k: full(v) for k, v in values.items()})


def fire(r, threshold=1.0):
    return nir.IF(r=full(r), v_threshold=full(threshold))


def exponential(alpha, threshold=1.0):
    """A LIF of Sinabs that keeps ``alpha``."""
    return lif(0.5, dt=-0.5 / np.log(alpha), r=1.0, v_threshold=threshold)


def chain(*nodes, shape, metadata=None):
    named = {f"n{index}": node for index, node in enumerate(nodes)}
    named = {"input": nir.Input(np.array(shape)), **named, "output": nir.Output(np.array([5]))}
    return nir.NIRGraph(named, list(itertools.pairwise(named)), metadata=metadata or {}, type_check=False)


def two_layers(neuron, *, step=1 / 8, bias=0.0, seed=0):
    """Two dense layers whose weights are multiples of ``step``, so that nothing is rounded."""
    rng = np.random.default_rng(seed)
    first = nir.Affine(weight=rng.integers(-5, 9, (5, 7)) * step, bias=np.full(5, bias))
    second = nir.Linear(weight=rng.integers(-4, 9, (5, 5)) * step)
    return chain(first, neuron, second, neuron, shape=[7])


def assert_same_spikes(graph, net, step, *, dt, seed=1, num_steps=10, shape=(7,)):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (12, *shape, num_steps))
    result = simulate(net, x, trace=True)
    counts = 0
    for sample in range(len(x)):
        for name, theirs in libraries.execute(graph, x[sample], step, dt=dt).items():
            counts += theirs.sum()
            if name in result.layers:
                np.testing.assert_array_equal(result.layers[name].spikes[sample], theirs, err_msg=name)
    assert counts > 60


def recurrent(neuron, *, rec=None, wrap=False, bias=0.0):
    rng = np.random.default_rng(0)
    rec = rng.integers(-6, 5, (5, 5)) / 8 if rec is None else rec
    weights = nir.Affine(weight=rec, bias=np.full(5, bias))
    outer = {"input": nir.Input(np.array([7])), "fc": nir.Linear(weight=rng.integers(-4, 9, (5, 7)) / 8)}
    loop = [("lif", "w_rec"), ("w_rec", "lif")]
    if wrap:
        ends = {"input": nir.Input(np.array([5])), "output": nir.Output(np.array([5]))}
        inner = nir.NIRGraph(
            {**ends, "lif": neuron, "w_rec": weights},
            [("input", "lif"), ("lif", "output"), *loop],
            type_check=False,
        )
        nodes = {**outer, "block": inner, "output": nir.Output(np.array([5]))}
        edges = [("input", "fc"), ("fc", "block"), ("block", "output")]
    else:
        nodes = {**outer, "lif": neuron, "w_rec": weights, "output": nir.Output(np.array([5]))}
        edges = [*loop, ("input", "fc"), ("fc", "lif"), ("lif", "output")]  # in any order
    return nir.NIRGraph(nodes, edges, metadata={}, type_check=False)
