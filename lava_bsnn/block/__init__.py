"""SLAYER-style blocks: synapse, normalisation, modulation and neuron in one module.

Positional arguments are those of ``lava.lib.dl.slayer.block.cuba``; what is ours is
keyword-only. Tensors are logical ``NCHWT`` / ``NCT``, stored time-major, so our blocks and
stock ``slayer.block.*`` modules can stand in one network.

In contrast to SLAYER ``delay_shift`` is off by default: in training layer ``l`` at step
``t`` sees layer ``l - 1`` at step ``t``. On the device each synapse takes one step, which
only delays the whole train; export and simulation account for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NoReturn

import torch

from ..errors import OptionError, ShapeError, line_of
from ..modes import evaluating
from .base import Block, Shape, Signal
from .conv import Conv, Pool
from .dense import DEFAULT_STEPS, Dense, Readout
from .input import Flatten, Input
from .recurrent import Recurrent
from .residual import Residual
from .spiking import SpikingBlock

__all__ = [
    "DEFAULT_STEPS",
    "Block",
    "Conv",
    "Dense",
    "Flatten",
    "Input",
    "Pool",
    "Readout",
    "Recurrent",
    "Residual",
    "Signal",
    "SpikingBlock",
    "build",
]


_UNPORTED = ("Average", "KWTA", "ConvT", "Unpool", "TimeDecimation")
_INSTEAD = {
    "Affine": "use block.Readout(None, in_neurons, out_neurons, bias=False)",
    **dict.fromkeys(_UNPORTED, "slayer.block.cuba's own trains between ours, and is not exported"),
    "cuba": "leave it out: block.Dense, block.Conv and so on",
}
"""What SLAYER has and we do not, and what to do."""


def __getattr__(name: str) -> NoReturn:
    if name in _INSTEAD:
        raise AttributeError(f"lava_bsnn.block has no {name}; {_INSTEAD[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _tried(module: torch.nn.Module, shape: Shape) -> Any:
    """What a module that is none of ours makes of one step of zeros."""
    try:
        with evaluating(module):
            return module(torch.zeros(1, *shape, 1))
    except (RuntimeError, ValueError, IndexError) as error:
        sizes = ", ".join(map(str, shape))
        raise ShapeError(
            f"build: a {type(module).__name__} cannot take [N, {sizes}, T] ({line_of(error)}); time is last, "
            "for which lava_bsnn.block has blocks, e.g. Dense for Linear"
        ) from error


def build(blocks: Iterable[torch.nn.Module] | torch.nn.Module, input_shape: Iterable[int]) -> Shape:
    """Build blocks in a row for inputs ``(C, H, W)`` or ``(C,)``; return the last output shape.

    Stock SLAYER blocks learn their shape from one step of zeros. A module whose attribute ``blocks`` holds
    them may stand in their place.

    Raises:
        OptionError: there are no blocks, or the shape is none.
        ShapeError: a block, or a module of torch among them, cannot take what comes.
    """
    blocks = getattr(blocks, "blocks", blocks)
    if not isinstance(blocks, Iterable):
        raise OptionError(
            f"build: {type(blocks).__name__} is not a row of blocks; use a Sequential, a list, or a module "
            "whose attribute `blocks` is one"
        )
    if not isinstance(input_shape, Iterable):
        raise OptionError(f"build: input_shape={input_shape!r} is not allowed; use (C, H, W) or (C,)")
    signal = Signal(shape=tuple(int(size) for size in input_shape))
    for module in blocks:
        if isinstance(module, Block):
            signal = module.connect(signal)
        else:
            result = _tried(module, signal.shape)
            result = result[0] if isinstance(result, tuple) else result
            signal = replace(signal, shape=tuple(result.shape[1:-1]))
    return signal.shape
