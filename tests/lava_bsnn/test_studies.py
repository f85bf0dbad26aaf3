"""Studies: definitions, cells with keys, what is run again, resumed, measured and told."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from support.cli import command
from torch.utils.tensorboard import SummaryWriter

import netx_export
from lava_bsnn import training
from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.functional import direct_code
from lava_bsnn.studies import cell as cell_process
from lava_bsnn.studies import cells_of, load_study, run_cells, running, study_names
from lava_bsnn.studies.cells import packed, unpacked
from lava_bsnn.studies.definition import merged
from lava_bsnn.studies.gathering import Row, flips_follow_gradients
from lava_bsnn.studies.running import epochs_done
from lava_bsnn.training.run_data import load_data
from lava_bsnn.training.run_log import RunLog

ROOT = Path(__file__).parents[2]
TINY = {
    "title": "Tiny",
    "question": "Does it run?",
    "budget_hours": 0.01,
    "seeds": 2,
    "base": {
        "dataset": "digits",
        "model": "mlp",
        "model_options": {"hidden": [32, 32]},
        "lr": 0.02,
        "method": "binary",
        "num_steps": 2,
        "input_bits": 4,
        "epochs": 2,
        "train_samples": 500,
    },
    "reference": "binary",
    "stages": ["extended", "stock"],
    "sets": {"digits": {}},
    "variants": {
        "binary": {"stages": ["loihi+1"]},
        "qsnn": {  # profile stock refuses its membranes
            "method": "qsnn",
            "method_options": {
                "neuron_params": {"threshold": 1.0, "voltage_decay": 0.5, "membrane_bits": 2},
            },
        },
        "hybrid": {
            "first": {"method": "qcfs", "num_steps": 1, "loss": "rate"},
            "method": "hybrid",
            "method_options": {"levels": 2},
        },
    },
    "quick": {"epochs": 1},
}


def write(folder, values=TINY, name="tiny.yaml", **changes):
    """A definition in a file."""
    path = folder / name
    path.write_text(yaml.safe_dump(merged(values, changes), sort_keys=False))
    return path


@pytest.fixture
def here(monkeypatch):
    """Cells run in this process, which saves the imports of a new one; their names are kept in a list."""
    ran = []

    def start(words, folder, parallel):
        task = json.loads(Path(words[-1]).read_text())
        ran.append(f"{task['set']}/{task['variant']}/{task['seed']}")
        code = cell_process.main(words[1:])
        process = subprocess.Popen([sys.executable, "-S", "-c", f"raise SystemExit({code})"])
        (folder / "log.txt").write_text("why\n" if code else "")
        return process

    monkeypatch.setattr(running, "start_python", start)
    monkeypatch.setattr("lava_bsnn.training.processes._POLL", 0.05)
    monkeypatch.setattr(RunLog, "_save", lambda *_: None)  # figures of runs take longer than these runs
    monkeypatch.setattr(SummaryWriter, "add_figure", lambda *_: None)
    return ran


def results(folder):
    """Content of the cells' files by name."""
    return {
        "/".join(path.with_suffix("").parts[-3:]): json.loads(path.read_text())
        for path in folder.glob("*/*/*/*.json")
    }


def predictions(recipe, model):
    """Classes that a model gives, one sample at a time, and the labels."""
    tests = load_data(recipe).test
    pairs = [tests[index] for index in range(len(tests))]
    with torch.no_grad():
        classes = [int(model(inputs[None]).sum(-1).argmax()) for inputs, _ in pairs]
    return np.array(classes), np.array([label for _, label in pairs])


