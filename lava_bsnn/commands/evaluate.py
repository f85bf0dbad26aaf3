"""The command that tests a trained run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .output import Flag, JsonOutput


@dataclass(frozen=True, kw_only=True)
class Eval(JsonOutput):
    """Test a trained run again.

    Example: lava-bsnn eval runs/events --json -
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The --out of lava-bsnn train."""
    best: Flag = False
    """Take the weights of the best epoch, not those of the last."""

    def __call__(self) -> None:
        from ..training.recipe import run_recipe

        self.check_json()
        run_recipe(self.folder)  # raises before slow imports
        from ..training.run import evaluate_run
        from ..training.run_folder import BEST, LAST

        console = self.console()
        with console.status("testing"):
            result = evaluate_run(self.folder, BEST if self.best else LAST)
        console.print(f"test accuracy {result.test_accuracy:.2%} ({result.checkpoint})")
        self.write(asdict(result))
