from __future__ import annotations

import copy

import pytest
import torch

from lava_bsnn import data, models, training
from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.neuron import LIF, QCFS, MultiThresholdLIF
from lava_bsnn.training.hybrid import to_lmht, to_single_threshold

CNN = dict(num_classes=5, in_shape=(2, 8, 8), channels=(6, 8), hidden=12, input_bits=None)
RESNET = dict(num_classes=5, in_shape=(3, 8, 8), width=0.25, input_bits=None)


def trained_ann(name, levels, **options):
    """A QCFS network whose weights, norms and thresholds are dyadic, so that sums are exact."""
    model = models.create(
        name,
        num_steps=1,
        method="qcfs",
        method_options={"neuron_params": {"levels": levels, "threshold": 1.0}},
        **options,
    ).double()
    generator = torch.Generator().manual_seed(0)

    def dyadic(like, low, high, unit=16):
        return torch.randint(low, high, like.shape, generator=generator).to(like) / unit

    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "synapse") and module.synapse.weight.requires_grad:
                module.synapse.weight.copy_(dyadic(module.synapse.weight, -4, 5))
            if getattr(module, "norm", None) is not None:
                module.norm.eps = 0.0
                module.norm.bias.copy_(dyadic(module.norm.bias, -6, 12))
                if module.norm.weight is not None:
                    module.norm.weight.copy_(dyadic(module.norm.weight, 4, 12, 8))
                    module.norm.running_mean.copy_(dyadic(module.norm.running_mean, -4, 5))
            if isinstance(module, QCFS):
                module.theta.fill_(2.0 if name == "cnn" else 1.0)
    return model.eval()


@pytest.mark.parametrize(("levels", "num_steps"), [(1, 4), (2, 2), (4, 1)])
@pytest.mark.parametrize(
    ("name", "options"), [("cnn", CNN), ("cnn", {**CNN, "head": [6]}), ("resnet20", RESNET)]
)
def test_conversion_changes_nothing_where_levels_times_steps_is_kept(name, options, levels, num_steps):
    ann = trained_ann(name, 4, **options)
    snn = to_lmht(ann, levels=levels, num_steps=num_steps)
    x = torch.randint(0, 17, (4, *options["in_shape"])).double() / 16
    expected = ann(x)[..., 0]
    logits = snn(x)
    assert expected.std() > 0.1
    assert logits.shape == (4, 5, num_steps)
    torch.testing.assert_close(logits.mean(-1), expected, rtol=0, atol=1e-9)
    assert all(isinstance(m, QCFS) for m in ann.modules() if type(m).__name__ == "QCFS")


def test_other_steps_agree_in_expectation():
    """Theorem 4.4 beyond n = L T: over inputs spread evenly the mean outputs agree."""
    ann, wide = QCFS(4, 1.0), torch.linspace(-0.5, 1.5, 40_001)
    snn = MultiThresholdLIF(2, 0.5, initial=0.5, scaled=True, num_steps=3)
    mean = snn(wide[None, :, None].expand(1, -1, 3)).mean(-1)
    assert (mean.mean() - ann(wide).mean()).abs() < 1e-3


