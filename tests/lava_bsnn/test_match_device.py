"""Going over to the device's integers: the finest grid that fits, and nothing is lost by it."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from lava_bsnn import block, data, models, training
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import LavaBsnnError
from lava_bsnn.functional import direct_code
from lava_bsnn.neuron import LIF, MultiThresholdLIF
from lava_bsnn.training.hybrid import to_lmht
from netx_export import agreement, convert, simulate

HALF = ((1 << 23) - 1) / 2
LIF_PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}
MT = {"neuron": MultiThresholdLIF}
MT_PARAMS = {"levels": 3, "threshold": 0.7, "scaled": True}
IMAGES = Encoding.images((0.4, 0.5), (0.25, 0.3))


def chain(*blocks, in_shape=(2, 8, 8), num_steps=4, **entry):
    """A network with batch norms that have seen something, in evaluation mode."""
    torch.manual_seed(0)
    model = models.SpikingNetwork(
        [block.Input(**entry), *blocks], in_shape=in_shape, num_steps=num_steps
    ).eval()
    for module in model.modules():
        if getattr(module, "norm", None) is not None:
            torch.nn.init.normal_(module.norm.weight)
            for term in (module.norm.bias, module.norm.running_mean):
                torch.nn.init.normal_(term, std=0.1)
            torch.nn.init.uniform_(module.norm.running_var, 0.5, 2)
    return model


@torch.no_grad()
def largest_current(module, low, high, value=1.0):
    """Largest current of a block in one step over all channels, weight by weight."""
    weights = module.synapse.effective_weight().double().flatten(1)
    gain, offset = torch.ones(len(weights)), torch.zeros(len(weights))
    if module.norm is not None:
        std = (module.norm.running_var.double() + module.norm.eps).sqrt()
        gain = module.norm.weight / std
        offset = module.norm.bias - module.norm.running_mean * gain
    worst = 0.0
    for row, o in zip(weights * gain[:, None], offset, strict=True):
        top = sum(max(float(w) * low, float(w) * high) for w in row) * value
        bottom = sum(min(float(w) * low, float(w) * high) for w in row) * value
        worst = max(worst, max(top, -bottom) + abs(float(o)))
    return worst


def check_scale(neuron, bound):
    """The scale is the largest power of two with which ``bound`` takes half of 24 bits at most."""
    scale = neuron.w_scale if isinstance(neuron, LIF) else neuron.scale
    assert neuron.unit == 64 * scale and scale & (scale - 1) == 0
    assert bound * neuron.unit <= HALF < 2 * bound * neuron.unit


@pytest.mark.parametrize(
    ("entry", "low", "high"),
    [({}, 0, 1), ({"bits": 8}, 0, 255), ({"encoding": IMAGES}, -127, 127)],
    ids=["spikes", "bytes", "images"],
)
@pytest.mark.parametrize(
    "weights", [{}, {"binarize": None}, {"binarize": None, "weight_bits": None}], ids=str
)
def test_the_grid_of_lif_layers_is_the_finest_that_fits(weights, entry, low, high):
    first = block.Conv(LIF_PARAMS, 2, 6, 3, padding=1, **weights)
    second = block.Conv(LIF_PARAMS, 6, 4, 3, padding=1, groups=2, **weights)
    third = block.Dense({"threshold": 0.37}, 4 * 16, 5, **weights)
    pool = block.Pool(None, 2)
    model = chain(first, second, pool, block.Flatten(), third, block.Readout(None, 5, 3), **entry)
    training.match_device(model)
    check_scale(first.neuron, max(1.0, largest_current(first, low, high)))
    check_scale(second.neuron, max(1.0, largest_current(second, 0, 1)))
    check_scale(third.neuron, max(0.37, largest_current(third, 0, 4, 0.25)))
    assert first.neuron.membrane_bits == 24 and first.neuron.membrane_mode == "matched"


def test_the_grid_holds_thresholds_and_the_range_of_k_bit_membranes():
    high = block.Dense({"threshold": 5000.0}, 8, 6)
    trained = block.Dense({**LIF_PARAMS, "membrane_bits": 4}, 6, 6)
    fresh = block.Dense({**LIF_PARAMS, "membrane_bits": 4}, 6, 6)
    model = chain(high, trained, fresh, block.Readout(None, 6, 3), in_shape=(8,))
    trained.neuron.membrane_scale.fill_(700.0)
    training.match_device(model)
    check_scale(high.neuron, 5000.0)
    check_scale(trained.neuron, 700.0)
    check_scale(fresh.neuron, max(1.0, largest_current(fresh, 0, 1)))
    kept = trained.neuron.fixed_point()
    assert kept.bits == 4 and 700 / math.sqrt(2) < kept.limit < 700 * math.sqrt(2)


@pytest.mark.parametrize("mix", ["full", "causal", "identity"])
def test_the_grid_of_multi_threshold_layers_leaves_room_for_mixing(mix):
    params = {**MT_PARAMS, "num_steps": 4, "mix": mix}
    first, second = (block.Dense(params, n, 6, **MT) for n in (8, 6))
    model = chain(first, second, block.Readout(None, 6, 3), bits=4, in_shape=(8,))
    gains = []
    for module in (first, second):
        gains.append(1.0)
        if mix != "identity":
            torch.nn.init.normal_(module.neuron.mix.logits, 1.0)
            rows = (module.neuron.mix.omega.detach().double() * 4096).round().abs().sum(1) / 4096
            gains[-1] = max(1.0, rows.max().item())
            assert gains[-1] > 1.2
    training.match_device(model)
    check_scale(first.neuron, max(0.7, largest_current(first, 0, 15) * gains[0]))
    theta = first.neuron.threshold
    assert theta * first.neuron.unit == round(0.7 * first.neuron.unit)
    check_scale(second.neuron, max(0.7, largest_current(second, 0, 3, theta) * gains[1]))


@pytest.mark.parametrize("threshold", [0.7, 40.0])
@pytest.mark.parametrize("skip", ["identity", "conv", "pool"])
def test_the_grid_of_residuals_holds_both_paths(skip, threshold):
    before = block.Conv({**MT_PARAMS, "threshold": threshold}, 2, 4, 3, padding=1, **MT)
    inner = block.Conv(LIF_PARAMS, 4, 6, 3, padding=1)
    last = block.Conv(LIF_PARAMS, 6, 4, 3, 1 if skip == "identity" else 2, padding=1)
    shortcuts = {
        "identity": [],
        "conv": [block.Conv(None, 4, 4, 1, 2)],
        "pool": [block.Pool(None, 2), block.Conv(None, 4, 4, 1)],
    }
    residual = block.Residual([inner, last], shortcuts[skip])
    size = 64 if skip == "identity" else 16
    model = chain(before, residual, block.Flatten(), block.Readout(None, 4 * size, 3))
    training.match_device(model)
    theta = before.neuron.threshold
    most, value = (12, theta / 4) if skip == "pool" else (3, theta)
    skipped = largest_current(residual.shortcut[-1], 0, most, value) if residual.shortcut else 3 * theta
    check_scale(inner.neuron, max(1.0, largest_current(inner, 0, 3, theta)))
    check_scale(last.neuron, max(1.0, largest_current(last, 0, 1) + skipped))


def test_going_over_twice_changes_nothing_more():
    model = chain(block.Dense(LIF_PARAMS, 8, 6), block.Readout(None, 6, 3), in_shape=(8,))
    training.match_device(model)
    before = model.blocks[1].neuron.fixed_point()
    model.blocks[1].norm.weight.data.mul_(100)
    training.match_device(model)
    assert model.blocks[1].neuron.fixed_point() == before


@pytest.mark.parametrize("threshold", [0.3, 1.0, 0.7071, 1 / 3, 5.0, 123.456])
def test_a_matched_neuron_fires_exactly_at_its_threshold(threshold):
    """In front of it by less than a membrane step it is silent; the model in floating point likewise."""
    neuron, plain = (LIF(threshold=threshold, voltage_decay=1.0).double() for _ in range(2))
    neuron.match_device(1 << 8)
    unit = neuron.unit
    around = torch.arange(-40, 41) + math.floor(threshold * unit)
    current = (around / unit).double()
    fires = torch.tensor([int(k) / unit >= threshold for k in around])
    assert 0 < fires.sum() < len(fires)
    for fixed in (neuron, plain):
        assert torch.equal(fixed(current[None, :, None])[0, :, 0].bool(), fires)
    assert neuron.fixed_point().fires_above < threshold <= neuron.fixed_point().fires_above + 1 / unit
    halves = torch.full((1, 1, 2), threshold / 2).double()
    slow = LIF(threshold=threshold, voltage_decay=0.0).double()
    slow.match_device(1 << 8)
    steps = 2 * round(threshold / 2 * unit)
    assert slow(halves)[0, 0, 1].bool() == (steps / unit >= threshold)


@pytest.mark.parametrize("kind", ["lif", "multi_threshold"])
def test_logits_of_a_matched_model_are_the_devices(kind):
    neuron = (
        {"neuron_params": LIF_PARAMS}
        if kind == "lif"
        else {"neuron_params": {**MT_PARAMS, "levels": 7}, **MT}
    )
    hidden, readout = block.Dense(in_neurons=8, out_neurons=20, **neuron), block.Readout(None, 20, 3)
    model = chain(hidden, readout, in_shape=(8,), num_steps=6)
    torch.nn.init.normal_(readout.bias)
    assert readout.unit is None and readout.num_steps == 6
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (50, 8, 6)).astype(np.float32))
    plain = model(x).detach()
    training.match_device(model)
    unit = readout.unit
    assert unit == 2.0 ** round(math.log2(unit))
    with torch.no_grad():
        logits = model(x)
    steps = logits.double() * unit
    assert torch.equal(steps, steps.round()) and not torch.equal(logits, plain)
    torch.testing.assert_close(logits.double(), plain.double(), rtol=0, atol=1e-2)
    trained = model(x)  # with gradients
    assert torch.equal(trained.detach(), logits)
    trained.square().sum().backward()
    assert readout.synapse.weight.grad.abs().sum() > 0 and readout.bias.grad.abs().sum() > 0
    ours = simulate(convert(model, "extended"), x.int().numpy())
    np.testing.assert_array_equal(ours.readout, steps.cumsum(-1).numpy())
    most = 1 if kind == "lif" else hidden.neuron.levels
    worst = largest_current(readout, 0, most, readout.input_scale) + readout.bias.abs().max().item()
    assert unit * worst * 6 > ((1 << 17) - 1) * 64 / 4  # the finest but for the bias of another class
    model.set_steps(24)
    assert readout.unit == unit / 4


def test_steps_of_a_model_are_those_of_its_readout():
    model = chain(block.Dense(LIF_PARAMS, 8, 6), block.Readout(None, 6, 3), in_shape=(8,), num_steps=5)
    assert model.blocks[-1].num_steps == 5
    model.set_steps(7, 14)
    assert (model.num_steps, model.out_steps, model.blocks[-1].num_steps) == (7, 14, 14)
    assert model(torch.ones(2, 8)).shape == (2, 3, 7)
    assert block.Readout(None, 6, 3).num_steps == block.DEFAULT_STEPS
    qcfs = models.create("mlp", num_classes=3, in_shape=(8,), num_steps=1, method="qcfs", input_bits=4)
    assert to_lmht(qcfs, levels=2, num_steps=3).blocks[-1].num_steps == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: b.neuron.__init__(current_decay=0.5), "needs current_decay=1"),
        (
            lambda b: b.neuron.__init__(membrane_bits=8, membrane_when="before_spike"),
            "membrane_when='stored'",
        ),
        (lambda b: b.norm.weight.data.fill_(1e6), "a step may add .* thresholds, too many for 24 bits"),
        (
            lambda b: b.neuron.__init__(threshold=1e-9),
            "membrane steps with scale=.*change threshold or scale",
        ),
        (lambda b: b.norm.weight.data.fill_(math.nan), "too many for 24 bits"),
        (lambda b: b.norm.bias.data.fill_(math.inf), "too many for 24 bits"),
    ],
)
def test_a_refused_model_is_left_as_it_was(spoil, message):
    blocks = [block.Dense(LIF_PARAMS, 8, 8), block.Dense(LIF_PARAMS, 8, 8)]
    model = chain(*blocks, block.Readout(None, 8, 3), in_shape=(8,))
    spoil(blocks[1])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(LavaBsnnError, match=message) as error:
        training.match_device(model)
    assert "\n" not in str(error.value)
    assert blocks[0].neuron.membrane_bits is None and not blocks[0].norm.frozen
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.fixture(scope="module")
def digits():
    split = data.digits()
    return split.train_images, split.train_labels, split.test_images, split.test_labels


@pytest.mark.parametrize(
    ("method", "enlarged", "entry"),
    [
        *((method, enlarged, {"input_bits": 8}) for method in ("fp", "lmht", "qsnn") for enlarged in (1, 4)),
        ("fp", 4, {"encoding": Encoding.images((0.3,), (0.38,))}),
    ],
)
def test_models_of_bytes_keep_their_accuracy_and_classes(method, enlarged, entry, digits):
    """8-bit messages into many inputs: their weights need more than a few steps."""
    train_x, train_y, test_x, test_y = digits
    train_x, test_x = (np.kron(x, np.ones((1, 1, enlarged, enlarged), np.float32)) for x in (train_x, test_x))
    training.seed_everything(0)
    model = models.create(
        "mlp",
        num_classes=10,
        in_shape=train_x.shape[1:],
        num_steps=4,
        method=method,
        hidden=(64,),
        **entry,
    )
    training.fit(model, (train_x, train_y), (test_x, test_y), epochs=6)
    model.eval()
    before = training.accuracy(model, test_x, test_y)
    training.match_device(model)
    after = training.accuracy(model, test_x, test_y)
    assert before > 0.9 and after >= before - 0.01
    net = convert(model, "extended")
    agreed = agreement(model, net, test_x, test_y)
    assert agreed.same_class == 1 and agreed.integer_accuracy == after
    assert [layer.equal for layer in agreed.layers] == [1.0]
    assert agreed.layers[0].integer_rate > 0.02 and not agreed.warnings
    np.testing.assert_array_equal(
        simulate(net, net.encode(test_x, 4)).prediction, training.predict(model, test_x)
    )


def test_a_model_in_double_precision_is_matched_too():
    model = chain(block.Dense(LIF_PARAMS, 8, 6), block.Readout(None, 6, 3), bits=8, in_shape=(8,)).double()
    training.match_device(model)
    x = np.random.default_rng(0).random((100, 8))
    logits = model(direct_code(torch.from_numpy(x), 4))
    assert logits.dtype == torch.float64
    net = convert(model, "extended")
    ours = simulate(net, net.encode(x, 4))
    np.testing.assert_array_equal(ours.readout, (logits.cumsum(-1) * model.blocks[-1].unit).detach().numpy())


@pytest.mark.parametrize("target", ["extended", "loihi"])
@pytest.mark.parametrize("gain", np.geomspace(1.0, 2.0, 9)[:-1])
def test_a_matched_readout_has_room_for_the_networks_own_steps(target, gain):
    """Profile loihi bounds sums by all magnitudes; training bounded them by those of one sign."""
    model = chain(
        block.Flatten(),
        block.Dense(LIF_PARAMS, 128, 2000),
        block.Readout(None, 2000, 5),
        num_steps=2,
    )
    with torch.no_grad():
        model.blocks[-1].synapse.weight.mul_(gain)
    training.match_device(model, target)
    net = convert(model, target)
    assert net.max_steps >= 2
    spikes = simulate(net, np.ones((1, 2, 8, 8, 2), dtype=np.int64))
    assert spikes.readout.any()
