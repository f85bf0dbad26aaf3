"""Which kernels a tensor's device has: numba's on a CPU, Triton's on a GPU, else the definition in torch."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from . import machine


@cache
def _triton_machine() -> ModuleType | None:
    """Triton's kernels, where version 3 or newer is there: not on every system, and not with every torch."""
    try:
        import triton

        from . import triton_machine
    except ImportError:
        return None
    return triton_machine if int(triton.__version__.split(".")[0]) >= 3 else None


def backend_of(x: Tensor, *, bits: bool = False) -> ModuleType | None:
    """Kernels for tensors like this one: :mod:`.machine` or :mod:`.triton_machine`; None for torch.

    Both have the same functions: ``lif_forward``, ``lif_backward``, ``levels_forward``, ``levels_backward``,
    ``moments`` and ``add_moment_gradients``. A graph that is being compiled is torch's own.

    Args:
        bits: whether potentials are to be kept in k bits.
    """
    if torch.compiler.is_compiling() or not x.numel():
        return None
    kind = x.device.type
    found = machine if kind == "cpu" else _triton_machine() if kind == "cuda" else None
    if found is None or x.dtype not in found.TYPES or (bits and not found.KEEPS_BITS):
        return None
    return found