@pytest.mark.parametrize("lam", [0.0, 0.7])
@pytest.mark.parametrize(("levels", "num_steps"), [(1, 3), (2, 2), (4, 2)])
@pytest.mark.parametrize(
    ("name", "options"), [("cnn", CNN), ("cnn", {**CNN, "head": [6]}), ("resnet20", RESNET)]
)
def test_single_threshold_network_equals_it_window_by_window(name, options, levels, num_steps, lam):
    snn = to_lmht(trained_ann(name, 4, **options), levels=levels, num_steps=num_steps)
    for module in snn.modules():
        if isinstance(module, MultiThresholdLIF):
            module.lam_logit.data.fill_(lam)
    single = to_single_threshold(snn)
    spikes = {"snn": [], "single": []}
    for key, model in (("snn", snn), ("single", single)):
        for module in model.modules():
            if isinstance(module, MultiThresholdLIF):
                module.register_forward_hook(lambda m, i, o, key=key: spikes[key].append(o / m.theta))
    x = torch.randint(0, 17, (4, *options["in_shape"])).double() / 16
    logits, sub_logits = snn(x), single(x)
    assert sub_logits.shape[-1] == levels * num_steps
    for many, one in zip(spikes["snn"], spikes["single"], strict=True):
        assert one.max() <= 1 + 1e-12
        summed = one.unflatten(-1, (num_steps, levels)).sum(-1)
        torch.testing.assert_close(summed, many, rtol=0, atol=1e-9)
    assert max(s.max() for s in spikes["snn"]) == levels
    torch.testing.assert_close(
        sub_logits.unflatten(-1, (num_steps, levels)).sum(-1), logits, rtol=0, atol=1e-9
    )


def test_learned_mixing_is_kept_per_window():
    snn = to_lmht(trained_ann("cnn", 4, **CNN), levels=2, num_steps=2)
    neuron = next(m for m in snn.modules() if isinstance(m, MultiThresholdLIF))
    torch.nn.init.normal_(neuron.mix.logits)
    single = next(m for m in to_single_threshold(snn).modules() if isinstance(m, MultiThresholdLIF))
    expected = torch.kron(neuron.mix.omega, torch.full((2, 2), 0.5).double())
    assert torch.equal(single.mix.omega, expected.detach())


