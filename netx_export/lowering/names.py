"""How the layers of a frozen network are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from lava_bsnn import block


def layer_name(module: Any, place: int | str) -> str:
    """Name of the layer that a block at a place of the chain becomes: its own, or one of type and place."""
    own: str | None = getattr(module, "name", None)
    return own or f"{type(module).__name__.lower()}{place}"


def inner_name(residual: str, place: int | str) -> str:
    """Place of a block inside of a residual, for :func:`layer_name`."""
    return f"_{residual}_{place}"


def spiking_layers(blocks: Iterable[torch.nn.Module]) -> Iterator[tuple[str, Any]]:
    """Layer names of the blocks with neurons, and of the readout, in order; the block holds the neurons."""
    for index, module in enumerate(blocks):
        yield from _spiking(module, index)


def _spiking(module: Any, place: int | str) -> Iterator[tuple[str, Any]]:
    if isinstance(module, block.Residual):
        name = layer_name(module, place)
        *before, last = module.blocks
        for position, one in enumerate(before):
            yield from _spiking(one, inner_name(name, position))
        yield name, last
    elif isinstance(module, block.Readout) or getattr(module, "neuron", None) is not None:
        yield layer_name(module, place), module
