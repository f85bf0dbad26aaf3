"""What a study asks and compares: sets times variants times seeds, in one YAML file."""

from __future__ import annotations

import copy
import difflib
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..errors import LavaBsnnError, OptionError
from ..training.recipe import Recipe, from_mapping
from ..training.recipe_files import mapping_in
from ..training.targets import TARGETS

_STAGE = re.compile(f"({'|'.join(TARGETS)})(?:[+]([0-9]{{1,4}}))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A way of a trained network to integers.

    Attributes:
        target: of export.
        epochs: of fine-tuning in its integers before; 0 only matches them; None exports as trained.
    """

    target: str
    epochs: int | None

    @property
    def name(self) -> str:
        """``"loihi"`` or ``"loihi+3"``."""
        return self.target if self.epochs is None else f"{self.target}+{self.epochs}"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the things that are compared.

    Attributes:
        changes: of the recipe.
        reference: name of the variant that it is paired with; None for a reference itself.
        sets: in which it is trained.
        stages: of deployment, measured after training.
        first: changes of the recipe that give the network from which it starts; None for none.
    """

    changes: Mapping[str, Any]
    reference: str | None
    sets: tuple[str, ...]
    stages: tuple[Stage, ...] = ()
    first: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: each variant is trained in each set with each seed.

    Attributes:
        name: of its file.
        title: a few words.
        question: a sentence.
        budget_hours: an estimate of all cells on two cores.
        seeds: paired seeds, from the recipe's own on.
        base: fields of the recipe.
        sets: changes of it by name: data, epochs, size.
        variants: by name.
        stages: of deployment of any variant.
        quick: changes for a trial of everything with one seed.
    """

    name: str
    title: str
    question: str
    budget_hours: float
    seeds: int
    base: Mapping[str, Any]
    sets: Mapping[str, Mapping[str, Any]]
    variants: Mapping[str, Variant]
    stages: tuple[Stage, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, set_name: str, variant: str, seed: int, *, first: bool = False) -> Recipe:
        """Recipe of a cell; ``first`` gives that of the network it starts from.

        Args:
            seed: counted from 0.

        Raises:
            OptionError: a field is unknown, or a value is not allowed.
        """
        one = self.variants[variant]
        values = merged(self.base, self.sets[set_name])
        values = merged(values, (one.first or {}) if first else one.changes)
        recipe = from_mapping(values, f"study {self.name}: {set_name}/{variant}")
        return recipe.replace([f"seed={recipe.seed + seed}"]) if seed else recipe

    def shortened(self) -> Study:
        """The same with the changes of ``quick``, one seed and an epoch of fine-tuning."""
        return Study(
            name=f"{self.name}-quick",
            title=f"{self.title} (quick)",
            question=self.question,
            budget_hours=0.0,
            seeds=1,
            base=self.base,
            sets={name: merged(changes, self.quick) for name, changes in self.sets.items()},
            variants={name: replace(one, stages=_short(one.stages)) for name, one in self.variants.items()},
            stages=_short(self.stages),
        )


def _short(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    return tuple(Stage(target=one.target, epochs=one.epochs and 1) for one in stages)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes; ``"method_options.ends"`` changes one entry of a mapping."""
    result = copy.deepcopy(dict(values))
    for key, value in changes.items():
        *path, last = key.split(".")
        target = result
        for part in path:
            inner = target.get(part)
            target[part] = target = dict(inner) if isinstance(inner, Mapping) else {}
        target[last] = copy.deepcopy(value)
    return result


def study_names() -> list[str]:
    """Names of the studies that come with the package, sorted."""
    folder = resources.files("lava_bsnn.studies") / "definitions"
    return sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml"))


def load_study(name: str | Path) -> Study:
    """A study of the package by name, or one from a ``.yaml`` file.

    Raises:
        OptionError: no such study, or a definition that is none; the message names the entry.
        LavaBsnnError: the file cannot be read.
    """
    is_file = str(name).endswith((".yaml", ".yml"))
    if is_file:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LavaBsnnError(f"{name}: cannot be read ({error}); give a YAML file") from error
    else:
        names = study_names()
        if str(name) not in names:
            near = difflib.get_close_matches(str(name), names, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"use one of {', '.join(names)}"
            raise OptionError(f"no study {str(name)!r}; {hint} (or give a .yaml file)")
        text = (resources.files("lava_bsnn.studies") / "definitions" / f"{name}.yaml").read_text("utf-8")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise OptionError(f"{name}: is not a YAML file ({str(error).splitlines()[0]})") from error
    return _study(Path(name).stem if is_file else str(name), values)


_FIELDS: dict[str, tuple[Any, str]] = {
    "title": (str, "a text"),
    "question": (str, "a text"),
    "budget_hours": ((int, float), "a number above 0"),
    "seeds": (int, "a whole number above 0"),
    "base": ((str, Mapping), "the name of a recipe, or fields of one"),
    "sets": (Mapping, "a mapping of names to changes of the recipe"),
    "variants": (Mapping, "a mapping of names to changes of the recipe"),
    "reference": (str, "the name of a variant"),
    "stages": (list, "a list of extended, stock and loihi, each also as loihi+3 (epochs of fine-tuning)"),
    "quick": (Mapping, "a mapping of changes of the recipe"),
}
_OPTIONAL = ("reference", "stages", "quick")


def _study(name: str, values: Any) -> Study:
    where = f"study {name}"
    if not isinstance(values, Mapping):
        raise OptionError(f"{where}: is no mapping; use fields {', '.join(_FIELDS)}")
    for key in values:
        if key not in _FIELDS:
            raise OptionError(f"{where}: unknown field {key!r}; use {', '.join(_FIELDS)}")
    for key, (kind, wanted) in _FIELDS.items():
        if key not in values and key in _OPTIONAL:
            continue
        value: Any = values.get(key)
        allowed = isinstance(value, kind) and not isinstance(value, bool) and (value or key == "quick")
        if not allowed or (isinstance(value, (int, float)) and value < 0):
            raise OptionError(f"{where}: {key}={value!r} is not allowed; use {wanted}")
    base = values["base"]
    fields = mapping_in(base) if isinstance(base, str) else dict(base)
    if "extends" in fields:
        extended = fields.pop("extends")
        fields = merged(mapping_in(str(extended)), fields)
    sets = {
        _named(where, "set", key): _mapping(where, f"sets.{key}", one) for key, one in values["sets"].items()
    }
    variants = _variants(where, values, sets)
    used = dict.fromkeys(stage for one in variants.values() for stage in one.stages)
    study = Study(
        name=name,
        title=values["title"],
        question=values["question"],
        budget_hours=float(values["budget_hours"]),
        seeds=values["seeds"],
        base=fields,
        sets=sets,
        variants=variants,
        stages=tuple(used),
        quick=values.get("quick", {}),
    )
    for one in (study, study.shortened()):
        for variant, its in one.variants.items():
            for set_name in its.sets:  # a recipe that is none is told now, not after an hour
                one.recipe(set_name, variant, 0)
                if its.first is not None:
                    one.recipe(set_name, variant, 0, first=True)
    return study


def _variants(where: str, values: Mapping[str, Any], sets: Mapping[str, Any]) -> dict[str, Variant]:
    names = [_named(where, "variant", key) for key in values["variants"]]
    usual = values.get("reference")
    result = {}
    for name in names:
        changes = dict(_mapping(where, f"variants.{name}", values["variants"][name]))
        first = changes.pop("first", None)
        reference, chosen = changes.pop("reference", usual), changes.pop("sets", list(sets))
        stages = changes.pop("stages", values.get("stages", []))
        if not isinstance(stages, list):
            raise OptionError(f"{where}: variants.{name}: stages={stages!r} is no list; use e.g. [extended]")
        for what, given, allowed in (
            ("reference", [] if reference is None else [reference], names),
            ("sets", chosen if isinstance(chosen, list) and chosen else [chosen], list(sets)),
        ):
            for one in given:
                if one not in allowed:
                    raise OptionError(
                        f"{where}: variants.{name}: {what}={one!r} is unknown; use {', '.join(allowed)}"
                    )
        result[name] = Variant(
            changes=changes,
            reference=None if reference == name else reference,
            sets=tuple(chosen),
            stages=tuple(_stage(where, one) for one in stages),
            first=None if first is None else _mapping(where, f"variants.{name}.first", first),
        )
    return result


def _named(where: str, what: str, name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(f"{where}: {what} {name!r} is no name; use letters, digits, '.', '_' and '-'")
    return name


def _mapping(where: str, what: str, value: Any) -> Mapping[str, Any]:
    value = {} if value is None else value
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise OptionError(
            f"{where}: {what} is no mapping of fields of a recipe to values; use e.g. {{lr: 0.01}}"
        )
    return typing.cast(Mapping[str, Any], value)


def _stage(where: str, text: Any) -> Stage:
    found = _STAGE.fullmatch(str(text))
    if found is None:
        raise OptionError(f"{where}: stage {text!r} is unknown; use {', '.join(TARGETS)}, or e.g. loihi+3")
    return Stage(target=found[1], epochs=None if found[2] is None else int(found[2]))
