"""How fast networks train and classify, beside the same layers in other libraries, turn by turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import models
from ..functional import unfold_time
from ..training.graphs import GraphedPasses
from . import Row, compared, installed, missing
from .twins import Kit, SnnTorch, SpikingJelly, twin

INSTALL = "not installed: pip install 'lava-bsnn[peers]'"


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A network and its batch.

    Attributes:
        model: name and options of ``models.create``.
        in_shape: ``(C, H, W)``.
        num_steps: T.
        batch_size: samples per step.
        gpu_batch_size: the same on a GPU.
    """

    model: str
    in_shape: tuple[int, int, int]
    num_steps: int
    batch_size: int
    options: dict[str, Any]
    gpu_batch_size: int = 128

    def on(self, device: str) -> Topology:
        """With the batch of a device."""
        return self if device == "cpu" else replace(self, batch_size=self.gpu_batch_size)

    def create(self, method: str = "agmm", **changes: Any) -> torch.nn.Module:
        """The network of ours, with 1-bit weights and AGMM."""
        return models.create(
            self.model,
            num_classes=10,
            in_shape=self.in_shape,
            num_steps=self.num_steps,
            method=method,
            method_options=changes,
            **self.options,
        )


TOPOLOGIES = {
    "a": Topology(
        model="cnn",
        in_shape=(2, 32, 32),
        num_steps=16,
        batch_size=8,
        options={"channels": (16, 32), "hidden": 128},
    ),
    "b": Topology(
        model="vggsnn", in_shape=(2, 48, 48), num_steps=10, batch_size=2, options={}, gpu_batch_size=32
    ),
    "c": Topology(model="resnet19", in_shape=(3, 32, 32), num_steps=2, batch_size=8, options={}),
}
"""a: conv 16, conv 32 with stride 2, dense 128, dense 10; b: VGGSNN; c: ResNet-19."""

PEERS: dict[str, Callable[[Topology], Kit]] = {
    "spikingjelly": lambda topology: SpikingJelly(),
    "snntorch": lambda topology: SnnTorch(topology.num_steps),
}
"""Libraries beside ours, by their modules."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A network, and how it takes the spikes ``[T, N, C, H, W]``.

    Attributes:
        prepare: makes the input, which is not timed.
        logits: maps the output to ``[N, classes]``.
        before: called before each forward pass, which is timed.
        graphs: train as ``fit`` does on a GPU.
    """

    model: torch.nn.Module
    prepare: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor]
    before: Callable[[], None] = lambda: None
    bfloat16: bool = False
    graphs: bool = False

    def passes(self, device: str) -> Callable[[Tensor], Tensor]:
        """Forward passes in training, in the precision asked for."""
        kind = torch.device(device).type
        autocast = partial(torch.autocast, kind, torch.bfloat16, enabled=self.bfloat16)

        def plain(x: Tensor) -> Tensor:
            with autocast():
                result: Tensor = self.model(x)
            return result

        return GraphedPasses(self.model, autocast, plain=plain) if self.graphs else plain


def ours(model: torch.nn.Module, *, bfloat16: bool = False) -> Contender:
    """A network of ours."""
    return Contender(
        model=model,
        prepare=lambda x: unfold_time(x.flatten(0, 1), x.shape[1], len(x)),
        logits=lambda y: y.mean(-1),
        bfloat16=bfloat16,
        graphs=True,
    )


def theirs(topology: Topology, kit: Kit, *, bfloat16: bool = False) -> Contender:
    """The same layers of a kit."""
    model = twin(topology.create(), kit)
    steps = topology.num_steps
    return Contender(
        model=model,
        prepare=(lambda x: x) if kit.steps else (lambda x: x.flatten(0, 1)),
        logits=lambda y: (y if kit.steps else y.unflatten(0, (steps, -1))).mean(0),
        before=lambda: kit.reset(model),
        bfloat16=bfloat16,
    )


