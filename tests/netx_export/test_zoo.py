"""The networks that ship with the package: what was recorded of them holds on every backend.

Whatever changes in this repository, a golden network gives the same spikes in every layer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cli import command

from lava_bsnn import data
from lava_bsnn.errors import ExportError, LavaMissingError, NetXFormatError, OptionError
from netx_export import read, simulate, zoo
from netx_export.zoo import kit

NAMES = ("events", "fashion", "plain", "residual")
LARGEST = {"fashion": 420_000}
"""Bytes of a .net with millions of weights; of others 300,000."""
ON_LAVA = {"lava": 2, "lava-fused": 8}
"""Samples; stock convolutions take long."""


@pytest.fixture(scope="module")
def golden():
    return {name: zoo.load(name) for name in NAMES}


@pytest.fixture
def copied(tmp_path):
    """A folder with a copy of one network's files."""
    for end in ("net", "npz", "json"):
        shutil.copy(Path(zoo.__file__).parent / f"plain.{end}", tmp_path)
    return tmp_path


def test_there_are_four_and_each_is_small():
    assert tuple(zoo.names()) == NAMES
    for name in NAMES:
        folder = Path(zoo.__file__).parent
        sizes = [(folder / f"{name}.{end}").stat().st_size for end in ("net", "npz", "json")]
        largest = LARGEST.get(name, 300_000)
        assert sizes[0] <= largest and sum(sizes) <= largest + 100_000


def test_git_keeps_their_files():
    """``*.net`` is ignored elsewhere; a wheel has what git has."""
    folder = Path(zoo.__file__).parent
    done = subprocess.run(
        ["git", "check-ignore", *(f"{name}.net" for name in NAMES)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("name", NAMES)
def test_content_is_that_of_the_record(golden, name):
    one = golden[name]
    assert one.net.digest() == one.about["digest"]
    assert one.data.shape == (8, *one.net.input.shape, one.data.shape[-1])
    assert one.data.shape[-1] & (one.data.shape[-1] - 1) == 0  # a power of two, for the chip
    assert set(one.expected.layers) == {layer.name for layer in one.net.layers}


def test_kinds_are_what_they_are_for(golden):
    assert [golden[name].net.profile for name in NAMES] == ["stock", "loihi", "stock", "loihi"]
    residual = golden["residual"].net
    assert any(len(layer.connections) == 2 for layer in residual.layers) and len(residual.layers) >= 20
    assert golden["events"].net.input.bits == 0 and golden["plain"].net.input.bits == 4
    moving = golden["events"].data
    assert (moving[..., :1] != moving).any()


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_fires(golden, name):
    one = golden[name]
    for layer, trace in one.expected.layers.items():
        assert trace.spikes.any() or (one.net.reads_out and layer == one.net.output.name), layer
        assert not trace.spikes.all(), layer
    assert one.expected.readout.any()


@pytest.mark.parametrize("name", NAMES)
def test_simulator_gives_the_record(golden, name):
    found = kit.check(golden[name], "simulator")
    assert (found.mismatches, found.failed) == (0, 0)
    shapes = [np.prod(layer.shape) for layer in golden[name].net.layers]
    assert sum(layer.compared for layer in found.layers) == sum(shapes) * 8 * found.steps
    assert found.right >= 7


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_is_what_the_record_says(golden, name):
    from lava_bsnn.commands.samples import of_data_set

    one = golden[name]
    steps = one.data.shape[-1]
    if not one.about["dataset"].startswith("digits") and data.find(one.about["dataset"]) is None:
        pytest.skip(f"{one.about['dataset']} is not here")
    given = of_data_set(one.net, one.about["dataset"], 10_000, steps)
    assert len(given.labels) == one.about["test_samples"]
    inputs = one.net.encode(given.samples, steps)
    assert (inputs[:8] == one.data).mean() > 0.99  # resizing may round otherwise in another version
    np.testing.assert_array_equal(given.labels[:8], one.labels)
    classes = np.concatenate(
        [simulate(one.net, inputs[i : i + 64]).prediction for i in range(0, len(inputs), 64)]
    )
    share = float((classes == given.labels).mean())
    assert share == pytest.approx(one.accuracy, abs=0.01) and share >= 0.9


@pytest.mark.lava
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_lava_gives_the_record_spike_for_spike(golden, name, backend):
    one = golden[name].first(ON_LAVA[backend])
    found = kit.check(one, backend)
    assert (found.mismatches, found.failed) == (0, 0), found.line
    assert found.right == int((one.expected.prediction == one.labels).sum())


@pytest.mark.parametrize("name", NAMES)
def test_network_up_to_a_layer_gives_what_the_layer_gives(golden, name):
    one = golden[name].first(2)
    for layer in one.net.layers[:-1]:
        part = kit.up_to(one.net, layer.name)
        assert part.output.name == layer.name and part.latency == one.net.depth(layer.name)
        expected = one.expected.layers[layer.name].spikes
        np.testing.assert_array_equal(simulate(part, one.data).spikes, expected, err_msg=layer.name)
    assert kit.up_to(one.net, one.net.output.name) is one.net


@pytest.mark.lava
def test_kit_reads_every_layer_on_the_chip_in_runs_of_its_own(golden, lava_loihi, tmp_path):
    calls = len(lava_loihi.chosen)
    done = command("zoo", "plain", "--run", "loihi2", "--samples", 2, "--json", tmp_path / "report.json",
                   "--host", "slurm", "--partition", "oheogulch")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "report.json").read_text())
    layers = [layer.name for layer in golden["plain"].net.layers]
    assert len(lava_loihi.chosen) - calls == len(layers)
    assert [len(process.net.layers) for process in lava_loihi.networks] == list(range(1, len(layers) + 1))
    (net,) = told["nets"]
    assert told["equal"] and told["backend"] == "loihi2" and told["options"]["partition"] == "oheogulch"
    assert [layer["layer"] for layer in net["layers"]] == layers
    assert all(layer["compared"] and not layer["mismatches"] for layer in net["layers"])
    assert told["versions"]["lava-nc"] and told["host"] and net["digest"] == golden["plain"].net.digest()
    assert len(told["text"]) == 1 and "0 mismatches" in told["text"][0]


