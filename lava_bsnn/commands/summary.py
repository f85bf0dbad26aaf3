"""The command that looks at a model before it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import OptionError
from .output import Assignments, JsonOutput


@dataclass(frozen=True, kw_only=True)
class Summary(JsonOutput):
    """Show layers, costs, and what each profile says of a model.

    Nothing is trained and no data set is needed.

    Example: lava-bsnn summary digits-events-agmm --rate 0.05
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE|DIR")]
    """A name of `lava-bsnn recipes`, a YAML file, or the folder of a run."""
    assignments: Assignments = ()
    """Change fields of the recipe, e.g. model=resnet20 width=0.5."""
    rate: float = 0.1
    """Share of inputs that are active in a step, for SOPs."""
    batch_size: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """For which memory is estimated; by default the recipe's."""
    profiles: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """stock, loihi, extended, or your own; by default all."""

    def __call__(self) -> None:
        from ..training.recipe import load_recipe, run_recipe

        self.check_json()
        folder = Path(self.recipe)
        is_run = folder.is_dir()
        recipe = run_recipe(folder) if is_run else load_recipe(self.recipe)
        recipe = recipe.replace(chain.from_iterable(self.assignments))
        if is_run and self.assignments:
            raise OptionError("summary: set changes recipes, not what was trained; leave it out")
        console = self.console()
        with console.status("building the model") as status:
            from ..analysis import summary
            from ..training.dry_run import fresh_model
            from ..training.run import load_run

            model = load_run(folder)[1] if is_run else fresh_model(recipe)
            figures = summary(
                model,
                num_steps=recipe.frames,
                rate=self.rate,
                batch_size=self.batch_size or recipe.batch_size,
                optimizer=recipe.optimizer,
                profiles=self.profiles or None,
                progress=status.update,
            )
        console.print(figures.table())
        for line in figures.lines():
            console.print(line, soft_wrap=True, markup=False)
        self.write(figures.as_dict())
