"""Machine code of neuron dynamics against the definition in torch: equal spikes, gradients up to rounding."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from lava_bsnn import functional
from lava_bsnn.functional import dynamics, machine
from lava_bsnn.functional.dynamics import Spiking


def run(x, keep, state, how, weights):
    x = x.detach().clone().requires_grad_()
    keep = torch.tensor([keep], requires_grad=True)
    spikes, potential, stored = functional.lif(x, keep, state, how)
    (spikes * weights).sum().backward()
    return spikes.detach(), potential, stored, x.grad, keep.grad


def both(x, keep, state, how, monkeypatch):
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    assert how.backend(x, torch.tensor([keep])) is machine
    ours = run(x, keep, state, how, weights)
    with monkeypatch.context() as patch:
        patch.setattr(Spiking, "backend", lambda *_: None)
        theirs = run(x, keep, state, how, weights)
    assert 0.02 < theirs[0].mean() < 0.95
    for one, other in zip(ours[:3], theirs[:3], strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(ours[3], theirs[3], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours[4], theirs[4], rtol=1e-4, atol=1e-3)
    return ours


@pytest.mark.parametrize("reset", [{}, {"detach_reset": True}, {"ignore_reset": True}])
@pytest.mark.parametrize("surrogate", functional.SURROGATES)
def test_every_surrogate_and_reset(surrogate, reset, monkeypatch):
    torch.manual_seed(0)
    x = 0.8 * torch.randn(7, 3, 4, 5, 6) + 0.3
    derivative = functional.SURROGATES[surrogate]
    how = Spiking(threshold=1.1, derivative=derivative, gamma=0.8, scale=1.5, **reset)
    both(x, 0.6, torch.zeros(()), how, monkeypatch)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    ("steps", "neurons"), [(1, 1), (5, 4095), (3, 4096), (4, 4097), (2, 40_000), (9, 13_000)]
)
def test_every_size_and_number_of_threads(steps, neurons, threads, monkeypatch):
    torch.manual_seed(neurons)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        how = Spiking(threshold=1.0, derivative=functional.SURROGATES["triangular"])
        x = torch.randn(steps, 2, neurons) + 0.2
        if neurons == 1:
            x[0, 0] = 2.0
        both(x, 0.5, torch.zeros(()), how, monkeypatch)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 2, 4095), (4, 3, 2, 33, 17)])
def test_multi_threshold_neurons(shape, threads, monkeypatch):
    torch.manual_seed(0)
    before, results = torch.get_num_threads(), []
    x, state = 1.5 * torch.randn(shape) + 1, torch.rand(shape[1:])
    weights = torch.rand(shape)
    try:
        torch.set_num_threads(threads)
        for types in (machine.TYPES, ()):
            monkeypatch.setattr(machine, "TYPES", types)
            current = x.clone().requires_grad_()
            lam = torch.rand(shape[0], generator=torch.Generator().manual_seed(2)).requires_grad_()
            theta = torch.tensor(0.7, requires_grad=True)
            spikes, membrane, v = functional.multi_threshold(current, lam, theta, state, 3)
            (spikes * weights).sum().backward()
            results.append((spikes.detach(), membrane, v, current.grad, lam.grad, theta.grad))
    finally:
        torch.set_num_threads(before)
    for ours, theirs in zip(*[r[:3] for r in results], strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(*[r[3:] for r in results], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    if x.numel() > 1:
        assert sorted(results[0][0].unique().tolist()) == [0, 1, 2, 3]


def test_states_carry_on(monkeypatch):
    torch.manual_seed(0)
    how = Spiking(threshold=1.0, derivative=functional.SURROGATES["triangular"])
    x, state = torch.randn(5, 3, 2000), torch.rand(3, 2000)
    spikes, potential, stored, *_ = both(x, 0.7, state, how, monkeypatch)
    torch.testing.assert_close(potential[0], x[0] + 0.7 * state)
    assert torch.equal(stored, potential[-1] * (1 - spikes[-1]))


@pytest.mark.parametrize("reset", [{}, {"detach_reset": True}, {"ignore_reset": True}])
@pytest.mark.parametrize("alpha", [None, 0.7])
def test_memories_of_bits(alpha, reset, monkeypatch):
    """With the layer's largest potential as range, and with a narrower one that clips."""

    def scale(u):
        return u.abs().amax().clamp(min=1e-6) if alpha is None else torch.tensor(alpha)

    torch.manual_seed(0)
    how = Spiking(
        threshold=1.0,
        derivative=functional.SURROGATES["triangular"],
        memory=dynamics.Memory(bits=3, scale=scale),
        **reset,
    )
    x = torch.randn(6, 2, 9000)
    *_, stored, _, _ = both(x, 0.8, torch.zeros(()), how, monkeypatch)
    assert len(stored.unique()) <= 7


def test_currents_that_are_not_contiguous_and_sums_of_spikes(monkeypatch):
    how = Spiking(threshold=0.5, derivative=functional.SURROGATES["triangular"])
    x = torch.rand(4, 6, 5).mT.requires_grad_()
    functional.lif(x, torch.tensor([0.5]), torch.zeros(()), how)[0].sum().backward()  # one number, expanded
    assert x.grad is None or x.grad.abs().sum() > 0
    both(torch.rand(4, 6, 5).mT, 0.5, torch.zeros(()), how, monkeypatch)


@pytest.mark.parametrize(
    "change",
    [
        {"x": torch.rand(3, 2, 5, dtype=torch.float64)},
        {"keep": torch.rand(5)},
        {"derivative": lambda distance, gamma: torch.ones_like(distance)},
        {"memory": dynamics.Memory(bits=4, scale=lambda u: u.abs().max(), before_spike=True)},
        {"x": torch.zeros(0, 2, 5)},
    ],
)
def test_what_the_kernels_do_not_know_runs_in_torch(change):
    how = Spiking(
        threshold=1.0,
        derivative=change.get("derivative", functional.SURROGATES["triangular"]),
        memory=change.get("memory"),
    )
    x, keep = change.get("x", torch.rand(3, 2, 5)), change.get("keep", torch.tensor([0.5]))
    assert how.backend(x, keep) is None


@pytest.mark.parametrize("scale", ["channel", "layer"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3, 2, 2, 1), (64, 4097)])
def test_signs_of_weights(shape, scale):
    w = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    w.view(-1)[::5], w.view(-1)[1::5] = 0.0, -0.0
    w = (w.mT if w.dim() == 2 else w).requires_grad_()
    found = functional.binarize(w, scale)
    expected = functional.weight_scale(w, scale, "mean") * torch.where(w >= 0, 1.0, -1.0)
    assert torch.equal(found, expected)
    found.mul(torch.arange(w.numel()).view(w.shape)).sum().backward()
    assert torch.equal(w.grad, torch.arange(w.numel()).view(w.shape).float())


def fire(x):
    how = Spiking(threshold=1.0, derivative=functional.SURROGATES["triangular"])
    return machine.lif_forward(x, torch.tensor(0.5), torch.zeros(()), how.neurons)[0].numpy()


@pytest.mark.lava
def test_a_fork_starts_threads_of_its_own():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        x = torch.rand(4, 2, 20_000)
        expected = fire(x)
        assert 0.02 < expected.mean() < 0.95
        child = os.fork()
        if not child:  # torch's own threads are no more
            signal.alarm(20)
            found = fire(x)
            os._exit(0 if np.array_equal(found, expected) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)
