"""Losses over per-step logits ``[N, classes, T]``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def tet_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy at each time step, averaged over batch and steps (Q-SNN eq. 18, first term).

    Args:
        logits: ``[N, classes, T]``.
        labels: int64 ``[N]``.
    """
    return F.cross_entropy(logits, labels[:, None].expand(-1, logits.shape[-1]))
