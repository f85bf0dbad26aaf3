"""The command that says whether a network fits a chip, and what it costs there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import OptionError
from ..files import atomic_path, check_writable
from .output import Flag, HowToRead, JsonOutput
from .samples import Given, of_data_set, of_file, of_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from netx_export import FixedPointNetwork
    from netx_export.placement import Chip
    from netx_export.verify.agree import Agreement


@dataclass(frozen=True, kw_only=True)
class Report(HowToRead, JsonOutput):
    """Say whether a network fits a chip, and what it costs there.

    Without --data, --inputs or --run, inputs are random, and so are rates and costs. Exits with 1 if
    simulators or backends differ.

    Example: lava-bsnn report runs/demo/demo.net --data digits --html report.html
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The .net (SLAYER's, too) or .nir file."""
    chip: str = "loihi2"
    """Chip, board, or .toml file of facts."""
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Run test samples of this data set."""
    inputs: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Run samples of this .npy file."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Test samples of a run, and its model."""
    samples: int = 32
    """How many."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Time steps per sample; by default the network's own, else 8."""
    seed: int = 0
    """Of random inputs."""
    verify: Flag = False
    """Compare all backends on random inputs."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write one page that needs nothing else."""

    def __call__(self) -> int:
        self._check()
        from netx_export.reports import html, lines_of, report
        from netx_export.verify import verify

        found, console = self.describe(self.file), self.console()
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        net = found.net
        with console.status("reading samples") as status:

            def tell(text: str) -> None:
                status.update(text)

            steps = self._steps(net)
            data, labels, source, agreement = self._data(net, steps, tell)
            verified = None
            if self.verify:
                verified = verify(
                    self.file if found.origin == "lava-dl" else net,
                    input_shape=self.shape(),
                    num_samples=2,
                    num_steps=steps,
                    seed=self.seed,
                    progress=tell,
                )
            result = report(
                net,
                data,
                labels,
                chip=_chip(self.chip),
                name=self.file.name,
                source=source,
                verification=verified,
                agreement=agreement,
                progress=tell,
            )
            if self.html is not None:
                with atomic_path(self.html) as temporary:
                    temporary.write_text(html(result), encoding="utf-8")
        for line in lines_of(result):
            console.print(line, soft_wrap=True)
        if self.html is not None:
            console.print(f"page: {self.html}", soft_wrap=True, markup=False)
        self.write({**result.as_dict(), "file": str(self.file)})
        return 1 if result.mismatches else 0

    def _check(self) -> None:
        """Refuse what cannot go together, before the work."""
        self.check_json()
        if self.html is not None:
            check_writable(self.html)
        given = [f"--{name}" for name in ("data", "inputs", "run") if getattr(self, name) is not None]
        if len(given) > 1:
            raise OptionError(f"report: {' and '.join(given)} each bring samples; use one of them")
        for name, least in (("samples", 1), ("steps", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise OptionError(f"report: {name}={value} is not allowed; use {least} or more")

    def _steps(self, net: FixedPointNetwork) -> int:
        from netx_export.verify.backends import default_steps

        coded = net.input.coded
        return self.steps or (coded.steps if coded else 0) or default_steps(net)

    def _data(
        self, net: FixedPointNetwork, steps: int, tell: Callable[[str], None]
    ) -> tuple[Any, Any, str, Agreement | None]:
        """Integers that enter, labels, what they are, and how the model agrees."""
        from netx_export import agreement
        from netx_export.verify import random_data

        agreed = None
        if self.run is not None:
            from ..training.run import load_run

            recipe, model = load_run(self.run)
            samples, labels = of_recipe(recipe, "test", self.samples)
            given = Given(samples=samples, labels=labels, source=f"test samples of {recipe.dataset}")
            tell("comparing the model with its integers")
            agreed = agreement(model, net, samples, labels)
        elif self.data is not None:
            given = of_data_set(net, self.data, self.samples, steps)
        elif self.inputs is not None:
            given = of_file(self.inputs, self.samples)
        else:
            source = f"random inputs (seed {self.seed}), which tell nothing of real data"
            return random_data(net, self.samples, steps, self.seed), None, source, None
        timed = given.samples.ndim == len(net.input.shape) + 2
        return net.encode(given.samples, None if timed else steps), given.labels, given.source, agreed


def _chip(name: str) -> str | Chip:
    if not name.endswith(".toml"):
        return name
    from netx_export.placement import chip_from_toml

    return chip_from_toml(name)
