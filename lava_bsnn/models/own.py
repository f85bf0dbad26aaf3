"""A user's own network, which a recipe names as code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import block, code
from ..encoding import Encoding
from ..errors import OptionError
from .method import Method
from .network import SpikingNetwork


def own(
    name: str,
    *,
    num_classes: int,
    in_shape: tuple[int, ...],
    num_steps: int,
    method: Method,
    encoding: Encoding | None,
    width: float = 1.0,
    options: Mapping[str, Any] | None = None,
) -> SpikingNetwork:
    """Network of a class or function ``name``, ``"package.module:Net"``.

    It is called with those of the arguments here that it takes, by name, and with all ``options``. It
    returns a :class:`SpikingNetwork`, or a module with ``blocks`` whose forward is these in a row; or a list
    of blocks, which becomes a :class:`SpikingNetwork`. The first block is
    ``block.Input(encoding=encoding)``; a list may leave it out.

    Raises:
        OptionError: the code is not allowed, raises, or returns something else; or a network for other
            samples or classes.
    """
    given = {
        "num_classes": num_classes,
        "in_shape": tuple(in_shape),
        "num_steps": num_steps,
        "method": method,
        "encoding": encoding,
        "width": width,
    }
    made = code.called(name, given, options or {}, "model_options")
    if isinstance(made, (list, tuple)):
        blocks = list(made)
        if not blocks or not isinstance(blocks[0], block.Input):
            blocks.insert(0, block.Input(encoding=encoding) if encoding else block.Input(bits=None))
        steps = method.mix_frames or num_steps
        made = SpikingNetwork(blocks, in_shape=tuple(in_shape), num_steps=steps)
    parts = getattr(made, "blocks", None)
    if not isinstance(made, torch.nn.Module) or not isinstance(parts, torch.nn.ModuleList) or not len(parts):
        raise OptionError(
            f"{name}: returned a {type(made).__name__} without blocks; return a models.SpikingNetwork, or a "
            "list of blocks"
        )
    first = parts[0]
    takes = first.encoding if isinstance(first, block.Input) else Encoding()
    if not isinstance(first, block.Input) or takes != encoding:
        raise OptionError(
            f"{name}: its first block takes {_shown(takes)}, the samples are {_shown(encoding)}; begin with "
            "block.Input(encoding=encoding), of the argument encoding"
        )
    shape = getattr(made, "out_shape", (num_classes,))
    if tuple(shape) != (num_classes,):
        raise OptionError(
            f"{name}: gives {list(shape)} per step, the data have {num_classes} classes; end with "
            "block.Readout(None, features, num_classes)"
        )
    network: SpikingNetwork = made  # type: ignore[assignment]
    return network


def _shown(encoding: Encoding | None) -> str:
    return "real numbers" if encoding is None else str(encoding)
