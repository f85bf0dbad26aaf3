"""Runs side by side: means and deviations against numpy, groups by what differs."""

from __future__ import annotations

import base64
import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.cli import command

from lava_bsnn import analysis
from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.training import load_recipe
from lava_bsnn.training.comparing import compare_runs, read_run

COLUMNS = ("epoch", "loss", "train_accuracy", "test_accuracy", "firing_rate", "flip_ratio", "seconds")


def make_run(folder, accuracies, *, result=None, **changes):
    """A folder as training leaves it, with these test accuracies epoch by epoch."""
    folder.mkdir(parents=True)
    recipe = dataclasses.replace(load_recipe("digits-agmm"), epochs=3, **changes)
    (folder / "config.yaml").write_text(recipe.to_yaml())
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for epoch, accuracy in enumerate(accuracies, start=1):
            writer.writerow((epoch, 1 / epoch, 0.5, accuracy, 0.1, "", 2.0))
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def runs(tmp_path):
    ends = {0.001: (0.5, 0.7, 0.6), 0.01: (0.8, 0.9)}
    return [
        make_run(tmp_path / f"lr{lr}-{seed}", (0.1, 0.2, end), lr=lr, seed=seed)
        for lr, values in ends.items()
        for seed, end in enumerate(values)
    ]


def test_means_and_deviations_are_those_of_numpy(runs):
    first, second = compare_runs(runs).groups
    assert (first.name, second.name) == ("lr=0.001", "lr=0.01")
    assert first.mean("test_accuracy") == pytest.approx(np.mean([0.5, 0.7, 0.6]))
    assert first.deviation("test_accuracy") == pytest.approx(np.std([0.5, 0.7, 0.6], ddof=1))
    assert second.deviation("test_accuracy") == pytest.approx(np.std([0.8, 0.9], ddof=1))
    assert second.mean("loss") == pytest.approx(1 / 3) and first.mean("seconds") == 6.0
    assert first.values("flip_ratio") == [] and "flip_ratio" not in compare_runs(runs).columns


def test_runs_that_are_not_finished_are_in_no_mean(runs, tmp_path):
    part = make_run(tmp_path / "part", (0.99,), lr=0.01, seed=9)
    found = compare_runs([*runs, part])
    assert len(found.groups[1].runs) == 3
    assert found.groups[1].mean("test_accuracy") == pytest.approx(0.85)
    assert [run.folder for run in found.unfinished] == [part]


def test_seeds_and_where_data_are_do_not_make_groups_but_options_do(tmp_path):
    one = make_run(tmp_path / "a", (0.1,) * 3, seed=1, split_seed=4, data_root="x", num_workers=2)
    two = make_run(tmp_path / "b", (0.1,) * 3, seed=2)
    other = make_run(tmp_path / "c", (0.1,) * 3, method_options={"ends": 4})
    found = compare_runs([one, two, other])
    assert [len(group.runs) for group in found.groups] == [2, 1]
    assert found.groups[1].name == "method_options.ends=4"
    assert compare_runs([one, two]).groups[0].name == "digits, cnn, agmm"


def test_the_result_goes_before_the_last_row(tmp_path):
    run = read_run(make_run(tmp_path / "a", (0.1, 0.2), result={"test_accuracy": 0.75, "epochs": 2}))
    assert run.finished and run.last("test_accuracy") == 0.75 and run.last("loss") == 0.5
    old = read_run(make_run(tmp_path / "b", (0.1, 0.2, 0.3)))
    assert old.finished and old.last("test_accuracy") == 0.3 and old.result == {}


def test_the_command_prints_draws_and_writes(runs, tmp_path):
    done = command("compare", tmp_path, "--figure", "c.png", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    groups = json.loads(done.stdout)["groups"]
    assert [len(group["runs"]) for group in groups] == [3, 2]
    assert groups[0]["mean"]["test_accuracy"] == pytest.approx(0.6)
    lines = [line.split() for line in done.stderr.splitlines()]
    assert sum({"60.00", "±10.00"} & set(line) != set() for line in lines) == 2  # a deviation below its mean
    assert "±7.07" in done.stderr and "…" not in done.stderr  # nothing is cut at 80 columns
    assert np.asarray(Image.open(tmp_path / "c.png").convert("L")).std() > 5


def test_a_real_run_can_be_compared(trained_run):
    found = compare_runs([trained_run])
    run = found.groups[0].runs[0]
    figures = json.loads(trained_run.with_name("trained.json").read_text())
    assert run.finished and run.last("test_accuracy") == figures["test_accuracy"]
    assert run.seconds == pytest.approx(figures["train_seconds"], abs=0.02)


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    with pytest.raises(OptionError, match="is given twice; name each run once"):
        compare_runs([runs[0], runs[1], runs[0].parent / "." / runs[0].name])
    with pytest.raises(OptionError, match="no run is given"):
        compare_runs([])
    with pytest.raises(LavaBsnnError, match=r"holds no run .*; give .*/lr0\.001-0, or another run in it"):
        compare_runs([tmp_path])
    (runs[0] / "metrics.csv").write_text("epoch,loss\n1,x\n")
    with pytest.raises(LavaBsnnError, match=r"metrics\.csv: is damaged"):
        compare_runs(runs)
    (runs[1] / "result.json").write_text("[]")
    with pytest.raises(LavaBsnnError, match=r"result\.json: is damaged"):
        read_run(runs[1])


def test_bands_of_accuracies_end_at_100(tmp_path):
    runs = [make_run(tmp_path / str(seed), (0.5, end), seed=seed) for seed, end in enumerate((1, 1, 0.7))]
    axes = analysis.plot_curves(compare_runs(runs), Figure().subplots())
    (band,) = axes.collections
    low = 90 - 100 * np.std([1, 1, 0.7], ddof=1)  # and above: 107
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == 100 and np.isclose(heights, low).any()


def test_the_page_has_all_parts_and_needs_nothing_else(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "r")
    other = make_run(tmp_path / "<b>x", (0.1, 0.2, 0.3), result={"test_accuracy": 0.3, "macro_f1": 0.25})
    Image.new("L", (8, 8)).save(tmp_path / "r/confusion.png")
    (tmp_path / "r/analysis").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "r/analysis/rates.png")
    (tmp_path / "r/report.html").write_text("chip")
    done = command("compare", "r", other, "--html", "page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img ") == 4  # two of curves, the confusion matrix, what analyze drew
    for path in ("r/confusion.png", "r/analysis/rates.png"):
        assert base64.b64encode((tmp_path / path).read_bytes()).decode() in page
    assert "<dt>seconds</dt><dd>6</dd>" in page  # of three epochs
    assert 'href="r/report.html"' in page and "25.00" in page and "conv2" in page
    assert "default-src 'none'" in page and not re.search(r'(src|href)="(?!data:|r/report)', page)
    assert "<b>x" not in page and "&lt;b&gt;x" in page
    assert "no such checkpoint" in page  # of the other run, which has no weights
