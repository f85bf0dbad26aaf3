"""Norm, gate, shortcut and neurons in one pass against the same in torch and double precision.

Spikes are equal, gradients up to rounding.
"""

from __future__ import annotations

import pytest
import torch

from lava_bsnn import block, functional, neuron
from lava_bsnn.block import fused, spiking
from lava_bsnn.functional import machine
from lava_bsnn.functional.drive import Drive
from lava_bsnn.functional.dynamics import Spiking
from lava_bsnn.modulation import AGMM, ConstantGate
from lava_bsnn.neuron import MultiThresholdLIF

pytestmark = pytest.mark.usefixtures("small_layers_too")
STEPS, SAMPLES, CHANNELS, SIZE = 5, 3, 8, 9
LIF = {"threshold": 0.5, "voltage_decay": 0.3}
LEVELS = {"threshold": 0.7, "levels": 3, "learn_lam": True, "learn_threshold": True}
CASES = {
    "norm": {},
    "norm and gate": {"modulation": lambda: AGMM(STEPS)},
    "gate per channel": {"modulation": lambda: AGMM(STEPS, CHANNELS, alpha="channel")},
    "gate of the layer": {"modulation": lambda: AGMM(STEPS, per="layer")},
    "detached gate": {"modulation": lambda: AGMM(STEPS, detach=True)},
    "detached gate of the layer": {"modulation": lambda: AGMM(STEPS, per="layer", detach=True)},
    "gate that does not learn": {"modulation": lambda: AGMM(STEPS, start=-0.5, learn=False)},
    "gate alone": {
        "norm": None,
        "modulation": lambda: AGMM(STEPS),
        "neuron_params": {**LIF, "threshold": 0.1},
    },
    "constant gate": {"modulation": lambda: ConstantGate(torch.rand(CHANNELS) + 0.5)},
    "memory of bits": {"modulation": lambda: AGMM(STEPS), "neuron_params": {**LIF, "membrane_bits": 4}},
    "SLAYER's gradient": {"neuron_params": {**LIF, "tau_grad": 0.02, "scale_grad": 2}},
    "levels": {"neuron": MultiThresholdLIF, "neuron_params": LEVELS},
    "levels and gate": {
        "neuron": MultiThresholdLIF,
        "neuron_params": LEVELS,
        "modulation": lambda: AGMM(STEPS),
    },
}


@pytest.fixture
def small_layers_too(monkeypatch):
    monkeypatch.setattr(fused, "SMALL", 0)


def layer(case, channels=CHANNELS):
    """A layer whose norm and gate do something."""
    torch.manual_seed(0)
    options = {**CASES[case]}
    if "modulation" in options:
        options["modulation"] = options["modulation"]()
    made = block.Conv(options.pop("neuron_params", LIF), 4, channels, 3, padding=1, **options)
    for name, values in (*made.named_parameters(), *made.named_buffers()):
        if name == "norm.running_var":
            torch.nn.init.uniform_(values, 0.5, 2)
        elif name == "norm.weight":
            torch.nn.init.uniform_(values, 0.5, 1.5)
            values.data[1::4] *= -1
        elif name in ("norm.running_mean", "norm.bias", "modulation.alpha"):
            torch.nn.init.normal_(values, 0.5, 0.4)
    return made


def results(
    case,
    images,
    shortcut,
    *,
    training,
    constant,
    plain,
    monkeypatch,
    channels=CHANNELS,
    autocast=False,
    double=False,
):
    made = layer(case, channels).train(training)
    if double:
        made, images, shortcut = (
            made.double(),
            images.double(),
            None if shortcut is None else shortcut.double(),
        )
    images = images.clone().requires_grad_()
    x = functional.direct_code(images, STEPS) if constant else images
    skipped = None if shortcut is None else shortcut.clone().requires_grad_()
    calls = []

    def drive_of(*arguments):
        calls.append(None if plain else spiking_drive_of(*arguments))
        return calls[-1]

    spiking_drive_of = spiking.drive_of
    with monkeypatch.context() as patch:
        patch.setattr(spiking, "drive_of", drive_of)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            spikes = made(x, skipped)
    assert plain or isinstance(calls[0], Drive)
    weights = torch.rand(spikes.shape, generator=torch.Generator().manual_seed(1))
    (spikes * weights).sum().backward()
    gradients = {name: p.grad for name, p in made.named_parameters()}
    gradients |= {"images": images.grad} | ({} if skipped is None else {"skipped": skipped.grad})
    return spikes.detach(), gradients, dict(made.named_buffers())


