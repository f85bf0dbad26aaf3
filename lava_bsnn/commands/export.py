"""Commands that freeze a trained run to integers and hand it on."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import DataError, OptionError
from .output import Flag, JsonOutput, Semantics, TimeStep, warnings_told
from .samples import of_recipe

if TYPE_CHECKING:
    from rich.console import Console

    from netx_export import FixedPointNetwork
    from netx_export.lowering.resolution import LayerReport
    from netx_export.verify.agree import Agreement

    from ..models import SpikingNetwork
    from ..training import Epoch, Recipe


@dataclass(frozen=True, kw_only=True)
class Export(JsonOutput):
    """Freeze a trained run to integers and write a NetX file.

    Example: lava-bsnn export runs/events --profile extended --out events.net
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The --out of lava-bsnn train."""
    out: Path
    """The .net file to write."""
    profile: Annotated[str, tyro.conf.arg(metavar="NAME")] = "extended"
    """stock or loihi (unmodified Lava; the latter has skips), extended (ours, all), or your own."""
    best: Flag = False
    """Take the weights of the best epoch."""
    calibration: int = 0
    """Training samples over which gates of AGMM become constants."""
    finetune: int = 0
    """Epochs in the profile's integers first."""
    ignore_membrane: Flag = False
    """Accept 24-bit membranes where fewer were trained."""
    single_threshold: Flag = False
    """Of LM-HT neurons, over L times the steps."""
    test: int = 500
    """Test samples to compare on; 0 for none."""
    figure: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw rates and equal spikes: .png, .svg or .pdf."""

    def __call__(self) -> None:
        from ..files import check_writable
        from ..training.recipe import run_recipe

        self.check_json()
        run_recipe(self.folder)  # raises before slow imports
        check_writable(self.out)
        if self.figure is not None:
            check_writable(self.figure)
            if not self.test:
                raise OptionError("export: figure needs test samples; leave test=0 out")
        for name in ("calibration", "finetune", "test"):
            if getattr(self, name) < 0:
                raise OptionError(f"export: {name}={getattr(self, name)} is not allowed; use 0 or more")
        self.write(_export(self, self.console()))


@dataclass(frozen=True, kw_only=True)
class Nir(JsonOutput):
    """Write a NetX file as a NIR graph, or the reverse.

    Example: lava-bsnn nir demo.net --out demo.nir
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The .net or .nir file."""
    out: Path
    """The file to write: a .nir file of a .net file, a .net file of a .nir file."""
    semantics: Semantics = None
    """Who reads or wrote the graph: nir, snntorch, norse, spikingjelly, or sinabs, which only writes."""
    dt: TimeStep = None
    """Seconds per time step; by default what the graph says, or its library assumes."""

    def __call__(self) -> None:
        import nir

        from netx_export import describe, to_nir, write

        from ..files import atomic_path

        self.check_json()
        with warnings_told():
            found = describe(self.file, dt=self.dt, semantics=self.semantics)
        if found.origin == "NIR":
            write(found.net, self.out)
            what, count = "layers", len(found.net.layers)
        else:
            graph = to_nir(found.net, dt=self.dt, semantics=self.semantics or "nir")
            with atomic_path(self.out) as temporary:
                nir.write(temporary, graph)
            what, count = "nodes", len(graph.nodes)
        self.console().print(f"{self.out}: {count} {what}", soft_wrap=True)
        self.write({what: count, "file": str(self.out)})


def _finetune(recipe: Recipe, model: SpikingNetwork, options: Export, console: Console) -> None:
    """Train on in the integers of the profile, or in our own for targets that have none in training."""
    from ..training import finetune
    from ..training.build import build_loss
    from ..training.run_data import load_data
    from ..training.targets import TARGETS

    splits = load_data(recipe)

    def tell(epoch: Epoch) -> None:
        accuracy = epoch.test_accuracy
        figure = f"loss {epoch.test_loss:.4f}" if accuracy is None else f"{accuracy:.2%}"
        console.print(f"fine-tuning, epoch {epoch.epoch}/{options.finetune}: test {figure}")

    more: dict[str, Any] = {} if recipe.targets == "classes" else {"loss": build_loss(recipe, model)}
    finetune(
        model,
        splits.train,
        splits.test,
        epochs=options.finetune,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        target=options.profile if options.profile in TARGETS else TARGETS[0],
        progress=False,
        on_epoch=tell,
        **more,
    )
    model.eval()


def _export(options: Export, console: Console) -> dict[str, Any]:
    import netx_export

    from ..training.run import load_run
    from ..training.run_folder import BEST, LAST

    with console.status("reading the run"):
        recipe, model = load_run(options.folder, BEST if options.best else LAST)
        _remember(recipe, model)
    if options.finetune:
        _finetune(recipe, model, options, console)
    reports: list[LayerReport] = []
    with console.status("converting"):
        net = netx_export.convert(
            model,
            options.profile,
            of_recipe(recipe, "train", options.calibration) if options.calibration else None,
            single_threshold=options.single_threshold,
            ignore_membrane=options.ignore_membrane,
            report=reports.append,
        )
        netx_export.write(net, options.out)
    agreed = _compare(recipe, model, net, options, console) if options.test else None
    for text in [] if agreed is None else agreed.warnings:
        console.print(f"WARNING: {text}", style="bold red", soft_wrap=True, markup=False)
    console.print(str(net), soft_wrap=True, markup=False)
    size = options.out.stat().st_size
    summary = net.summary()
    console.print(
        f"\n{options.out}: {size:,} bytes, profile {net.profile}, {summary.weights:,} weights in "
        f"{summary.weight_bits:,} bits, {summary.neurons:,} neurons; "
        f"rounding errors: {_errors(net, reports)}",
        soft_wrap=True,
    )
    figures: dict[str, Any] = {
        "file": str(options.out),
        "bytes": size,
        "profile": net.profile,
        "digest": net.digest(),
        **asdict(summary),
        "rounding_errors": {report.name: report.error for report in reports},
    }
    if agreed is not None:
        _show(agreed, options, console)
        figures |= {
            "test_samples": agreed.samples,
            "float_accuracy": agreed.float_accuracy,
            "fixed_accuracy": agreed.integer_accuracy,
            "same_class": agreed.same_class,
            "agreement": agreed.as_dict(),
        }
    return figures


def _remember(recipe: Recipe, model: SpikingNetwork) -> None:
    """Give the model's Input some training samples, by which rounding is chosen; checkpoints hold none."""
    with contextlib.suppress(DataError, OptionError):  # of a user's own data, whose code may be gone
        model.blocks[0].samples = of_recipe(recipe, "train", 16)[0]


