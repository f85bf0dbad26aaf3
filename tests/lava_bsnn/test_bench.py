"""lava-bsnn bench: the same layers in other libraries, and rows of figures. No figure is tested."""

from __future__ import annotations

import json
import mmap

import pytest
import torch

from lava_bsnn import bench, block, cli, models
from lava_bsnn.bench import space, training, twins
from lava_bsnn.errors import OptionError

SMALL = training.Topology(
    model="resnet20", in_shape=(2, 8, 8), num_steps=3, batch_size=2, options={"width": 0.25}
)


class Recorded(twins.Kit):
    """A kit that tells what it was asked for."""

    def __init__(self):
        self.asked = []

    def layer(self, name, *arguments, **options):
        self.asked.append((name, arguments, options))
        return super().layer(name, *arguments, **options)

    def neuron(self):
        self.asked.append("neuron")
        return super().neuron()


@pytest.mark.parametrize(
    ("model", "options"), [("resnet20", {"width": 0.25}), ("vggsnn", {"width": 0.1}), ("cnn", {})]
)
def test_a_twin_has_the_same_layers(model, options):
    net = models.create(model, num_classes=10, in_shape=(2, 16, 16), num_steps=2, method="fp", **options)
    kit = Recorded()
    other = twins.twin(net, kit)
    blocks = [m for m in net.modules() if isinstance(m, block.SpikingBlock)]
    spiking = [m for m in blocks if m.neuron is not None]
    assert kit.asked.count("neuron") == len(spiking)
    ours = sorted(tuple(m.synapse.weight.shape[:4]) for m in blocks if not isinstance(m, block.Pool))
    theirs = [tuple(p.shape) for n, p in other.named_parameters() if n.endswith("weight") and p.dim() > 1]
    assert sorted((*shape, 1, 1)[:4] for shape in theirs) == ours
    x = torch.rand(4, 2, 16, 16)
    assert other(x).shape == (4, 10)
    learned = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert sum(p.numel() for p in other.parameters()) == learned


def test_a_block_without_counterpart_is_refused():
    net = models.create("recurrent", num_classes=4, in_shape=(8,), num_steps=2)
    with pytest.raises(OptionError, match="Recurrent has no counterpart"):
        twins.twin(net, twins.Kit())


@pytest.mark.parametrize("train", [True, False])
def test_turns_time_what_is_asked_for(train):
    rounds = []
    contenders = {
        "ours": training.ours(SMALL.create(), bfloat16=True),
        "relu": training.theirs(SMALL, twins.Kit()),
    }
    before = {name: [p.clone() for p in one.model.parameters()] for name, one in contenders.items()}
    seconds = training.turns(SMALL, contenders, 2, train=train, on_round=lambda: rounds.append(1))
    assert {name: len(times) for name, times in seconds.items()} == {"ours": 2, "relu": 2}
    assert len(rounds) == 4
    for name, one in contenders.items():
        changed = [not torch.equal(a, b) for a, b in zip(before[name], one.model.parameters(), strict=True)]
        assert changed[0] is train  # the first layer's weights
        assert train or not any(changed)
        assert one.model.training is train


def test_ratios_are_taken_turn_by_turn():
    row = bench.compared("x", [1.0, 2.0, 4.0], [2.0, 6.0, 4.0], "peer", 1.5, amount=8)
    assert (row.ours, row.peer, row.ratio) == (4.0, 2.0, 2.0)
    assert row.as_dict()["met"] is True
    assert bench.compared("x", [1.0], [1.0], "peer", 1.5).met is False
    assert bench.missing("x", "peer", 1.0, "why").as_dict()["met"] is None


def test_spikingjelly_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(training, "TOPOLOGIES", {"a": SMALL})
    monkeypatch.setattr(training, "installed", lambda module: False)
    monkeypatch.setattr(space, "installed", lambda module: False)
    found = [*training.rows(quick=True, rounds=1), *space.rows(quick=True, rounds=1)]
    assert [row.ratio for row in found] == [None] * 7
    assert all("pip install" in row.note for row in found)


@pytest.mark.parametrize("module", training.PEERS)
def test_peers_train_the_same_layers(module):
    pytest.importorskip(module, reason="the peers are not installed")
    peer = training.theirs(SMALL, training.PEERS[module](SMALL))
    seconds = training.turns(SMALL, {"peer": peer}, 1)
    assert seconds["peer"][0] > 0


@pytest.mark.skipif(not space._CLEAR.exists(), reason="peaks are measured on Linux only")
def test_the_peak_of_memory_is_that_of_training(monkeypatch, capsys):
    held = []

    def turns(topology, contenders, rounds):
        assert (topology, list(contenders), rounds) == (SMALL, ["relu"], 1)
        held.append(mmap.mmap(-1, 100 << 20))
        held[0].write(bytes([1]) * (100 << 20))

    monkeypatch.setattr(space, "TOPOLOGIES", {"a": SMALL})
    monkeypatch.setattr(space, "turns", turns)
    monkeypatch.setattr("sys.argv", ["space", "a", "relu"])
    space.main()
    assert 90 < float(json.loads(capsys.readouterr().out)) < 330  # with the bytes


def test_the_command_writes_rows(tmp_path, monkeypatch, capsys):
    rows = [bench.compared("x", [1.0], [2.0], "peer", 1.5), bench.missing("y", "other", 1.0, "not installed")]

    def run(parts, *, on_row, **options):
        assert parts == ("training",)
        assert options["quick"] and options["rounds"] == 2
        for row in rows:
            on_row(row)
        return rows

    monkeypatch.setattr(bench, "run", run)
    file = tmp_path / "bench.json"
    assert cli.main(["bench", "--quick", "--only", "training", "--rounds", "2", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "2.00x" in printed and "against peer: met" in printed and "not installed" in printed
    report = json.loads(file.read_text())
    assert report["rows"] == [row.as_dict() for row in rows]
    assert report["machine"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "speed"], "only='speed'"),
        (["--rounds", "0"], "rounds=0"),
        (["--device", "tpu"], "device='tpu'"),
        (["--json", "/nowhere/x.json"], "/nowhere"),
    ],
)
def test_wrong_options_are_refused_before_the_work(options, message, capsys):
    assert cli.main(["bench", *options]) == 2
    assert message in capsys.readouterr().err
