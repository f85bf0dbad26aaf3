"""Training for a target: what it lacks is replaced or refused before the first step; a budget for SOPs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import analysis, block, models, modulation, training
from lava_bsnn.errors import LavaBsnnError, OptionError


def model_of(method="agmm", **options):
    torch.manual_seed(0)
    return models.create(
        "resnet20",
        num_classes=4,
        in_shape=(1, 8, 8),
        num_steps=2,
        method=method,
        width=0.125,
        input_bits=4,
        **options,
    )


def data_of(number=24):
    rng = np.random.default_rng(0)
    return rng.random((number, 1, 8, 8), dtype=np.float32), rng.integers(0, 4, number)


@pytest.mark.parametrize("target", ["stock", "loihi"])
def test_gates_are_factors_from_the_first_step_on(target):
    model = model_of()
    training.fit(model, data_of(), data_of(), epochs=1, batch_size=8, target=target)
    gates = [m.factor.detach() for m in model.modules() if isinstance(m, modulation.ConstantGate)]
    assert not any(isinstance(module, modulation.AGMM) for module in model.modules())
    assert len(gates) == 19 and all(0.3 < float(gate.mean()) < 0.7 for gate in gates)
    assert any(float((gate - 0.5).abs().max()) > 1e-4 for gate in gates)  # they learn


def test_a_target_with_gates_keeps_them():
    model = model_of()
    training.fit(model, data_of(), data_of(), epochs=1, batch_size=8, target="extended")
    assert sum(isinstance(module, modulation.AGMM) for module in model.modules()) == 19


def test_training_for_a_target_goes_on_where_it_stopped(tmp_path):
    weights = []
    for interrupted in (False, True):
        folder = tmp_path / str(interrupted)
        folder.mkdir()
        options = dict(batch_size=8, target="loihi", out=folder, schedule="constant")
        if interrupted:
            training.fit(model_of(), data_of(), data_of(), epochs=1, settings={"epochs": 2}, **options)
        model = model_of()
        training.fit(
            model, data_of(), data_of(), epochs=2, settings={"epochs": 2}, resume=interrupted, **options
        )
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("qsnn", {}, "fit: membranes of 8 bits do not exist for target='loihi'"),
        (
            "lmht",
            {},
            "fit: neurons of L=2 thresholds, mixing of steps or a learned leak do not exist for target",
        ),
    ],
)
def test_neurons_that_a_target_lacks_are_refused_before_training(method, options, message):
    model = model_of(method)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(LavaBsnnError, match=message):
        training.fit(model, data_of(), data_of(), epochs=1, target="loihi")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_unknown_target_is_refused():
    with pytest.raises(OptionError, match="fit: target='loihi3' is unknown"):
        training.fit(model_of(), data_of(), data_of(), epochs=1, target="loihi3")


def chain():
    """All kinds of synapses, bare pooling included; its readout counts, too."""
    torch.manual_seed(0)
    params = dict(threshold=0.3, voltage_decay=0.5)
    blocks = [
        block.Input(),
        block.Conv(params, 2, 6, 3, padding=1, norm=None),
        block.Pool(None, 2),
        block.Conv(params, 6, 8, 3, 2, padding=1, norm=None, groups=2),
        block.Flatten(),
        block.Dense(params, 8 * 2 * 2, 12, norm=None),
        block.Readout(None, 12, 4),
    ]
    return models.SpikingNetwork(blocks, in_shape=(2, 8, 8), num_steps=3)


def test_the_budgets_operations_are_those_that_analysis_counts():
    model, x = chain(), (torch.rand(5, 2, 8, 8, 3) < 0.5).float()
    term = training.SopBudget(model, 100.0)
    logits = model(x)
    loss = term(logits, torch.zeros(5, dtype=torch.long))
    count = analysis.count_operations(model, x)
    fed = [one.operations for one in list(count.layers.values())[1:-1]]
    spikes = []
    hook = model.blocks[-2].register_forward_hook(lambda m, i, out: spikes.append(float(out.detach().sum())))
    model(x)
    hook.remove()
    expected = (sum(fed) + 4 * spikes[0]) / 5
    assert expected > 200 and term.sops == pytest.approx(expected)
    assert float(loss.detach()) == pytest.approx(expected / 100 - 1)
    loss.backward()
    assert float(model.blocks[1].synapse.weight.grad.abs().sum()) > 0
    generous = training.SopBudget(model, 1e9)
    assert float(generous(model(x), torch.zeros(5, dtype=torch.long)).detach()) == 0


def test_the_budget_counts_feedback():
    params = {"threshold": 0.5}
    model = models.SpikingNetwork(
        [block.Recurrent(params, 6, 20), block.Readout(None, 20, 3)], in_shape=(6,), num_steps=8
    )
    x = (torch.rand(5, 6, 8) < 0.5).float()
    term = training.SopBudget(model, 100.0)
    model.train()(x)
    spikes = model.eval().blocks[0](x).detach()
    with torch.enable_grad():
        term._parts.clear()
        loss = term(model(x), torch.zeros(5, dtype=torch.long))
    expected = float(20 * spikes[..., :-1].sum() + 3 * spikes.sum()) / 5
    assert expected > 100 and term.sops == pytest.approx(expected)
    loss.backward()
    assert float(model.blocks[0].synapse.weight.grad.abs().sum()) > 0


def test_a_budget_lowers_the_operations():
    data = data_of(48)
    sops = []
    for budget in (None, 2000.0):
        model = model_of("binary")
        training.fit(
            model,
            data,
            data,
            epochs=6,
            batch_size=8,
            sop_budget=budget,
            optimizer=training.optimizer(lr=5e-3),
        )
        sops.append(analysis.count_operations(model.eval(), torch.from_numpy(data[0])).sops)
    assert sops[1] < 0.8 * sops[0]


@pytest.mark.parametrize("budget", [0, -1.0, float("nan"), float("inf"), True, "many"])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(OptionError, match="SopBudget: budget=.* is not allowed; use a number > 0"):
        training.SopBudget(chain(), budget)


def test_a_budget_needs_a_forward_pass():
    with pytest.raises(LavaBsnnError, match="SopBudget: no spikes recorded"):
        training.SopBudget(chain(), 10)(torch.zeros(1, 4, 3), torch.zeros(1, dtype=torch.long))
