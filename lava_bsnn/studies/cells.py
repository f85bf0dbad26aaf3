"""Cells of a study: what each is trained as, its key, and the file of its result."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data import DATASETS, find
from ..errors import LavaBsnnError, OptionError, line_of
from ..files import write_json
from ..training.recipe import Recipe
from ..training.run_folder import settings_of
from .definition import Stage, Study

FORMAT = 1
"""Of a cell's result; a change makes all cells anew."""
CHIP = "loihi2"
"""Whose cores are counted."""
BATCHES = (1, 16, 64, 256)
"""Sizes of batches whose largest potential scales membranes."""
RUN, FIRST = "run", "first"
"""Folders of a cell's network, and of the one that it starts from."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training of a study, and how its network is measured.

    Attributes:
        study: its name.
        set: name of the set.
        variant: name of the variant.
        seed: counted from 0.
        recipe: without ``start``.
        first: recipe of the network that it starts from.
        stages: of deployment.
        folder: of its runs.
        result: its file.
    """

    study: str
    set: str
    variant: str
    seed: int
    recipe: Recipe
    first: Recipe | None
    stages: tuple[Stage, ...]
    folder: Path
    result: Path

    @property
    def name(self) -> str:
        """``SET/VARIANT/SEED``."""
        return f"{self.set}/{self.variant}/{self.seed}"

    @cached_property
    def key(self) -> str:
        """SHA-256 of settings other than defaults, and stages; what versions change is not in it."""
        content = [
            FORMAT,
            settings(self.recipe),
            None if self.first is None else settings(self.first),
            [stage.name for stage in self.stages],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def epochs(self) -> int:
        """All that are trained, fine-tuning included."""
        first = 0 if self.first is None else self.first.epochs
        return first + self.recipe.epochs + sum(stage.epochs or 0 for stage in self.stages)

    def found(self) -> dict[str, Any] | None:
        """The result, if it is of this key."""
        content = read_result(self.result)
        return content if content is not None and content.get("key") == self.key else None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, of which :meth:`of` makes the same cell."""
        return {
            **asdict(self),
            "folder": str(self.folder.absolute()),
            "result": str(self.result.absolute()),
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Cell:
        """A cell from plain data."""
        first = values["first"]
        changes = {
            "recipe": Recipe(**values["recipe"]),
            "first": None if first is None else Recipe(**first),
            "stages": tuple(Stage(**stage) for stage in values["stages"]),
            "folder": Path(values["folder"]),
            "result": Path(values["result"]),
        }
        return cls(**{**values, **changes})


def settings(recipe: Recipe) -> dict[str, Any]:
    """Fields of a recipe that change what is learned, where they differ from their defaults."""
    usual = settings_of(Recipe(dataset="", model="", epochs=1))
    values = {**settings_of(recipe), "patience": recipe.patience}
    return {name: value for name, value in values.items() if value != usual.get(name)}


def cells_of(
    study: Study,
    out: Path,
    results: Path,
    *,
    seeds: int | None = None,
    data_root: str | None = None,
    only: Sequence[str] = (),
) -> list[Cell]:
    """Cells of a study, seed by seed, so that a stopped study has whole comparisons.

    Args:
        out: folder of the runs.
        results: folder of all studies' results.
        seeds: by default those of the study.
        data_root: where data are looked for; sets of which nothing is there are looked for as usual.
        only: parts of ``SET/VARIANT``; cells with any of them are taken.

    Raises:
        OptionError: no cell is left, or ``data_root`` has data of none.
    """
    number = study.seeds if seeds is None else seeds
    if number < 1:
        raise OptionError(f"study: seeds={number} is not allowed; use 1 or more")
    cells, rooted = [], False
    for seed in range(number):
        for set_name in study.sets:
            for variant, one in study.variants.items():
                where = f"{set_name}/{variant}"
                if set_name not in one.sets or (only and not any(text in where for text in only)):
                    continue
                recipe = study.recipe(set_name, variant, seed)
                first = None if one.first is None else study.recipe(set_name, variant, seed, first=True)
                if data_root is not None and (
                    recipe.dataset not in DATASETS or find(recipe.dataset, data_root) is not None
                ):
                    rooted = True
                    assignment = [f"data_root={json.dumps(data_root)}"]
                    recipe = recipe.replace(assignment)
                    first = None if first is None else first.replace(assignment)
                cells.append(
                    Cell(
                        study=study.name,
                        set=set_name,
                        variant=variant,
                        seed=seed,
                        recipe=recipe,
                        first=first,
                        stages=one.stages,
                        folder=out / set_name / variant / str(seed),
                        result=results / study.name / set_name / variant / f"{seed}.json",
                    )
                )
    if not cells:
        names = [f"{set_name}/{name}" for name, one in study.variants.items() for set_name in one.sets]
        raise OptionError(f"study {study.name}: only={' '.join(only)} fits none of {', '.join(names)}")
    if data_root is not None and not rooted:
        sets = sorted({cell.recipe.dataset for cell in cells})
        raise OptionError(
            f"study {study.name}: data_root={data_root} holds none of {', '.join(sets)}; leave it out"
        )
    return cells


def read_result(path: Path) -> dict[str, Any] | None:
    """What a cell's file holds; None without a file.

    Raises:
        LavaBsnnError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"a {type(content).__name__}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise LavaBsnnError(
            f"{path}: is damaged ({line_of(error)}); delete it, and its cell runs again"
        ) from error
    return content


def write_result(content: Mapping[str, Any], path: Path) -> None:
    """Write a cell's result; the file is complete or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def packed(right: np.ndarray) -> str:
    """Bools ``[N]`` as text: bits, the first one highest, compressed by zlib, in base64."""
    return base64.b64encode(zlib.compress(np.packbits(right).tobytes(), 9)).decode()


def unpacked(text: str, samples: int) -> np.ndarray:
    """Bools ``[samples]`` of :func:`packed`."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    return np.unpackbits(bits, count=samples).astype(bool)
