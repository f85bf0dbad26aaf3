"""Commands that freeze a trained run to integers and hand it on."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ..errors import DataError, OptionError
from .output import Flag, JsonOutput

if TYPE_CHECKING:
    from rich.console import Console

    from netx_export import FixedPointNetwork
    from netx_export.lowering.extended import LayerReport

    from ..models import SpikingNetwork
    from ..training import Recipe

Profile = Annotated[Literal["stock", "extended"], tyro.conf.arg(metavar="stock|extended")]


@dataclass(frozen=True, kw_only=True)
class Export(JsonOutput):
    """Freeze a trained run to integers and write a NetX file.

    Example: lava-bsnn export runs/events --profile extended --out events.net
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The --out of lava-bsnn train."""
    out: Path
    """The .net file to write."""
    profile: Profile = "extended"
    """stock: unmodified lava-dl loads it; extended: skips, gates, k-bit and multi-threshold neurons."""
    best: Flag = False
    """Take the weights of the best epoch, not those of the last."""
    calibration: int = 0
    """Training samples whose mean gates replace AGMM's in profile stock."""
    ignore_membrane: Flag = False
    """Let profile stock keep 24-bit membranes where fewer bits were trained."""
    single_threshold: Flag = False
    """Turn LM-HT neurons into single-threshold ones over L times the steps."""
    test: int = 500
    """Test samples on which integers and floating point are compared; 0 for none."""

    def __call__(self) -> None:
        from ..files import check_writable
        from ..training.recipe import run_recipe

        self.check_json()
        run_recipe(self.folder)  # raises before slow imports
        check_writable(self.out)
        for name in ("calibration", "test"):
            if getattr(self, name) < 0:
                raise OptionError(f"export: {name}={getattr(self, name)} is not allowed; use 0 or more")
        self.write(_export(self, self.console()))


@dataclass(frozen=True, kw_only=True)
class Nir(JsonOutput):
    """Write a NetX file as a NIR graph.

    Example: lava-bsnn nir demo.net --out demo.nir
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The .net file."""
    out: Path
    """The .nir file to write."""

    def __call__(self) -> None:
        import nir

        from netx_export import read, to_nir

        from ..files import atomic_path

        self.check_json()
        graph = to_nir(read(self.file))
        with atomic_path(self.out) as temporary:
            nir.write(temporary, graph)
        self.console().print(f"{self.out}: {len(graph.nodes)} nodes", soft_wrap=True)
        self.write({"nodes": len(graph.nodes), "file": str(self.out)})


def _export(options: Export, console: Console) -> dict[str, Any]:
    import netx_export

    from ..training.run import load_run
    from ..training.run_folder import BEST, LAST

    with console.status("reading the run"):
        recipe, model = load_run(options.folder, BEST if options.best else LAST)
    reports: list[LayerReport] = []
    with console.status("converting"):
        net = netx_export.convert(
            model,
            options.profile,
            _samples(recipe, "train", options.calibration) if options.calibration else None,
            single_threshold=options.single_threshold,
            ignore_membrane=options.ignore_membrane,
            report=reports.append,
        )
        netx_export.write(net, options.out)
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
    if options.test:
        figures |= _compare(recipe, model, net, options.test, console)
    return figures


def _errors(net: FixedPointNetwork, reports: list[LayerReport]) -> str:
    from netx_export.network import Readout

    readouts = [layer.name for layer in net.layers if isinstance(layer.neuron, Readout)]
    hidden = [report.error for report in reports if report.name not in readouts]
    parts = [f"up to {max(hidden):.2g} thresholds"] if hidden else []
    parts += [f"{report.error:.2%} of the readout's weights" for report in reports if report.name in readouts]
    return ", ".join(parts)


def _samples(recipe: Recipe, split: str, number: int) -> tuple[Any, Any]:
    """Inputs and labels of the first samples, without augmentation."""
    import numpy as np
    import torch

    from ..training.run import load_data

    samples = getattr(load_data(dataclasses.replace(recipe, augment=())), split)
    pairs = [samples[index] for index in range(min(number, len(samples)))]
    return torch.stack([inputs for inputs, _ in pairs]), np.array([label for _, label in pairs])


def _integers(net: Any, inputs: Any, num_steps: int) -> Any:
    """What enters the network: for single-threshold neurons each step is repeated."""
    steps = net.num_steps or num_steps
    x = net.encode(inputs, steps)
    return x if x.shape[-1] == steps else x.repeat(steps // x.shape[-1], -1)


def _compare(
    recipe: Recipe, model: SpikingNetwork, net: Any, number: int, console: Console
) -> dict[str, Any]:
    """Accuracy of floating point and integers on the first test samples."""
    import netx_export

    from ..training import predict

    try:
        inputs, labels = _samples(recipe, "test", number)
    except DataError as error:
        console.print(f"not compared on test data: {error}", soft_wrap=True)
        return {}
    with console.status("testing"):
        theirs = predict(model, inputs.numpy())
        ours = netx_export.simulate(net, _integers(net, inputs.numpy(), recipe.num_steps)).prediction
    float_accuracy, fixed_accuracy = float((theirs == labels).mean()), float((ours == labels).mean())
    console.print(
        f"{len(labels)} test samples: accuracy {float_accuracy:.2%} in floating point, {fixed_accuracy:.2%} "
        f"in integers; {(theirs == ours).mean():.2%} get the same class",
        soft_wrap=True,
    )
    return {
        "test_samples": len(labels),
        "float_accuracy": float_accuracy,
        "fixed_accuracy": fixed_accuracy,
        "same_class": float((theirs == ours).mean()),
    }
