"""Commands about data, recipes and training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .output import Accelerator, Assignments, Flag, JsonOutput, warnings_told

if TYPE_CHECKING:
    from rich.console import Console

    from ..training.history import Epoch, Step
    from ..training.recipe import Recipe
    from ..training.result import Result


@dataclass(frozen=True, kw_only=True)
class Datasets(JsonOutput):
    """List the data sets: shape, licence, whether they are here.

    Example: lava-bsnn datasets --root ~/data
    """

    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder to look in, instead of $LAVA_BSNN_DATA and ./data."""

    def __call__(self) -> None:
        from rich.table import Table

        from .. import data

        self.check_json()
        table = Table("name", "shape", "classes", "licence", "files", box=None)
        rows, missing = [], []
        for info in data.DATASETS.values():
            status = data.status(info.name, self.root)
            shape = "x".join(map(str, info.shape)) + (" events" if info.kind == "events" else "")
            absent = status.startswith("not in ")
            if absent:
                missing.append(f"{info.name} is {status}; to get it: {info.source}")
            table.add_row(
                info.name, shape, str(info.num_classes), info.licence, "missing" if absent else status
            )
            rows.append(
                {
                    "name": info.name,
                    "kind": info.kind,
                    "shape": list(info.shape),
                    "classes": info.num_classes,
                    "licence": info.licence,
                    "status": status,
                    "source": info.source,
                }
            )
        if self.json != "-":
            console = self.console()
            console.print(table)
            for line in missing:
                console.print(line, soft_wrap=True, highlight=False)
        self.write(rows)


@dataclass(frozen=True, kw_only=True)
class Recipes(JsonOutput):
    """List the recipes, or print one as YAML.

    Example: lava-bsnn recipes digits-events-agmm > my.yaml
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """Recipe to print."""

    def __call__(self) -> None:
        from rich.table import Table

        from ..training.recipe import load_recipe
        from ..training.recipe_files import recipe_names

        self.check_json()
        if self.name is not None:
            recipe = load_recipe(self.name)
            if self.json != "-":
                print(recipe.to_yaml(), end="")
            self.write(asdict(recipe))
            return
        recipes = {name: load_recipe(name) for name in recipe_names()}
        if self.json != "-":
            table = Table("recipe", "what", "published", box=None)
            for name, recipe in recipes.items():
                published = "" if recipe.published is None else f"{recipe.published:.2f}%"
                table.add_row(name, recipe.summary, published)
            self.console().print(table)
        self.write([{"name": name, **asdict(recipe)} for name, recipe in recipes.items()])


@dataclass(frozen=True, kw_only=True)
class Train(JsonOutput):
    """Train a recipe.

    Example: lava-bsnn train digits-events-agmm --set epochs=5 --out runs/events
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A name of `lava-bsnn recipes`, or a YAML file."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the run; by default runs/RECIPE."""
    assignments: Assignments = ()
    """Change fields of the recipe, e.g. lr=0.01 method_options.ends=8."""
    resume: Flag = False
    """Continue a run that was stopped, bit for bit; with more epochs, for longer."""
    overwrite: Flag = False
    """Replace a run that is in the folder."""
    skip_bad: Flag = False
    """Leave samples out that cannot be read, instead of stopping."""
    accelerator: Accelerator = "auto"
    """A GPU where there is one, or cpu or cuda."""
    dry_run: Flag = False
    """Build model and shapes, take one synthetic step, print what it needs; no data, no files."""

    def __call__(self) -> None:
        from ..training.recipe import load_recipe

        self.check_json()
        recipe = load_recipe(self.recipe).replace(chain.from_iterable(self.assignments))
        if self.skip_bad:
            recipe = dataclasses.replace(recipe, skip_bad=True)
        name = Path(self.recipe).stem if self.recipe.endswith((".yaml", ".yml")) else self.recipe
        if self.dry_run:
            self.write(_dry_run(recipe, name, self.console()))
            return
        out = Path("runs") / name if self.out is None else self.out
        options = {"overwrite": self.overwrite, "accelerator": self.accelerator}
        run_recipe_in(self, recipe, out, resume=self.resume, **options)


