"""Recipes of the package, and in files, as mappings."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..errors import LavaBsnnError, OptionError


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    folder = resources.files("lava_bsnn") / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def mapping_in(name: str | Path, depth: int = 0) -> dict[str, Any]:
    """Fields of a recipe by name or in a file, with those of what it extends.

    Raises:
        LavaBsnnError: no such recipe, or a file that is none.
    """
    text = _text(name)
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"{name}: is not a YAML file ({reason})") from error
    if not isinstance(values, dict):
        raise OptionError(f"{name}: a recipe is a YAML mapping of fields to values")
    base = values.pop("extends", None)
    if base is None:
        return values
    if depth > 7:
        raise OptionError(f"{name}: extends {base}: too many files extend each other")
    beside = Path(name).parent / str(base) if str(base).endswith((".yaml", ".yml")) else str(base)
    return {**mapping_in(beside, depth + 1), **values}


def _text(name: str | Path) -> str:
    if str(name).endswith((".yaml", ".yml")):
        try:
            return Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LavaBsnnError(f"{name}: cannot be read ({error}); give a YAML file") from error
    names = recipe_names()
    if str(name) not in names:
        near = difflib.get_close_matches(str(name), names, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "`lava-bsnn recipes` lists them"
        raise OptionError(f"no recipe {str(name)!r}; {hint} (or give a .yaml file)")
    return (resources.files("lava_bsnn") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
