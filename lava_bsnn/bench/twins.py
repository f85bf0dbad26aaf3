"""The layers of one of our networks in SpikingJelly, and as a network without spikes, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import block
from ..errors import OptionError

Module = torch.nn.Module


class _Skip(Module):
    """Layers beside a shortcut, and the activation of their sum."""

    def __init__(self, layers: Module, shortcut: Module, activation: Module) -> None:
        super().__init__()
        self.layers, self.shortcut, self.activation = layers, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.activation(self.layers(x) + self.shortcut(x))
        return result


class Kit:
    """How a library calls its layers: classes of torch, with real weights and ReLU.

    Attributes:
        steps: whether layers take ``[T, N, ...]``, not ``[T * N, ...]``.
    """

    steps = False

    def layer(self, name: str, *arguments: Any, **options: Any) -> Module:
        """A layer of torch."""
        made: Module = getattr(torch.nn, name)(*arguments, **options)
        return made

    def neuron(self) -> Module:
        """What stands behind batch norm."""
        return torch.nn.ReLU()

    def reset(self, model: Module) -> None:
        """Forget the states of neurons."""


class SpikingJelly(Kit):
    """Multi-step layers of SpikingJelly: LIF neurons of tau 2 with hard reset, arctangent surrogate."""

    steps = True

    def __init__(self) -> None:
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

        self.functional, self.layers, self.neurons, self.surrogate = functional, layer, neuron, surrogate

    def layer(self, name: str, *arguments: Any, **options: Any) -> Module:
        made: Module = getattr(self.layers, name)(*arguments, **options, step_mode="m")
        return made

    def neuron(self) -> Module:
        made: Module = self.neurons.LIFNode(
            tau=2.0,
            decay_input=False,
            v_reset=0.0,
            surrogate_function=self.surrogate.ATan(),
            step_mode="m",
        )
        return made

    def reset(self, model: Module) -> None:
        self.functional.reset_net(model)


class _OverTime(Module):
    """A neuron of single steps, on ``[T * N, ...]``."""

    def __init__(self, neuron: Module, num_steps: int) -> None:
        super().__init__()
        self.neuron, self.num_steps = neuron, num_steps

    def forward(self, x: Tensor) -> Tensor:
        images = x.unflatten(0, (self.num_steps, -1))
        state = torch.zeros_like(images[0])
        spikes = []
        for image in images:
            fired, state = self.neuron(image, state)
            spikes.append(fired)
        return torch.cat(spikes)


class SnnTorch(Kit):
    """Layers of torch on all steps at once, and snnTorch's LIF neurons step by step."""

    def __init__(self, num_steps: int) -> None:
        import snntorch

        self.library, self.num_steps = snntorch, num_steps

    def neuron(self) -> Module:
        spike = self.library.surrogate.atan()
        leaky = self.library.Leaky(beta=0.5, spike_grad=spike, reset_mechanism="zero")
        return _OverTime(leaky, self.num_steps)


def twin(model: Module, kit: Kit) -> Module:
    """The same layers as those of a :class:`~lava_bsnn.models.SpikingNetwork`, of a kit.

    Raises:
        OptionError: a block that has no counterpart.
    """
    return torch.nn.Sequential(*[_of(module, kit) for module in model.blocks])  # type: ignore[union-attr,arg-type]


def _of(module: Any, kit: Kit, *, fires: bool = True) -> Module:
    if isinstance(module, block.Residual):
        inside = [_of(part, kit, fires=part is not module.blocks[-1]) for part in module.blocks]
        around = [_of(part, kit) for part in module.shortcut]
        return _Skip(torch.nn.Sequential(*inside), torch.nn.Sequential(*around), kit.neuron())
    maker = _MAKERS.get(type(module))
    if maker is None:
        raise OptionError(
            f"bench: {type(module).__name__} has no counterpart; use convolutions and dense layers"
        )
    layers = maker(module, kit)
    if fires and getattr(module, "neuron", None) is not None:
        layers.append(kit.neuron())
    return torch.nn.Sequential(*layers)


def _conv(module: Any, kit: Kit) -> list[Module]:
    synapse = module.synapse
    conv = kit.layer(
        "Conv2d",
        synapse.in_channels,
        synapse.out_channels,
        synapse.kernel_size[:2],
        stride=synapse.stride[:2],
        padding=synapse.padding[:2],
        bias=False,
    )
    return [conv, kit.layer("BatchNorm2d", synapse.out_channels)]


def _dense(module: Any, kit: Kit) -> list[Module]:
    outputs, inputs = module.synapse.weight.shape[:2]
    return [kit.layer("Linear", inputs, outputs, bias=False), kit.layer("BatchNorm1d", outputs)]


def _readout(module: Any, kit: Kit) -> list[Module]:
    outputs, inputs = module.synapse.weight.shape[:2]
    return [kit.layer("Linear", inputs, outputs)]


_MAKERS: dict[type, Callable[[Any, Kit], list[Module]]] = {
    block.Input: lambda module, kit: [],
    block.Conv: _conv,
    block.Dense: _dense,
    block.Readout: _readout,
    block.Pool: lambda module, kit: [kit.layer("AvgPool2d", module.synapse.kernel_size[:2])],
    block.Flatten: lambda module, kit: [kit.layer("Flatten")],
}