def turns(
    topology: Topology,
    contenders: dict[str, Contender],
    rounds: int,
    *,
    train: bool = True,
    device: str = "cpu",
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each contender's step, round by round; two rounds more are run first and not counted.

    Args:
        train: forward, backward, and a step of SGD with momentum; else a forward pass in evaluation mode.
        device: of torch.
        on_round: called behind each round.
    """
    shape = (topology.num_steps, topology.batch_size, *topology.in_shape)
    spikes = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.2).float().to(device)
    labels = (torch.arange(topology.batch_size) % 10).to(device)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    ready = {}
    for name, one in contenders.items():
        one.model.to(device).train(train)
        optimizer = torch.optim.SGD(one.model.parameters(), lr=1e-3, momentum=0.9) if train else None
        ready[name] = one.prepare(spikes), one.passes(device), optimizer
    for turn in range(rounds + 2):
        for name, one in contenders.items():
            x, passes, optimizer = ready[name]
            start = time.perf_counter()
            _step(one, passes, x, labels, optimizer)
            if device != "cpu":
                torch.cuda.synchronize()
            if turn > 1:
                seconds[name].append(time.perf_counter() - start)
        on_round()
    return seconds


def _step(
    one: Contender, passes: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, optimizer: Any
) -> None:
    with torch.set_grad_enabled(optimizer is not None):
        one.before()
        logits = one.logits(passes(x))
    if optimizer is not None:
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()


def rows(
    *, quick: bool, rounds: int, device: str = "cpu", on_work: Callable[[str], None] = lambda text: None
) -> Iterator[Row]:
    """Training against SpikingJelly and a network without spikes, in float32 and bfloat16."""
    for name, on_cpu in TOPOLOGIES.items():
        if quick and name != "a":
            continue
        topology = on_cpu.on(device)
        for bfloat16 in (False, True):
            precision = "bfloat16" if bfloat16 else "float32"
            on_work(f"training {name} in {precision}")
            yield from _training(name, topology, bfloat16, rounds, device)
        on_work(f"classifying {name}")
        yield from _classifying(name, topology, rounds, device)


def _beside(topology: Topology, bfloat16: bool) -> dict[str, Contender]:
    """Ours, and the peers that are installed."""
    found = {"ours": ours(topology.create(), bfloat16=bfloat16)}
    for module, kit in PEERS.items():
        if installed(module):
            found[module] = theirs(topology, kit(topology), bfloat16=bfloat16)
    return found


def _rows(
    label: str, seconds: dict[str, list[float]], goal: float, amount: float, device: str
) -> Iterator[Row]:
    """Against SpikingJelly, whose speed is the goal, and snnTorch."""
    names = {"spikingjelly": _spikingjelly(device), "snntorch": "snnTorch"}
    for module, name in names.items():
        least = goal if module == "spikingjelly" else 1.0
        if module in seconds:
            yield compared(label, seconds["ours"], seconds[module], name, least, amount=amount)
        else:
            yield missing(label, name, least, INSTALL)


def _spikingjelly(device: str) -> str:
    """Its name, on GPUs with the implementation of its neurons, which the environment chooses."""
    chosen = os.environ.get("SJ_LIF_CUDA_IMPLEMENTATION", "auto")
    return "SpikingJelly" if device == "cpu" else f"SpikingJelly ({chosen})"


def _training(name: str, topology: Topology, bfloat16: bool, rounds: int, device: str) -> Iterator[Row]:
    contenders = _beside(topology, bfloat16)
    if name != "a":
        contenders["real"] = ours(topology.create("fp"), bfloat16=bfloat16)
        contenders["relu"] = theirs(topology, Kit(), bfloat16=bfloat16)
    seconds = turns(topology, contenders, rounds, device=device)
    amount = float(topology.batch_size)
    label = f"training {name}, {'bfloat16' if bfloat16 else 'float32'}, samples/s"
    yield from _rows(label, seconds, 1.1 if bfloat16 else 1.8 if name == "a" else 1.05, amount, device)
    if name == "a":
        return
    if bfloat16:
        yield compared(label, seconds["ours"], seconds["relu"], "ReLU, no spikes", 0.85, amount=amount)
    yield compared(label, seconds["ours"], seconds["real"], "ours, real weights", 1 / 1.08, amount=amount)


def _classifying(name: str, topology: Topology, rounds: int, device: str) -> Iterator[Row]:
    seconds = turns(topology, _beside(topology, False), rounds, train=False, device=device)
    label = f"classifying {name} in torch, samples/s"
    yield from _rows(label, seconds, 1.0, float(topology.batch_size), device)
