"""Sections of the page."""

from __future__ import annotations

from collections.abc import Iterator

from ..costs import LayerCost
from .content import Report
from .markup import Cell, Markup, bar, element, table, text


def number(value: float) -> str:
    """A number for readers: whole ones in full, others to three digits."""
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def rough(value: float) -> str:
    """An estimate to two digits."""
    return number(float(f"{value:.2g}"))


def microjoule(joule: float) -> str:
    """An energy to three digits, in microjoule."""
    return number(float(f"{1e6 * joule:.3g}"))


def head(report: Report) -> Iterator[Markup]:
    """What it is, whether it fits, and the totals."""
    placed, cost = report.placement, report.cost
    yield element("h1", report.name)
    fits = "verdict" if placed.fits else "verdict not"
    yield element("p", report.verdict, class_=fits, id="verdict")
    for problem in placed.problems[1:]:
        yield element("p", problem, class_="warn")
    facts: list[tuple[str, str]] = []
    if cost.accuracy is not None:
        facts.append(("accuracy of the integers", f"{cost.accuracy:.2%}"))
    facts += [
        ("SOPs per sample", number(cost.sops)),
        ("energy per sample, estimate", f"{microjoule(cost.energy)} µJ"),
    ]
    if cost.steps_per_second is not None:
        facts.append(("steps per second, estimate", rough(cost.steps_per_second)))
    if cost.core_messages is not None:
        facts.append(("messages between cores and from outside, per sample", number(cost.core_messages)))
    facts.append(("weights", f"{report.net.summary().weight_bits / 8:,.0f} bytes"))
    yield element("dl", *(element("div", element("dt", a), element("dd", b)) for a, b in facts))
    yield element(
        "p",
        f"Measured on {report.source}: {cost.samples:,} samples of {cost.steps} steps, in the simulator. "
        "Nothing here ran on hardware.",
        class_="soft",
    )


def layers(report: Report) -> Iterator[Markup]:
    """Layer table, with the bits of weights."""
    most = max([row.memory_bits for row in report.layers] + [1])
    rows: list[list[Cell]] = [
        [
            row.name,
            row.synapse,
            row.neuron,
            "x".join(map(str, row.shape)),
            f"{row.neurons:,}",
            f"{row.synapses:,}",
            f"{row.weights:,}",
            str(row.weight_bits or ""),
            bar(f"{row.memory_bits:,}", row.memory_bits / most),
            str(row.cores),
        ]
        for row in report.layers
    ]
    header = ("layer", "synapse", "neuron", "shape", "neurons", "synapses", "weights", "bits", "memory, bits")
    yield element("h2", "Layers and weight bits")
    yield table("layers", (*header, "cores"), rows)


def activity(report: Report) -> Iterator[Markup]:
    """Rates, operations and traffic by layer."""
    costs = report.cost.layers
    sops = max([one.sops for one in costs] + [1.0])
    traffic = max([one.core_messages or 0.0 for one in costs] + [1.0])
    silent = {layer.name for layer in report.net.layers if layer.neuron.reads_out}
    rows = [_activity_row(one, sops, traffic, one.name in silent) for one in costs]
    header = ("layer", "rate", "messages", "SOPs", "to other cores", "messages at each step")
    yield element("h2", "Rates, operations and traffic")
    yield element(
        "p",
        "Means per sample. A message is a spike or a graded value of one neuron at one step; a SOP "
        "(synaptic operation) is one message at one synapse.",
        class_="soft",
    )
    yield table("rates, operations and traffic", header, rows)


def _activity_row(one: LayerCost, sops: float, traffic: float, reads_out: bool) -> list[Cell]:
    between = one.core_messages
    return [
        one.name,
        "reads out" if reads_out else bar(f"{one.rate:.2%}", one.rate),
        number(one.messages),
        bar(number(one.sops), one.sops / sops),
        "unknown" if between is None else bar(number(between), between / traffic),
        _sparkline(one.messages_per_step),
    ]


def _sparkline(values: tuple[float, ...]) -> Markup:
    """Columns of up to 64 steps."""
    values = values[:64]
    top, width = max([*values, 1e-9]), 96 / len(values)
    columns = [
        f"M{i * width:.1f} 20h{width * 0.8:.1f}v-{18 * value / top:.1f}h-{width * 0.8:.1f}z"
        for i, value in enumerate(values)
        if value
    ]
    path = element("path", d="".join(columns))
    label = f"from {number(values[0])} at the first step to {number(values[-1])} at the last shown"
    return element(
        "svg", path, viewBox="0 0 96 20", width=96, height=20, class_="spark", role="img", aria_label=label
    )


