"""Commands about networks and their files."""

from __future__ import annotations

import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ..demo import DemoConfig, run_demo
from ..errors import OptionError
from .output import Flag, HowToRead, JsonOutput

if TYPE_CHECKING:
    import numpy as np

    from netx_export import FixedPointNetwork


@dataclass(frozen=True, kw_only=True)
class Demo(DemoConfig, JsonOutput):
    """Train on real digits, export, run on Lava, compare all spikes.

    Takes about a minute.

    Example: lava-bsnn demo --out runs/demo --json demo.json
    """

    def __call__(self) -> None:
        self.check_json()
        self.write(asdict(run_demo(self, self.console())))


@dataclass(frozen=True, kw_only=True)
class Inspect(HowToRead):
    """Show the layers of a NetX file, SLAYER's too, or a NIR graph.

    Example: lava-bsnn inspect runs/demo/demo.net
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The .net or .nir file."""

    def __call__(self) -> None:
        found = self.describe(self.file)
        print(found.net)
        for note in found.notes:
            print(f"note: {note}")
        origin = {"lava-dl": "a file of lava-dl", "NIR": "a NIR graph"}.get(
            found.origin, f"schema {found.schema}"
        )
        digest = "its digest is right" if found.digest else "it carries no digest: damage may go unnoticed"
        print(f"\n{self.file}: {found.size:,} bytes, profile {found.profile}, {origin}; {digest}")
        coding = found.net.input.coded
        if coding is not None:
            steps = f" over {coding.steps} steps" if coding.steps else ""
            print(f"takes {coding}{steps}")
        if found.net.classes:
            print(f"classes: {', '.join(found.net.classes)}")


@dataclass(frozen=True, kw_only=True)
class Verify(HowToRead, JsonOutput):
    """Run the same inputs on every backend, compare every spike.

    Exits with 1 on any mismatch, with 3 if a run fails.

    Example: lava-bsnn verify runs/demo/demo.net --samples 5 --layers
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The .net or .nir file."""
    samples: int = 5
    """Samples, streamed back to back."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Time steps per sample; by default the network's own, else 8."""
    backends: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """lava, lava-fused, stock, loihi2; by default all that can run. The reference is the simulator."""
    layers: Flag = False
    """Print mismatches of each layer."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Run whose test samples enter; else random ones."""
    seed: int = 0
    """Of the random inputs."""
    timeout: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Seconds that each backend may take."""

    def __call__(self) -> int:
        from netx_export.verify import verify

        self.check_json()
        console, found = self.console(), self.describe(self.file)
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        with console.status("reading samples") as status, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the file, which was told
            data = None if self.data is None else self._samples_of(self.data, found.net)
            status.update("running on the simulator")
            result = verify(
                self.file if found.origin == "lava-dl" else found.net,
                input_shape=self.shape(),
                num_samples=self.samples,
                num_steps=self.steps,
                backends=self.backends or None,
                seed=self.seed,
                timeout=self.timeout,
                data=data,
                progress=lambda name: status.update(f"running on {name}"),
            )
        console.print(result.table(layers=self.layers))
        if self.data is not None:
            console.print(f"inputs: test samples of {self.data}", soft_wrap=True)
        for name, outcome in result.backends.items():
            if outcome.first:
                console.print(f"{name}: first difference from the simulator: {outcome.first}")
        self.write(result.as_dict())
        if not any(outcome.ran or outcome.failed for outcome in result.backends.values()):
            raise OptionError("verify: no backend could run this network, so nothing was compared")
        if result.mismatches:
            return 1
        return 0 if result.equal else 3

    def _samples_of(self, folder: Path, net: FixedPointNetwork) -> np.ndarray:
        """The first test samples of a run, as integers."""
        from ..training.recipe import run_recipe
        from .samples import of_recipe

        if self.samples < 1:
            raise OptionError(f"verify: samples={self.samples} is not allowed; use 1 or more")
        recipe = run_recipe(folder)
        samples, _ = of_recipe(recipe, "test", self.samples)
        timed = samples.ndim == len(net.input.shape) + 2
        return net.encode(samples, self.steps or (None if timed else net.num_steps or recipe.num_steps))
