"""The command of the networks that ship with the package."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import OptionError, check_option
from ..files import atomic_path, check_writable
from .output import JsonOutput

if TYPE_CHECKING:
    from rich.console import Console

    from netx_export.zoo.kit import Check

_MAKER = "python tests/benchmarks/make_zoo.py"


@dataclass(frozen=True, kw_only=True)
class Zoo(JsonOutput):
    """List, write or run trained networks that come with lava-bsnn.

    --run takes their recorded samples through a backend and compares every layer with the record. It exits
    with 1 on any mismatch, with 3 if a run fails. The report of --json FILE is written after every run, so
    that it is there whatever happens.

    Example: lava-bsnn zoo residual --run lava
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None
    """One of the list; by default all."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the network to this .net file."""
    run: Annotated[str | None, tyro.conf.arg(metavar="BACKEND")] = None
    """simulator, lava, lava-fused, stock, or loihi2."""
    samples: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Run so many of the recorded samples; by default all."""
    host: Annotated[str | None, tyro.conf.arg(metavar="slurm|ethernet")] = None
    """Kind of host of the board, for loihi2; by default what the environment says."""
    address: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """Of an ethernet host."""
    partition: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """Of a slurm host."""
    board: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """Of a slurm host."""

    def __call__(self) -> int:
        self._check()
        from netx_export import zoo

        if self.name is not None:
            check_option("zoo", "name", self.name, zoo.names())
        console = self.console()
        if self.out is not None:
            golden = zoo.load(str(self.name))
            with atomic_path(self.out) as temporary:
                shutil.copyfile(golden.path, temporary)
            console.print(f"{self.name}: {self.out}", soft_wrap=True, markup=False)
        if self.run is not None:
            return self._run(console)
        if self.out is None or self.json is not None:
            self._list(console)
        return 0

    @property
    def _board(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in ("host", "address", "partition", "board")}
        return {name: value for name, value in given.items() if value is not None}

    def _check(self) -> None:
        """Refuse what cannot go together, before the work."""
        self.check_json()
        if self.out is not None:
            if self.name is None:
                raise OptionError("zoo: --out takes one network; give its name in front")
            check_writable(self.out)
        for name, value in (("samples", self.samples), *self._board.items()):
            if value is not None and self.run is None:
                raise OptionError(f"zoo: --{name} is for runs only; add --run BACKEND")

    def _list(self, console: Console) -> None:
        from rich.table import Table

        from netx_export import zoo

        table = Table("name", "what", "profile", "layers", "steps", "accuracy", "bytes", box=None)
        rows = []
        for name in [self.name] if self.name else zoo.names():
            golden = zoo.load(name)
            size = golden.path.stat().st_size
            layers, steps = len(golden.net.layers), golden.data.shape[-1]
            row = {
                "name": name,
                "profile": golden.net.profile,
                "layers": layers,
                "steps": steps,
                "bytes": size,
            }
            rows.append({**golden.about, **row, "file": str(golden.path), "samples": len(golden.data)})
            table.add_row(
                name,
                golden.about["summary"],
                golden.net.profile,
                str(layers),
                str(steps),
                f"{golden.accuracy:.2%}",
                f"{size:,}",
            )
        console.print(table)
        console.print("accuracy: of the integers on the whole test set; made by " + _MAKER, style="dim")
        console.print("run one: lava-bsnn zoo NAME --run lava", style="dim")
        self.write(rows)

    def _run(self, console: Console) -> int:
        from netx_export import zoo
        from netx_export.backends import BACKENDS
        from netx_export.zoo.kit import check, report

        check_option("zoo", "backend", self.run, BACKENDS)
        assert self.run is not None
        done: list[Check] = []

        def keep(so_far: Check) -> None:
            if self.json not in (None, "-"):
                self.write(report(str(self.run), [*done, so_far], **self._board))

        with console.status("loading Lava") as status:
            for name in [self.name] if self.name else zoo.names():
                golden = zoo.load(name)
                if self.samples is not None:
                    golden = golden.first(self.samples)
                done.append(
                    check(
                        golden,
                        self.run,
                        progress=lambda text: status.update(f"{text} on {self.run}"),
                        on_layer=keep,
                        **self._board,
                    )
                )
                console.print(done[-1].line, soft_wrap=True, markup=False)
        self.write(report(self.run, done, **self._board))
        if any(one.mismatches for one in done):
            return 1
        return 3 if any(one.failed for one in done) else 0