def test_a_study_is_run_measured_cached_and_told(tmp_path, here):
    path = write(tmp_path)
    arguments = ("study", path, "--out", "out", "--results", "res", "--only", "binary", "qsnn")
    done = command(*arguments, "--json", "told.json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(tmp_path / "res")
    names = [f"digits/{name}/{seed}" for seed in range(2) for name in ("binary", "qsnn")]
    assert here == names and sorted(found) == sorted(names)
    assert all(f"{name}: test " in done.stdout for name in names)
    assert all(path.stat().st_size < 15_000 for path in tmp_path.glob("res/*/*/*/*.json"))
    assert not list(tmp_path.glob("res/**/*.pt"))

    rights = {}
    for name in ("digits/binary/0", "digits/binary/1", "digits/qsnn/0", "digits/qsnn/1"):
        recipe, model = training.load_run(tmp_path / "out" / name / "run")
        assert recipe.seed == int(name[-1]) and len(found[name]["history"]["loss"]) == recipe.epochs
        classes, labels = predictions(recipe, model)
        rights[name] = classes == labels
        assert np.array_equal(unpacked(found[name]["right"], len(labels)), rights[name])
        assert found[name]["accuracy"] == rights[name].mean()
        check_looks(found[name], recipe, model)
        if name == "digits/qsnn/0":
            stages = found[name]["deployed"]
            assert "problem" in stages["stock"] and "accuracy" not in stages["stock"]
            net = netx_export.convert(model, "extended")
            tests = load_data(recipe).test
            inputs = np.stack([np.asarray(tests[index][0]) for index in range(len(tests))])
            integers = netx_export.simulate(net, net.encode(inputs, recipe.num_steps)).prediction
            right = unpacked(stages["extended"]["right"], len(labels))
            assert np.array_equal(right, integers == labels)
            assert stages["extended"]["same_class"] == pytest.approx((integers == classes).mean(), rel=1e-4)
            check_maxima(found[name]["batch_maxima"], recipe, model)
    tuned = found["digits/binary/0"]["deployed"]["loihi+1"]
    assert tuned["same_class"] == 1 and tuned["equal_spikes"] == 1 and tuned["cores"] >= 1
    assert "Not there yet: `digits/hybrid` 0, 1." in done.stdout

    table = (tmp_path / "res/tiny/table.md").read_text()
    assert (tmp_path / "res/tiny.png").stat().st_size > 5_000
    ours = [rights[f"digits/qsnn/{seed}"] for seed in range(2)]
    theirs = [rights[f"digits/binary/{seed}"] for seed in range(2)]
    accuracies, differences = [], []
    for a, b in zip(ours, theirs, strict=True):
        accuracies.append(a.mean())
        differences.append(a.mean() - b.mean())
    cells = [
        interval(accuracies),
        interval(differences, "+"),
        "binary",
        f"{sum((a & ~b).sum() for a, b in zip(ours, theirs, strict=True))}, "
        f"{sum((b & ~a).sum() for a, b in zip(ours, theirs, strict=True))}",
    ]
    assert f"| qsnn | 2 | {' | '.join(cells)} |" in table
    assert "| binary | stock" not in table
    assert re.search(r"\| qsnn \| stock \| 0 \| refused: .*membrane", table)
    (row,) = [
        row for row in json.loads((tmp_path / "told.json").read_text())["rows"] if row["variant"] == "qsnn"
    ]
    assert row["difference"]["mean"] == pytest.approx(np.mean(differences))

    here.clear()
    again = command(*arguments, cwd=tmp_path)
    assert "4 of 4 cells are done already" in again.stdout and not here
    assert (tmp_path / "res/tiny/table.md").read_text() == table
    report = command(*arguments, "--report", cwd=tmp_path)
    assert report.returncode == 0 and (tmp_path / "res/tiny/table.md").read_text() == table

    write(tmp_path, **{"variants.qsnn.lr": 0.01})  # two cells are of other settings now
    assert "to be run anew: `digits/qsnn` 0, 1." in command(*arguments, "--report", cwd=tmp_path).stdout
    command(*arguments[:-2], "qsnn", "--seeds", 1, cwd=tmp_path)
    assert here == ["digits/qsnn/0"]
    assert results(tmp_path / "res")["digits/qsnn/0"]["recipe"]["lr"] == 0.01
    assert training.load_run(tmp_path / "out/digits/qsnn/0/run")[0].lr == 0.01


def check_looks(content, recipe, model):
    """Gradients of the last epoch and the loss without a step, by torch alone."""
    train = load_data(recipe).train
    inputs = torch.stack([torch.as_tensor(train[index][0]) for index in range(448)])
    labels = torch.tensor([train[index][1] for index in range(448)])
    with torch.no_grad():
        loss = float(torch.nn.functional.cross_entropy(model(inputs[:256]).mean(-1), labels[:256]))
    grid = np.array(content["landscape"])
    assert grid.shape == (5, 5) and grid[2, 2] == pytest.approx(loss, rel=1e-4)
    assert content["loss_rise"] == pytest.approx(grid.ravel()[np.arange(25) != 12].mean() - loss, rel=1e-3)

    model = copy.deepcopy(model).train()
    ratios, weight = [], model.blocks[3].synapse.weight  # the only one of 1 bit
    for start in range(0, 448, 64):
        logits = model(inputs[start : start + 64])
        steps = [
            torch.nn.functional.cross_entropy(one, labels[start : start + 64]) for one in logits.unbind(-1)
        ]
        (gradient,) = torch.autograd.grad(torch.stack(steps).mean(), weight)
        ratios.append(float(gradient.double().std(correction=0) / weight.detach().abs().mean()))
    curve = content["history"]["gradient_to_weight"]
    assert len(curve) == recipe.epochs and curve[-1] == pytest.approx(np.mean(ratios), rel=1e-3)
    assert len(set(curve)) == len(curve)  # of different weights


def check_maxima(accuracies, recipe, model):
    """Accuracies where membranes are scaled by a batch's maximum: neurons step by step, by hand."""
    tests = load_data(recipe).test
    inputs = torch.stack([torch.as_tensor(tests[index][0]) for index in range(len(tests))])
    labels = torch.tensor([tests[index][1] for index in range(len(tests))])
    inputs = direct_code(inputs, recipe.num_steps)
    *hidden, readout = model.blocks

    @torch.no_grad()
    def classes(part, scale=None):
        for block in hidden:
            neuron = getattr(block, "neuron", None)
            if neuron is None:  # the input
                part = block(part)
                continue
            spikes, memory = [], 0
            for current in block.current(part).unbind(-1):
                memory = 0.5 * memory + current
                spikes.append((memory >= 1).float())
                memory = memory * (memory < 1)
                alpha = memory.abs().max() if scale is None else neuron.membrane_scale
                memory = (memory / alpha).clamp(-1, 1)
                memory = torch.floor(memory + 0.5) * alpha  # levels of 2 bits: -1, 0, 1
            part = torch.stack(spikes, -1)
        return readout(part).sum(-1).argmax(1)

    assert hidden[-1].neuron.membrane_bits == 2 and hidden[-1].neuron.membrane_mode == "paper"
    for size in (1, 16, 64, 256):
        right = torch.cat([classes(part) for part in inputs.split(size)]) == labels
        assert accuracies[str(size)] == pytest.approx(right.double().mean().item(), rel=1e-4)
    assert accuracies["running"] == pytest.approx(
        (classes(inputs, "running") == labels).double().mean().item(), rel=1e-4
    )
    assert len(set(accuracies.values())) > 1


def interval(values, sign=""):
    """Mean and 95 % interval of two values in percent: Student's t of 1 degree of freedom is 12.706."""
    one, other = (100 * value for value in values)
    return f"{(one + other) / 2:{sign}.2f} ± {12.7062 * abs(one - other) / 2:.2f}"


def test_a_cell_that_is_stopped_goes_on_and_a_failed_one_is_told(tmp_path, here, monkeypatch):
    values = merged(TINY, {"variants.binary.stages": ["extended+1"], "seeds": 1, "base.epochs": 3})
    del values["variants"]["hybrid"]
    path = write(tmp_path, values)
    whole = command("study", path, "--out", "a", "--only", "binary", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert "Not there yet: `digits/qsnn` 0." in whole.stdout

    def stopped(recipe, folder, on_epoch=None, **options):
        def stop(epoch):
            if on_epoch is not None:
                on_epoch(epoch)
            if (recipe.matched, epoch.epoch) == (at_tuning, 1):
                raise KeyboardInterrupt

        training.train(recipe, folder, on_epoch=stop, **options)

    (cell,) = cells_of(load_study(path), tmp_path / "b", tmp_path / "b/results", only=["binary"])
    task = tmp_path / "cell.json"
    task.write_text(json.dumps(cell.as_dict()))
    for at_tuning in (False, True):  # noqa: B007 (read by stopped)
        monkeypatch.setattr(cell_process, "train", stopped)
        assert cell_process.main([str(task)]) == 130 and not cell.result.exists()
    assert epochs_done(cell) == 4
    monkeypatch.setattr(cell_process, "train", training.train)
    assert cell_process.main([str(task)]) == 0
    first = json.loads((tmp_path / "a/results/tiny/digits/binary/0.json").read_text())
    second = cell.found()
    for content in (first, second):
        for part in (content, content["history"]):
            part.pop("seconds")
    assert first == second

    write(tmp_path, values, **{"sets.digits.dataset": "nmnist"})  # is not there
    done = command("study", path, "--out", "c", "--jobs", 2, cwd=tmp_path)
    assert done.returncode == 3 and done.stdout.count("failed: digits/") == 2 and "log.txt" in done.stdout


def test_the_process_of_a_cell_ends_with_its_study_and_the_next_one_ends_it(tmp_path):
    values = merged(TINY, {"stages": ["extended"], "seeds": 1, "base.epochs": 12})
    (cell,) = cells_of(
        load_study(write(tmp_path, values)), tmp_path / "out", tmp_path / "res", only=["hybrid"]
    )

    def stop(running):
        if epochs_done(cell) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), closing(run_cells([cell], on_look=stop)) as ended:
        list(ended)
    assert not cell.result.exists() and epochs_done(cell) < 24
    (cell.folder / cell_process.DEVICES).write_text("Another Processor", encoding="utf-8")
    (ended,) = run_cells([cell])
    assert ended.problem == "" and len(cell.found()["history"]["loss"]) == 12
    assert training.load_run(cell.folder / "first")[0].method == "qcfs"
    assert re.fullmatch(r"Another Processor, \S.*", cell.found()["device"])


def test_what_is_no_definition_is_told_in_one_line(tmp_path):
    for changes, message in (
        ({"titel": "x"}, "unknown field 'titel'; use title, "),
        ({"sets": {}}, r"sets=\{\} is not allowed; use a mapping of names"),
        ({"variants": None}, "variants=None is not allowed"),
        ({"seeds": 0}, "seeds=0 is not allowed; use a whole number above 0"),
        ({"seeds": True}, "seeds=True is not allowed"),
        ({"budget_hours": "1"}, "budget_hours='1' is not allowed; use a number"),
        ({"reference": "bynary"}, "reference='bynary' is unknown; use binary, qsnn, hybrid"),
        ({"variants.qsnn.sets": ["digit"]}, "variants.qsnn: sets='digit' is unknown; use digits"),
        ({"variants.qsnn.mthod": "qsnn"}, "unknown fields mthod; did you mean method"),
        ({"sets.digits.lr": -1}, r"lr=-1\.0 is not allowed"),
        ({"quick.epochs": 0}, "epochs=0 is not allowed"),
        ({"variants.qsnn.first": {"epochs": 0}}, "epochs=0 is not allowed"),
        ({"variants.qsnn": 3}, "variants.qsnn is no mapping"),
        ({"stages": ["loihi-3"]}, "stage 'loihi-3' is unknown; use extended, stock, loihi"),
        ({"sets": {"a/b": {}}}, "set 'a/b' is no name"),
    ):
        with pytest.raises(OptionError, match=message) as told:
            load_study(write(tmp_path, **changes))
        assert "\n" not in str(told.value)
    (tmp_path / "tiny.yaml").write_text("[")
    with pytest.raises(OptionError, match="is not a YAML file"):
        load_study(tmp_path / "tiny.yaml")
    (tmp_path / "tiny.yaml").write_text("[]")
    with pytest.raises(OptionError, match="is no mapping"):
        load_study(tmp_path / "tiny.yaml")
    with pytest.raises(LavaBsnnError, match="cannot be read"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(OptionError, match="did you mean agmm"):
        load_study("agm")
    done = command("study", write(tmp_path), "--only", "lmht", cwd=tmp_path)
    assert done.returncode == 2 and "fits none of digits/binary" in done.stderr
    done = command("study", write(tmp_path), "--data-root", tmp_path, cwd=tmp_path)
    assert done.returncode == 2 and "holds none of digits; leave it out" in done.stderr


def test_keys_depend_on_what_is_learned_and_measured_only(tmp_path):
    def keys(data_root=None, **changes):
        study = load_study(write(tmp_path, **changes))
        return {cell.name: cell.key for cell in cells_of(study, tmp_path, tmp_path, data_root=data_root)}

    usual = keys()
    assert len(set(usual.values())) == len(usual) == 6
    assert keys(title="Other", **{"base.num_workers": 2, "base.summary": "x", "seeds": 2}) == usual
    assert keys(**{"base.batch_size": 64}) == usual  # the default
    for changes in ({"base.lr": 0.003}, {"base.epochs": 9}, {"base.patience": 9}):
        assert not set(keys(**changes).values()) & set(usual.values())
    other = keys(stages=["extended"])
    assert [name for name in usual if other[name] == usual[name]] == ["digits/binary/0", "digits/binary/1"]
    other = keys(**{"variants.hybrid.first.epochs": 5})
    assert [name for name in usual if other[name] != usual[name]] == ["digits/hybrid/0", "digits/hybrid/1"]


@pytest.mark.parametrize("name", study_names())
def test_studies_of_the_package_fit_their_purpose(name):
    study = load_study(name)
    for one in (study, study.shortened()):
        cells = cells_of(one, Path("o"), Path("r"))
        assert len({cell.key for cell in cells}) == len(cells)  # none is trained twice
        assert len(cells) == one.seeds * sum(len(variant.sets) for variant in one.variants.values())
        references = {variant.reference for variant in one.variants.values()} - {None}
        assert references <= set(one.variants)
    assert study.shortened().name == f"{name}-quick" and study.question.endswith("?")


def test_samples_that_are_right_are_kept_bit_by_bit():
    for samples in (1, 8, 450, 10_000):
        right = np.random.default_rng(samples).random(samples) < 0.9
        assert np.array_equal(unpacked(packed(right), samples), right)


def test_the_list_tells_what_is_done(tmp_path):
    done = command("study", "--json", "-", cwd=tmp_path)
    listed = json.loads(done.stdout)
    assert [one["name"] for one in listed] == study_names() and all(one["done"] == 0 for one in listed)


@pytest.mark.parametrize(
    "name", [path.parent.name for path in (ROOT / "docs/results-data").glob("*/table.md")]
)
def test_tables_of_the_documentation_are_those_of_their_results(tmp_path, name):
    from lava_bsnn.studies.gathering import gathered
    from lava_bsnn.studies.table import table

    found = gathered(load_study(name), ROOT / "docs/results-data")
    assert table(found) == (ROOT / "docs/results-data" / name / "table.md").read_text()


def test_flips_are_ranked_against_gradients_of_equal_steps():
    def row(name, reference, flips, gradients, **recipe):
        history = {"flip_ratio": flips, "gradient_to_weight": gradients}
        return Row(
            set="s", variant=name, reference=reference, results={0: {"recipe": recipe, "history": history}}
        )

    plain = row("plain", None, [0.3, 0.1], [3.0, 1.0], lr=0.1)
    rows = [
        plain,
        row("a", plain, [0.2, 0.2], [2.0, 2.0], lr=0.1),
        row("b", plain, [0.1, 0.3], [1.5, 0.5], lr=0.1),
        row("adamw", plain, [0.9, 0.9], [0.1, 0.1], lr=0.2),  # its steps are others
    ]
    # the first epoch: ranks 3 2 1 and 3 2 1; the second: 1 2 3 and 2 3 1, 1 - 6 (1 + 1 + 4) / (3 8) = -0.5
    assert flips_follow_gradients(rows) == pytest.approx((1 - 0.5) / 2)
    assert flips_follow_gradients(rows[:2]) is None
    # of three that are alike otherwise: ranks 3 2 1 and 1 2 3, twice
    rows += [row(name, plain, [0.1 * n] * 2, [9.0 - n] * 2, lr=0.2) for n, name in ((8, "x"), (7, "y"))]
    assert flips_follow_gradients(rows) == pytest.approx((1 - 0.5 - 1 - 1) / 4)
    assert flips_follow_gradients([row(str(n), None, [n], [n], lr=n) for n in range(3)]) is None
