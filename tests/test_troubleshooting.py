"""Every error message of the packages stands in docs/troubleshooting.md with its remedy.

Messages are collected from the syntax trees: what errors are made of, and what the checks of
blocks and networks yield. A formatted value becomes ``…``, in the code's text and in the page's.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("lava_bsnn", "netx_export") for path in (ROOT / package).rglob("*.py"))
BUILT_IN = {"IndexError", "KeyError", "ValueError"}
PASSED_ON = {"_error", "_not_finite", "warn"}
"""Functions that put a text which they are given into an error or a warning."""


def family():
    """Names of LavaBsnnError and of all classes that derive from it."""
    names = {"LavaBsnnError"}
    for path in [ROOT / "lava_bsnn/errors.py", *SOURCES]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and names & {ast.unparse(base) for base in node.bases}:
                names.add(node.name)
    return names


def template(node, constants):
    """The text of an expression with ``…`` for what is formatted into it; None if it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    return None


def messages():
    """(place, message) of every error that the packages raise."""
    errors, found = family() | BUILT_IN, []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        constants = {
            node.targets[0].id: template(node.value, {})
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }

        def add(node, path=path, constants=constants):  # bound now, for this file
            if isinstance(node, ast.IfExp):
                add(node.body)
                add(node.orelse)
                return
            text = template(node, constants)
            if text is not None and re.search(r"\w", text):  # else it passes another message on
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", text))

        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                lists = ast.unparse(node.func) in ("problems.append", "reasons.append")
                for argument in node.args if lists or name in errors | PASSED_ON else ():
                    add(argument)
                if ast.unparse(node.func) == "notes.add":  # of a file; the first argument names the layer
                    add(node.args[1])
            if isinstance(node, ast.FunctionDef) and re.search("problems$|_not_in_nir", node.name):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Yield):
                        add(inner.value)
    return found


def entries():
    """Messages of the page's tables."""
    page = (ROOT / "docs/troubleshooting.md").read_text()
    rows = re.findall(r"^\| `((?:[^`]|\\\|)+)` \| .+ \|$", page, re.MULTILINE)
    return [row.replace("\\|", "|") for row in rows]


def pattern(entry):
    return re.compile(".*".join(map(re.escape, entry.split("…"))), re.DOTALL)


def test_every_error_message_has_an_entry():
    known = [pattern(entry) for entry in entries()]
    found = messages()
    assert len(found) > 350
    missing = [f"{place}: {text}" for place, text in found if not any(p.fullmatch(text) for p in known)]
    assert not missing, "add to docs/troubleshooting.md:\n" + "\n".join(missing)


def test_every_entry_is_an_error_of_today():
    texts = [text for _, text in messages()]
    stale = [entry for entry in entries() if not any(pattern(entry).fullmatch(text) for text in texts)]
    assert not stale, "no longer raised:\n" + "\n".join(stale)


def test_no_entry_fits_everything():
    for entry in entries():
        assert len(re.sub(r"[…\W]", "", entry)) >= 8, entry
    assert len(set(entries())) == len(entries())


def test_every_warning_is_of_our_class_which_shows_it_as_one_line():
    calls = [
        (path, node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
    ]
    assert len(calls) >= 8
    for path, node in calls:
        classes = [ast.unparse(argument) for argument in node.args[1:2]]
        assert classes == ["LavaBsnnWarning"], f"{path.relative_to(ROOT)}:{node.lineno}"