def test_the_converted_network_is_fine_tuned():
    snn = to_lmht(trained_ann("cnn", 4, **CNN), levels=2, num_steps=2).train()
    for module in snn.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-5  # torch trains with a positive one only
    before = copy.deepcopy(snn.state_dict())
    optimizer = torch.optim.SGD(snn.parameters(), lr=0.05)
    x, y = torch.rand(32, 2, 8, 8).double(), torch.arange(32) % 5
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(snn(x).mean(-1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name in ("theta", "lam_logit", "mix.logits"):
        key = next(k for k in before if k.endswith(name))
        assert not torch.equal(before[key], snn.state_dict()[key]), name


def test_other_neurons_are_named():
    spiking = models.create("cnn", num_steps=2, method="binary", **CNN)
    with pytest.raises(LavaBsnnError, match="has a LIF; use a model of method='qcfs'"):
        to_lmht(spiking, levels=2, num_steps=2)
    with pytest.raises(LavaBsnnError, match="all neurons must be MultiThresholdLIF"):
        to_single_threshold(spiking)
    assert all(isinstance(m.neuron, LIF) for m in spiking.modules() if getattr(m, "neuron", None))


def test_hybrid_training_on_real_digits():
    """Train the QCFS ANN, convert without loss of accuracy, fine-tune at fewer steps."""
    digits = data.digits()
    train = digits.train_images, digits.train_labels
    test = digits.test_images, digits.test_labels
    training.seed_everything(0)
    ann = models.create(
        "cnn",
        num_classes=10,
        in_shape=(1, 8, 8),
        num_steps=1,
        method="qcfs",
        input_bits=4,
        channels=(8, 16),
        hidden=32,
    )
    training.fit(ann, train, test, epochs=6, loss=training.rate_cross_entropy)
    accuracy = training.accuracy(ann, *test)
    assert accuracy > 0.93
    same = to_lmht(ann, levels=2, num_steps=2)
    assert abs(training.accuracy(same, *test) - accuracy) <= 2 / len(test[1])  # rounding at a floor
    short = to_lmht(ann, levels=2, num_steps=1)
    before = training.accuracy(short, *test)
    training.fit(short, train, test, epochs=2, loss=training.rate_cross_entropy)
    assert training.accuracy(short, *test) >= before - 0.01


def test_a_qcfs_threshold_that_steps_take_below_zero_is_kept_above_it():
    """Thresholds below 0 trained on in silence, and the conversion then refused them."""
    ann = models.create("cnn", num_steps=1, method="qcfs", **CNN)
    x, theta = torch.rand(4, 2, 8, 8), [m.theta for m in ann.modules() if isinstance(m, QCFS)]
    ann(x).sum().backward()
    optimizer = torch.optim.SGD(theta, lr=3.0)
    for one in theta:
        one.grad.fill_(1.0)
    optimizer.step()
    assert all(one < -1 for one in theta)
    with pytest.warns(UserWarning, match="threshold fell to 0 in training and was kept at 0.001"):
        snn = to_lmht(ann, levels=2, num_steps=2)
    assert [m.theta for m in snn.modules() if isinstance(m, MultiThresholdLIF)] == [5e-4] * len(theta)
    before = ann.eval()(x)
    assert all(one == 1e-3 for one in theta)  # float32, a bit above
    with pytest.warns(UserWarning, match="threshold fell to 0 in training and was kept at 0.001"):
        to_lmht(ann, levels=2, num_steps=2)
    assert torch.equal(ann(x), before) and before.isfinite().all()


@pytest.mark.parametrize("levels", [1, 4])
def test_a_scaled_gradient_of_a_qcfs_threshold_is_that_of_a_learned_step_size(levels):
    x, above = torch.rand(5, 3, 4, 4, requires_grad=True), torch.rand(5, 3, 4, 4)
    plain, scaled = QCFS(levels, 0.5), QCFS(levels, 0.5, scale_gradient=True)
    results = []
    for one in (plain, scaled):
        y = one(x)
        (y * above).sum().backward()
        results.append((y.detach(), x.grad, one.theta.grad))
        x.grad = None
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    torch.testing.assert_close(results[1][2], results[0][2] / (3 * 4 * 4 * levels) ** 0.5)
    assert results[0][2] > 1  # twice the threshold in one step of rate 1
    assert "scale_gradient=True" in repr(scaled) and "scale" not in repr(plain)


def test_method_qcfs_scales_the_gradients_of_its_thresholds():
    """With their plain sums, two of six VGG-13 ended with thresholds of thousands and at chance."""
    ann = models.create("cnn", num_steps=1, method="qcfs", **CNN)
    assert all(m.scale_gradient for m in ann.modules() if isinstance(m, QCFS))


def test_a_learned_threshold_of_a_neuron_is_kept_above_zero():
    neuron = MultiThresholdLIF(2, 0.5, learn_threshold=True, scaled=True)
    with torch.no_grad():
        neuron.theta.fill_(-2.0)
    assert neuron.threshold == 1e-3
    spikes = neuron(torch.ones(1, 3, 4))
    assert neuron.theta == 1e-3
    kept = MultiThresholdLIF(2, 1e-3, learn_threshold=True, scaled=True)
    torch.testing.assert_close(spikes, kept(torch.ones(1, 3, 4)), rtol=0, atol=0)
    with torch.no_grad():
        neuron.theta.fill_(-2.0)
    neuron.match_device()
    assert neuron.on_grid(neuron.unit).threshold > 0


def test_a_neuron_that_begins_below_the_least_threshold_keeps_its_own():
    neuron = MultiThresholdLIF(2, 1e-4, learn_threshold=True)
    neuron(torch.ones(1, 3, 4))
    assert neuron.threshold == pytest.approx(1e-4)


@pytest.mark.parametrize("scale", [None, 64])
@pytest.mark.parametrize("theta", [-1.0, 0.0, float("nan")])
def test_a_threshold_that_is_none_has_no_matched_mode(theta, scale):
    neuron = MultiThresholdLIF(2, 0.5, scale=scale)
    with torch.no_grad():
        neuron.theta.fill_(theta)
    with pytest.raises(OptionError, match="MultiThresholdLIF: threshold=.* is not allowed; use > 0"):
        neuron.match_device()
