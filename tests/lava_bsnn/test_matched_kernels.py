"""Kernels of matched mode against the definition in torch: integers equal, gradients up to rounding."""

from __future__ import annotations

import pytest
import torch

from lava_bsnn import fixed_point, functional
from lava_bsnn.functional import matched
from lava_bsnn.functional.dynamics import Spiking
from lava_bsnn.functional.membrane import FixedPointMembrane
from lava_bsnn.functional.surrogate import exponential, rectangular, triangular

RESETS = {"exact": {}, "detached": {"detach_reset": True}, "ignored": {"ignore_reset": True}}
UNIT = 1 << 14


def membrane(bits=24, shift=0, decay=1500, threshold=1.0):
    return FixedPointMembrane(
        bits=bits, shift=shift, unit=UNIT, threshold=round(threshold * UNIT) - 1, voltage_decay=decay
    )


def currents(shape, spread, channels_last=False):
    current = spread * torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 0.2
    if channels_last and current.dim() == 5:
        current = current.movedim(2, -1).contiguous().movedim(-1, 2)
    return current


def results(current, state, how, retain, monkeypatch, plain):
    current, retain = current.clone().requires_grad_(), retain.clone().requires_grad_()
    with monkeypatch.context() as patch:
        if plain:
            patch.setattr(matched, "knows", lambda *arguments: False)
        spikes, potential, stored = functional.lif(current, retain, state, how)
        weights = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(1))
        (spikes * weights).sum().backward()
    return (spikes.detach(), potential, stored), (current.grad, retain.grad)


def compare(current, state, how, monkeypatch, retain=None):
    retain = torch.tensor([0.6]) if retain is None else retain
    ours, theirs = (results(current, state, how, retain, monkeypatch, plain) for plain in (False, True))
    assert 0.02 < theirs[0][0].mean() < 0.9
    for mine, other in zip(ours[0], theirs[0], strict=True):
        assert torch.equal(mine, other)
    assert theirs[1][0].abs().sum() > 0
    for mine, other, bound in zip(ours[1], theirs[1], (1e-6, 1e-5), strict=True):  # torch's sum is float32
        assert float((mine - other).abs().max()) <= bound * float(other.abs().max())


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(5, 3, 4, 6, 7), (4, 7, 9), (1, 2, 3), (6, 4, 8, 24, 24)])
def test_every_shape(shape, channels_last, monkeypatch):
    how = Spiking(threshold=1.0, derivative=triangular, fixed_point=membrane())
    compare(currents(shape, 1.0, channels_last), torch.zeros(()), how, monkeypatch)


@pytest.mark.parametrize(("bits", "shift"), [(24, 0), (8, 9), (4, 13), (2, 14)])
@pytest.mark.parametrize("decay", [0, 1500, fixed_point.NO_MEMORY])
def test_every_memory_with_values_beyond_its_range(bits, shift, decay, monkeypatch):
    how = Spiking(threshold=1.0, derivative=triangular, fixed_point=membrane(bits, shift, decay))
    current = currents((6, 5, 400), 2.0)
    current[:, 0] *= 400  # wraps at 24 bits, and is clipped
    current[:, 1, ::3] = -current[:, 1, ::3].abs() * 100
    state = currents((5, 400), 0.5)
    compare(current, state, how, monkeypatch)
    wrapped = (current * UNIT).abs() > fixed_point.STATE_MAX + 1
    assert wrapped.any()


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("derivative", [triangular, rectangular, exponential])
def test_every_gradient(derivative, reset, monkeypatch):
    exact = membrane(bits=6, shift=10)
    how = Spiking(
        threshold=1.0, derivative=derivative, gamma=0.7, scale=1.3, fixed_point=exact, **RESETS[reset]
    )
    compare(currents((7, 4, 50), 0.8), torch.tensor(0.25), how, monkeypatch)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_number_of_threads(threads, monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        how = Spiking(threshold=1.0, derivative=triangular, fixed_point=membrane())
        compare(currents((4, 3, 4001), 1.0), currents((3, 4001), 0.3), how, monkeypatch)
    finally:
        torch.set_num_threads(before)


def test_halves_are_rounded_to_even_as_in_torch(monkeypatch):
    how = Spiking(threshold=1.0, derivative=triangular, fixed_point=membrane(decay=1))
    halves = (torch.arange(-4000, 4000) * 8 + 0.5) / UNIT
    compare(halves.repeat(3, 1, 1), torch.tensor(1.5 / UNIT), how, monkeypatch)


def test_currents_at_the_edges_wrap_as_defined(monkeypatch):
    how = Spiking(threshold=1.0, derivative=triangular, fixed_point=membrane())
    half = 1 << (fixed_point.STATE_BITS - 1)
    edges = torch.tensor([half - 1, half, half + 1, -half + 1, -half, -half - 1, 2 * half, UNIT, 5])
    compare((edges / UNIT).repeat(3, 2, 1), torch.zeros(()), how, monkeypatch)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, exact: (x.double(), exact),
        lambda x, exact: (x, FixedPointMembrane(**{**vars(exact), "voltage_decay": torch.tensor([3])})),
        lambda x, exact: (x[:, :0], exact),
    ],
)
def test_what_kernels_do_not_know_is_torchs(change, monkeypatch):
    monkeypatch.setattr(matched, "forward", lambda *arguments, **options: pytest.fail("a kernel ran"))
    current, exact = change(currents((3, 2, 4), 1.0), membrane())
    spikes, _, _ = exact.run(current, torch.zeros(()))
    assert spikes.shape == current.shape