def _show(agreed: Agreement, options: Export, console: Console) -> None:
    """Print the layers, and draw them where asked for."""
    console.print(agreed.table(titled=False))
    console.print(str(agreed), soft_wrap=True)
    if options.figure is None:
        return
    import matplotlib.pyplot as plt

    from ..analysis import style
    from ..files import atomic_path

    style()
    figure, axes = plt.subplots()
    agreed.plot(axes)
    with atomic_path(options.figure) as temporary:
        figure.savefig(temporary, format=options.figure.suffix.lstrip(".") or "png")
    plt.close(figure)
    console.print(f"figure: {options.figure}", soft_wrap=True)


def _errors(net: FixedPointNetwork, reports: list[LayerReport]) -> str:
    readouts = [layer.name for layer in net.layers if layer.neuron.reads_out]
    hidden = [report.error for report in reports if report.name not in readouts]
    parts = [f"up to {max(hidden):.2g} thresholds"] if hidden else []
    parts += [f"{report.error:.2%} of the readout's weights" for report in reports if report.name in readouts]
    return ", ".join(parts)


def _compare(
    recipe: Recipe, model: SpikingNetwork, net: FixedPointNetwork, options: Export, console: Console
) -> Agreement | None:
    """Model and integers on the first test samples; None where the data set is not here."""
    import netx_export

    try:
        inputs, labels = of_recipe(recipe, "test", options.test)
    except (DataError, OptionError) as error:
        console.print(f"not compared on test data: {error}", soft_wrap=True)
        return None
    with console.status("") as status:
        total = len(inputs)
        return netx_export.agreement(
            model,
            net,
            inputs,
            labels,
            progress=lambda done: status.update(f"testing, {done} of {total} samples"),
        )
