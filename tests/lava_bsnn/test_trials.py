"""Trials that Optuna chooses; its own tests are its own, ours are what goes in and comes back."""

from __future__ import annotations

import sys

import pytest
from support.cli import command

from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.training import sweep, trials
from lava_bsnn.training.sweep import Ended

FIELDS = ["lr=1e-4..1e-1", "width=0.25,0.5", "epochs=1"]


def test_without_optuna_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = command("sweep", "digits-agmm", "--trials", 2, "--out", "o", cwd=tmp_path)
    assert done.returncode == 2 and "pip install 'lava-bsnn[sweep]'" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_trials_run_one_at_a_time(tmp_path):
    done = command("sweep", "digits-agmm", "--trials", 2, "--seeds", 2, cwd=tmp_path)
    assert done.returncode == 2 and "leave seeds and jobs out" in done.stderr


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="not installed; it is in the group sweep")


@pytest.fixture
def trainings(monkeypatch):
    """Trainings that end at once: accuracy is the width, and 0.5 fails."""

    def run(recipe, jobs, **options):
        (job,) = jobs
        job.folder.mkdir(parents=True)
        (job.folder / "config.yaml").write_text(job.recipe.to_yaml())
        (job.folder / "metrics.csv").write_text(f"epoch,test_accuracy,loss\n1,{job.recipe.width},1\n")
        yield Ended(job=job, problem="why" if job.recipe.width == 0.5 else "")

    monkeypatch.setattr(trials, "run_jobs", run)


def test_optuna_chooses_in_the_ranges_and_is_told_the_accuracies(optuna, trainings, tmp_path):
    storage, ended = f"sqlite:///{tmp_path}/s.db", []
    options = {"storage": storage, "seed": 1, "on_end": ended.append}
    jobs = trials.run_trials("digits-agmm", FIELDS, tmp_path / "o", trials=6, **options)
    assert all(1e-4 <= job.recipe.lr <= 1e-1 and job.recipe.width in (0.25, 0.5) for job in jobs)
    assert [job.name for job in jobs] == [f"trial-{index}" for index in range(6)]
    assert len({job.recipe.lr for job in jobs}) == 6 and [one.job for one in ended] == jobs
    again = trials.run_trials("digits-agmm", FIELDS, tmp_path / "o", trials=1, storage=storage)
    assert again[0].name == "trial-6"  # another machine goes on where this one is
    told = optuna.load_study(study_name="o", storage=storage).trials
    for trial, job in zip(told, [*jobs, *again], strict=True):
        failed = job.recipe.width == 0.5
        assert trial.state.name == ("FAIL" if failed else "COMPLETE")
        assert trial.value == (None if failed else job.recipe.width)
    assert {trial.state.name for trial in told} == {"FAIL", "COMPLETE"}


def test_a_trial_that_is_stopped_is_told_as_failed(optuna, monkeypatch, tmp_path):
    def run(recipe, jobs, **options):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(trials, "run_jobs", run)
    storage = f"sqlite:///{tmp_path}/s.db"
    with pytest.raises(KeyboardInterrupt):
        trials.run_trials("digits-agmm", FIELDS, tmp_path / "o", trials=2, storage=storage)
    (trial,) = optuna.load_study(study_name="o", storage=storage).trials
    assert trial.state.name == "FAIL"


def test_what_optuna_cannot_take_is_refused(optuna, tmp_path):
    options = {"trials": 1, "storage": f"sqlite:///{tmp_path}/s.db"}
    for fields, message in ((["lr=0..1"], "is no range"), (["lr=1", "lr=2"], "given twice")):
        with pytest.raises(OptionError, match=message):
            trials.run_trials("digits-agmm", fields, tmp_path / "o", **options)
    with pytest.raises(OptionError, match="trials=0 is not allowed"):
        trials.run_trials("digits-agmm", [], tmp_path / "o", **{**options, "trials": 0})
    with pytest.raises(LavaBsnnError, match="cannot be used as storage"):
        trials.run_trials("digits-agmm", [], tmp_path / "o", trials=1, storage="nowhere://x")
    assert sweep.values_of("lr=1e-4..1e-1") == ("lr", ["1e-4..1e-1"])
