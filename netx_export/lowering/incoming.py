"""What comes in over one connection, before its layer's unit is known."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lava_bsnn import block, device
from lava_bsnn.device import Affine, Grid
from lava_bsnn.errors import ExportError, LavaBsnnWarning
from lava_bsnn.modulation import AGMM
from lava_bsnn.synapse import OnGrid

from ..network import Synapse
from .observe import usual_messages


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """One connection before its unit is known: real arithmetic on integer messages.

    Attributes:
        source: layer that feeds it.
        folded: its arithmetic; the multiplier is per message.
        low, high: range of the messages.
        image: shape of the network's graded input where it comes in as it is.
        synapse: makes the synapse of integer weights.
        module: the block; None for an identity shortcut.
        seen: what comes in for some samples: messages times ``value``.
        value: real value of a message of 1.
        given: what comes in is the caller's: rounding is chosen by it.
        mantissas: the model was trained in the integers of Loihi's own neurons.
    """

    source: str
    folded: Affine
    low: int
    high: int
    image: Any = None
    synapse: Callable[[np.ndarray], Synapse]
    module: Any = None
    seen: Tensor
    value: float
    given: bool = False
    mantissas: bool = False

    @property
    def agmm(self) -> AGMM | None:
        """The gate behind it."""
        gate = None if self.module is None else self.module.modulation
        return gate if isinstance(gate, AGMM) else None

    @property
    def largest(self) -> int:
        """Largest magnitude of a message."""
        return max(self.high, -self.low)

    @property
    def bound(self) -> float:
        """Largest real current."""
        return self.folded.bound(self.low, self.high)

    def on_grid(self, unit: float) -> Grid:
        """Integers for ``unit`` membrane steps per unit of current."""
        if self.module is None:
            channels, value = len(self.folded.multiplier), float(self.folded.multiplier[0])
            return device.identity_grid(channels, value, unit, mantissas=self.mantissas)
        rounded = device.on_mantissas if self.mantissas else device.on_grid
        return rounded(self.folded, unit, self.image)

    def steps(self, grid: Grid, unit: float) -> Tensor:
        """Membrane steps that the integers add for the samples, gates included, int64 ``[N, *shape, T]``."""
        if self.module is not None:
            return device.grid_steps(self.module, grid, self.seen, unit, self.largest)
        whole = torch.round(self.seen / self.value).long()
        scale = torch.from_numpy(grid.scale).to(whole.device)
        return whole * scale.view(-1, *[1] * (whole.dim() - 2))

    def power(self) -> np.ndarray:
        """Mean square of the sum that the multiplier is multiplied with, per channel ``[out]``."""
        if not self.given:
            mean, spread = usual_messages(self.low, self.high)
            rows = self.folded.q.reshape(len(self.folded.q), -1)
            expected: np.ndarray = np.square(rows.sum(1) * mean) + np.square(rows).sum(1) * spread
            return expected
        if self.module is None:
            sums = torch.round(self.seen / self.value).double()
        else:
            weight = None
            if not isinstance(self.module, block.Pool):
                weight = torch.from_numpy(self.folded.q).to(self.seen.device)
            with torch.no_grad():
                sums = self.module.synapse(self.seen, OnGrid(weight=weight, value=self.value)).double()
        axes = [axis for axis in range(sums.dim()) if axis != 1]
        result: np.ndarray = sums.square().mean(axes).cpu().numpy()
        return np.broadcast_to(result, self.folded.multiplier.shape)


def arithmetic(module: Any) -> tuple[Affine, int, int]:
    """A block's arithmetic on messages and their range; warns of dead channels.

    Raises:
        ExportError: a number is not finite.
    """
    folded, low, high = device.messages_of(module)
    if not folded.finite:
        raise ExportError(
            f"{module.label}: weights or norm are not finite; retrain or load a good checkpoint"
        )
    dead = np.flatnonzero(folded.multiplier == 0)
    if len(dead):
        warnings.warn(
            f"{module.label}: channels {dead.tolist()} have a batch norm gain of 0; they are exported "
            "with scale 0",
            LavaBsnnWarning,
            stacklevel=2,
        )
    return folded, low, high
