"""Which kernels a tensor's device has: numba's on a CPU, Triton's on a GPU, else the definition in torch."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from . import machine

_HAS_TRITON = importlib.util.find_spec("triton") is not None


def backend_of(x: Tensor, *, bits: bool = False) -> ModuleType | None:
    """Kernels for tensors like this one: :mod:`.machine` or :mod:`.triton_machine`; None for torch.

    Both have the same functions: ``lif_forward``, ``lif_backward``, ``levels_forward``, ``levels_backward``,
    ``moments`` and ``add_moment_gradients``. A graph that is being compiled is torch's own.

    Args:
        bits: whether potentials are to be kept in k bits.
    """
    if torch.compiler.is_compiling() or not x.numel():
        return None
    found: ModuleType = machine
    if x.device.type == "cuda" and _HAS_TRITON:
        from . import triton_machine

        found = triton_machine
    elif x.device.type != "cpu":
        return None
    return found if x.dtype in found.TYPES and (found.KEEPS_BITS or not bits) else None
