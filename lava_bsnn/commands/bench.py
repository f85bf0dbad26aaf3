"""The command that measures speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import OptionError, check_option
from .output import Flag, JsonOutput

if TYPE_CHECKING:
    from ..bench import Row


@dataclass(frozen=True, kw_only=True)
class Bench(JsonOutput):
    """Measure training, inference and memory beside other libraries.

    All run in the same process, but for memory. Rows are medians of interleaved rounds; a ratio above 1 says
    that ours is faster, or smaller. Leave the machine alone meanwhile (about 15 minutes on two cores).
    SpikingJelly takes part where it is installed: pip install 'lava-bsnn[peers]'.

    Example: lava-bsnn bench --quick
    """

    quick: Flag = False
    """Small networks and few rounds: to see that it runs."""
    only: Annotated[str | None, tyro.conf.arg(metavar="PART")] = None
    """training, inference, or memory."""
    rounds: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """By default 9; 3 with --quick."""
    device: Annotated[str, tyro.conf.arg(metavar="cpu|cuda")] = "cpu"
    """Where training is measured."""

    def __call__(self) -> int:
        self.check_json()
        import torch

        from .. import bench

        check_option("bench", "device", self.device, ("cpu", "cuda"))
        if self.only is not None:
            check_option("bench", "only", self.only, bench.PARTS)
        if self.rounds is not None and self.rounds < 1:
            raise OptionError(f"bench: rounds={self.rounds} is not allowed; use 1 or more")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise OptionError("bench: device='cuda' is not there; use cpu")
        console = self.console()
        parts = bench.PARTS if self.only is None else (self.only,)
        if self.device == "cuda":
            parts = ("training",)
        about = bench.machine(self.device)
        console.print(
            f"{about['processors']} processors, {about['threads']} threads, load {about['load']}, "
            f"torch {about['torch']}"
        )
        rows: list[Row] = []

        def show(row: Row) -> None:
            rows.append(row)
            console.print(_line(row), soft_wrap=True, markup=False, highlight=False)

        console.print(_HEAD, soft_wrap=True, markup=False, highlight=False)
        with console.status("loading") as status:
            bench.run(
                parts,
                quick=self.quick,
                rounds=self.rounds,
                device=self.device,
                on_row=show,
                on_work=lambda text: status.update(text),
            )
        self.write(self._report(rows, about))
        return 0

    def _report(self, rows: list[Row], about: dict[str, Any]) -> dict[str, Any]:
        return {"machine": about, "rows": [row.as_dict() for row in rows]}


_HEAD = f"{'':8} {'goal':>8}  {'ours':>10} {'peer':>10}"


def _line(row: Row) -> str:
    if row.ratio is None:
        return f"{'-':>8} {row.goal:8.2f}  {'':>10} {'':>10}  {row.name}: {row.peer_name}: {row.note}"
    mark = "met" if row.met else "not met"
    return (
        f"{row.ratio:7.2f}x {row.goal:7.2f}x  {row.ours:10.4g} {row.peer:10.4g}  {row.name}, "
        f"against {row.peer_name}: {mark}"
    )
