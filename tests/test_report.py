"""``lava-bsnn report``: sources of samples, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.cli import command

from netx_export import network, read, write


@pytest.fixture(scope="module")
def net_file(trained_run, tmp_path_factory):
    """The extended network of the small run, as a file."""
    from lava_bsnn.training.run import load_run
    from netx_export import convert

    path = tmp_path_factory.mktemp("report") / "run.net"
    write(convert(load_run(trained_run)[1], "extended"), path)
    return path


def test_data_set_by_name_gives_figures_and_a_page(net_file, tmp_path):
    page = tmp_path / "out.html"
    done = command(
        "report",
        net_file,
        "--data",
        "digits",
        "--samples",
        40,
        "--html",
        page,
        "--json",
        tmp_path / "out.json",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["samples"] == 40 and told["data"] == "test samples of digits" and told["accuracy"] is not None
    assert told["fits"] and told["file"] == str(net_file)
    assert (
        done.stdout.splitlines()[0].startswith("run.net: ") and "fits Loihi 2" in done.stdout.splitlines()[0]
    )
    assert page.read_text().startswith("<!doctype html>")


def test_json_alone_goes_to_standard_output_and_costs_equal_those_of_the_library(net_file):
    from lava_bsnn import data
    from netx_export import cost

    done = command("report", net_file, "--data", "digits", "--samples", 8, "--json", "-")
    assert done.returncode == 0, done.stderr
    net, digits = read(net_file), data.load("digits")
    images = np.stack([digits.test[i][0].numpy() for i in range(8)])
    labels = [digits.test[i][1] for i in range(8)]
    expected = cost(net, net.encode(images), labels=labels)
    told = json.loads(done.stdout)
    assert told["sops_per_sample"] == pytest.approx(expected.sops)
    assert told["accuracy"] == expected.accuracy
    assert "fits Loihi 2" in done.stderr


def test_a_run_brings_its_samples_and_its_model(net_file, trained_run):
    done = command("report", net_file, "--run", trained_run, "--samples", 20, "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["agreement"]["samples"] == 20 and told["agreement"]["integer_accuracy"] == told["accuracy"]
    assert "get the same class" in done.stderr


def test_samples_of_a_file_are_encoded(net_file, tmp_path):
    images = np.random.default_rng(0).random((5, 1, 8, 8))
    np.save(tmp_path / "x.npy", images)
    done = command("report", net_file, "--inputs", tmp_path / "x.npy", "--samples", 3, "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["samples"], told["data"], told["accuracy"]) == (3, "samples of x.npy", None)


def test_random_inputs_are_named_as_such(net_file):
    done = command("report", net_file, "--samples", 2, "--seed", 5, "--chip", "loihi1", "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["data"].startswith("random inputs (seed 5)") and told["chip"] == "loihi1"


@pytest.mark.parametrize("name", ["tiny.net", "mnist.net", "gts/ntidigits/ntidigits.net"])
def test_files_of_lava_dl_are_reported(name, tmp_path):
    from support.lava_dl import wheel_tests

    file = Path(wheel_tests("lava.lib.dl.netx").__file__).parent / name
    page = tmp_path / "out.html"
    done = command("report", file, "--samples", 2, "--html", page, "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["fits"] and told["profile"] == "stock" and told["sops_per_sample"] > 0
    assert told["mismatches"] == 0 and 10_000 < page.stat().st_size < 2_000_000


def test_a_recording_of_events_is_binned_for_the_network(tmp_path):
    synapse = network.Conv(weight=np.ones((2, 2, 3, 3)))
    layer = network.Layer(
        name="a",
        connections=(network.Connection(source="input", synapse=synapse),),
        neuron=network.LIF(threshold=2, bias=np.zeros(2, int)),
        shape=(2, 6, 6),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(2, 8, 8)), layers=(layer,))
    write(net, tmp_path / "x.net")
    done = command(
        "report", tmp_path / "x.net", "--data", "digits-events", "--samples", 2, "--steps", 5, "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["steps"] == 5 and told["messages_per_sample"] > 0


@pytest.mark.lava
def test_backends_are_compared_on_request(net_file):
    done = command("report", net_file, "--samples", 2, "--verify", "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["verification"]
    assert told["mismatches"] == 0 and told["backends"]["lava-fused"]["ran"]


def test_differences_end_with_1(net_file, monkeypatch):
    from netx_export.reports import content
    from netx_export.verify import Comparison

    monkeypatch.setattr(content, "step_by_step", lambda *_: Comparison(mismatches=3, compared=9))
    assert command("report", net_file, "--samples", 1).returncode == 1


def npy(values):
    return lambda path: np.save(path, values)


@pytest.mark.parametrize(
    ("words", "make", "said"),
    [
        (
            ("--data", "digits", "--inputs", "x.npy"),
            None,
            "--data and --inputs each bring samples; use one of them",
        ),
        (("--samples", "0"), None, "samples=0 is not allowed; use 1 or more"),
        (("--steps", "-1"), None, "steps=-1 is not allowed"),
        (("--chip", "loihi9"), None, "loihi9"),
        (("--chip", "none.toml"), None, "none.toml"),
        (("--data", "no-such-set"), None, "name='no-such-set' is unknown"),
        (("--inputs", "none.npy"), None, "none.npy: no array can be read"),
        (("--inputs", "x.npy"), lambda path: path.write_text("text"), "x.npy: no array can be read"),
        (("--inputs", "x.npy"), lambda path: path.write_bytes(b""), "x.npy: no array can be read"),
        (("--inputs", "x.npy"), npy(np.array([{}])), "x.npy: no array can be read"),
        (("--inputs", "x.npy"), npy(np.zeros((0, 1, 8, 8))), "x.npy: no samples [N, ...] are in it"),
        (("--inputs", "x.npy"), npy(np.zeros((2, 3))), "shape (2, 3) does not fit"),
        (("--inputs", "x.npy"), npy(np.full((2, 1, 8, 8), 7.0)), "scale them to 0..1"),
        (("--run", "nowhere"), None, "nowhere"),
    ],
)
def test_bad_input_ends_with_2_and_one_line_and_leaves_no_page(net_file, tmp_path, words, make, said):
    if make is not None:
        make(tmp_path / "x.npy")
    before = set(tmp_path.iterdir())
    done = command("report", net_file, *words, "--html", "out.html", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == "" and set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path, option):
    done = command("report", "none.net", option, tmp_path / "nowhere" / "out", cwd=tmp_path)
    assert done.returncode == 2 and "does not exist; make it first" in done.stderr


def test_an_old_page_survives_a_failure(net_file, tmp_path, monkeypatch):
    from netx_export import reports

    def fail(report):
        raise OSError("disk full")

    (tmp_path / "out.html").write_text("old")
    monkeypatch.setattr(reports, "html", fail)
    done = command("report", net_file, "--samples", 1, "--html", tmp_path / "out.html")
    assert done.returncode == 2 and "disk full" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]
    assert (tmp_path / "out.html").read_text() == "old"
