from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lava_bsnn import block, functional, models, training
from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.synapse import Binarize

LOGITS = torch.randn(6, 5, 4)
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def slow_cross_entropy(logits, label):
    return math.log(sum(math.exp(z) for z in logits)) - logits[label]


def test_tet_averages_the_cross_entropy_of_every_step():
    expected = np.mean(
        [slow_cross_entropy(LOGITS[n, :, t].tolist(), LABELS[n]) for n in range(6) for t in range(4)]
    )
    assert training.tet_cross_entropy(LOGITS, LABELS).item() == pytest.approx(expected, rel=1e-5)


def test_rate_loss_takes_the_mean_over_time_first():
    expected = np.mean([slow_cross_entropy(LOGITS[n].mean(-1).tolist(), LABELS[n]) for n in range(6)])
    assert training.rate_cross_entropy(LOGITS, LABELS).item() == pytest.approx(expected, rel=1e-5)


def test_total_loss_sums_and_logs_each_term():
    loss = training.TotalLoss(
        {"tet": (1.0, training.tet_cross_entropy), "rate": (0.5, training.rate_cross_entropy)}
    )
    value = loss(LOGITS, LABELS)
    assert set(loss.values) == {"tet", "rate"}
    assert value.item() == pytest.approx(loss.values["tet"] + 0.5 * loss.values["rate"])
    assert loss.values["rate"] == pytest.approx(training.rate_cross_entropy(LOGITS, LABELS).item())
    with pytest.raises(OptionError, match="no terms"):
        training.TotalLoss({})


def model_of(method="qsnn", **options):
    return models.create(
        "cnn",
        num_classes=5,
        in_shape=(1, 8, 8),
        num_steps=3,
        method=method,
        input_bits=8,
        channels=(4, 6),
        hidden=8,
        **options,
    )


def test_spike_regulation_is_eq_17_without_first_layer_and_readout():
    model = model_of()
    term = training.SpikeRegulation(model)
    rates = []
    for module in model.blocks[1:]:
        if getattr(module, "neuron", None) is not None:
            module.neuron.register_forward_hook(lambda m, i, o: rates.append(o.mean().item()))
    logits = model(torch.rand(4, 1, 8, 8))
    value = term(logits, None)
    assert len(rates) == 3
    assert value.item() == pytest.approx(sum((f - 0.5) ** 2 for f in rates[1:]), rel=1e-5)
    value.backward()
    weights = [m.synapse.weight for m in model.modules() if isinstance(m, block.SpikingBlock)]
    assert weights[1].grad.abs().sum() > 0
    with pytest.raises(LavaBsnnError, match="no rates recorded"):
        term(logits, None)
    term.close()
    model(torch.rand(4, 1, 8, 8))
    with pytest.raises(LavaBsnnError, match="no rates recorded"):
        term(logits, None)


def test_spike_regulation_moves_rates_towards_one_half():
    model = model_of(method_options={"neuron_params": {"threshold": 2.0, "voltage_decay": 0.5}})
    term = training.SpikeRegulation(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x, values = torch.rand(16, 1, 8, 8), []
    for _ in range(30):
        value = term(model(x), None)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]


def test_spike_regulation_needs_hidden_layers():
    with pytest.raises(OptionError, match="no hidden spiking layer"):
        training.SpikeRegulation(torch.nn.Sequential(block.Readout(None, 4, 2)))


def test_standardised_weights_are_balanced():
    w = torch.rand(8, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    standard = functional.standardize(w)
    assert abs(standard.mean().item()) < 1e-12
    assert standard.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert torch.autograd.gradcheck(functional.standardize, (torch.rand(3, 4).double().requires_grad_(),))
    assert functional.binarize(w).min() > 0  # without it all signs are +1
    signs = torch.sign(Binarize(standardize="layer")(w))
    assert abs(signs.mean().item()) < 0.2


def test_the_standardising_hook_exports_the_weights_it_trains():
    hook = Binarize(standardize="layer")
    w = torch.rand(8, 4, 3, 3)
    q, step = hook.integers(w)
    torch.testing.assert_close(q * step, hook(w))
    reference = (w - w.mean()) / w.std(correction=0)
    torch.testing.assert_close(step.flatten(), reference.abs().mean((1, 2, 3)))


def test_fit_is_reproducible_and_stops_on_a_loss_that_is_not_finite():
    data = np.random.default_rng(0).random((32, 1, 8, 8), dtype=np.float32), np.arange(32) % 5
    weights = []
    for _ in range(2):
        training.seed_everything(3)
        model = model_of("binary")
        training.fit(model, data, data, epochs=2, batch_size=8, seed=1)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    with pytest.raises(LavaBsnnError, match="the loss is nan in epoch 1"):
        training.fit(model, data, data, epochs=1, loss=lambda z, y: z.sum() * float("nan"))


def test_the_mean_spike_term_leaves_the_last_spiking_layer_out_too():
    torch.manual_seed(0)
    model = models.create("mlp", num_classes=3, in_shape=(12,), num_steps=4, hidden=(8, 9, 10, 11))
    x = (torch.rand(5, 12, 4) < 0.5).float()
    term, rates = training.SpikeRegulation(model, reduce="mean"), []
    for module in model.blocks:
        x = module(x)
        if getattr(module, "neuron", None) is not None:
            rates.append(x.mean())
    squares = [(rate - 0.5) ** 2 for rate in rates[1:-1]]
    assert len(squares) == 2
    torch.testing.assert_close(term(x, torch.zeros(5)), sum(squares) / 2)
    two = models.create("mlp", num_classes=3, in_shape=(12,), num_steps=4, hidden=(8, 9))
    with pytest.raises(OptionError, match="no hidden spiking layer; use at least three"):
        training.SpikeRegulation(two, reduce="mean")
