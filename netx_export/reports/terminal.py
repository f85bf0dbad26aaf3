"""The report for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .content import Report
from .markup import visible
from .parts import microjoule, number, rough

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def lines_of(report: Report) -> Iterator[Text | Table]:
    """Verdict, a table of layers, totals; no text in them is markup."""
    from rich.text import Text

    for part in _parts(report):
        yield Text(visible(part)) if isinstance(part, str) else part


def _parts(report: Report) -> Iterator[str | Table]:
    yield f"{report.name}: {report.verdict}"
    yield from report.placement.problems[1:]
    yield _table(report)
    cost = report.cost
    yield f"on {report.source}: {cost.samples:,} samples of {cost.steps} steps, in the simulator"
    told = [] if cost.accuracy is None else [f"accuracy {cost.accuracy:.2%}"]
    told.append(f"{number(cost.sops)} SOPs per sample")
    if cost.core_messages is not None:
        told.append(f"{number(cost.core_messages)} messages between cores and from outside")
    yield ", ".join(told)
    speed = "" if cost.steps_per_second is None else f", {rough(cost.steps_per_second)} steps per second"
    yield f"estimates, from figures of Loihi 1: {microjoule(cost.energy)} µJ per sample{speed}"
    yield (
        f"twins: {number(cost.ann.macs)} MACs as a dense network, {number(cost.full_precision.sops)} ACs and "
        f"{number(cost.full_precision.macs)} MACs as a spiking one of full precision"
    )
    yield (
        f"compared with one step at a time in Lava's time: {report.stepped.compared:,} values, "
        f"{report.stepped.mismatches:,} mismatches"
    )
    if report.verification is not None:
        yield report.verification.table()
    if report.agreement is not None:
        yield report.agreement.table()
        yield str(report.agreement)


def _table(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("layer", box=None)
    for heading in ("neurons", "synapses", "bits", "cores", "rate", "SOPs", "to other cores"):
        table.add_column(heading, justify="right")
    for row, one in zip(report.layers, report.cost.layers[1:], strict=True):
        between = one.core_messages
        table.add_row(
            Text(visible(row.name)),
            f"{row.neurons:,}",
            f"{row.synapses:,}",
            str(row.weight_bits or ""),
            str(row.cores),
            "" if report.net[row.name].neuron.reads_out else f"{one.rate:.2%}",
            number(one.sops),
            "" if between is None else number(between),
        )
    return table