def picker(report: Report) -> Iterator[Markup]:
    """Raster and membrane traces; the script fills them."""
    yield element("h2", "Spikes and membranes")
    yield element(
        "div",
        element("label", "sample", element("select", id="sample")),
        element("label", "layer", element("select", id="layer")),
        element("button", "previous sample", type="button", id="previous"),
        element("button", "next sample", type="button", id="next"),
        class_="picker",
    )
    yield element("output", id="picked", aria_live="polite")
    for name in ("raster", "membrane"):
        yield element("svg", id=name, class_="plot", role="img", aria_label=name)
    if report.cost.steps > report.shown.steps:
        yield element("p", f"The first {report.shown.steps} of {report.cost.steps} steps.", class_="soft")
    yield element("noscript", element("p", "Rasters and traces need JavaScript, which is in this page."))


def agreement(report: Report) -> Iterator[Markup]:
    """Model and integers."""
    yield element("h2", "Floating point and integers")
    found = report.agreement
    if found is None:
        yield element(
            "p",
            "Unknown: the file holds integers only. With the folder of its training run, ",
            element("code", "lava-bsnn report FILE --run DIR"),
            " compares the model with them.",
        )
        return
    for warning in found.warnings:
        yield element("p", f"Warning: {warning}", class_="warn")
    yield element("p", str(found))
    rows = [
        (
            one.name,
            f"{one.float_rate:.2%}",
            f"{one.integer_rate:.2%}",
            f"{one.equal:.2%}",
            f"{one.silent:.2%}",
        )
        for one in found.layers
    ]
    header = ("layer", "rate, model", "rate, integers", "equal neuron-steps", "silent neurons")
    yield table("floating point and integers", header, rows)


def parity(report: Report) -> Iterator[Markup]:
    """What was compared with what, and what was not."""
    yield element("h2", "Parity")
    stepped = report.stepped
    rows: list[list[Cell]] = [
        [
            "one step at a time, in Lava's time",
            f"{stepped.compared:,}",
            f"{stepped.mismatches:,}",
            text("samples back to back with resets; messages and potentials of all layers"),
        ]
    ]
    if report.verification is not None:
        for name, outcome in report.verification.backends.items():
            what = [
                f"{value:,}" if outcome.ran else ""
                for value in (outcome.compared or 0, outcome.mismatches or 0)
            ]
            rows.append([f"backend {name}", *what, text("random inputs" if outcome.ran else outcome.why_not)])
    yield table("parity", ("batched simulator against", "values", "mismatches", text("how")), rows)
    if report.mismatches:
        yield element("p", f"{report.mismatches:,} values differ.", class_="warn")
    if report.verification is None:
        yield element(
            "p",
            "Not compared here: Lava's processes, unmodified lava-dl, Loihi 2. ",
            element("code", "lava-bsnn verify FILE"),
            " compares what of them is installed, as does --verify of this report.",
        )


def twins(report: Report) -> Iterator[Markup]:
    """Other networks of the same shape, and what estimates are made of."""
    cost = report.cost
    rows = [
        ("this network", f"{number(cost.sops)} SOPs", microjoule(cost.energy), "Loihi 1, see below"),
        (
            "full-precision spiking twin",
            f"{number(cost.full_precision.sops)} ACs, {number(cost.full_precision.macs)} MACs",
            microjoule(cost.full_precision.joule),
            cost.full_precision.constants.name,
        ),
        (
            "dense twin (ANN)",
            f"{number(cost.ann.macs)} MACs",
            microjoule(cost.ann.joule),
            cost.ann.constants.name,
        ),
    ]
    yield element("h2", "Estimates and twins")
    yield table("twins", ("network", "operations per sample", "energy, µJ, estimate", "constants"), rows)
    yield element(
        "p",
        "The twins count arithmetic alone, in another technology; the first line counts a chip's operations "
        "with their memory. Compare operations, not these energies. Power at rest and input and output are "
        "in none of them.",
        class_="soft",
    )
    header = ("constant", "value", "certainty", "source")
    lines: list[list[Cell]] = [
        [one.what, f"{one.value:g} {one.unit}".strip(), one.certainty, text(one.source)]
        for one in cost.constants
    ]
    yield element(
        "details", element("summary", "Constants of the estimates"), table("constants", header, lines)
    )
