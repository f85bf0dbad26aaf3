"""Mixup and CutMix: each sample of a batch becomes a part of another, and so does its label."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import OptionError
from .batches import mixed_seed

Mixed = tuple[Tensor, float]
"""The partner of each sample ``[N]``, and the samples' own share, lam."""


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Mixup (``lam x + (1 - lam) x'``) or CutMix (a rectangle of x'), one of them per batch.

    ``lam ~ Beta(a, a)``; CutMix's rectangle has the share 1 - lam of the area before it is cut off at the
    borders, after which lam is that of the pixels.

    Attributes:
        mixup: a of mixup; 0 for none.
        cutmix: a of CutMix; 0 for none. With both, each is taken for half of the batches.

    Raises:
        OptionError: a negative number.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise OptionError(f"Mixing: {name}={value!r} is not allowed; use 0 or more")

    def __call__(self, inputs: Tensor, *seeds: int) -> tuple[Tensor, Mixed]:
        """Mix a batch.

        Args:
            inputs: ``[N, C, H, W]`` or ``[N, C, H, W, T]``; uint8 pixels are rounded to such.
            seeds: seed, epoch, step and process: the same ones mix in the same way.

        Returns:
            Mixed inputs, and who was mixed.

        Raises:
            OptionError: CutMix of samples without height and width.
        """
        draws = np.random.default_rng(mixed_seed(*seeds))
        both = self.mixup > 0 and self.cutmix > 0
        cuts = bool(draws.random() < 0.5) if both else self.cutmix > 0
        strength = self.cutmix if cuts else self.mixup
        share = float(draws.beta(strength, strength))
        partner = torch.from_numpy(draws.permutation(len(inputs))).to(inputs.device)
        if cuts:
            rows, columns, share = _rectangle(inputs, share, draws)
            mixed = inputs.clone()
            mixed[:, :, rows, columns] = inputs[partner][:, :, rows, columns]
            return mixed, (partner, share)
        mixed = inputs * share + inputs[partner] * (1 - share)
        mixed = mixed.round() if inputs.dtype == torch.uint8 else mixed
        return mixed.to(inputs.dtype), (partner, share)


def soft_targets(labels: Tensor, mixed: Mixed, num_classes: int) -> Tensor:
    """Shares of the classes ``[N, num_classes]`` of mixed samples with labels ``[N]``.

    Raises:
        OptionError: labels per step.
    """
    if labels.dim() != 1:
        raise OptionError(
            f"Mixing: labels of shape {tuple(labels.shape)} are not allowed; use one class per sample"
        )
    partner, share = mixed
    own = F.one_hot(labels, num_classes).float()
    return share * own + (1 - share) * own[partner]


def _rectangle(inputs: Tensor, share: float, draws: np.random.Generator) -> tuple[slice, slice, float]:
    """Rows and columns that the partner fills, and the share of pixels that stay."""
    if inputs.dim() < 4:
        raise OptionError(
            f"Mixing: cutmix of samples {tuple(inputs.shape[1:])} is not allowed; they have no height and "
            "width; use mixup"
        )
    spans, kept = [], 1.0
    for size in inputs.shape[2:4]:
        half = int(size * math.sqrt(1 - share)) // 2
        centre = int(draws.integers(size))
        span = slice(max(centre - half, 0), min(centre + half, size))
        spans.append(span)
        kept *= (span.stop - span.start) / size
    return spans[0], spans[1], 1 - kept