def compare(ours, theirs, rtol=1e-5, least=0.05):
    assert least < theirs[0].mean() < 0.95
    assert torch.equal(ours[0].double(), theirs[0])
    for name, expected in theirs[1].items():
        if expected is None:
            assert ours[1][name] is None, name
            continue
        assert expected.abs().sum() > 0, name
        error = float((ours[1][name] - expected).abs().max() / expected.abs().max())
        assert error < rtol, f"{name}: {error}"
    for name, expected in theirs[2].items():
        torch.testing.assert_close(ours[2][name].double(), expected.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("constant", [False, True], ids=["frames", "one frame"])
@pytest.mark.parametrize("shortcut", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", CASES)
def test_a_layer_computes_what_its_parts_do(case, training, shortcut, constant, monkeypatch):
    generator = torch.Generator().manual_seed(3)
    shape = (SAMPLES, 4, SIZE, SIZE, *([] if constant else [STEPS]))
    images = torch.rand(shape, generator=generator)
    images = images if constant else (images < 0.3).float()
    skipped = torch.randn(SAMPLES, CHANNELS, SIZE, SIZE, STEPS, generator=generator) if shortcut else None
    options = dict(training=training, constant=constant, monkeypatch=monkeypatch)
    compare(
        *[results(case, images, skipped, plain=plain, double=plain, **options) for plain in (False, True)]
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("channels", "size", "samples"), [(1, 16, 3), (3, 16, 1), (33, 12, 5), (700, 4, 3)])
def test_every_width_and_number_of_threads(channels, size, samples, threads, monkeypatch):
    before = torch.get_num_threads()
    images = (
        torch.rand(samples, 4, size, size, STEPS, generator=torch.Generator().manual_seed(3)) < 0.3
    ).float()
    try:
        torch.set_num_threads(threads)
        options = dict(training=True, constant=False, channels=channels, monkeypatch=monkeypatch)
        case = "norm and gate"
        both = [results(case, images, None, plain=plain, double=plain, **options) for plain in (False, True)]
        compare(*both, least=0.01)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("case", ["norm and gate", "levels", "memory of bits"])
def test_bfloat16_is_only_how_images_and_spikes_are_kept(case, monkeypatch):
    """What is computed with images of 16 bits is what float32 computes with the same images."""
    generator = torch.Generator().manual_seed(3)
    images = (torch.rand(SAMPLES, 4, SIZE, SIZE, STEPS, generator=generator) < 0.3).float()
    skipped = (torch.rand(SAMPLES, CHANNELS, SIZE, SIZE, STEPS, generator=generator) < 0.2).float()
    drives = []
    for autocast in (True, False):
        made = layer(case)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = made.synapse(images).to(torch.bfloat16 if autocast else torch.float32)
        if not autocast:
            y = drives[0].images.float().movedim(0, -1)
        drives.append(spiking.drive_of(made, y.detach().requires_grad_(), skipped.to(y.dtype)))
        assert drives[-1].images.dtype == y.dtype
    first, second = (made.neuron(drive) for drive in drives)
    assert first.dtype == torch.bfloat16
    assert 0.05 < first.float().mean() < 0.95
    assert torch.equal(first.float(), second)
    outcome = [
        results(
            case,
            images,
            skipped,
            training=True,
            constant=False,
            plain=False,
            monkeypatch=monkeypatch,
            autocast=a,
        )
        for a in (True, False)
    ]
    for name, expected in outcome[1][1].items():
        if expected is not None:
            error = (outcome[0][1][name] - expected).norm() / expected.norm()
            assert error < 0.1, name  # as convolutions in bfloat16 leave it


def test_a_drive_means_its_current():
    """The definition, with one loop per sum."""
    generator = torch.Generator().manual_seed(0)
    images, skipped = (
        torch.randn(1, 2, 3, 2, 2, generator=generator),
        torch.randn(4, 2, 3, 2, 2, generator=generator),
    )
    gain, offset = torch.randn(4, 2, 3, generator=generator), torch.randn(1, 1, 3, generator=generator)
    current = Drive(images=images, gain=gain, offset=offset, skipped=skipped, num_steps=4).current()
    for t, n, c in [(0, 0, 0), (3, 1, 2), (2, 0, 1)]:
        expected = gain[t, n, c] * images[0, n, c] + offset[0, 0, c] + skipped[t, n, c]
        torch.testing.assert_close(current[t, n, c], expected)


@pytest.mark.parametrize("dtype", machine.TYPES)
def test_moments_are_means_and_have_their_gradient(dtype):
    images = (torch.randn(3, 2, 5, 6, 7, generator=torch.Generator().manual_seed(0)) + 20).to(dtype)
    first, second = machine.moments(images)
    exact = images.double().requires_grad_()
    torch.testing.assert_close(first, exact.mean((3, 4)).detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(second, exact.square().mean((3, 4)).detach(), rtol=1e-12, atol=0)
    slopes = torch.randn(2, 3, 2, 5, dtype=torch.float64)
    before = torch.randn(images.shape).to(dtype)
    (exact.mean((3, 4)) * slopes[0] + exact.square().mean((3, 4)) * slopes[1]).sum().backward()
    found = machine.add_moment_gradients(before.clone(), images, *slopes)
    rounding = dict(rtol=1e-5, atol=1e-6) if dtype == torch.float32 else dict(rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found.double(), before.double() + exact.grad, **rounding)


def test_variances_far_from_zero_are_exact():
    """A mean of a hundred deviations, where single precision would lose the variance."""
    norm = layer("norm").norm
    images = 100 + torch.randn(4, 3, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second = (moment.mean((0, 1)) for moment in machine.moments(images))
    gain, offset = norm.batch_terms(first, second, images.numel() // CHANNELS)
    theirs = torch.nn.functional.batch_norm(
        images.flatten(0, 1).double(), None, None, norm.weight.double(), norm.bias.double(), training=True
    )
    ours = images.flatten(0, 1).double() * gain.view(-1, 1, 1) + offset.view(-1, 1, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("watched", ["norm", "modulation", "neuron"])
def test_a_watched_part_is_run_for_itself(watched):
    made, seen = layer("norm and gate"), []
    getattr(made, watched).register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = (torch.rand(SAMPLES, 4, SIZE, SIZE, STEPS) < 0.3).float()
    expected = layer("norm and gate")(x)
    assert torch.equal(made(x), expected)
    assert isinstance(seen[0], torch.Tensor)


def test_neurons_of_ones_own_get_currents():
    class Own(neuron.LIF):
        def forward(self, x, feedback=None):
            assert isinstance(x, torch.Tensor)
            return super().forward(x, feedback)

    made = block.Conv(LIF, 4, CHANNELS, 3, padding=1, neuron=Own)
    assert made((torch.rand(SAMPLES, 4, SIZE, SIZE, STEPS) < 0.3).float()).mean() > 0.02


def test_states_carry_on():
    made = layer("norm and gate").eval()
    made.neuron.persistent_state = True
    made.modulation = None
    x = (torch.rand(SAMPLES, 4, SIZE, SIZE, 2 * STEPS) < 0.3).float()
    parts = [made(x[..., :STEPS]), made(x[..., STEPS:])]
    made.neuron.reset_state()
    assert torch.equal(torch.cat(parts, -1), made(x))
    assert 0.05 < parts[1].mean() < 0.95


def test_the_definition_is_used_where_machine_code_is_not(monkeypatch):
    """Off the CPU and for surrogates of one's own, which LIF decides, a drive becomes a current."""
    drive = Drive(
        images=torch.randn(STEPS, 2, 3, 4, 4),
        gain=torch.rand(STEPS, 2, 3),
        offset=torch.rand(1, 1, 3),
        num_steps=STEPS,
    )
    how = Spiking(threshold=1.0, derivative=functional.SURROGATES["triangular"])
    found = functional.lif(drive, torch.tensor([0.5]), torch.zeros(()), how)[0]
    monkeypatch.setattr(Spiking, "backend", lambda *_: None)
    assert torch.equal(found, functional.lif(drive, torch.tensor([0.5]), torch.zeros(()), how)[0])
    assert found.mean() > 0.02
