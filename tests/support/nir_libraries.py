"""NIR graphs as libraries compute them: a slow executor in floating point, and each library's neurons.

The equations are those of snnTorch 1.0.0, Norse 1.1.0, SpikingJelly 2.0.0 and Sinabs 3.1.3, written anew from
reading them; ``tests/netx_export/test_nir_peers.py`` compares with the libraries themselves.
"""

from __future__ import annotations

import nir
import numpy as np

NEURONS = (nir.LIF, nir.IF, nir.CubaLIF, nir.I, nir.LI)
NEAR = 1e-9
"""What floating point loses."""


def execute(graph, x, step, *, dt):
    """What every neuron node sends, ``[*shape, T]`` by name, for one sample ``x`` ``[*shape, T]``.

    ``step(node, state, current, dt)`` returns state and output; states begin as None. What neurons send to
    themselves arrives one step later.
    """
    before = {name: [source for source, target in graph.edges if target == name] for name in graph.nodes}
    values, states, open_nodes = {}, {}, set()

    def value(name, t):
        if name in open_nodes:  # a loop
            return values.get((name, t - 1), 0.0)
        if (name, t) in values:
            return values[name, t]
        node = graph.nodes[name]
        if isinstance(node, nir.Input):
            return x[..., t].astype(float)
        if isinstance(node, nir.Delay):
            (source,) = before[name]
            steps = np.rint(np.asarray(node.delay) / dt).astype(int)
            now = value(source, t) * np.zeros(steps.shape)
            for late in np.unique(steps):
                if late <= t:
                    now = np.where(steps == late, value(source, t - late), now)
            values[name, t] = now
            return now
        neuron = isinstance(node, NEURONS)
        if neuron:
            open_nodes.add(name)
        total = sum(value(source, t) for source in before[name])
        if neuron:
            open_nodes.discard(name)
            states[name], values[name, t] = step(node, states.get(name), total, dt)
        else:
            values[name, t] = linear(node, np.asarray(total))
        return values[name, t]

    (last,) = before["output"]
    steps = range(x.shape[-1])
    for t in steps:
        value(last, t)
    names = [name for name, node in graph.nodes.items() if isinstance(node, NEURONS) and (name, 0) in values]
    return {name: np.stack([values[name, t] for t in steps], -1) for name in names}


