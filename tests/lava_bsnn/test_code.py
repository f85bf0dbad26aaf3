"""Code that recipes name: the user's own below the working folder, nothing else unasked."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from support.cli import command
from support.own_code import forgotten

from lava_bsnn import code, training
from lava_bsnn.errors import LavaBsnnError, OptionError

LEAVES = "from pathlib import Path\nPath('imported').touch()\n"
"""Code that leaves a file where it is imported."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder; modules and places that a test adds are forgotten after it."""
    monkeypatch.chdir(tmp_path)
    with forgotten(tmp_path):
        yield tmp_path


def write(path, text="def make():\n    return 1\n"):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def nothing_ran():
    return not Path("imported").exists()


@pytest.mark.parametrize("package", [True, False])
def test_own_modules_are_imported_from_packages_and_plain_folders(package):
    write("pack/deep/mine.py", "def make():\n    return 7\n")
    if package:
        write("pack/__init__.py", "")
        write("pack/deep/__init__.py", "")
    assert code.imported("pack.deep.mine:make")() == 7


def test_own_modules_may_import_each_other_at_any_time():
    write("helper.py", "VALUE = 3\n")
    write("mine.py", "def make():\n    from helper import VALUE\n    return VALUE\n")
    assert code.imported("mine:make")() == 3
    write("pack/__init__.py", "from .inner import make\n")
    write("pack/inner.py")
    assert code.imported("pack:make")() == 1


@pytest.mark.parametrize(
    "name",
    [
        "../outside:make",
        "/tmp/outside:make",
        "..outside:make",
        "mine:",
        ":make",
        "mine:make()",
        "mine:make.__globals__",
        "mi-ne:make",
        "mine.:make",
        "a:b:c",
        "mïne:make",
        "mine:make\n",
    ],
)
def test_names_that_are_no_names_are_refused(name):
    write("mine.py", LEAVES)
    with pytest.raises(OptionError, match="is no name of code; use package.module:function"):
        code.imported(name)
    assert nothing_ran()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("os:system", "os is a module of Python's own"),
        ("builtins:exec", "builtins is a module of Python's own"),
        ("subprocess:Popen", "subprocess is a module of Python's own"),
        ("torch.hub:load", "torch/hub.py is not below"),
        ("numpy:load", "numpy.py is not below"),
        ("lava_bsnn.files:atomic_path", "lava_bsnn/files.py is not below"),
        ("nowhere:make", "nowhere.py is not below"),
        ("__main__:make", "__main__.py is not below"),
    ],
)
def test_installed_code_is_refused_and_told(name, reason):
    with pytest.raises(OptionError, match=rf"not imported unasked: {name} \({reason}.*--allow-code"):
        code.imported(name)


def test_a_file_does_not_take_the_place_of_a_module(tmp_path):
    write("os.py", LEAVES + "def system():\n    pass\n")
    with pytest.raises(OptionError, match="a file of yours needs another name"):
        code.imported("os:system")
    write("yaml.py", LEAVES + "def make():\n    pass\n")  # installed and imported
    with pytest.raises(OptionError, match="another module yaml is at .*yaml/__init__.py; a file of yours"):
        code.imported("yaml:make")
    write("sklearn.py", LEAVES + "def make():\n    pass\n")  # installed, maybe not imported
    with pytest.raises(OptionError, match="another module sklearn is at"):
        code.imported("sklearn:make")
    write("torch/utils/mine.py", LEAVES + "def make():\n    pass\n")
    with pytest.raises(OptionError, match="another module torch is at"):
        code.imported("torch.utils.mine:make")
    write("__main__.py", LEAVES + "def make():\n    pass\n")
    with pytest.raises(OptionError, match="another module __main__ is at"):
        code.imported("__main__:make")
    assert nothing_ran()


