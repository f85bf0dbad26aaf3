"""Many runs: their plan, their processes, what is skipped, resumed, told and left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest
from support.cli import command
from support.processes import ONE_THREAD, wait_until

from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.training import processes, sweep
from lava_bsnn.training.sweep import plan, run_jobs, values_of

SMALL = ("epochs=1", "width=0.25", "num_steps=2")


def test_values_are_split_at_commas_outside_of_brackets():
    assert values_of("lr=1e-3, 3e-3") == ("lr", ["1e-3", "3e-3"])
    assert values_of("augment=[a,b],[]") == ("augment", ["[a,b]", "[]"])
    assert values_of("method_options={ends: 8, x: 1}") == ("method_options", ["{ends: 8, x: 1}"])
    assert values_of("summary='a, b',c") == ("summary", ["'a, b'", "c"])
    for bad in ("lr", "lr=", "=1", "lr=1,1"):
        with pytest.raises(OptionError, match="--set"):
            values_of(bad)


def test_all_combinations_run_with_each_seed(tmp_path):
    jobs = plan("digits-agmm", ["lr=1e-3,3e-3", "epochs=2", "width=0.5,1.0"], 2, tmp_path)
    assert len(jobs) == 8
    expected = set(product((1e-3, 3e-3), (0.5, 1.0), (0, 1)))
    assert {(job.recipe.lr, job.recipe.width, job.recipe.seed) for job in jobs} == expected
    assert jobs[0].name == "lr=1e-3,width=0.5,seed=0" and jobs[0].folder == tmp_path / jobs[0].name
    assert all(job.recipe.epochs == 2 and not job.finished for job in jobs)
    assert len({job.folder for job in jobs}) == 8
    assert plan("digits-agmm", [], 1, tmp_path)[0].name == "seed=0"


def test_what_cannot_be_planned_is_refused(tmp_path):
    for assignments, seeds, message in (
        (["lr=1e-3", "lr=2e-3"], 1, "lr is given twice"),
        (["seed=0,1"], 2, "seed is given twice"),
        (["lr=-1"], 1, "lr=-1.0 is not allowed"),
        ([], 0, "seeds=0 is not allowed"),
        (["dataset=a/b,a:b"], 1, "same name"),
    ):
        with pytest.raises(OptionError, match=message):
            plan("digits-agmm", assignments, seeds, tmp_path)
    job = plan("digits-agmm", ["width=0.5"], 1, tmp_path)[0]
    job.folder.mkdir()
    (job.folder / "config.yaml").write_text(job.recipe.to_yaml())
    assert plan("digits-agmm", ["width=0.5", "epochs=99"], 1, tmp_path)[0].recipe.epochs == 99
    with pytest.raises(LavaBsnnError, match=r"holds a run with width=0\.5, not 1\.0; use another --out"):
        plan("digits-agmm", [], 1, tmp_path)


@pytest.fixture
def stubs(monkeypatch, tmp_path):
    """Processes that do what ``code`` says in the place of trainings; they are kept in a list."""
    started = []

    def make(code, expected=()):
        expected = list(expected)

        def start(recipe, job, parallel, before):
            assert list(before) == expected
            job.folder.mkdir(parents=True, exist_ok=True)
            with open(job.folder / processes.LOG, "wb") as log:
                started.append(
                    subprocess.Popen(
                        [sys.executable, "-S", "-c", code, job.name],
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
            return started[-1]

        monkeypatch.setattr(sweep, "_start", start)
        return started

    return make


def test_so_many_run_at_a_time_and_failures_do_not_stop_the_others(stubs, tmp_path):
    stubs("import sys, time; time.sleep(0.3); print('why'); sys.exit('seed=1' in sys.argv[1])")
    jobs, most = plan("digits-agmm", [], 5, tmp_path), []
    ended = list(run_jobs("digits-agmm", jobs, parallel=2, on_look=lambda now: most.append(len(now))))
    assert {one.job.name: one.problem for one in ended} == {
        job.name: "why" if job.name == "seed=1" else "" for job in jobs
    }
    assert max(most) == 2


def test_nothing_runs_on_when_a_sweep_is_left_even_what_ignores_ctrl_c(stubs, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.3)
    code = (
        "import signal, sys, time\n"
        "if 'seed=0' in sys.argv[1]: signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    started = stubs(code)
    jobs = plan("digits-agmm", [], 2, tmp_path)

    def stop(running):
        if all((job.folder / processes.LOG).read_text() == "ready\n" for job in running):
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), closing(run_jobs("", jobs, parallel=2, on_look=stop)) as results:
        list(results)
    assert [process.returncode for process in started] == [-signal.SIGKILL, -signal.SIGINT]
    assert time.monotonic() - began < 10


def test_the_command_runs_all_and_tells_what_failed(tmp_path):
    arguments = ("sweep", "digits-agmm", "--set", *SMALL, "model_options={},{bad: 1}", "--jobs", 2)
    done = command(*arguments, "--out", "s", "--json", "-", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    figures = json.loads(done.stdout)
    (failed,) = figures["failed"]
    assert "bad" in figures["failed"][failed] and f"failed: {failed}" in done.stderr
    assert (tmp_path / "s/compare.png").is_file() and list(tmp_path.glob("s/*/last.pt"))
    assert json.loads((tmp_path / "s/compare.json").read_text()) == figures
    runs = [run for group in figures["groups"] for run in group["runs"]]
    assert {run["finished"] for run in runs if run["folder"] != failed} == {True}


def test_what_is_done_is_not_run_again(tmp_path, stubs):
    (tmp_path / "mine.py").write_text("")
    started = stubs("", ["--import", "mine.py"])
    for job in plan("digits-agmm", ["epochs=2", "lr=1e-3,2e-3"], 1, tmp_path / "s"):
        job.folder.mkdir(parents=True)
        (job.folder / "config.yaml").write_text(job.recipe.to_yaml())
        (job.folder / "metrics.csv").write_text("epoch,loss,test_accuracy\n1,2,0.5\n2,1,0.6\n")
    sweep_words = ("sweep", "digits-agmm", "--set", "lr=1e-3,2e-3", "--out", "s", "--set")
    arguments = ("--import", "mine.py", *sweep_words)
    done = command(*arguments, "epochs=2", cwd=tmp_path)
    assert done.returncode == 0 and not started
    assert "2 of 2 runs are done already" in done.stdout and "60.00" in done.stdout
    command(*arguments, "epochs=3", cwd=tmp_path)
    assert len(started) == 2  # they go on for longer


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_leaves_no_process_and_the_same_command_goes_on(tmp_path):
    words = ("sweep", "digits-agmm", "--set", "epochs=1000", *SMALL[1:], "checkpoint_steps=1")
    process = subprocess.Popen(
        [sys.executable, "-m", "lava_bsnn", *words, "--out", str(tmp_path / "s")],
        cwd=tmp_path,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: any(tmp_path.glob("s/*/last.pt")), 60)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command goes on with what was stopped" in output
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        assert str(tmp_path) not in words, words
    assert not list(tmp_path.rglob("*.tmp"))
