"""SLAYER's tutorials with our blocks: as accurate, and scripts' habits work unchanged."""

from __future__ import annotations

from dataclasses import replace

import h5py
import pytest
import torch
from lava.lib.dl import slayer
from support.slayer_tutorials import KINDS, LONG, RATES, TUTORIALS, Run, make

import netx_export
from lava_bsnn import block
from lava_bsnn.errors import OptionError


def trained(name, epochs):
    """Score of each kind of blocks, with the same samples and seed."""
    tutorial = replace(TUTORIALS[name], epochs=epochs)
    samples, scores = tutorial.samples(0), {}
    for kind in KINDS:
        run = Run(tutorial, kind, samples, 0)
        for _ in range(epochs):
            run.epoch()
        scores[kind] = run.score()
    return scores


def test_digits_are_learned_as_well_as_with_slayers_blocks():
    scores = trained("digits", 3)
    assert scores["SLAYER"] > 0.7
    assert min(scores.values()) > scores["SLAYER"] - 0.06, scores


def test_xor_is_learned():
    scores = trained("XOR", 100)
    assert max(scores.values()) < 0.12, scores  # a constant has 0.25


class Network(torch.nn.Module):
    """As tutorials have it."""

    def __init__(self, kind):
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            [
                make(kind, "Dense", {**LONG, "requires_grad": True}, 64, 32, weight_norm=True, delay=True),
                make(kind, "Dense", LONG, 32, 10, weight_norm=True, last=True),
            ]
        )

    def forward(self, spike):
        for b in self.blocks:
            spike = b(spike)
        return spike

    def grad_flow(self):
        return [b.synapse.grad_norm for b in self.blocks if hasattr(b, "synapse")]

    def export_hdf5(self, path):
        with h5py.File(path, "w") as file:
            layer = file.create_group("layer")
            for i, b in enumerate(self.blocks):
                b.export_hdf5(layer.create_group(f"{i}"))


def test_a_network_class_trains_reloads_its_best_and_exports(tmp_path):
    (x, labels), (other, other_labels) = TUTORIALS["digits"].samples(0)
    torch.manual_seed(0)
    net = Network("8 bits")
    block.build(net.blocks, (64,))
    stats = slayer.utils.LearningStats()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    assistant = slayer.utils.Assistant(net, RATES, optimizer, stats, slayer.classifier.Rate.predict)
    for _ in range(2):
        for chosen in torch.arange(512).split(64):
            assistant.train(x[chosen], labels[chosen])
        assistant.test(other, other_labels)
        stats.update()
        if stats.testing.best_accuracy:
            torch.save(net.state_dict(), tmp_path / "best.pt")
            best = net.eval()(other)
    assert stats.training.loss_log[-1] < stats.training.loss_log[0]
    assert all(norm > 0 for norm in net.grad_flow()) and len(net.grad_flow()) == 2
    again = Network("8 bits")
    block.build(again.blocks, (64,))
    again.load_state_dict(torch.load(tmp_path / "best.pt"))
    assert torch.equal(again.eval()(other), best)
    again.export_hdf5(tmp_path / "network.net")
    counts = netx_export.simulate(netx_export.read(tmp_path / "network.net"), other.long().numpy()).spikes
    agreement = counts.sum(-1).argmax(1) == best.sum(-1).argmax(1).numpy()
    assert agreement.mean() > 0.9
    assert again.blocks[0].neuron.device_params["vThMant"] == 80


def test_gradient_flow_and_parameters_have_slayers_names():
    x = (torch.rand(4, 64, 12) < 0.4).float()
    theirs, ours = (Network(kind) for kind in ("SLAYER", "8 bits"))
    for net in (theirs, ours):
        net(x)  # its delays are known afterwards
        (net(x).sum() + net.blocks[0].delay.delay.sum()).backward()
        assert all(isinstance(norm, float) for norm in net.grad_flow())
    names = {name.removesuffix("_fraction") for name, _ in ours.named_parameters()}
    assert names == {name for name, _ in theirs.named_parameters()}


@pytest.mark.parametrize("name", ["Recurrent", "Affine"])
def test_state_dicts_of_slayers_other_blocks_load(name):
    if name == "Recurrent":
        theirs, ours = (make(kind, name, LONG, 6, 5) for kind in ("SLAYER", "8 bits"))
    else:
        theirs = slayer.block.cuba.Affine(dict(LONG), 6, 5, dynamics=False)
        ours = block.Readout(None, 6, 5, bias=False)
    theirs(torch.ones(2, 6, 3))
    ours.load_state_dict(theirs.state_dict())  # strict: every name is known
    for one in ("synapse",) if name == "Affine" else ("input_synapse", "recurrent_synapse"):
        assert torch.equal(getattr(ours, one).weight, getattr(theirs, one).weight)


def test_a_readout_says_that_it_has_no_neurons():
    with pytest.raises(OptionError, match="give None: a readout has no neurons"):
        block.Readout(LONG, 6, 5)
