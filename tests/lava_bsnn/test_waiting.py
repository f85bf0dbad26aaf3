"""Training steps that never wait for a GPU: on the device "meta" no number can be read."""

from __future__ import annotations

import math
import traceback
from contextlib import nullcontext

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from lava_bsnn import block, models, training, waiting
from lava_bsnn.errors import LavaBsnnError
from lava_bsnn.functional import machine
from lava_bsnn.modulation import AGMM
from lava_bsnn.training import engine, loop
from lava_bsnn.training.averaging import MovingAverage
from lava_bsnn.training.batches import as_dataset, epoch_batches
from lava_bsnn.training.diagnose import Watch
from lava_bsnn.training.engine import Engine

STEPS = 3
LIF = {"threshold": 0.5, "voltage_decay": 0.3}


def network(*blocks, size=(2, 8, 8)):
    """Blocks behind each other, then a readout."""
    made = torch.nn.Sequential(*blocks)
    for module in made:
        size = module.build(size)
    return made


def residual():
    return network(
        block.Input(bits=8),
        block.Conv(LIF, 2, 4, 3, padding=1, modulation=AGMM(STEPS)),
        block.Residual(
            [
                block.Conv(LIF, 4, 4, 3, padding=1, modulation=AGMM(STEPS)),
                block.Conv(LIF, 4, 4, 3, padding=1),
            ]
        ),
        block.Flatten(),
        block.Readout(None, 256, 5),
    )


def learned():
    return network(
        block.Conv({**LIF, "requires_grad": True, "current_decay": 0.5, "shared_param": False}, 2, 4, 3),
        block.Conv(LIF, 4, 4, 3, delay=True),
        block.Flatten(),
        block.Recurrent({**LIF, "membrane_bits": 4}, 64, 8),
        block.Readout(None, 8, 5),
    )


def cnn(method):
    def make():
        options = dict(num_steps=STEPS, method=method, input_bits=8, channels=(4, 6), hidden=8)
        return models.create("cnn", num_classes=5, in_shape=(2, 8, 8), **options)

    return make


MODELS = {method: cnn(method) for method in ("agmm", "qsnn", "lmht")} | {
    "residual": residual,
    "learned decays, delays, feedback, bits": learned,
}


