"""The command that draws what a trained run is and does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import DataError, LavaBsnnError, OptionError, check_option
from ..files import atomic_path, write_json
from .output import Flag, JsonOutput
from .samples import of_recipe


@dataclass(frozen=True, kw_only=True)
class Analyze(JsonOutput):
    """Draw what a trained run is and does; write the numbers, too.

    Figures: training flips rates entropy operations energy sizes footprints gradients raster
    logits membrane events animation landscape.

    Example: lava-bsnn analyze runs/events --only rates operations
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The --out of lava-bsnn train."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Figures to make; by default all that the run can have."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for figures and analysis.json; by default DIR/analysis."""
    samples: int = 64
    """Test samples, from the first."""
    points: int = 11
    """Of the landscape, in each of its two directions; odd."""
    format: Annotated[str, tyro.conf.arg(metavar="NAME")] = "png"
    """png, svg or pdf."""
    best: Flag = False
    """Take the weights of the best epoch, not those of the last."""

    def __call__(self) -> None:
        from ..training.recipe import run_recipe

        self.check_json()
        recipe = run_recipe(self.folder)  # raises before slow imports
        check_option("analyze", "format", self.format, ("png", "svg", "pdf"))
        if self.samples < 1:
            raise OptionError(f"analyze: samples={self.samples} is not allowed; use 1 or more")
        out = self.folder / "analysis" if self.out is None else self.out
        console = self.console()
        with console.status("reading the run") as status:
            import torch
            from matplotlib.figure import Figure

            from ..analysis.run_figures import FIGURES
            from ..analysis.subject import Subject
            from ..training.run import load_run
            from ..training.run_folder import BEST, LAST, history_of

            for name in self.only:
                check_option("analyze", "only", name, tuple(FIGURES))
            recipe, model = load_run(self.folder, BEST if self.best else LAST)
            inputs, labels = of_recipe(recipe, "test", self.samples)
            if labels is None:
                raise DataError(f"{recipe.dataset}: targets are no classes, which figures here are of")
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LavaBsnnError(f"{out}: cannot make the folder ({error.strerror}); use --out") from error
            subject = Subject(
                model=model,
                inputs=inputs,
                labels=torch.from_numpy(labels),
                history=tuple(history_of(self.folder)),
                batch_size=recipe.batch_size,
                points=self.points,
                tell=status.update,
            )
            content: dict[str, Any] = {"run": str(self.folder), "samples": len(labels)}
            for name in self.only or FIGURES:
                status.update(f"drawing {name}")
                try:
                    figure, data = FIGURES[name](subject)
                except LavaBsnnError as error:
                    console.print(f"no {name}: {error}", soft_wrap=True, markup=False)
                    continue
                drawn = isinstance(figure, Figure)
                path = out / f"{name}.{self.format if drawn else 'gif'}"
                if isinstance(figure, Figure):
                    with atomic_path(path) as temporary:
                        figure.savefig(temporary, dpi=150, format=self.format)
                else:
                    figure.save(path)
                content[name] = data
                console.print(f"{name}: {path}", soft_wrap=True, markup=False)
        write_json(out / "analysis.json", content)
        console.print(f"numbers: {out / 'analysis.json'}", soft_wrap=True, markup=False)
        self.write(content)
