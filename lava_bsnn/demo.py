"""The main job on real digits: train, freeze, export, run on Lava, compare spike for spike."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LavaBsnnError, OptionError
from .files import atomic_path, check_writable, write_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from netx_export import FixedPointNetwork, Simulation

    from .training import Epoch


MODEL: dict[str, Any] = {
    "num_classes": 10,
    "in_shape": (1, 8, 8),
    "num_steps": 8,
    "method": "binary",
    "method_options": {"ends": 8},
    "input_bits": 4,
}
"""Arguments of ``models.create("cnn", ...)``: 1-bit hidden layers, 8 bit at both ends.

Load the demo's checkpoint into such a model, then call ``training.match_device(model, "stock")``.
"""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of the demo."""

    out: Path = Path("runs/demo")
    """Folder for checkpoint, network, figures and metrics."""
    epochs: int = 16
    """Passes over the 1347 training digits, before one more in the device's integers."""
    num_steps: int = 8
    """Time steps per digit."""
    lava_samples: int = 10
    """Test digits that run on unmodified lava-dl."""
    seed: int = 0
    """Seeds split, initial weights and batches."""

    def __post_init__(self) -> None:
        for name, highest in (("epochs", 1000), ("num_steps", 64), ("lava_samples", 450)):
            value = getattr(self, name)
            if not 1 <= value <= highest:
                raise OptionError(f"demo: {name}={value} is not allowed; use 1..{highest}")
        if not 0 <= self.seed < 1 << 32:
            raise OptionError(f"demo: seed={self.seed} is not allowed; use 0..{(1 << 32) - 1}")


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Figures of the demo; accuracies in 0..1 over the whole test set, sizes in bytes.

    Attributes:
        float_accuracy: of the model in torch, which computes in the device's integers in the end.
        fixed_accuracy: of the exported network in the integer simulator, the same.
        lava_steps: time steps compared with Lava, over all samples.
        lava_mismatches: spikes and readout potentials that differ, over all layers.
        slayer_net_bytes: the same topology exported by stock SLAYER.
    """

    float_accuracy: float
    fixed_accuracy: float
    lava_samples: int
    lava_steps: int
    lava_mismatches: int
    net_bytes: int
    slayer_net_bytes: int
    seconds: float


def run_demo(config: DemoConfig, console: Console) -> DemoResult:
    """Run the whole job and write ``config.out``; progress goes to ``console``.

    Raises:
        LavaBsnnError: the folder cannot be written, or lava-dl is missing.
    """
    start = time.perf_counter()
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LavaBsnnError(f"demo: cannot make folder {config.out} ({error.strerror}); use --out") from error
    for name in ("checkpoint.pt", "demo.net", "metrics.json"):
        check_writable(config.out / name)
    with _progress(console) as progress:
        task = progress.add_task("loading torch and SLAYER", total=None)

        import netx_export

        from . import data, models, training

        digits = data.digits(seed=config.seed)
        test = (digits.test_images, digits.test_labels)
        training.seed_everything(config.seed)
        model = models.create("cnn", **{**MODEL, "num_steps": config.num_steps})

        progress.update(task, description="training", total=config.epochs + 1)
        train = (digits.train_images, digits.train_labels)

        def on_epoch(epoch: Epoch) -> None:
            text = f"training, test accuracy {epoch.test_accuracy:.1%}"
            progress.update(task, advance=1, description=text)

        options: dict[str, Any] = {"seed": config.seed, "progress": False, "on_epoch": on_epoch}
        history = training.fit(model, train, test, epochs=config.epochs, **options)
        tuned = training.finetune(model, train, test, epochs=1, target="stock", **options)
        history += [replace(epoch, epoch=config.epochs + epoch.epoch) for epoch in tuned]
        model.eval()
        training.save_checkpoint(
            config.out / "checkpoint.pt", model, epochs=config.epochs, num_steps=config.num_steps
        )

        net = netx_export.convert(model)
        path = config.out / "demo.net"
        netx_export.write(net, path)

        x = net.encode(digits.test_images, config.num_steps)
        task = progress.add_task("integer simulator, whole test set", total=len(x))
        simulation = netx_export.simulate(
            net, x, trace=True, progress=lambda done: progress.update(task, completed=done)
        )

        task = progress.add_task("unmodified lava-dl, spike for spike", total=None)
        shown = x[: config.lava_samples]
        lava = netx_export.run_stock(path, shown, trace=True)
        comparison = netx_export.compare(netx_export.simulate(net, shown, trace=True), lava)
        progress.update(task, total=1, completed=1)

        _draw(config.out, history, net, simulation)
        slayer_bytes = _slayer_net_bytes(net, config.num_steps)

    float_accuracy = history[-1].test_accuracy
    assert float_accuracy is not None  # digits are classes
    result = DemoResult(
        float_accuracy=float_accuracy,
        fixed_accuracy=float((simulation.prediction == test[1]).mean()),
        lava_samples=len(shown),
        lava_steps=len(shown) * config.num_steps,
        lava_mismatches=comparison.mismatches,
        net_bytes=path.stat().st_size,
        slayer_net_bytes=slayer_bytes,
        seconds=round(time.perf_counter() - start, 2),
    )
    settings = {**asdict(config), "out": str(config.out)}
    write_json(config.out / "metrics.json", {**asdict(result), "config": settings})
    console.print(_table(result, comparison.compared))
    console.print(f"network\n{net}", highlight=False)
    console.print(f"checkpoint, network, figures and metrics are in {config.out}", highlight=False)
    if comparison.mismatches:
        raise LavaBsnnError(f"demo: simulator and Lava differ first at {comparison.first}; please report it")
    return result


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield progress


def _table(result: DemoResult, compared: int) -> Table:
    from rich.table import Table

    table = Table(title="lava-bsnn demo: 1797 handwritten digits", show_header=False)
    rows = (
        ("test accuracy, PyTorch", f"{result.float_accuracy:.2%}"),
        ("test accuracy, integers", f"{result.fixed_accuracy:.2%}"),
        ("samples on unmodified lava-dl", f"{result.lava_samples}"),
        ("time steps compared", f"{result.lava_steps}"),
        ("values compared, all layers", f"{compared:,}"),
        ("mismatches", f"{result.lava_mismatches}"),
        ("network file", f"{result.net_bytes:,} bytes"),
        ("same topology from stock SLAYER", f"{result.slayer_net_bytes:,} bytes"),
        ("time", f"{result.seconds:.0f} s"),
    )
    for name, value in rows:
        table.add_row(name, value)
    return table


def _draw(out: Path, history: list[Epoch], net: FixedPointNetwork, simulation: Simulation) -> None:
    import numpy as np
    from matplotlib.figure import Figure

    from . import analysis

    figure = Figure(figsize=(8, 3), layout="constrained")
    analysis.plot_training(history, figure.subplots(1, 2))
    _save(figure, out / "training_curve.png")

    spiking = [layer for layer in net.layers if layer.name != net.output.name]
    figure = Figure(figsize=(3.2 * len(spiking), 3.6), layout="constrained")
    for layer, axes in zip(spiking, np.atleast_1d(figure.subplots(1, len(spiking))), strict=True):
        analysis.plot_raster(simulation.layers[layer.name].spikes[0], axes, title=layer.name)
    figure.suptitle("spikes of test sample 0")
    _save(figure, out / "spike_raster.png")

    layer = spiking[-1]
    trace = simulation.layers[layer.name]
    assert trace.potential is not None
    counts = trace.spikes[0].reshape(-1, trace.spikes.shape[-1]).sum(-1)
    neuron = int(np.abs(counts - trace.spikes.shape[-1] / 3).argmin())  # fires now and then
    scale = layer.neuron.threshold << 6
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    analysis.plot_membrane(
        trace.potential[0].reshape(len(counts), -1)[neuron] / scale,
        trace.spikes[0].reshape(len(counts), -1)[neuron],
        1.0,
        figure.subplots(),
        title=f"{layer.name}, neuron {neuron}, test sample 0",
    )
    _save(figure, out / "membrane_trace.png")


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _slayer_net_bytes(net: FixedPointNetwork, num_steps: int) -> int:
    """Size of the same topology, trained nowhere, as stock SLAYER's blocks export it."""
    import h5py
    import torch

    from .compat import import_lava

    cuba = import_lava("lava.lib.dl.slayer.block.cuba")
    params = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.5}
    blocks: list[Any] = []
    shape = net.input.shape
    for layer in net.layers:
        synapse = layer.connections[0].synapse
        if synapse.weight.ndim == 4:
            out_channels, _, *kernel = synapse.weight.shape
            blocks.append(
                cuba.Conv(params, shape[0], out_channels, tuple(kernel), synapse.stride, synapse.padding)
            )
        else:
            if len(shape) == 3:
                blocks.append(cuba.Flatten())
            blocks.append(cuba.Dense(params, synapse.weight.shape[1], synapse.weight.shape[0]))
        shape = layer.shape
    x = torch.zeros(1, *net.input.shape, num_steps)
    with torch.no_grad():
        torch.nn.Sequential(*blocks)(x)
    with tempfile.TemporaryDirectory(prefix="lava-bsnn-") as folder:
        path = Path(folder) / "slayer.net"
        with h5py.File(path, "w") as file:
            group = file.create_group("layer")
            for index, module in enumerate(blocks):
                module.export_hdf5(group.create_group(str(index)))
        return path.stat().st_size