def made(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    frames = torch.rand(4, 2, 8, 8)
    x = frames if name in ("agmm", "qsnn", "lmht") else frames[..., None].expand(*frames.shape, STEPS)
    for module in model.modules():
        if isinstance(module, block.Input):
            module.calls = 1  # the first batch is looked at
    return model.train(), x


class Copies(TorchDispatchMode):
    """Refuse copies from the host that a GPU would be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default:
            moves = kwargs.get("device", args[0].device) != args[0].device
            assert kwargs.get("non_blocking") or not moves, "a copy is waited for"
        return function(*args, **kwargs)


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_reads_no_number(name):
    model, x = made(name)
    model, x = model.to("meta"), x.to("meta")
    labels = torch.zeros(4, dtype=torch.int64, device="meta")
    terms = {"tet": (1.0, training.tet_cross_entropy), "spikes": (0.1, training.SpikeRegulation(model))}
    if name == "agmm":
        terms["sops"] = (1.0, training.SopBudget(model, 1e5))
    loss, meter = training.TotalLoss(terms), engine.RateMeter(model)
    meter.enabled = True
    optimizer, watch = training.optimizer("adamw")(model.parameters()), Watch(torch.device("meta"))
    average = MovingAverage(model, 0.9)
    average.update_parameters(model)
    with Copies():
        value = loss(model(x), labels)
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        watch.step(0, value.detach(), norm, model)
        optimizer.step()
        average.update_parameters(model)
    with pytest.raises(RuntimeError, match="[Mm]eta"):
        value.item()  # reading would have been seen


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14), reason="tried with torch 2.14"
)
@pytest.mark.parametrize("name", MODELS)
def test_a_whole_graph_is_compiled(name, monkeypatch):
    """Of the definition in torch, to which machine code is equal up to rounding."""
    results = []
    for compiled in (True, False):
        model, x = made(name)
        run = torch.compile(model, fullgraph=True, backend="eager") if compiled else model
        if not compiled:
            monkeypatch.setattr(machine, "TYPES", ())
        y = run(x)
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    torch._dynamo.reset()
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


class Reading(TorchDispatchMode):
    """Where numbers are read."""

    def __init__(self):
        super().__init__()
        self.places = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            self.places.append("".join(traceback.format_stack(limit=8)))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def run(monkeypatch):
    """An engine that takes the CPU for a device that is waited for."""
    for module in ("functional.dynamics", "neuron.lif", "neuron.decays", "block.input"):
        monkeypatch.setattr(f"lava_bsnn.{module}.is_at_hand", lambda x: False)
    monkeypatch.setattr(machine, "TYPES", ())  # kernels of a CPU read numbers
    torch.manual_seed(0)
    model, _ = made("agmm")
    data = torch.rand(160, 2, 8, 8).numpy(), torch.arange(160).numpy() % 5

    def make(lr=0.1):
        made = Engine(
            model=model,
            train=as_dataset(data, "train"),
            test=as_dataset(data, "test"),
            optimizer=training.optimizer("sgd", lr=lr, momentum=0),
            fabric=loop._fabric_of(model),
            ema_decay=None,
            batch_size=4,
            seed=0,
            num_workers=0,
            settings={},
        )
        made.watch = Watch(torch.device("cpu"))
        return made

    return make


def steps(run, count, loss=training.tet_cross_entropy, *, within=None):
    batches = epoch_batches(len(run.train), 4, 0, 0)
    for place, (indices, batch) in enumerate(run.epoch_loader(batches)):
        if place == count:
            return
        with within or nullcontext():
            run.train_step(indices, batch, loss, 1.0, 1.0)
            run.progress(len(batches))


def test_the_engine_looks_once_in_some_steps(run, monkeypatch):
    made = run()
    monkeypatch.setattr(engine, "check_batch", lambda *_: None)  # on the host
    monkeypatch.setattr(engine, "check_classes", lambda split, indices, labels, logits: None)
    looked = []
    monkeypatch.setattr(made.watch, "look", lambda: looked.append(made.step))
    steps(made, 1)
    reading = Reading()
    steps(made, waiting.LOOK_EVERY - 2, within=reading)
    assert not reading.places, reading.places[0]
    assert not looked
    steps(made, 1)
    assert looked == [waiting.LOOK_EVERY]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["qsnn", "learned decays, delays, feedback, bits"])
def test_numbers_that_are_not_read_give_the_same(name, dtype, monkeypatch):
    monkeypatch.setattr(machine, "TYPES", ())
    results = []
    for at_hand in (True, False):
        if not at_hand:
            for module in ("functional.dynamics", "neuron.lif", "neuron.decays", "block.input"):
                monkeypatch.setattr(f"lava_bsnn.{module}.is_at_hand", lambda x: False)
        model, x = made(name)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = model(x)
        y.float().square().sum().backward()
        results.append([y.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
        model.eval()
        with torch.no_grad():
            results[-1].append(model(x))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    for one, other in zip(*results, strict=True):
        assert float((one - other).norm()) <= tolerance * float(other.norm())


def losses(bad, kind):
    seen = []

    def loss(logits, labels):
        seen.append(0)
        value = training.tet_cross_entropy(logits, labels)
        if len(seen) != bad + 1 and len(seen) <= waiting.LOOK_EVERY:
            return value
        return value * math.inf if kind == "loss" else value + (logits * 0).abs().sqrt().sum()

    return loss


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("loss", r"the loss is inf in epoch 1, step 4; first not finite: the loss \(all"),
        ("gradient", r"norm is nan in epoch 1, step 4; first not finite: gradient of blocks\.\S+"),
    ],
)
def test_a_step_that_is_not_finite_is_named_later_and_spoils_no_weight(run, kind, message):
    made = run()
    with pytest.raises(LavaBsnnError, match=message):
        steps(made, 20, losses(3, kind))
    assert made.step == waiting.LOOK_EVERY
    assert all(torch.isfinite(parameter).all() for parameter in made.model.parameters())


def test_weights_stay_from_the_step_on_that_is_not_finite(run):
    made = run()
    steps(made, 3, losses(2, "loss"))
    before = [p.detach().clone() for p in made.model.parameters()]
    steps(made, 4)
    for group in made.optimizer.param_groups:
        group["weight_decay"] = 0.0
    assert all(torch.allclose(p, b, rtol=1e-3) for p, b in zip(made.model.parameters(), before, strict=True))
    with pytest.raises(LavaBsnnError, match="in epoch 1, step 3"):
        made.end_epoch(training.tet_cross_entropy)


def test_a_moving_average_is_that_of_torch():
    models_ = [made("agmm")[0] for _ in range(3)]
    with torch.no_grad():
        for model in models_:
            for values in (*model.parameters(), *model.buffers()):
                values.copy_(values + torch.randn(values.shape).to(values.dtype))
    ours = MovingAverage(models_[0], 0.9)
    theirs = AveragedModel(models_[0], multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for model in (*models_, *models_):
        for average in (ours, theirs):
            average.update_parameters(model)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert int(ours.n_averaged) == 6
