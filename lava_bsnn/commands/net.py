"""Commands about networks and their files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..demo import DemoConfig, run_demo
from .output import JsonOutput


@dataclass(frozen=True, kw_only=True)
class Demo(DemoConfig, JsonOutput):
    """Train a binary spiking network on real digits, export it, run it on Lava, compare.

    Takes about a minute. Example: lava-bsnn demo --out runs/demo --json demo.json
    """

    def __call__(self) -> None:
        self.check_json()
        self.write(asdict(run_demo(self, self.console())))


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show the layers of a NetX file. Example: lava-bsnn inspect runs/demo/demo.net"""

    file: Annotated[Path, tyro.conf.Positional]
    """The .net file."""

    def __call__(self) -> None:
        from netx_export import describe

        found = describe(self.file)
        print(found.net)
        origin = "a file of lava-dl" if found.schema is None else f"schema {found.schema}"
        digest = "its digest is right" if found.digest else "it carries no digest: damage may go unnoticed"
        print(f"\n{self.file}: {found.size:,} bytes, profile {found.profile}, {origin}; {digest}")