def linear(node, y):
    """One linear node."""
    import torch

    if isinstance(node, nir.Conv2d):
        tensors = (
            torch.from_numpy(np.asarray(v, dtype=np.float64)) for v in (y[None], node.weight, node.bias)
        )
        return torch.nn.functional.conv2d(
            *tensors, node.stride, node.padding, node.dilation, int(node.groups)
        )[0].numpy()
    if isinstance(node, (nir.Affine, nir.Linear)):
        if not y.ndim:  # what a loop sends at first
            y = np.zeros(node.weight.shape[1])
        return np.asarray(node.weight) @ y + np.asarray(getattr(node, "bias", 0.0))
    if isinstance(node, (nir.SumPool2d, nir.AvgPool2d)):
        high, wide = np.broadcast_to(node.kernel_size, 2)
        c, h, w = y.shape
        y = y[:, : h // high * high, : w // wide * wide].reshape(c, h // high, high, w // wide, wide)
        return y.sum((2, 4)) if isinstance(node, nir.SumPool2d) else y.mean((2, 4))
    return y.reshape(-1) if isinstance(node, nir.Flatten) else node.scale * y


def _hard(v, threshold, reset, *, at=False):
    s = (v >= threshold - NEAR if at else v > threshold + NEAR).astype(float)
    return np.where(s > 0, reset, v), s


def nir_step(node, state, current, dt):
    """NIR's equations in Euler steps."""
    rest = getattr(node, "v_reset", None)
    i, v = state or (0.0, np.zeros(np.shape(current)) + (0.0 if rest is None else rest))
    if isinstance(node, nir.CubaLIF):
        current = i + dt / node.tau_syn * (node.w_in * current - i)
    if isinstance(node, (nir.IF, nir.I)):
        v = v + dt * node.r * current
    else:
        tau = node.tau_mem if isinstance(node, nir.CubaLIF) else node.tau
        v = v + dt / tau * (node.v_leak - v + node.r * current)
    if isinstance(node, (nir.I, nir.LI)):
        return (current, v), v
    v, s = _hard(v, node.v_threshold, rest)
    return (current, v), s


def snntorch_step(node, state, current, dt):
    """``Leaky`` as it is by default: the threshold is subtracted one step later."""
    mem = np.zeros(np.shape(current)) if state is None else state
    later = (mem > node.v_threshold + NEAR) * node.v_threshold
    mem = (1 - 1e-4 / node.tau) * mem + current - later
    return mem, (mem > node.v_threshold + NEAR).astype(float)


def snntorch_reader(node, state, current, dt):
    """What ``import_from_nir`` makes of a node: reset to zero at once."""
    assert isinstance(node, (nir.LIF, nir.CubaLIF)), "IF becomes a Leaky of beta 0.9"
    assert np.unique(node.v_threshold).size == 1 and not np.any(node.v_leak) and dt == 1e-4
    syn, mem = state or (0.0, np.zeros(np.shape(current)))
    if isinstance(node, nir.CubaLIF):
        assert np.allclose(node.r, node.tau_mem / dt) and np.allclose(node.w_in * dt / node.tau_syn, 1)
        current = (1 - dt / node.tau_syn) * syn + current
        mem = (1 - dt / node.tau_mem) * mem + current
    else:
        assert np.allclose(node.r * dt / node.tau, 1)
        mem = (1 - dt / node.tau) * mem + current
    mem, s = _hard(mem, node.v_threshold, 0.0)
    return (current, mem), s


def norse_step(node, state, current, dt):
    """``IAFCell``, ``LIFBoxCell``, ``LIBoxCell``, ``LIFCell``, which ignore r."""
    i, v = state or (0.0, np.zeros(np.shape(current)))
    if isinstance(node, nir.IF):
        v = v + current
    elif isinstance(node, nir.CubaLIF):
        jumped = i + current
        v = v + dt / node.tau_mem * (node.v_leak - v + jumped)
        i = jumped - dt / node.tau_syn * jumped
    else:
        v = v + dt / node.tau * (node.v_leak - v + current)
    if isinstance(node, nir.LI):
        return (i, v), v
    v, s = _hard(v, node.v_threshold, 0.0)
    return (i, v), s


def norse_reader(node, state, current, dt):
    """What ``from_nir`` of Norse makes of a node; its CubaLIF is LIBox, r, LIFBox, with v_leak in both."""
    assert isinstance(node, (nir.IF, nir.LIF, nir.CubaLIF)), "others are left out without a word"
    if not isinstance(node, nir.CubaLIF):
        assert np.all(node.r == 1)
        return norse_step(node, state, current, dt)
    i, v = state or (0.0, np.zeros(np.shape(current)))
    i = i + dt / node.tau_syn * (node.v_leak - i + node.w_in * current)
    v = v + dt / node.tau_mem * (node.v_leak - v + node.r * i)
    v, s = _hard(v, node.v_threshold, 0.0)
    return (i, v), s


def spikingjelly_step(node, state, current, dt):
    """``IFNode``, ``LIFNode``, ``CUBALIFNode``, written and read."""
    assert all(np.unique(value).size == 1 for value in (node.r, node.v_threshold, node.v_reset))
    reset = node.v_reset
    c, v = state or (0.0, reset + np.zeros(np.shape(current)))
    if isinstance(node, nir.IF):
        assert np.allclose(node.r, 1 / dt)
        v = v + current
    elif isinstance(node, nir.CubaLIF):
        assert np.allclose(node.r, node.tau_mem / dt) and np.allclose(node.w_in, node.tau_syn / dt)
        assert not np.any(node.v_leak)
        c = c * (1 - dt / node.tau_syn) + current
        v = v * (1 - dt / node.tau_mem) + c
    else:
        tau = node.tau / dt
        assert np.all(tau > 1) and np.allclose(node.v_leak, reset)
        decays_input = np.allclose(node.r, 1)
        assert decays_input or np.allclose(node.r, tau)
        v = v + (current - (v - reset)) / tau if decays_input else v - (v - reset) / tau + current
    v, s = _hard(v, node.v_threshold, reset, at=True)
    return (c, v), s


def sinabs_step(node, state, current, dt):
    """``IAF``, ``LIF``, ``ExpLeak``: as many spikes as thresholds, which are subtracted; tau in steps."""
    v = np.zeros(np.shape(current)) if state is None else state
    if isinstance(node, nir.IF):
        v = v + current
    else:
        alpha = np.exp(-1 / node.tau)
        v = alpha * v + (1 - alpha) * current
    if isinstance(node, nir.LI):
        return v, v
    s = (v > 0) * np.trunc(v / node.v_threshold + NEAR)
    return v - s * node.v_threshold, s
