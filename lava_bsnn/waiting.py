"""When numbers of a tensor are read: on a GPU each reading waits for all that it still has to do."""

from __future__ import annotations

import torch
from torch import Tensor

LOOK_EVERY = 16
"""Training steps on a GPU from one look at numbers to the next; on a CPU each step is looked at."""


def is_at_hand(x: Tensor) -> bool:
    """Whether numbers can be read without waiting for a device, and no graph is being compiled."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
