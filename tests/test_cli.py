from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image
from support.cli import command
from support.processes import ONE_THREAD, wait_until

from lava_bsnn import __version__, models, training
from lava_bsnn.cli import COMMANDS, _commands
from lava_bsnn.demo import MODEL
from netx_export import read


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "none.net"], "none.net: no such file"),
        (["inspect", "text.net"], "text.net: is a text, no NetX file and no NIR graph"),
        (["inspect", "."], "is not a file; give the path of a .net file"),
        (["demo", "--epochs", "0"], "epochs=0 is not allowed; use 1..1000"),
        (["demo", "--lava-samples", "451"], "lava_samples=451 is not allowed; use 1..450"),
        (["demo", "--json", "no/such/folder/x.json"], "folder no/such/folder does not exist; make it first"),
        (["demo", "--json", "."], "is a folder; give the name of a file"),
        (["demo", "--out", "text.net/demo"], "cannot make folder"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "text.net").write_text("hello")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["text.net"]


@pytest.mark.parametrize("arguments", [["demo", "--no-such-option"], ["frobnicate"], []])
def test_unknown_words_exit_with_2_and_no_traceback(arguments):
    done = command(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=lambda words: " ".join(words))
def test_help_fits_a_screen_and_shows_one_example(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = command(*words, "--help")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(max(1, -(-len(line) // 80)) for line in lines) <= 30  # as a terminal wraps them
    assert done.stdout.count("Example: ") == 1
    example = next(line for line in lines if line.startswith("Example: "))
    assert f"lava-bsnn {words[0] if words else ''}" in example
    if not words:
        assert [line.split()[0] for line in lines if line.startswith("  ")] == list(
            COMMANDS
        )  # a line for each


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_the_help_can_be_parsed(name):
    found = re.search(r"Example: lava-bsnn (.*)", COMMANDS[name].__doc__)
    words = shlex.split(found.group(1).partition(" > ")[0])
    parsed = tyro.cli(_commands(name), args=words)
    assert type(parsed) is COMMANDS[name]


def test_help_starts_without_slow_packages():
    slow = {"torch", "torchvision", "lava", "numpy", "numba", "matplotlib", "h5py", "rich", "yaml", "sklearn"}
    code = (
        "import sys\n"
        "from lava_bsnn.cli import main\n"
        "try:\n    main(['train', '--help'])\n"
        "except SystemExit:\n    pass\n"
        f"print('loaded:', *{slow} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_the_list_of_data_sets_needs_no_torch():
    code = "import sys; from lava_bsnn import data; data.status('digits'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_the_script_is_the_command():
    script = Path(sys.executable).with_name("lava-bsnn")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == command("--version").stdout
    assert done.stdout == f"lava-bsnn {__version__}\n"
    assert subprocess.run([script, "inspect", "none.net"], capture_output=True).returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no Ctrl-C for one process")
def test_ctrl_c_stops_with_one_line(tmp_path):
    settings = ("epochs=1000", "width=0.25", "num_steps=2", "checkpoint_steps=1")
    process = subprocess.Popen(
        [sys.executable, "-m", "lava_bsnn", "train", "digits-agmm", "--set", *settings, "--out", "r"],
        cwd=tmp_path,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "r/last.pt").exists)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "lava-bsnn: stopped"
    assert output.splitlines()[-1] == "continue with: lava-bsnn resume r"
    assert not list(tmp_path.rglob("*.tmp"))


def test_checkpoints_of_other_models_are_refused(tmp_path):
    from lava_bsnn.errors import LavaBsnnError

    model = models.create("cnn", **MODEL, channels=(4,), hidden=8)
    training.save_checkpoint(tmp_path / "a.pt", model)
    with pytest.raises(LavaBsnnError, match=r"a\.pt: not a checkpoint of this model"):
        training.load_checkpoint(tmp_path / "a.pt", models.create("cnn", **MODEL, channels=(6,), hidden=8))
    (tmp_path / "b.pt").write_bytes(b"garbage")
    with pytest.raises(LavaBsnnError, match="not a checkpoint"):
        training.load_checkpoint(tmp_path / "b.pt", model)
    with pytest.raises(LavaBsnnError, match="no such checkpoint"):
        training.load_checkpoint(tmp_path / "c.pt", model)


@pytest.fixture
def trained(trained_run, tmp_path):
    """A folder with a link to a run, ``r``."""
    (tmp_path / "r").symlink_to(trained_run)
    return tmp_path


def test_export_writes_a_file_and_compares_accuracies(trained):
    done = command("export", "r", "--out", "a.net", "--figure", "a.png", "--json", "-", cwd=trained)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    agreed = figures["agreement"]
    assert [layer["name"] for layer in agreed["layers"]] == ["conv1", "conv2", "dense4"]
    assert all(layer["equal"] > 0.97 and layer["integer_rate"] > 0 for layer in agreed["layers"])
    assert agreed["integer_accuracy"] == figures["fixed_accuracy"] and agreed["warnings"] == []
    assert np.asarray(Image.open(trained / "a.png").convert("L")).std() > 5  # not blank
    assert figures["bytes"] == (trained / "a.net").stat().st_size
    assert figures["profile"] == "extended" and figures["test_samples"] == 450
    assert figures["same_class"] > 0.97
    assert figures["digest"] == read(trained / "a.net").digest()
    assert len(done.stderr.splitlines()) < 20 and "conv2" in done.stderr
    shown = command("inspect", "a.net", cwd=trained).stdout
    assert "its digest is right" in shown and "schema 2" in shown


def test_export_to_stock_needs_calibration_and_goes_on_to_nir(trained):
    refused = command("export", "r", "--out", "b.net", "--profile", "stock", cwd=trained)
    assert refused.returncode == 2 and refused.stderr.count("calibration=inputs") == 3
    assert not (trained / "b.net").exists()
    done = command(
        "export", "r", "--out", "b.net", "--profile", "stock", "--calibration", 200, "--test", 0, cwd=trained
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy on 200 calibration samples" in done.stderr
    nir = command("nir", "b.net", "--out", "b.nir", "--json", "-", cwd=trained)
    assert nir.returncode == 0, nir.stderr
    assert json.loads(nir.stdout)["nodes"] > 5 and (trained / "b.nir").stat().st_size > 1000


def test_export_fine_tunes_in_the_integers_of_the_chip(trained):
    arguments = ("export", "r", "--out", "t.net", "--profile", "loihi", "--finetune", 1, "--test", 100)
    done = command(*arguments, "--json", "-", cwd=trained)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["profile"] == "loihi" and figures["same_class"] == 1.0
    assert all(layer["equal"] == 1.0 for layer in figures["agreement"]["layers"])
    assert "fine-tuning, epoch 1/1: test" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "nowhere", "--out", "a.net"), "holds no run"),
        (("export", "r", "--out", "no/where.net"), "folder no does not exist"),
        (("export", "r", "--out", "c.net", "--test", "-1"), "test=-1 is not allowed"),
        (("export", "r", "--out", "c.net", "--test", "0", "--figure", "c.png"), "figure needs test samples"),
        (("nir", "r/config.yaml", "--out", "c.nir"), "config.yaml: is a text, no NetX file"),
    ],
)
def test_export_refuses_in_one_line(trained, arguments, message):
    done = command(*arguments, cwd=trained)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_datasets_tells_how_to_get_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = command("datasets", "--root", tmp_path)
    assert f"\ncifar10 is not in {tmp_path}; to get it: torchvision.datasets.CIFAR10(" in done.stdout
    assert "embedded" in done.stdout and "missing" in done.stdout
