"""A model is exported only if its forward runs its blocks in a row; trying it leaves it as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lava_bsnn import block, functional, models
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError
from netx_export import convert

PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}
STEPS = 3


class Wired(torch.nn.Module):
    """Blocks, and a function of them and the input as forward."""

    def __init__(self, blocks, wiring, in_shape=(2, 6, 6)):
        super().__init__()
        self.blocks = torch.nn.ModuleList(blocks)
        self.wiring = wiring
        block.build(self.blocks, in_shape)

    def forward(self, x):
        return self.wiring(self.blocks, x)


def blocks_of(**options):
    """Blocks of which the two in the middle may change places."""
    torch.manual_seed(0)
    same = [block.Conv(PARAMS, 2, 2, 3, padding=1, **options) for _ in range(2)]
    return [*same, block.Flatten(**options), block.Readout(None, 72, 3, **options)]


def in_a_row(blocks, x):
    for module in blocks:
        x = module(x)
    return x


def added(blocks, x):
    y = blocks[0](x)
    return blocks[3](blocks[2](y + blocks[1](y)))


def other_order(blocks, x):
    return blocks[3](blocks[2](blocks[0](blocks[1](x))))


def twice(blocks, x):
    return blocks[3](blocks[2](blocks[1](blocks[1](blocks[0](x)))))


def left_out(blocks, x):
    return blocks[3](blocks[2](blocks[0](x)))


def early_output(blocks, x):
    in_a_row(blocks, x)
    return blocks[0](x)


def around_one(blocks, x):
    blocks[1](blocks[0](x))
    return blocks[3](blocks[2](x))


def only_a_part(blocks, x):
    y = blocks[1](blocks[0](x))
    return blocks[3](blocks[2](torch.cat([y[:, :1], torch.zeros_like(y[:, 1:])], 1)))


def backwards(blocks, x):
    return blocks[3](blocks[2](blocks[1](blocks[0](x).flip(-1))))


def inverted_frames(blocks, x):
    """Right for samples with a time axis only."""
    return in_a_row(blocks, x if x.dim() == 5 else functional.direct_code(1 - x, STEPS))


def inverted_samples(blocks, x):
    """Right for frames only."""
    return in_a_row(blocks, 1 - x if x.dim() == 5 else functional.direct_code(x, STEPS))


def rectified(blocks, x):
    return blocks[3](blocks[2](blocks[1](blocks[0](x).relu())))


def at_most_one(blocks, x):
    return blocks[3](blocks[2](blocks[1](blocks[0](x).clamp(max=1))))


REFUSED = {
    "skip": (added, r"block 2 \(Flatten\) does not get what the block before it returns"),
    "inverted input": (lambda b, x: in_a_row(b, 1 - x), "the first block .* does not get the model's input"),
    "doubled input": (lambda b, x: in_a_row(b, 2 * x), "the first block .* does not get the model's input"),
    "reversed input": (lambda b, x: in_a_row(b, x.flip(-1)), "does not get the model's input as it is"),
    "mirrored input": (lambda b, x: in_a_row(b, x.flip(-2)), "does not get the model's input as it is"),
    "inverted frames": (inverted_frames, "the first block .* does not get the model's input"),
    "inverted samples": (inverted_samples, "the first block .* does not get the model's input"),
    "rectified": (rectified, r"block 1 \(Conv.*\) does not get what"),
    "counts of at most one": (at_most_one, r"block 1 \(Conv.*\) does not get what"),
    "rectified output": (lambda b, x: in_a_row(b, x).relu(), "it returns something else"),
    "magnitude of the output": (lambda b, x: in_a_row(b, x).abs(), "it returns something else"),
    "negated output": (lambda b, x: -in_a_row(b, x), "it returns something else than the last block does"),
    "doubled output": (lambda b, x: 2 * in_a_row(b, x), "it returns something else than the last block does"),
    "last step": (lambda b, x: in_a_row(b, x)[..., -1], "it returns something else"),
    "other classes": (lambda b, x: in_a_row(b, x).flip(1), "it returns something else"),
    "softmax": (lambda b, x: in_a_row(b, x).softmax(1), "it returns something else"),
    "other order": (other_order, r"block 0 \(Conv.*\) is not run in its place"),
    "twice": (twice, r"block 2 \(Flatten\) is not run in its place"),
    "left out": (left_out, r"block 1 \(Conv.*\) is not run in its place"),
    "run again": (early_output, "5 blocks are run, where there are 4"),
    "around one": (around_one, r"block 2 \(Flatten\) does not get what the block before it returns"),
    "only a part": (only_a_part, r"block 2 \(Flatten\) does not get what the block before it returns"),
    "backwards in time": (backwards, r"block 1 \(Conv.*\) does not get what"),
    "a dictionary": (lambda b, x: {"logits": in_a_row(b, x)}, "it returns a dict"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_forward_is_refused_and_its_blocks_are_taken_as_a_list(settle, name):
    wiring, message = REFUSED[name]
    model = Wired(blocks_of(), wiring)
    settle(model.blocks)
    for profile in ("stock", "extended"):
        with pytest.raises(ExportError, match=message) as error:
            convert(model, profile)
        assert str(error.value).startswith("convert: forward of Wired is not its blocks in a row: ")
        assert str(error.value).endswith("convert(model.blocks) takes them as a chain, whatever forward does")
        net = convert(model.blocks, profile)
        assert net == convert(list(model.blocks), profile)
        assert net == convert(torch.nn.Sequential(*model.blocks), profile)


def repeated(blocks, x):
    """Takes frames without a time axis only."""
    if x.dim() != 4:
        raise ValueError("only frames")
    return in_a_row(blocks, functional.direct_code(x, STEPS))


def stacked(blocks, x):
    """Repeats frames as memory of its own."""
    return in_a_row(blocks, torch.stack([x] * STEPS, -1))


def timed(blocks, x):
    """Takes samples with a time axis only."""
    if x.dim() != 5:
        raise ValueError("no time axis")
    return in_a_row(blocks, x)


ACCEPTED = {
    "in a row": in_a_row,
    "mean over time": lambda b, x: in_a_row(b, x).mean(-1),
    "sum over time": lambda b, x: in_a_row(b, x).sum(-1),
    "tuple": lambda b, x: (in_a_row(b, x), "counts"),
    "tuple with a mean": lambda b, x: (in_a_row(b, x).mean(-1), None),
    "static frames only": repeated,
    "static frames, stacked": stacked,
    "time axis only": timed,
    "no change between blocks": lambda b, x: b[3](b[2](torch.dropout(b[1](b[0](x)), 0.5, train=False))),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_comes_to_the_same_is_accepted(settle, name):
    model = Wired(blocks_of(), ACCEPTED[name])
    settle(model.blocks)
    assert convert(model, "extended", num_steps=STEPS) == convert(model.blocks, "extended", num_steps=STEPS)


def test_blocks_that_count_spikes_return_tuples(settle):
    def counting(blocks, x):
        counts = []
        for module in blocks:
            x, count = module(x)
            counts.append(count)
        return x, counts

    model = Wired(blocks_of(count_log=True), counting)
    settle(model.blocks)
    plain = blocks_of()
    plain = torch.nn.ModuleList(plain)
    block.build(plain, (2, 6, 6))
    plain.load_state_dict(model.blocks.state_dict())
    assert convert(model) == convert(plain.eval())
    doubled = Wired(model.blocks, lambda blocks, x: counting(blocks, 2 * x))
    with pytest.raises(ExportError, match="does not get the model's input"):
        convert(doubled)


class Own(torch.nn.Sequential):
    """A chain with a forward of its own."""

    gain = 1.0

    def forward(self, x):
        for module in self:
            x = module(x)
        return self.gain * x


def test_a_sequential_with_its_own_forward_is_tried(settle):
    model = settle(Own(*blocks_of()), (2, 6, 6))
    assert convert(model) == convert(torch.nn.Sequential(*model))
    model.gain = -1.0
    with pytest.raises(ExportError, match="forward of Own is not its blocks in a row: it returns something"):
        convert(model)


def test_a_subclass_of_our_network_with_another_forward_is_refused(settle):
    class Inverted(models.SpikingNetwork):
        def forward(self, x):
            return super().forward(1 - x)

    blocks = blocks_of()
    model = settle(Inverted(blocks, in_shape=(2, 6, 6), num_steps=STEPS))
    with pytest.raises(ExportError, match="forward of Inverted is not its blocks in a row: the first block"):
        convert(model)


def test_a_model_that_cannot_run_says_why(settle):
    def broken(blocks, x):
        raise ValueError("needs two inputs")

    model = Wired(blocks_of(), broken)
    settle(model.blocks)
    message = (
        r"Wired cannot be run on random input \(ValueError: needs two inputs\); .*convert\(model.blocks\)"
    )
    with pytest.raises(ExportError, match=message):
        convert(model)


@pytest.mark.parametrize("wrap", ["DataParallel", "AveragedModel", "both"])
def test_wrappers_are_taken_off(settle, wrap):
    model = settle(models.SpikingNetwork(blocks_of(), in_shape=(2, 6, 6), num_steps=STEPS))
    expected = convert(model)
    wrapped = torch.optim.swa_utils.AveragedModel(model) if wrap != "DataParallel" else model
    wrapped = torch.nn.DataParallel(wrapped) if wrap != "AveragedModel" else wrapped
    assert convert(wrapped) == expected
    with torch.no_grad():
        model.blocks[0].synapse.weight.neg_()
    assert (convert(wrapped) == expected) == (wrap != "DataParallel")  # an average is a copy


def state_of(model):
    """All that a forward pass may change."""
    found = {}
    for name, module in model.named_modules():
        plain = {
            k: copy.deepcopy(v) for k, v in vars(module).items() if isinstance(v, (bool, int, float, str))
        }
        every = vars(module) | module._buffers | module._parameters
        tensors = {k: v.clone() for k, v in every.items() if isinstance(v, torch.Tensor)}
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        found[name] = (module.training, plain, hooks, tensors)
    return found


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_nothing_of_the_model_changes(settle, training, profile):
    coding = Encoding(kind="counts", bits=3, saturate=True)
    blocks = [block.Input(encoding=coding), *blocks_of()]
    model = settle(models.SpikingNetwork(blocks, in_shape=(2, 6, 6), num_steps=STEPS))
    assert blocks[0].samples is not None and blocks[0].received
    for module in model.modules():
        if hasattr(module, "voltage_state"):  # what a stream would have left
            module.voltage_state = torch.full((1, *module.shape), 0.25)
    model.train(training)
    model.blocks[2].eval()
    before, seeds = state_of(model), (torch.get_rng_state(), np.random.get_state()[1].copy())
    convert(model, profile)
    after = state_of(model)
    assert before.keys() == after.keys() and "samples" in before["blocks.0"][3]
    for name, (mode, plain, hooks, tensors) in before.items():
        assert after[name][:3] == (mode, plain, hooks), name
        assert tensors.keys() == after[name][3].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, after[name][3][key]), (name, key)
    assert torch.equal(torch.get_rng_state(), seeds[0])
    np.testing.assert_array_equal(np.random.get_state()[1], seeds[1])


class Counting(Wired):
    """A model with a state of its own."""

    def __init__(self, blocks, wiring):
        super().__init__(blocks, wiring)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return super().forward(x)


def test_a_state_of_the_models_own_is_put_back(settle):
    model = Counting(blocks_of(), in_a_row)
    settle(model.blocks)
    convert(model)
    assert model.calls == 0
    model.wiring = added
    with pytest.raises(ExportError, match="is not its blocks in a row"):
        convert(model)
    assert model.calls == 0


def test_a_failure_leaves_the_model_as_it_was(settle):
    model = Wired(blocks_of(), added)
    settle(model.blocks)
    model.train()
    before = state_of(model)
    with pytest.raises(ExportError):
        convert(model)
    for name, (mode, plain, hooks, tensors) in state_of(model).items():
        assert before[name][:3] == (mode, plain, hooks), name
        assert all(torch.equal(before[name][3][key], tensor) for key, tensor in tensors.items())
