"""BSO against loops over single weights; Nesterov and decay against torch's and by group."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import block, models, training
from lava_bsnn.analysis import FlipRecorder
from lava_bsnn.errors import OptionError
from lava_bsnn.synapse import Binarize
from lava_bsnn.training.bso import BSO, without_latent_weights
from netx_export import convert


def network(**options):
    torch.manual_seed(0)
    return models.create(
        "mlp", num_classes=3, in_shape=(12,), num_steps=3, method="agmm", hidden=(16, 16), **options
    )


def samples(count=64):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, count)
    x = generator.random((count, 12, 3)) < 0.2 + 0.6 * (np.arange(12) % 3 == labels[:, None])[..., None]
    return x.astype(np.float32), labels


def test_weights_flip_as_in_a_loop_over_them():
    threshold, keep = 0.05, 0.8
    weight = torch.nn.Parameter(torch.where(torch.rand(5, 4) < 0.5, -1.0, 1.0).double())
    optimizer = BSO([weight], [], lr=1.0, threshold=threshold, flip_decay=keep)
    slow, means, flips = weight.detach().flatten().tolist(), [0.0] * 20, 0
    for _ in range(30):
        weight.grad = torch.randn(5, 4).double()
        optimizer.step()
        for k, grad in enumerate(weight.grad.flatten().tolist()):
            means[k] = keep * means[k] + (1 - keep) * grad
            if slow[k] * means[k] > threshold:
                slow[k] = -slow[k]
                flips += 1
        assert weight.detach().flatten().tolist() == slow
    assert flips > 20


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_others_take_the_steps_of_sgd(nesterov):
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 6)) for _ in range(2))
    flipping = torch.nn.Parameter(torch.ones(2))
    group = {"params": [ours], "weight_decay": 0.01}
    bso = BSO([flipping], [group], lr=0.1, momentum=0.9, nesterov=nesterov)
    sgd = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    for _ in range(5):
        ours.grad = torch.randn(6)
        theirs.grad = ours.grad.clone()
        bso.step()
        sgd.step()
    torch.testing.assert_close(ours, theirs)
    assert flipping.tolist() == [1, 1]  # without a gradient


def test_hidden_weights_are_signs_and_the_recorder_sees_them_flip():
    model = network()
    recorder = FlipRecorder(model)
    before = {name: signs.clone() for name, signs in recorder.signs.items()}
    make = training.optimizer("bso", lr=0.05, model=model, flip_threshold=1e-4, flip_decay=0.9)
    training.fit(model, samples(), samples(), epochs=3, batch_size=16, optimizer=make)
    recorder.record()
    assert 0 < recorder.mean()[-1] < 1
    hidden = model.blocks[3].synapse
    assert set(hidden.weight.detach().unique().tolist()) == {-1.0, 1.0}
    assert hidden.pre_hook_fx == Binarize(latent=False)
    changed = (hidden.weight >= 0) != next(iter(before.values()))
    assert changed.float().mean().item() == pytest.approx(recorder.mean()[-1])
    assert not torch.equal(model.blocks[2].synapse.weight.abs(), torch.ones(1)), "the first layer is real"


def test_a_weight_that_is_a_sign_is_computed_with_as_it_is():
    layer = block.Dense({}, 12, 8)
    x = (torch.rand(4, 12, 3) < 0.5).float()
    with torch.no_grad():
        layer.synapse.weight.sign_()
    signs = layer(x)
    without_latent_weights(layer)
    assert torch.equal(layer(x), signs)
    assert layer.synapse.effective_weight().data_ptr() == layer.synapse.weight.data_ptr()  # no copy


def test_the_network_is_exported_as_any_other():
    model = network()
    without_latent_weights(model)
    training.fit(model, samples(), samples(), epochs=1, batch_size=16)
    twin = network()
    twin.load_state_dict(model.state_dict())  # its hooks know of nothing
    with torch.no_grad():
        model.blocks[3].synapse.weight.sign_()
        twin.blocks[3].synapse.weight.sign_()
    ours, theirs = (convert(one.eval(), "extended") for one in (model, twin))
    assert ours == theirs
    assert np.unique(np.abs(ours.layers[1].connections[0].synapse.weight)).tolist() == [1]


def test_a_run_resumes_bit_for_bit(tmp_path):
    def run(epochs, folder, resume=False):
        model = network()
        make = training.optimizer("bso", lr=0.05, model=model, flip_threshold=1e-4, flip_decay=0.9)
        training.fit(
            model,
            samples(),
            samples(),
            epochs=4,
            batch_size=16,
            optimizer=make,
            out=folder,
            resume=resume,
            schedule="constant",
            on_epoch=lambda epoch: epoch.epoch == epochs and _stop(),
        )
        return model.state_dict()

    class StoppedError(Exception):
        pass

    def _stop():
        raise StoppedError

    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    expected = run(0, whole)
    with pytest.raises(StoppedError):
        run(2, parted)
    resumed = run(0, parted, resume=True)
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())


def bytes_kept(model, make):
    """Bytes of parameters, gradients, optimizer and of what a forward pass keeps for the backward one."""
    optimizer, kept = make(list(model.parameters())), {}
    x = torch.from_numpy(samples(2)[0][..., :1])

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(x).sum()
    for parameter in model.parameters():
        kept.pop(parameter.data_ptr(), None)
    loss.backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None), *states]
    return sum(kept.values()) + sum(tensor.nbytes for tensor in tensors)


def test_it_keeps_one_copy_less_of_every_weight_than_sgd():
    big = {"hidden": (512, 512)}
    models_ = [models.create("mlp", num_classes=3, in_shape=(12,), num_steps=1, **big) for _ in range(2)]
    sgd = bytes_kept(models_[0], training.optimizer("sgd"))
    bso = bytes_kept(models_[1], training.optimizer("bso", model=models_[1]))
    assert 512 * 512 * 4 * 0.98 < sgd - bso < 512 * 512 * 4 * 1.02


def test_decay_of_all_includes_norms_and_biases():
    model = network()
    (group,) = training.optimizer("sgd", weight_decay=0.1, decay="all")(model.parameters()).param_groups
    assert group["weight_decay"] == 0.1 and len(group["params"]) == sum(
        p.requires_grad for p in model.parameters()
    )
    assert training.optimizer("sgd", nesterov=True)(model.parameters()).param_groups[0]["nesterov"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: training.optimizer("adam", nesterov=True), "nesterov=True is not allowed with 'adam'"),
        (lambda: training.optimizer("bso"), "'bso' flips weights of a model; give model=model"),
        (lambda: training.optimizer(decay="norms"), "decay='norms' is unknown; use one of 'weights', 'all'"),
        (lambda: BSO([], [], lr=1, threshold=0.0), "flip_threshold=0.0 is not allowed; use a number > 0"),
        (lambda: BSO([], [], lr=1, flip_decay=1.0), "flip_decay=1.0 is not allowed; use 0 or more, below 1"),
        (
            lambda: without_latent_weights(network(method_options={"standardize": "layer"})),
            r"bso: blocks.3: Binarize.*needs latent weights; use Binarize\(\) without clip",
        ),
        (lambda: without_latent_weights(block.Dense({}, 4, 4, weight_norm=True)), "weight_norm=True needs"),
        (lambda: without_latent_weights(block.Dense({}, 4, 4, binarize=None)), "selects no layer"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
