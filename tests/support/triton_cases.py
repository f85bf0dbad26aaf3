"""Triton's kernels in its interpreter against the definition in torch and double precision.

In a process of its own: ``tests/lava_bsnn/test_triton.py`` runs this with ``TRITON_INTERPRET=1``, which
counts at the import of triton, ``test_gpu.py`` with ``KERNELS_ON=cuda``, where nothing is interpreted.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lava_bsnn import block, functional
from lava_bsnn.block import fused
from lava_bsnn.functional import backend, triton_machine
from lava_bsnn.functional.drive import Drive
from lava_bsnn.functional.dynamics import Spiking
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import MultiThresholdLIF

STEPS, SAMPLES = 4, 2
DEVICE = os.environ.get("KERNELS_ON", "cpu")
RESETS = {"exact": {}, "detached": {"detach_reset": True}, "ignored": {"ignore_reset": True}}


class NoReading(TorchDispatchMode):
    """Refuse to read a tensor's number, for which a GPU would be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "a number is read"
        return function(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _triton(monkeypatch):
    if DEVICE == "cpu":
        monkeypatch.setattr(backend, "machine", triton_machine)
    monkeypatch.setattr(fused, "SMALL", 0)


def drive(kind, channels=5, size=(3, 7), dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)

    def some(*shape):
        return torch.randn(*shape, generator=generator)

    images = 0.8 * some(1 if kind == "one frame" else STEPS, SAMPLES, channels, *size) + 0.4
    parts = {"images": images.to(dtype)}
    if kind != "current":
        factors = (STEPS, SAMPLES, channels) if kind == "gate" else (1, 1, channels)
        parts |= {"gain": 1 + 0.3 * some(*factors), "offset": 0.2 * some(1, 1, channels)}
    if kind == "shortcut":
        parts["skipped"] = some(STEPS, SAMPLES, channels, *size).to(dtype)
    return parts


def gradients(parts, function, learned, state, double):
    """Results of ``function``, and gradients of all that can have them."""
    kind = torch.float64 if double else None
    leaves = {
        name: part.to(DEVICE, kind, copy=True).requires_grad_() for name, part in {**parts, **learned}.items()
    }
    state = state.to(DEVICE, kind)
    own = [leaves.pop(name) for name in learned]
    current = leaves["images"] if len(leaves) == 1 else Drive(**leaves, num_steps=STEPS)
    with NoReading():
        spikes, potential, stored = function(current, *own, state)
        weights = torch.randint(1, 17, spikes.shape, generator=torch.Generator().manual_seed(1))
        spikes.backward((weights / 16).to(spikes))  # exact in all types
    return (spikes.detach(), potential, stored), [leaf.grad for leaf in (*leaves.values(), *own)]


def compare(parts, function, learned, state):
    ours, theirs = (gradients(parts, function, learned, state, double) for double in (False, True))
    assert theirs[0][0].mean() > 0.05
    assert torch.equal(ours[0][0].double(), theirs[0][0])
    exact = parts["images"].dtype == torch.float32
    for one, other in zip(ours[0][1:], theirs[0][1:], strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
    for one, other in zip(ours[1], theirs[1], strict=True):
        error = float((one - other).abs().max() / other.abs().max())
        # bfloat16 has 8 bits, and the interpreter truncates
        assert error < (1e-5 if exact or one.dtype == torch.float32 else 1e-2), error


def check_lif(parts, state=None, surrogate="triangular", **options):
    how = Spiking(threshold=1.1, derivative=functional.SURROGATES[surrogate], gamma=0.8, scale=1.5, **options)
    state = torch.zeros(()) if state is None else state
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lava_bsnn.functional.dynamics.is_at_hand", lambda x: False)
        compare(
            parts,
            lambda current, keep, before: functional.lif(current, keep, before, how),
            {"retain": torch.tensor([0.6])},
            state,
        )


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("surrogate", functional.SURROGATES)
def test_every_surrogate_and_reset(surrogate, reset):
    check_lif(drive("gate"), surrogate=surrogate, **RESETS[reset])


@pytest.mark.parametrize("kind", ["current", "norm", "shortcut", "one frame"])
@pytest.mark.parametrize("reading", ["lif", "levels"])
def test_what_makes_a_current(kind, reading):
    parts = drive(kind)
    state = torch.rand(parts["images"].shape[1:])
    (check_lif if reading == "lif" else check_levels)(parts, state)


def check_levels(parts, state=None):
    compare(
        parts,
        lambda current, lam, theta, before: functional.multi_threshold(current, lam, theta, before, 3),
        {"lam": torch.linspace(0.6, 1.2, STEPS), "theta": torch.tensor(0.7)},
        torch.tensor(0.3) if state is None else state,
    )


@pytest.mark.parametrize(("channels", "size"), [(1, (1, 1)), (1, (50, 50)), (70, (6, 6)), (64, (1, 1))])
def test_every_width_and_number_of_tiles(channels, size):
    check_lif(drive("gate", channels, size))
    check_levels(drive("gate", channels, size))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("check", [check_lif, check_levels])
def test_sixteen_bits_are_only_how_images_and_spikes_are_kept(check, dtype):
    check(drive("shortcut", dtype=dtype))
    check(drive("current", dtype=dtype))


def test_a_current_in_channels_last_memory():
    parts = drive("current")
    parts["images"] = parts["images"].movedim(2, -1).contiguous().movedim(-1, 2)
    check_lif(parts)


@pytest.mark.parametrize("dtype", triton_machine.TYPES)
def test_moments_are_means_and_have_their_gradient(dtype, monkeypatch):
    monkeypatch.setattr(triton_machine, "_SPAN", 64)  # several programs per plane
    generator = torch.Generator().manual_seed(0)
    images = (torch.randn(3, 2, 66, 10, 9, generator=generator) + 100).to(DEVICE, dtype)
    first, second = triton_machine.moments(images)
    exact = images.double().requires_grad_()
    means = exact.mean((3, 4)), exact.square().mean((3, 4))
    variance = (second - first.square(), means[1] - means[0].square())
    torch.testing.assert_close(first, means[0].detach(), rtol=1e-7, atol=0)
    torch.testing.assert_close(variance[0], variance[1].detach(), rtol=1e-5, atol=1e-5)
    slopes = torch.randn(2, 3, 2, 66, dtype=torch.float64, generator=generator).to(DEVICE)
    before = torch.randn(images.shape, generator=generator).to(DEVICE, dtype)
    (means[0] * slopes[0] + means[1] * slopes[1]).sum().backward()
    found = triton_machine.add_moment_gradients(before, images, *slopes)
    rounding = dict(rtol=1e-5, atol=1e-5) if dtype == torch.float32 else dict(rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found.double(), before.double() + exact.grad, **rounding)


@pytest.mark.parametrize(
    "options",
    [
        {"neuron_params": {"threshold": 0.5}},
        {
            "neuron": MultiThresholdLIF,
            "neuron_params": {"levels": 3, "learn_lam": True, "learn_threshold": True},
        },
    ],
    ids=["LIF", "levels"],
)
def test_a_block_computes_what_it_does_in_double_precision(options):
    results, x = [], torch.rand(SAMPLES, 2, 8, 8, STEPS, generator=torch.Generator().manual_seed(3))
    skipped = torch.rand(SAMPLES, 6, 8, 8, STEPS, generator=torch.Generator().manual_seed(4))
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        params = dict(options)
        made = block.Conv(params.pop("neuron_params"), 2, 6, 3, padding=1, modulation=AGMM(STEPS), **params)
        with torch.backends.cudnn.flags(allow_tf32=False):
            spikes = made.to(DEVICE, dtype)(x.to(DEVICE, dtype), skipped.to(DEVICE, dtype))
            (spikes * torch.arange(1, STEPS + 1, device=DEVICE)).sum().backward()
        results.append([spikes.detach(), *(p.grad for p in made.parameters() if p.grad is not None)])
    assert results[1][0].mean() > 0.05
    assert torch.equal(results[0][0].double(), results[1][0])
    for one, other in zip(*results, strict=True):
        assert float((one - other).abs().max() / other.abs().max()) < 1e-5


def test_memories_of_bits_are_the_definitions():
    assert backend.backend_of(torch.rand(2, 2, device=DEVICE), bits=True) is None
    assert backend.backend_of(torch.rand(2, 2, device=DEVICE)) is triton_machine