def test_links_out_of_the_folder_are_refused(tmp_path, monkeypatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    write(tmp_path / "outside/__init__.py", LEAVES)
    write(tmp_path / "outside/mine.py", LEAVES + "def make():\n    pass\n")
    monkeypatch.chdir(inside)
    Path("mine.py").symlink_to(tmp_path / "outside/mine.py")
    Path("pack").symlink_to(tmp_path / "outside")
    Path("up").symlink_to("..")
    for name in ("mine:make", "pack.mine:make", "up.outside.mine:make"):
        with pytest.raises(OptionError, match=r"is a link that leads out of"):
            code.imported(name)
    Path("half").mkdir()
    Path("half/__init__.py").symlink_to(tmp_path / "outside/__init__.py")
    write("half/mine.py")
    with pytest.raises(OptionError, match=r"half/__init__.py is a link that leads out of"):
        code.imported("half.mine:make")
    assert nothing_ran()
    write("real.py")
    Path("near.py").symlink_to("real.py")  # a link that stays
    assert code.imported("near:make")() == 1


def test_code_in_the_folder_of_a_run_is_refused(tmp_path, monkeypatch):
    write("runs/theirs/config.yaml", "dataset: runs.theirs.mine:make\nmodel: cnn\nepochs: 1\n")
    write("runs/theirs/mine.py", LEAVES + "def make():\n    pass\n")
    write("runs/theirs/deep/mine.py", LEAVES + "def make():\n    pass\n")
    Path("link").symlink_to("runs/theirs")
    Path("file.py").symlink_to("runs/theirs/mine.py")
    for name in ("runs.theirs.mine:make", "runs.theirs.deep.mine:make", "link.mine:make", "file:make"):
        with pytest.raises(OptionError, match=r"lies in .*, the folder of a run"):
            code.imported(name)
    monkeypatch.chdir("runs/theirs")
    with pytest.raises(OptionError, match=r"lies in .*, the folder of a run"):
        code.imported("mine:make")
    assert nothing_ran()


def test_what_a_module_has_only_imported_is_refused():
    write(
        "mine.py", "import os\nfrom functools import partial\nfrom os import system\nshow = partial(print)\n"
    )
    for name in ("mine:system", "mine:show"):
        with pytest.raises(OptionError, match=r"it is defined in \w+, not in a file of yours"):
            code.imported(name)
    with pytest.raises(OptionError, match="has no function or class 'os'"):
        code.imported("mine:os")


def test_allowed_code_is_imported_from_anywhere():
    with code.allowing():
        assert code.imported("os.path:join") is os.path.join
        with code.allowing(False):  # does not take it back
            code.check(["os:system"])
    with pytest.raises(OptionError):
        code.check(["os:system"])


def test_all_refused_names_are_told_before_any_import():
    write("mine.py", LEAVES + "def make():\n    pass\n")
    with pytest.raises(OptionError, match=r"os:system \(.*\), nowhere:Net \("):
        code.check(["os:system", "mine:make", "nowhere:Net"])
    assert nothing_ran()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def mk():\n    pass\n", r"mine.py has no function or class 'make'; did you mean mk\?"),
        ("make = 3\n", "has no function or class 'make'"),
        ("import nowhere_at_all\n", r"cannot be imported: ModuleNotFoundError: .* \(mine.py, line 1\); mend"),
        ("def make(:\n", r"cannot be imported: SyntaxError: invalid syntax \(mine.py, line 1\)"),
        ("x = 1\nx / 0\n", r"cannot be imported: ZeroDivisionError: .* \(mine.py, line 2\)"),
        ("def make():\n    x = {}\n    x['a']\n", r"mine:make: raised KeyError: 'a' \(mine.py, line 3\)"),
        ("def make(*, fold):\n    pass\n", "needs fold; give it in data_options"),
        ("def make(root, /):\n    pass\n", "raised TypeError"),
    ],
)
def test_faults_in_code_are_one_line_with_file_and_line(text, message):
    write("mine.py", text)
    with pytest.raises(LavaBsnnError, match=message) as found:
        code.called("mine:make", {"root": None}, {}, "data_options")
    assert "\n" not in str(found.value)


def test_a_function_gets_what_it_takes():
    write("mine.py", "def some(b, *, c=0):\n    return b, c\ndef every(**given):\n    return given\n")
    given = {"a": 1, "b": 2}
    assert code.called("mine:some", given, {"c": 3}, "data_options") == (2, 3)
    assert code.called("mine:every", given, {"c": 3}, "data_options") == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(OptionError, match="takes no d, which data_options gives; it takes b, c"):
        code.called("mine:some", given, {"d": 3}, "data_options")


