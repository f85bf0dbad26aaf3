"""Training passes recorded as CUDA graphs: when they are, and that recording changes nothing. No GPU here."""

from __future__ import annotations

import copy

import pytest
import torch

from lava_bsnn import block, models, training
from lava_bsnn.errors import LavaBsnnWarning
from lava_bsnn.training.graphs import SWITCH, GraphedPasses
from lava_bsnn.training.rates import RateMeter


class Recorder:
    """In place of torch's recorder: warms up as it does, and tells what it repeats."""

    def __init__(self):
        self.recorded = []
        self.repeated = 0

    def __call__(self, module, arguments, **options):
        for _ in range(4):
            module(*arguments).sum().backward()
        self.recorded.append(arguments[0].shape)

        def repeated(x):
            self.repeated += 1
            entry = module.model.blocks[0]
            calls = entry.calls
            try:
                return module(x)
            finally:
                entry.calls = calls  # Python is not run again

        return repeated


class OnGPU(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    is_cuda = True


@pytest.fixture
def recorder(monkeypatch):
    found = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", found)
    return found


def batch(samples=3):
    x = torch.rand(samples, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return x.as_subclass(OnGPU)


def model_of(method="agmm", **options):
    torch.manual_seed(0)
    sizes = dict(num_classes=3, in_shape=(1, 8, 8), num_steps=2, channels=(4, 6), hidden=8, input_bits=8)
    return models.create("cnn", method=method, **sizes, **options).train()


def calls(passes, number, samples=3):
    for _ in range(number):
        passes(batch(samples))


def test_a_pass_is_recorded_once_per_shape_and_repeated(recorder):
    passes = GraphedPasses(model_of())
    calls(passes, 5)
    assert recorder.recorded == [(3, 1, 8, 8)]
    assert recorder.repeated == 4  # the input looks at the first one
    calls(passes, 2, samples=4)
    calls(passes, 2)
    assert recorder.recorded == [(3, 1, 8, 8), (4, 1, 8, 8)]
    assert recorder.repeated == 8


def test_recording_leaves_statistics_and_inputs_as_they_were(recorder):
    ours, theirs = model_of(), model_of()
    passes = GraphedPasses(ours)
    for _ in range(20):
        passes(batch())
        theirs(batch().as_subclass(torch.Tensor))
    assert recorder.repeated > 15
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(mine, other)
    entry, other = ours.blocks[0], theirs.blocks[0]
    assert (entry.calls, entry.received) == (other.calls, other.received)
    assert torch.equal(entry.samples, other.samples)


def test_inputs_look_as_often_as_without(recorder):
    passes = GraphedPasses(model_of())
    calls(passes, 1 + 50)
    looks = {index for index in range(51) if index % 16 == 0 or index % 50 == 0}
    assert recorder.repeated == 51 - len(looks)


def test_hooks_see_each_pass(recorder):
    model, seen = model_of(), []
    passes = GraphedPasses(model)
    calls(passes, 3)
    before = recorder.repeated
    handle = model.blocks[1].register_forward_hook(lambda *_: seen.append(1))
    calls(passes, 3)
    assert (len(seen), recorder.repeated) == (3, before)
    handle.remove()
    calls(passes, 1)
    assert recorder.repeated == before + 1


def test_a_meter_is_heard_in_the_passes_it_is_enabled_for(recorder):
    model = model_of()
    meter = RateMeter(model)
    passes = GraphedPasses(model, ignored=meter.ignores)
    calls(passes, 4)
    assert recorder.repeated == 3
    assert meter.mean() == 0
    meter.enabled = True
    calls(passes, 2)
    assert recorder.repeated == 3
    assert meter.mean() > 0


def test_another_sharpness_is_another_recording(recorder):
    model = model_of("qsnn", method_options={"estimator": "annealed"})
    passes = GraphedPasses(model)
    for epoch in range(3):
        assert training.anneal(model, epoch, 3) is not None
        calls(passes, 4)
    assert len(recorder.recorded) == 3


class OwnNorm(torch.nn.Identity):
    """May do something else at each pass."""


def own_module(model):
    model.blocks[1].extra = OwnNorm()


def own_hook(model):
    model.blocks[1].synapse.pre_hook_fx = lambda w, descale=False: w


def state(model):
    model.blocks[1].neuron.persistent_state = True


@pytest.mark.parametrize("change", [own_module, own_hook, state, training.match_device])
def test_what_may_differ_from_pass_to_pass_is_not_recorded(change, recorder):
    model = model_of()
    change(model)
    calls(GraphedPasses(model), 4)
    assert (recorder.recorded, recorder.repeated) == ([], 0)


def test_evaluation_and_processors_are_not_recorded(recorder):
    model = model_of()
    passes = GraphedPasses(model)
    calls(passes, 2)
    passes(batch().as_subclass(torch.Tensor))
    model.eval()
    calls(passes, 2)
    assert recorder.repeated == 1


def test_the_switch_turns_it_off(recorder, monkeypatch):
    monkeypatch.setenv(SWITCH, "0")
    calls(GraphedPasses(model_of()), 3)
    assert recorder.recorded == []


def test_what_cannot_be_recorded_is_told_once_and_trains(monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    model = model_of()
    before = copy.deepcopy(model.state_dict())
    passes = GraphedPasses(model)
    calls(passes, 1)
    with pytest.warns(LavaBsnnWarning, match="kernel by kernel") as told:
        calls(passes, 3)
    assert len(told) == 1
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    entry = model.blocks[0]
    assert isinstance(entry, block.Input) and entry.calls == 4
