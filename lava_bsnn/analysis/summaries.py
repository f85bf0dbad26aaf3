"""What :func:`lava_bsnn.analysis.summary` found, as data, table and lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One synapse and what stands behind it.

    Attributes:
        name: of the layer, as exports have it; of a shortcut, that of its layer and ``skip``.
        kind: of the synapse.
        shape: of what leaves it, ``(C, H, W)`` or ``(C,)``.
        parameters: weights, and values of bias, batch norm, modulation and neurons.
        weight_bits: bits per weight.
        neurons: 0 where the layer has none of its own.
        macs: products of one time step if all inputs were active, those of a network without spikes.
        sops: synaptic operations of a sample at the assumed rate; 0 where ``is_mac``.
        is_mac: its input has no spikes, or it is the readout: each step costs ``macs``.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    weight_bits: int
    neurons: int
    macs: float
    sops: float
    is_mac: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """Name, shape, parameters, bits, neurons and MACs per step, for readers."""
        return (
            self.name,
            "x".join(map(str, self.shape)),
            f"{self.parameters:,}",
            str(self.weight_bits),
            f"{self.neurons:,}" if self.neurons else "",
            prefixed(self.macs),
        )


@dataclass(frozen=True, kw_only=True)
class ProfileSummary:
    """What export to a target says.

    Attributes:
        profile: of :func:`netx_export.convert`.
        problems: why it refuses; empty if it does not.
        notes: what it warns of.
    """

    profile: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Outcome of :func:`summary`; sizes in bytes, operations per sample.

    Attributes:
        in_shape: of a sample, without time.
        num_steps: time steps T.
        rate: assumed share of inputs that are active in a step.
        layers: in the order of definition.
        parameters: of all layers, those of neurons included.
        size: packed weights and parameters.
        batch_size: for which memory is told.
        memory: of a training step at that batch size: parameters, gradients, optimizer, and what autograd
            keeps, which is measured. An estimate.
        largest_batch: samples whose training step takes 24 GB, likewise.
        trained: weights and statistics are those of a training; else rounding is not judged.
        profiles: what each target says.
    """

    in_shape: tuple[int, ...]
    num_steps: int
    rate: float
    layers: tuple[LayerSummary, ...]
    parameters: int
    size: int
    batch_size: int
    memory: int
    largest_batch: int
    trained: bool
    profiles: tuple[ProfileSummary, ...]

    @property
    def sops(self) -> float:
        """Synaptic operations per sample at the assumed rate."""
        return sum(layer.sops for layer in self.layers)

    @property
    def macs(self) -> float:
        """Multiply-accumulates per sample, of the layers that compute such."""
        return self.num_steps * sum(layer.macs for layer in self.layers if layer.is_mac)

    def as_dict(self) -> dict[str, Any]:
        """Plain data: the attributes, ``sops``, ``macs`` and ``neurons``."""
        neurons = sum(layer.neurons for layer in self.layers)
        return {**asdict(self), "neurons": neurons, "sops": self.sops, "macs": self.macs}

    def table(self) -> Table:
        """Table for terminals and notebooks: a line per layer, and totals."""
        from rich.table import Table

        table = Table(box=None, show_footer=True, pad_edge=False)
        table.add_column("layer", footer="all", no_wrap=True)
        table.add_column("shape", no_wrap=True)
        totals = [
            f"{self.parameters:,}",
            "",
            f"{sum(layer.neurons for layer in self.layers):,}",
            prefixed(sum(layer.macs for layer in self.layers)),
            prefixed(self.sops),
        ]
        headings = ("parameters", "bits", "neurons", "MACs/step", "SOPs/sample")
        for heading, total in zip(headings, totals, strict=True):
            table.add_column(heading, justify="right", footer=total, no_wrap=True)
        for one in self.layers:
            table.add_row(*one.cells, "MACs" if one.is_mac else prefixed(one.sops))
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        yield self.table()
        for line in self.lines():
            yield Text(line)

    def lines(self) -> list[str]:
        """Totals, memory, and what each profile says, a line each."""
        shape = "x".join(map(str, self.in_shape))
        lines = [
            f"input {shape}, {self.num_steps} steps; SOPs if {self.rate:.0%} of inputs are active per step",
            f"{prefixed(self.sops)} SOPs and {prefixed(self.macs)} MACs per sample, "
            f"{self.size / 1e6:.2f} MB with bits packed",
            f"training at batch size {self.batch_size} takes {self.memory / 1e6:,.0f} MB, 24 GB hold "
            f"{self.largest_batch:,} samples (estimates)",
        ]
        if not self.trained:
            lines.append("fresh weights: what the profiles say is of layers and sums, not of rounding")
        for one in self.profiles:
            count = len(one.problems)
            said = f"refused, {count} reason{'s' * (count != 1)}" if count else "can be exported"
            lines.append(f"profile {one.profile}: {said}")
            lines += [f"  {text}" for text in _grouped(one.problems)]
            lines += [f"  note: {text}" for text in _grouped(one.notes)]
        return lines


def _grouped(problems: Sequence[str]) -> list[str]:
    """Problems of several layers in the same words as one line with the names of the layers."""
    layers: dict[str, list[str]] = {}
    for problem in problems:
        layer, colon, text = problem.partition(": ")
        layers.setdefault(text if colon else problem, []).append(layer if colon else "")
    lines = []
    for text, names in layers.items():
        names = [one if count == 1 else f"{one} ({count} of them)" for one, count in Counter(names).items()]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:3])}{more}: {text}" if names[0] else text)
    return lines


def prefixed(value: float) -> str:
    """A number to three digits with k, M, G or T."""
    for factor, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.3g}"