# runs and recipes ------------------------------------------------------------------------------------


def stranger(folder, **fields):
    """The folder of a run of somebody else, beside whose files lies code."""
    values = {"dataset": "digits", "model": "cnn", "epochs": 1, "num_steps": 1, **fields}
    write(folder / "config.yaml", yaml.safe_dump(values))
    write(folder / "evil.py", LEAVES + "def make(**_):\n    pass\n")
    write(folder / "data.yaml", "name: x\nkind: events\nshape: [1, 2, 2]\nnum_classes: 2\nclasses: []\n")
    for name in ("last.pt", "best.pt"):
        (folder / name).write_bytes(b"nothing")
    return folder


COMMANDS = (
    ("eval", "runs/theirs"),
    ("resume", "runs/theirs"),
    ("train", "runs/theirs/config.yaml", "--out", "runs/mine"),
    ("train", "runs/theirs/config.yaml", "--dry-run"),
    ("train", "runs/theirs/child.yaml", "--out", "runs/mine"),
    ("train", "digits-agmm", "--set", "dataset=os:system", "--out", "runs/mine"),
)


@pytest.mark.parametrize("fields", [{"dataset": "runs.theirs.evil:make"}, {"model": "evil:make"}])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_imports_code_of_a_strangers_run(arguments, fields):
    stranger(Path("runs/theirs"), **fields)
    write("runs/theirs/child.yaml", "extends: config.yaml\nepochs: 2\n")
    done = command(*arguments)
    assert done.returncode == 2
    assert "names code that is not imported unasked" in done.stderr
    assert "--allow-code" in done.stderr
    assert nothing_ran()
    assert not Path("runs/mine").exists()


def test_export_imports_no_code_of_a_strangers_run(folder):
    small = ["epochs=1", "num_steps=1", "model=mlp", "model_options={hidden: [4]}", "batch_size=512"]
    training.train(training.load_recipe("digits-agmm").replace(small), "other")
    shutil.copytree("other", "theirs")
    stranger(Path("theirs"), dataset="theirs.evil:make", model="theirs.evil:make")
    done = command("export", "theirs", "--out", "a.net")
    assert (done.returncode, "not imported unasked: theirs.evil:make" in done.stderr) == (2, True)
    lines = Path("other/config.yaml").read_text().replace("dataset: digits", "dataset: other.evil:make")
    write("other/evil.py", LEAVES + "def make(**_):\n    pass\n")
    write("other/config.yaml", lines)
    shape = "kind: static\nshape: [1, 8, 8]\nnum_classes: 10\nclasses: []\n"
    write("other/data.yaml", f"name: other.evil:make\n{shape}")
    done = command("export", "other", "--out", "b.net")  # the network is not theirs, and needs no data
    assert done.returncode == 0
    assert "not compared on test data: recipe: names code that is not imported unasked" in done.stdout
    assert nothing_ran()


def test_python_refuses_it_as_well():
    stranger(Path("theirs"), model="theirs.evil:make")
    for call in (training.load_run, training.evaluate_run):
        with pytest.raises(OptionError, match="allow_code=True"):
            call("theirs")
    assert nothing_ran()
    with pytest.raises(OptionError, match="returned a NoneType without blocks"):
        training.load_run("theirs", allow_code=True)
    assert not nothing_ran()


def test_a_hybrid_imports_nothing_of_the_run_that_it_starts_from():
    stranger(Path("theirs"), model="theirs.evil:make", method="qcfs")
    write("mine.yaml", "extends: digits-hybrid\nstart: theirs\n")
    done = command("train", "mine.yaml", "--out", "mine")
    assert done.returncode == 2
    assert "theirs.evil:make" in done.stderr
    assert nothing_ran()


def test_the_option_allows_it():
    stranger(Path("theirs"), model="theirs.evil:make")
    done = command("--allow-code", "train", "theirs/config.yaml", "--out", "mine")
    assert "returned a NoneType without blocks" in done.stderr
    assert not nothing_ran()
    Path("imported").unlink()
    for name in [name for name in sys.modules if name.startswith("theirs")]:
        del sys.modules[name]
    assert "unasked" in command("train", "theirs/config.yaml", "--out", "other").stderr  # for one call only
    assert nothing_ran()
