"""The command that trains a run on in the integers of a target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .output import Accelerator, Flag, JsonOutput
from .train import run_recipe_in


@dataclass(frozen=True, kw_only=True)
class Finetune(JsonOutput):
    """Train a run on in the integers of a target of export.

    The result is a run of its own, for eval, export, report, resume.

    Example: lava-bsnn finetune runs/events --target loihi --epochs 2
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The --out of lava-bsnn train."""
    target: Annotated[str, tyro.conf.arg(metavar="NAME")] = "extended"
    """stock, loihi or extended: the profile of the export that follows."""
    epochs: int = 3
    """Passes over the training set."""
    lr: float = 2e-4
    """Learning rate, which falls to 0."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the new run; by default DIR-TARGET, for a run of a sweep beside the sweep."""
    resume: Flag = False
    """Continue a fine-tuning that was stopped."""
    accelerator: Accelerator = "auto"
    """A GPU where there is one, or cpu or cuda."""

    def __call__(self) -> None:
        from ..training.recipe import run_recipe
        from ..training.run_folder import finetuning_recipe

        self.check_json()
        recipe = finetuning_recipe(run_recipe(self.folder), self.folder, self.target, self.epochs, self.lr)
        out = default_out(self.folder, self.target) if self.out is None else self.out
        run_recipe_in(self, recipe, out, resume=self.resume, accelerator=self.accelerator)


def default_out(folder: Path, target: str) -> Path:
    """Folder of a fine-tuned run: beside that of the run, or beside that of its sweep."""
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    name = f"{folder.name}-{target}"
    if "=" in folder.name:  # one of a sweep, whose folder holds nothing else
        sweep = folder.parent if folder.parent.name not in ("", "..") else folder.resolve().parent
        return sweep.with_name(f"{sweep.name}-{name}")
    return folder.with_name(name)
