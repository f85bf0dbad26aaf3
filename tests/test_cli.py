from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from lava_bsnn import models, training
from lava_bsnn.cli import COMMANDS, _commands
from lava_bsnn.demo import MODEL
from netx_export import compare, read, run, simulate


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "lava_bsnn.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demo as a user runs it, once."""
    folder = tmp_path_factory.mktemp("demo")
    done = command("demo", "--json", "figures.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "figures.json").read_text()), done.stdout


def test_demo_reaches_its_figures(demo):
    _, figures, _ = demo
    assert set(figures) == {
        "float_accuracy",
        "fixed_accuracy",
        "lava_samples",
        "lava_steps",
        "lava_mismatches",
        "net_bytes",
        "slayer_net_bytes",
        "seconds",
    }
    assert figures["float_accuracy"] >= 0.97
    assert abs(figures["float_accuracy"] - figures["fixed_accuracy"]) <= 0.005
    assert figures["lava_samples"] >= 5
    assert figures["lava_steps"] == figures["lava_samples"] * 8
    assert figures["lava_mismatches"] == 0
    assert figures["net_bytes"] < figures["slayer_net_bytes"] / 5


def test_demo_writes_its_folder(demo):
    folder, figures, output = demo
    out = folder / "runs/demo"
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoint.pt",
        "demo.net",
        "membrane_trace.png",
        "metrics.json",
        "spike_raster.png",
        "training_curve.png",
    ]
    assert (out / "demo.net").stat().st_size == figures["net_bytes"]
    assert figures.items() <= json.loads((out / "metrics.json").read_text()).items()
    assert "mismatches" in output
    for path in out.glob("*.png"):
        assert np.asarray(Image.open(path).convert("L")).std() > 5  # not blank


def test_demo_checkpoint_is_weights_only_and_gives_the_network_again(demo):
    from netx_export import convert

    out = demo[0] / "runs/demo"
    assert set(torch.load(out / "checkpoint.pt", weights_only=True)) == {"model", "epochs", "num_steps"}
    model = models.create("cnn", **MODEL)
    assert training.load_checkpoint(out / "checkpoint.pt", model)["num_steps"] == 8
    assert convert(model.eval()) == read(out / "demo.net")


@pytest.mark.lava
def test_parity_fails_when_one_integer_of_the_demo_network_changes(demo):
    from dataclasses import replace

    net = read(demo[0] / "runs/demo/demo.net")
    x = net.encode(np.random.default_rng(0).random((1, 1, 8, 8)), 4)
    lava = run(net, x, "stock", trace=True)
    assert compare(simulate(net, x, trace=True), lava).mismatches == 0
    last = net.output
    bias = last.neuron.bias.copy()
    bias[3] += 1
    changed = replace(net, layers=(*net.layers[:-1], replace(last, neuron=replace(last.neuron, bias=bias))))
    comparison = compare(simulate(changed, x, trace=True), lava)
    assert comparison.mismatches == 4  # one class, every step
    assert comparison.first.startswith("output readout, step 0, sample 0, neuron (3,)")


def test_inspect_shows_the_layers(demo):
    done = command("inspect", demo[0] / "runs/demo/demo.net")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "its digest is right" in lines[-2]
    assert lines[-1] == "takes 4-bit intensities over 8 steps"
    assert [line.split()[0] for line in lines[:-3]] == [
        "layer",
        "input",
        "conv1",
        "conv2",
        "dense4",
        "readout5",
    ]


def test_json_on_standard_output_is_nothing_but_json(tmp_path):
    done = command("demo", "--json", "-", "--epochs", 1, "--num-steps", 2, "--lava-samples", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lava_mismatches"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "none.net"], "none.net: no such file"),
        (["inspect", "text.net"], "text.net: not a readable NetX HDF5 file"),
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
def test_help_fits_a_screen_and_shows_one_example(words):
    done = command(*words, "--help", env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(max(1, -(-len(line) // 80)) for line in lines) <= 30  # as a terminal wraps them
    assert done.stdout.count("Example: ") == 1
    example = next(line for line in lines if line.startswith("Example: "))
    assert f"lava-bsnn {words[0] if words else ''}" in example
    if not words:
        assert sum(line.startswith("│   • ") for line in lines) == len(COMMANDS)  # a line for each


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


def test_version():
    assert command("--version").stdout.startswith("lava-bsnn 0.")


def test_ctrl_c_stops_with_one_line(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "lava_bsnn.cli", "demo"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "runs/demo").is_dir():  # started, imports under way
        time.sleep(0.05)
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "lava-bsnn: stopped"
    assert not list(Path(tmp_path).rglob("*.tmp"))


@pytest.mark.lava
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts processes in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_while_lava_runs_leaves_no_process(tmp_path, number, code):
    """Ctrl-C reaches the whole foreground process group, SIGTERM the command alone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lava_bsnn.cli", "demo", "--epochs", "1", "--lava-samples", "400"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def members():
        """Processes of the command's session, zombies left out."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
                if int(session) == process.pid and state != "Z":
                    found.append(stat.parent.name)
        return found

    while len(members()) < 6 and process.poll() is None:  # Lava has forked its processes
        time.sleep(0.2)
    time.sleep(2)
    assert process.poll() is None
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(timeout=60) == code
    for _ in range(50):
        if not members():
            break
        time.sleep(0.2)
    assert members() == []


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small AGMM run, as a user makes it."""
    folder = tmp_path_factory.mktemp("run")
    done = command(
        "train", "digits-agmm", "--set", "epochs=2", "width=0.25", "num_steps=2", "--out", folder / "r"
    )
    assert done.returncode == 0, done.stderr
    return folder


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "nowhere", "--out", "a.net"), "holds no run"),
        (("export", "r", "--out", "no/where.net"), "folder no does not exist"),
        (("export", "r", "--out", "c.net", "--test", "-1"), "test=-1 is not allowed"),
        (("export", "r", "--out", "c.net", "--test", "0", "--figure", "c.png"), "figure needs test samples"),
        (("nir", "r/config.yaml", "--out", "c.nir"), "not a readable NetX"),
    ],
)
def test_export_refuses_in_one_line(trained, arguments, message):
    done = command(*arguments, cwd=trained)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_datasets_tells_how_to_get_what_is_missing(tmp_path):
    done = command("datasets", "--root", tmp_path, env={**os.environ, "COLUMNS": "80"})
    assert f"\ncifar10 is not in {tmp_path}; to get it: torchvision.datasets.CIFAR10(" in done.stdout
    assert "embedded" in done.stdout and "missing" in done.stdout