@dataclass(frozen=True, kw_only=True)
class Resume(JsonOutput):
    """Continue a run that was stopped, bit for bit, or a finished one for longer.

    Example: lava-bsnn resume runs/events --epochs 40
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The --out of lava-bsnn train."""
    epochs: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Train until so many epochs are done, more than the run was started with."""
    accelerator: Accelerator = "auto"
    """A GPU where there is one, or cpu or cuda."""

    def __call__(self) -> None:
        from ..training.recipe import run_recipe

        self.check_json()
        recipe = run_recipe(self.folder)
        if self.epochs is not None:
            recipe = recipe.replace([f"epochs={self.epochs}"])
        run_recipe_in(self, recipe, self.folder, resume=True, accelerator=self.accelerator)


def _dry_run(recipe: Recipe, name: str, console: Console) -> dict[str, Any]:
    from rich.table import Table

    from ..training.dry_run import dry_run

    with console.status(f"building {recipe.model}, converting it and running both"):
        figures = dry_run(recipe, name)
    table = Table(title=f"{name}: {recipe.summary}", show_header=False)
    shape = "x".join(map(str, figures.in_shape[:-1]))
    for what, value in (
        ("input", f"{shape}, {figures.in_shape[-1]} steps, {figures.num_classes} classes"),
        ("parameters", f"{figures.parameters:,}"),
        ("size, bits packed", f"{figures.size_mb:.2f} MB"),
        ("SOPs per step, untrained", f"{figures.sops_per_step:,.0f}"),
        ("MACs per step, readout and layers on images", f"{figures.macs_per_step:,.0f}"),
        (f"memory for batches of {recipe.batch_size}, estimate", f"{figures.memory_mb:,.0f} MB"),
        ("largest batch in 24 GB, estimate", f"{figures.largest_batch:,}"),
        ("loss of a synthetic step", f"{figures.loss:.3f}"),
        ("what enters", figures.encoding),
        ("network of integers", figures.network),
        (
            f"same class, matched mode, {figures.agreement.samples} samples",
            f"{figures.agreement.same_class:.0%}",
        ),
    ):
        table.add_row(what, value)
    console.print(table)
    console.print(figures.agreement.table())
    console.print(str(figures.agreement), soft_wrap=True)
    return {**asdict(figures), "agreement": figures.agreement.as_dict()}


def run_recipe_in(output: JsonOutput, recipe: Recipe, out: Path, *, resume: bool, **options: Any) -> None:
    """Train a recipe in a folder, with a progress bar and a line per epoch; ``options`` are of ``train``."""
    from ..training.run import train

    console = output.console()
    try:
        with warnings_told(), _display(recipe, console) as callbacks:
            result = train(recipe, out, resume=resume, **options, **callbacks)
    except KeyboardInterrupt:
        console.print(f"continue with: lava-bsnn resume {out}", soft_wrap=True)
        raise
    from .. import distributed

    if distributed.rank() == 0:
        _report(result, recipe, out, console)
        output.write(asdict(result))


@contextmanager
def _display(recipe: Recipe, console: Console) -> Iterator[dict[str, Any]]:
    """A progress bar over all steps, and a line per epoch."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from ..training.display import told

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    shown = Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # in files it would leave an empty line
    )
    with shown as progress:
        task = progress.add_task("reading data", total=None)

        def data(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description="making recordings")

        def say(text: str) -> None:
            console.print(text, soft_wrap=True)

        def step(now: Step) -> None:
            done = (now.epoch - 1) * now.num_steps + now.step
            text, total = told(now, recipe.epochs), recipe.epochs * now.num_steps
            progress.update(task, completed=done, total=total, description=text)

        def epoch(one: Epoch) -> None:
            flips = "" if one.flip_ratio is None else f"  flips {one.flip_ratio:.2%}"
            held = "test" if one.validation_loss is None else "validation"
            figures = "".join(
                f"  {name} {_percent(accuracy)}" if accuracy is not None else f"  {name} loss {loss:.4f}"
                for name, accuracy, loss in (
                    ("train", one.train_accuracy, one.loss),
                    (held, getattr(one, f"{held}_accuracy"), getattr(one, f"{held}_loss")),
                )
            )
            console.print(
                f"epoch {one.epoch:3d}/{recipe.epochs}  loss {one.loss:.4f}{figures}  "
                f"rate {one.firing_rate:.1%}{flips}  {one.seconds:.1f} s",
                soft_wrap=True,
            )

        yield {"on_data": data, "on_start": say, "on_step": step, "on_epoch": epoch}


def _percent(accuracy: float | None) -> str:
    return "none" if accuracy is None else f"{accuracy:.2%}"


def _report(result: Result, recipe: Recipe, out: Path, console: Console) -> None:
    published = "" if recipe.published is None else f"; published: {recipe.published:.2f}%"
    epochs = f"{result.epochs} epoch{'s' * (result.epochs != 1)}"
    stopped = f", stopped early of {recipe.epochs}" if result.epochs < recipe.epochs else ""
    best = "" if result.best_test_accuracy is None else f"{result.best_test_accuracy:.2%} "
    console.print(
        f"{result.figure} after {epochs}{stopped}, at best {best}(epoch {result.best_epoch}, chosen on the "
        f"{result.chosen_on} set){published}",
        soft_wrap=True,
    )
    if result.saturated:
        console.print(
            f"{result.saturated:.2%} of the input counts were above the largest message and became that"
        )
    if result.skipped:
        console.print(f"bad samples left out: {len(result.skipped)}")
        for problem in result.skipped[:5]:
            console.print(f"  {problem}", soft_wrap=True)
    console.print(
        f"{result.train_seconds:.0f} s of training; checkpoints, log and figure are in {out}", soft_wrap=True
    )
