"""How fast the integers of exported networks are computed, beside stock Lava and torch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netx_export import FixedPointNetwork, FusedSimCfg, convert, network, simulate, write

from ..compat import import_lava
from ..errors import OptionError
from . import Row, compared
from .training import TOPOLOGIES, theirs
from .twins import Kit

NUM_STEPS = 16
_RATE = 0.15
NETWORKS = {
    "a": ((2, 32, 32), ((16, 1), (32, 2), (128, None), (10, None)), 256, 1000),
    "mlp 64-128-10": ((64,), ((128, None), (10, None)), 16384, 6000),
}
"""Input, layers as (outputs, stride of a 3x3 convolution or None), samples, goal against stock Lava."""


def random_network(
    shape: tuple[int, ...], layers: tuple[tuple[int, int | None], ...], rng: np.random.Generator
) -> FixedPointNetwork:
    """A stock network with weights of 5 bits and thresholds that let 5 to 20 % of the neurons fire."""
    entry, source, made = network.Input(shape=shape), network.INPUT, []
    for index, (outputs, stride) in enumerate(layers):
        synapse: Any
        if stride is None:
            synapse = network.Dense(weight=rng.integers(-15, 16, (outputs, int(np.prod(shape)))))
        else:
            weight = rng.integers(-15, 16, (outputs, shape[0], 3, 3))
            synapse = network.Conv(weight=weight, stride=(stride, stride), padding=(1, 1))
        fan_in = synapse.weight[0].size
        shape, bias = synapse.output_shape(shape), np.zeros(outputs, dtype=int)
        neuron: Any = network.Readout(bias=bias)
        if index < len(layers) - 1:
            threshold = int(9 * np.sqrt(fan_in * _RATE) * 1.2)
            neuron = network.LIF(threshold=threshold, bias=bias, voltage_decay=1024)
        connection = network.Connection(source=source, synapse=synapse)
        source = f"layer{index}"
        made.append(network.Layer(name=source, connections=(connection,), neuron=neuron, shape=shape))
    return FixedPointNetwork(input=entry, layers=tuple(made))


def stock_seconds(net: FixedPointNetwork, x: np.ndarray) -> float:
    """Seconds that lava-dl's graph takes for samples ``[N, *shape, T]``, without its start."""
    hdf5, io = import_lava("lava.lib.dl.netx.hdf5"), import_lava("lava.proc.io")
    run_steps = import_lava("lava.magma.core.run_conditions").RunSteps
    config = import_lava("lava.magma.core.run_configs").Loihi2SimCfg(select_tag="fixed_pt")
    stream = np.moveaxis(x, 0, -2).reshape(*net.input.shape, -1)
    stream = stream.transpose(2, 1, 0, 3) if stream.ndim == 4 else stream
    steps = stream.shape[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.net"
        write(net, path)
        graph = hdf5.Network(net_config=str(path), reset_interval=NUM_STEPS, reset_offset=1)
        source = io.source.RingBuffer(data=stream)
        source.s_out.connect(graph.inp)
        sink = io.sink.RingBuffer(shape=graph.out.shape, buffer=steps)
        graph.out.connect(sink.a_in)
        try:
            graph.run(condition=run_steps(num_steps=NUM_STEPS), run_cfg=config)
            start = time.perf_counter()
            graph.run(condition=run_steps(num_steps=steps), run_cfg=config)
            return time.perf_counter() - start
        finally:
            graph.stop()
            graph.net_config.f.close()


class Started:
    """Source, network and sink, started."""

    def __init__(self, net: FixedPointNetwork, steps: int, config: Any) -> None:
        from netx_export.process import Network
        from netx_export.process.stream import Player, Recorder

        self.run_steps = import_lava("lava.magma.core.run_conditions").RunSteps
        self.network, self.steps = Network(net, reset_interval=NUM_STEPS, reset_offset=1), steps
        x = np.random.default_rng(1).random((steps, *self.network.inp.shape)) < 0.1
        Player(x.astype(np.int32)).s_out.connect(self.network.inp)
        Recorder(self.network.out, steps)
        self.network.run(condition=self.run_steps(num_steps=NUM_STEPS), run_cfg=config)

    def seconds(self) -> float:
        """Per step."""
        start = time.perf_counter()
        self.network.run(condition=self.run_steps(num_steps=self.steps))
        return (time.perf_counter() - start) / self.steps


def rows(
    *, quick: bool, rounds: int, device: str = "cpu", on_work: Callable[[str], None] = lambda text: None
) -> Iterator[Row]:
    """The simulator against stock Lava and against torch, and the fused graph against an empty one."""
    rng = np.random.default_rng(0)
    for name, (shape, layers, samples, least) in NETWORKS.items():
        on_work(f"simulate {name} and stock Lava")
        net = random_network(shape, layers, rng)
        samples = min(samples, 64) if quick else samples
        x = (rng.random((samples, *shape, NUM_STEPS)) < _RATE).astype(np.uint8)
        few = 1 if len(shape) == 3 else 16
        simulate(net, x[:2])
        ours, stock = [], []
        for _ in range(min(rounds, 5)):
            stock.append(stock_seconds(net, x[:few]) / few)
            ours.append(_timed(lambda net=net, x=x: simulate(net, x)) / samples)  # type: ignore[misc]
        yield compared(f"simulate {name}, samples/s", ours, stock, "stock Lava", float(least))
    on_work("lava-fused, a graph per layer, and one of one neuron")
    yield from _fused(rng, rounds)
    if not quick:
        for rate, goal in ((0.035, 4.0), (0.15, 1.5)):
            on_work(f"simulate c at a rate of {rate:.1%}")
            yield _residual(rate, goal, rounds)


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _fused(rng: np.random.Generator, rounds: int) -> Iterator[Row]:
    per_layer = import_lava("lava.magma.core.run_configs").Loihi2SimCfg(select_tag="fixed_pt")
    net = random_network(NETWORKS["a"][0], NETWORKS["a"][1], rng)
    graphs: list[Started] = []
    try:
        for one, steps, config in (
            (net, 640, FusedSimCfg()),
            (_one_neuron(), 640, FusedSimCfg()),
            (net, 64, per_layer),
        ):
            graphs.append(Started(one, steps, config))
        seconds = [[graph.seconds() for graph in graphs] for _ in range(rounds)]
    finally:
        for graph in graphs:
            graph.network.stop()
    ours, floor, stock = zip(*seconds, strict=True)
    yield compared("lava-fused a, steps/s", ours, floor, "graph of one neuron", 1 / 1.2)
    yield compared("lava-fused a, steps/s", ours, stock, "graph per layer", 50.0)


def _one_neuron() -> FixedPointNetwork:
    connection = network.Connection(source="input", synapse=network.Dense(weight=np.ones((1, 1), int)))
    neuron = network.LIF(threshold=1, bias=np.zeros(1, int))
    layer = network.Layer(name="only", connections=(connection,), neuron=neuron, shape=(1,))
    return FixedPointNetwork(input=network.Input(shape=(1,)), layers=(layer,))


def _residual(rate: float, goal: float, rounds: int) -> Row:
    """ResNet-19 whose neurons fire at a rate, in integers, against the same layers with ReLU in float32."""
    topology = TOPOLOGIES["c"]
    torch.manual_seed(0)
    model = topology.create()
    spikes = (torch.rand(8, *topology.in_shape, topology.num_steps) < 0.2).float()
    found = _set_rate(model, spikes, rate)
    net, data = convert(model, profile="extended"), spikes.numpy().astype(np.uint8)
    relu = theirs(topology, Kit())
    images, ours, peer = relu.prepare(spikes.movedim(-1, 0)), [], []
    relu.model.eval()
    simulate(net, data)
    with torch.no_grad():
        for _ in range(rounds + 1):
            ours.append(_timed(lambda: simulate(net, data)))
            peer.append(_timed(lambda: relu.model(images)))
    name = f"simulate c at a rate of {found:.1%}, samples/s"
    return compared(name, ours[1:], peer[1:], "ReLU, no spikes, float32", goal, amount=float(len(data)))


def _set_rate(model: torch.nn.Module, spikes: torch.Tensor, rate: float) -> float:
    """Give all norms the gain with which neurons fire at a rate; return the rate."""
    from ..norm import BatchNorm
    from ..training.rates import spiking_modules

    seen: list[float] = []
    hooks = [
        layer.register_forward_hook(lambda module, inputs, spikes: seen.append(float(spikes.mean())))
        for layer in spiking_modules(model)
    ]
    norms = [m for m in model.modules() if isinstance(m, BatchNorm)]
    low, high, found = 0.0, 8.0, 0.0
    for norm in norms:
        norm.momentum = 1.0
    for _ in range(9):
        gain = (low + high) / 2
        for norm in norms:
            torch.nn.init.constant_(norm.weight, gain)
        with torch.no_grad():
            model.train()(spikes)
            seen.clear()
            model.eval()(spikes)
        found = sum(seen) / len(seen)
        low, high = (gain, high) if found < rate else (low, gain)
    for hook in hooks:
        hook.remove()
    if not found > 0:
        raise OptionError("bench: no neuron of the network fires; this is a fault of the benchmark")
    return found
