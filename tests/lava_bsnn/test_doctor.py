"""Each check of ``lava-bsnn doctor`` with what it looks at broken."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from support.cli import command
from support.processes import wait_until

from lava_bsnn.commands import checks, child

ROOT = Path(__file__).parents[2]


def doctor(*arguments, folder=None, **options):
    """The command, with ``folder`` in front of all other places of modules."""
    path = os.pathsep.join(map(str, filter(None, (folder, ROOT))))
    return subprocess.run(
        [sys.executable, "-m", "lava_bsnn", "doctor", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100"},
        **options,
    )


def broken(*_):
    raise checks.CheckError("ImportError: libbroken.so: cannot open shared object file")


def not_installed(name):
    raise metadata.PackageNotFoundError(name)


def test_a_sound_installation_has_no_problem_and_every_note_a_remedy():
    done = command("doctor", "--json", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(done.stdout)
    assert content["ok"] is True
    found = {check["check"]: check for check in content["checks"]}
    for name in ("lava-bsnn", "python", "packages", "torch", "kernels", "lava-nc", "lava-dl"):
        assert found[name]["state"] == "OK", found[name]
    assert sys.executable in found["python"]["found"]
    assert f"numpy {metadata.version('numpy')}" in found["packages"]["found"]
    assert "runs on this Python" in found["lava-nc"]["found"]
    assert all(check["remedy"] for check in content["checks"] if check["state"] != "OK")
    assert "nothing is broken" in done.stderr  # for people, where standard output carries JSON


def test_it_works_where_torch_lava_numpy_and_numba_are_broken(tmp_path):
    """And tells each of them in a line of its own, with the remedy."""
    (tmp_path / "lava").mkdir()
    for name in ("torch", "lava/__init__", "numpy", "numba"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name}: libbroken.so cannot be opened')")
    done = doctor("--json", "doctor.json", folder=tmp_path, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    content = json.loads((tmp_path / "doctor.json").read_text())
    assert content["ok"] is False
    problems = {check["check"]: check for check in content["checks"] if check["state"] == "problem"}
    assert set(problems) == {"torch", "kernels", "lava-nc", "lava-dl", "data sets"}
    assert "libbroken.so" in problems["torch"]["found"]
    assert "'torch>=" in problems["torch"]["remedy"]
    assert "pip install --force-reinstall --no-deps" in problems["lava-nc"]["remedy"]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["torch", "problem"] in [row[:2] for row in rows]  # in words, not only in red
    assert done.stdout.count("to do: ") == sum(bool(check["remedy"]) for check in content["checks"])
    assert rows[-1] == ["5", "problems"]


def test_a_child_returns_what_it_computes_from_its_argument():
    assert checks.child("result = sum(argument)", [1, 2]) == 3


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os; os.abort()", "crashed with SIGABRT"),
        ("sys.exit(3)", "ended with exit code 3"),
        ("import time; time.sleep(60)", "took longer than 1 seconds"),
    ],
)
def test_a_child_that_fails_is_told_in_one_line(monkeypatch, code, message):
    monkeypatch.setattr(child, "TIME_LIMIT", 1.0 if "sleep" in code else 60.0)
    with pytest.raises(checks.CheckError) as caught:
        checks.child(code)
    assert str(caught.value) == message


def test_nothing_that_a_late_child_has_started_is_left(monkeypatch, tmp_path):
    monkeypatch.setattr(child, "TIME_LIMIT", 3.0)
    code = (
        "import subprocess, pathlib, time\n"
        "process = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path(argument).write_text(str(process.pid))\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(checks.CheckError, match="took longer"):
        checks.child(code, str(tmp_path / "pid"))
    grandchild = int((tmp_path / "pid").read_text())
    wait_until(lambda: not _lives(grandchild), 5)


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(FileNotFoundError):  # it ended meanwhile; or a system without /proc
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"  # ended, its exit code not asked for
    return not stat.parents[1].exists()


def test_ctrl_c_ends_the_checks_at_once(tmp_path):
    (tmp_path / "torch.py").write_text(f"import time; open({str(tmp_path / 'up')!r}, 'w'); time.sleep(600)")
    process = subprocess.Popen(
        [sys.executable, "-m", "lava_bsnn", "doctor"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    wait_until((tmp_path / "up").exists)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == "lava-bsnn: stopped"


def test_ctrl_c_ends_a_child_that_has_just_been_started(monkeypatch):
    started, pids = threading.Event(), []

    class Slow(subprocess.Popen):
        """Returns when the checks have been stopped."""

        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            pids.append(self.pid)
            started.set()
            time.sleep(0.5)

    def stopped():
        started.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Slow)
    monkeypatch.setattr(checks, "python", stopped)
    monkeypatch.setattr(checks, "packages", lambda: checks.child("import time; time.sleep(600)"))
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        checks.examine()
    assert time.monotonic() - begun < 10
    assert pids and not any(map(_lives, pids))


def test_a_check_that_raises_hides_no_other(monkeypatch):
    def processors():
        raise ValueError("odd\nmachine")

    monkeypatch.setattr(checks, "child", broken)
    monkeypatch.setattr(checks, "processors", processors)
    found = {finding.check: finding for finding in checks.examine()}
    assert found["processors"].found == "the check itself failed: ValueError: odd machine"
    assert found["processors"].state == "problem"
    assert "shared memory" in found


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 14, 0)])
def test_python_that_is_not_supported(monkeypatch, version):
    monkeypatch.setattr(checks.sys, "version_info", version)
    finding = checks.python()[1]
    assert finding.state == "problem"
    assert finding.remedy == "use Python 3.10 to 3.13"


def test_the_supported_versions_are_those_of_pyproject():
    text = (ROOT / "pyproject.toml").read_text()
    (_, first), (_, last) = checks.SUPPORTED
    assert f'requires-python = ">=3.{first},<3.{last + 1}"' in text
    listed = re.findall(r"Python :: 3\.(\d+)", text)
    assert sorted(map(int, listed)) == list(range(first, last + 1))


def test_packages_that_are_missing_or_of_another_version(monkeypatch):
    versions = {"a": "1.0", "b": "2.0+cpu", "c": "3.1"}

    def version(name):
        return versions[name] if name in versions else not_installed(name)

    needs = {"a": "==1.0", "b": ">=2.0,<3", "c": ">=2,<3", "d": "<5,>=4.0"}
    monkeypatch.setattr(checks, "needs", lambda: {name: SpecifierSet(text) for name, text in needs.items()})
    monkeypatch.setattr(checks.metadata, "version", version)
    good, other, missing = checks.packages()
    assert (good.state, good.found) == ("OK", "a 1.0, b 2.0+cpu")
    assert (other.check, other.state, other.found) == ("c", "note", "3.1; tested with >=2,<3")
    assert (missing.check, missing.state, missing.remedy) == ("d", "problem", "pip install 'd>=4.0,<5'")


def test_needs_are_those_of_this_python():
    needs = checks.needs()
    assert ("lava-nc" in needs) == (sys.version_info < (3, 11))
    assert needs["torch"].contains("2.3.1") and not needs["torch"].contains("3.0")
    assert "pytest" not in needs


def test_a_copy_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(checks.metadata, "requires", not_installed)
    (finding,) = checks.packages()
    assert finding.state == "note"
    assert finding.remedy == f"install it: pip install {ROOT}"


@pytest.mark.parametrize(
    ("check", "name", "remedy"),
    [
        (checks.torch, "torch", "pip install --force-reinstall 'torch>=2."),
        (checks.kernels, "kernels", "pip install --force-reinstall numba numpy"),
        (checks.lava, "lava-nc", "lava-nc==0.10.0 lava-dl==0.6.0"),
        (checks.lava_dl, "lava-dl", "mend lava-nc, torch and packages first"),
    ],
)
def test_what_does_not_load_is_a_problem(monkeypatch, check, name, remedy):
    monkeypatch.setattr(checks, "child", broken)
    (finding,) = check()
    assert (finding.check, finding.state) == (name, "problem")
    assert finding.found == "ImportError: libbroken.so: cannot open shared object file"
    assert remedy in finding.remedy


@pytest.mark.parametrize(("check", "name"), [(checks.lava, "lava-nc"), (checks.lava_dl, "lava-dl")])
def test_lava_that_is_missing_or_of_another_version(monkeypatch, check, name):
    monkeypatch.setattr(checks.metadata, "version", not_installed)
    (finding,) = check()
    assert (finding.check, finding.state, finding.found) == (name, "problem", "not installed")
    assert "--ignore-requires-python" in finding.remedy
    monkeypatch.setattr(checks.metadata, "version", lambda name: "0.5.1")
    monkeypatch.setattr(checks, "child", lambda code: True)
    note, good = check()
    assert (note.check, note.state) == (name, "note") and "0.5.1; tested with" in note.found
    assert good.state == "OK"


def test_a_lava_that_computes_wrongly_is_a_problem(monkeypatch):
    """The check compares; it is not content with an import."""
    monkeypatch.setattr(checks, "child", lambda code: child.child(code.replace("bias_mant=3", "bias_mant=4")))
    (finding,) = checks.lava()
    assert finding.state == "problem"
    assert finding.found == "AssertionError: a LIF neuron with bias 3 has potential 4"


def test_kernels_that_cannot_be_kept(monkeypatch):
    monkeypatch.setattr(checks, "child", lambda code: [4.2, []])
    (finding,) = checks.kernels()
    assert finding.state == "note"
    assert "NUMBA_CACHE_DIR" in finding.remedy


@pytest.mark.parametrize(("installed", "state"), [(True, "OK"), (False, "note")])
def test_lava_loihi_is_optional(monkeypatch, installed, state):
    monkeypatch.setattr(checks, "child", lambda code: installed)
    (finding,) = checks.loihi()
    assert finding.state == state
    assert ("INRC" in finding.remedy) is not installed


def test_missing_data_sets_are_a_note(monkeypatch, tmp_path):
    monkeypatch.setenv("LAVA_BSNN_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (finding,) = checks.datasets()
    assert finding.state == "note"
    assert "digits" in finding.found and "cifar10" not in finding.found
    assert "lava-bsnn datasets" in finding.remedy


def test_one_processor_is_a_note(monkeypatch):
    monkeypatch.setattr(checks.os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert checks.processors()[0].state == "note"
    monkeypatch.setattr(checks.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert checks.processors()[0].state == "OK"


def test_shared_memory_that_is_missing_or_small(monkeypatch, tmp_path):
    monkeypatch.setattr(checks.sys, "platform", "linux")
    monkeypatch.setattr(checks, "SHARED_MEMORY", tmp_path / "none")
    (finding,) = checks.shared_memory()
    assert finding.state == "problem" and "docker run --shm-size" in finding.remedy
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checks, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(64 << 20, 0, 0))
    (finding,) = checks.shared_memory()
    assert finding.state == "note" and "0 of 64 MB" in finding.found
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(64 << 20, 0, 64 << 20))
    assert checks.shared_memory()[0].state == "OK"