@pytest.mark.lava
def test_kit_runs_parts_of_a_residual_network_on_the_chip(golden, lava_loihi, monkeypatch):
    """Three layers, a skip among them; the others take too long here."""
    one = golden["residual"].first(1)
    chosen = [layer.name for layer in one.net.layers[:3]]
    part = kit.up_to(one.net, chosen[-1])
    assert any(len(layer.connections) == 2 for layer in part.layers)
    spikes = one.expected.layers[chosen[-1]].spikes
    cut = replace(one, net=part, expected=replace(one.expected, spikes=spikes, readout=None))
    found = kit.check(cut, "loihi2")
    assert (found.mismatches, found.failed, len(found.layers)) == (0, 0, 3), found.line


def test_kit_tells_a_run_that_fails_and_goes_on(golden, monkeypatch, tmp_path):
    tried, ran = [], kit.run

    def sometimes(net, data, backend, **options):
        tried.append(net.output.name)
        if len(tried) == 2:
            raise RuntimeError("board is busy\nmore lines")
        assert backend == "loihi2" and not options["trace"]
        return replace(ran(net, data, "simulator"), layers={})

    monkeypatch.setattr(kit, "run", sometimes)
    done = command("zoo", "--run", "loihi2", "--samples", 1, "--json", tmp_path / "report.json")
    assert done.returncode == 3
    told = json.loads((tmp_path / "report.json").read_text())
    assert [net["net"] for net in told["nets"]] == list(NAMES) and not told["equal"]
    assert [net["failed"] for net in told["nets"]] == [1, 0, 0, 0]
    assert told["nets"][0]["layers"][1]["error"] == "RuntimeError: board is busy"
    assert len(tried) == sum(len(golden[name].net.layers) for name in NAMES)
    assert "1 layers failed" in done.stdout and "board is busy" in done.stdout


def test_report_is_there_after_every_run(golden, monkeypatch, tmp_path):
    path, kept = tmp_path / "report.json", []

    def stopped(net, data, backend, **options):
        if path.exists():
            kept.append(json.loads(path.read_text()))
        if len(kept) == 2:
            raise KeyboardInterrupt
        return simulate(net, data)

    monkeypatch.setattr(kit, "run", stopped)
    assert command("zoo", "--run", "loihi2", "--samples", 1, "--json", path).returncode == 130
    assert [len(report["nets"][0]["layers"]) for report in kept] == [1, 2]
    assert not json.loads(path.read_text())["nets"][0]["mismatches"]


def test_without_lava_loihi_the_kit_says_so_and_ends_with_2(tmp_path):
    done = command("zoo", "--run", "loihi2", "--json", tmp_path / "report.json")
    assert done.returncode == 2 and "lava-loihi, which is not installed" in done.stderr
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LavaMissingError):
        kit.check(zoo.load("plain"), "loihi2")


def flipped(one, layer):
    """The record with one spike of a layer, or one potential of the readout, changed."""
    expected = one.expected
    if layer is None:
        readout = expected.readout.copy()
        readout[1, 2, 3] += 1
        return replace(one, expected=replace(expected, readout=readout))
    spikes = expected.layers[layer].spikes.copy()
    spikes[(1, *[0] * (spikes.ndim - 2), 2)] ^= True
    return replace(
        one,
        expected=replace(
            expected, layers={**expected.layers, layer: replace(expected.layers[layer], spikes=spikes)}
        ),
    )


