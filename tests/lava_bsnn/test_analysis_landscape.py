from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import analysis, models, training
from lava_bsnn.errors import OptionError

IMAGES = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 0])


def small(method="binary"):
    options = {"num_classes": 3, "in_shape": (1, 6, 6), "num_steps": 2, "width": 0.125, "input_bits": None}
    model = models.create("cnn", method=method, **options)
    for module in model.modules():
        if getattr(module, "norm", None) is not None:  # so that neurons fire
            torch.nn.init.constant_(module.norm.bias, 0.8)
    return model


def loss(model):
    return training.tet_cross_entropy(model(IMAGES), LABELS)


def synapses(model):
    return [m.synapse for m in model.modules() if hasattr(m, "synapse") and hasattr(m, "norm")]


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_each_filter_of_a_direction_has_the_norm_of_the_weights_filter():
    weight = torch.randn(5, 3, 2, 2, 1) * torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]).view(5, 1, 1, 1, 1)
    direction = analysis.filter_direction(weight, torch.Generator().manual_seed(3))
    noise = torch.randn(5, 3, 2, 2, 1, generator=torch.Generator().manual_seed(3)).numpy()
    for channel in range(5):
        filter_norm = np.sqrt((weight[channel].numpy() ** 2).sum())
        expected = noise[channel] / np.sqrt((noise[channel] ** 2).sum()) * filter_norm
        np.testing.assert_allclose(direction[channel].numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["binary", "fp", "qsnn"])
def test_losses_are_those_of_the_shifted_latent_weights(method):
    model = small(method).train()
    landscape = analysis.loss_landscape(model, loss, span=0.5, points=3, seed=7)
    assert landscape.losses.shape == (3, 3)
    np.testing.assert_array_equal(landscape.alphas, [-0.5, 0, 0.5])
    generator = torch.Generator().manual_seed(7)
    weights = [synapse.weight for synapse in synapses(model)]
    directions = [[analysis.filter_direction(w, generator) for w in weights] for _ in range(2)]
    model.eval()
    with torch.no_grad():
        assert landscape.losses[1, 1] == loss(model)
        for weight, d1, d2 in zip(weights, *directions, strict=True):
            weight += -0.5 * d1 + 0.5 * d2
        assert landscape.losses[0, 2] == pytest.approx(float(loss(model)), rel=1e-6)
    assert np.ptp(landscape.losses) > 0


def test_only_synapse_weights_move():
    model, moved = small("agmm"), set()
    before = state(model)

    def watch(model):
        now = model.state_dict()
        moved.update(name for name in now if not torch.equal(now[name], before[name]))
        return 0.0

    analysis.loss_landscape(model, watch, points=3)
    assert moved == {name for name in before if name.endswith("synapse.weight")}


def test_the_model_is_restored_exactly_also_after_an_exception():
    model = small().train()
    model.blocks[1].norm.eval()
    before, modes = state(model), [m.training for m in model.modules()]
    calls = []

    def failing(model):
        assert not any(module.training for module in model.modules())
        calls.append(1)
        if len(calls) == 12:
            raise RuntimeError("stop")
        return loss(model)

    analysis.loss_landscape(model, failing, points=3)
    with pytest.raises(RuntimeError, match="stop"):
        analysis.loss_landscape(model, failing, points=3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [m.training for m in model.modules()] == modes
    assert all(p.requires_grad for n, p in model.named_parameters() if "weight" in n)


def test_the_seed_decides_and_progress_is_told():
    model, told = small(), []
    options = {"points": 3, "progress": lambda done, of: told.append((done, of))}
    first, again = (analysis.loss_landscape(model, loss, seed=1, **options) for _ in range(2))
    other = analysis.loss_landscape(model, loss, seed=2, points=3)
    np.testing.assert_array_equal(first.losses, again.losses)
    assert not np.array_equal(first.losses, other.losses)
    assert told == [(done, 9) for done in range(1, 10)] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 4}, "points=4 is not allowed; use an odd number >= 3"),
        ({"points": 1}, "points=1 is not allowed"),
        ({"span": 0}, "span=0 is not allowed; use a number > 0"),
        ({"span": float("nan")}, "span=nan is not allowed"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        analysis.loss_landscape(small(), loss, **options)


def test_a_model_without_synapses_is_refused():
    with pytest.raises(OptionError, match="no synapses"):
        analysis.loss_landscape(torch.nn.Linear(2, 2), lambda model: 0.0)