@pytest.mark.parametrize("index", [0, 1, None])
def test_one_changed_bit_of_a_record_is_found_and_named(golden, index):
    one = golden["plain"]
    name = None if index is None else one.net.layers[index].name
    found = kit.check(flipped(one, name), "simulator")
    wrong = [layer for layer in found.layers if layer.mismatches]
    assert found.mismatches == 1 and [layer.layer for layer in wrong] == [name or one.net.output.name]
    where = "step 3, sample 1" if index is None else "step 2, sample 1"
    assert where in wrong[0].first and wrong[0].first in found.line


def test_command_ends_with_1_on_a_mismatch(golden, monkeypatch):
    monkeypatch.setattr(zoo, "load", lambda name: flipped(golden[name], golden[name].net.layers[0].name))
    done = command("zoo", "events", "--run", "simulator")
    assert done.returncode == 1 and "1 mismatches" in done.stdout and "step 2, sample 1" in done.stdout


def test_files_that_were_changed_are_refused(copied):
    assert zoo.load("plain", copied).accuracy == zoo.load("plain").accuracy
    with np.load(copied / "plain.npz") as record:
        arrays = dict(record)
    arrays["labels"] = arrays["labels"] + 1
    np.savez_compressed(copied / "plain.npz", **arrays)
    with pytest.raises(
        NetXFormatError, match=r"zoo: plain: record is \w+, not \w+; install the package again"
    ):
        zoo.load("plain", copied)


def test_another_network_under_the_name_is_refused(copied):
    shutil.copy(Path(zoo.__file__).parent / "events.net", copied / "plain.net")
    with pytest.raises(NetXFormatError, match="zoo: plain: digest is"):
        zoo.load("plain", copied)


@pytest.mark.parametrize("name", ["events", "fashion"])
def test_what_is_saved_loads_again(golden, tmp_path, name):
    """Counts have no bits of their own in the record; all else comes back as it was."""
    one = golden[name]
    about = {key: one.about[key] for key in ("summary", "accuracy", "command")}
    zoo.save(tmp_path, "again", one.net, one.data, one.labels, about)
    again = zoo.load("again", tmp_path)
    assert again.net == one.net
    with np.load(one.path.with_suffix(".npz")) as before, np.load(tmp_path / "again.npz") as after:
        assert before.files == after.files
        for name in before.files:  # the heads of zip files depend on the Python
            assert before[name].dtype == after[name].dtype
            np.testing.assert_array_equal(before[name], after[name], strict=True)
    np.testing.assert_array_equal(again.data, one.data)
    np.testing.assert_array_equal(again.expected.readout, one.expected.readout)


def test_samples_are_taken_from_the_front_and_not_more_than_there_are(golden):
    one = golden["plain"].first(3)
    assert len(one.data) == len(one.labels) == len(one.expected.readout) == 3
    with pytest.raises(OptionError, match=r"zoo: samples=9 is not allowed; plain has 1\.\.8"):
        golden["plain"].first(9)


def test_list_tells_what_there_is(golden, tmp_path):
    done = command("zoo", "--json", tmp_path / "list.json")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "list.json").read_text())
    assert [row["name"] for row in told] == list(NAMES)
    for row in told:
        one = golden[row["name"]]
        assert (row["profile"], row["layers"]) == (one.net.profile, len(one.net.layers))
        assert row["accuracy"] == one.accuracy and f"make_zoo.py {row['name']}" in row["command"]
        assert row["bytes"] == Path(row["file"]).stat().st_size
        assert row["name"] in done.stdout


def test_out_writes_the_network(golden, tmp_path):
    assert command("zoo", "residual", "--out", tmp_path / "r.net").returncode == 0
    assert read(tmp_path / "r.net") == golden["residual"].net


def test_run_of_one_network_prints_a_line(golden):
    done = command("zoo", "events", "--run", "simulator", "--samples", 2, "--json", "-")
    assert done.returncode == 0 and "events: 2 samples of 8 steps" in done.stderr
    assert json.loads(done.stdout)["equal"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lenet",), "name='lenet' is unknown; use one of 'events', 'fashion', 'plain', 'residual'"),
        (("--out", "x.net"), "zoo: --out takes one network; give its name in front"),
        (("plain", "--out", "nowhere/x.net"), "does not exist; make it first"),
        (("plain", "--samples", "2"), "zoo: --samples is for runs only; add --run BACKEND"),
        (("plain", "--board", "b"), "zoo: --board is for runs only"),
        (("plain", "--run", "gpu"), "backend='gpu' is unknown"),
        (
            ("plain", "--run", "lava", "--board", "b"),
            "zoo: board tell where a board is; use backend 'loihi2'",
        ),
        (("plain", "--run", "simulator", "--samples", "0"), "samples=0 is not allowed; plain has 1..8"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(words, said, tmp_path):
    done = command("zoo", *words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_cannot_take_a_network_is_a_failure_of_its_layers(golden):
    found = kit.check(golden["residual"].first(1), "stock")
    assert found.failed == len(golden["residual"].net.layers) and found.right is None
    assert ExportError.__name__ in found.layers[0].error and "use backend 'lava'" in found.line
