"""A trained run as its figures take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import OptionError
from ._model import layer_labels
from .activity import LayerActivity, activity
from .animation import Gif
from .operations import OperationCount, count_operations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..models import SpikingNetwork
    from ..training.history import Epoch


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained model, samples for it, and its history.

    Attributes:
        model: trained; it is left as it was.
        inputs: as the model takes them, ``[N, *shape]`` or ``[N, *shape, T]``.
        labels: classes ``[N]``.
        history: epochs of the training.
        batch_size: of the training.
        points: of the landscape, per direction.
        tell: told what is done, in words.
    """

    model: SpikingNetwork
    inputs: Tensor
    labels: Tensor
    history: tuple[Epoch, ...] = ()
    batch_size: int = 64
    points: int = 11
    tell: Callable[[str], None] = field(default=lambda text: None)

    @cached_property
    def names(self) -> dict[str, str]:
        """What exports call the layers."""
        return layer_labels(self.model)

    def named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same with the names of exports."""
        return {self.names.get(name, name): value for name, value in values.items()}

    @cached_property
    def activity(self) -> dict[str, LayerActivity]:
        """Of all samples."""
        return self.named(activity(self.model, self.inputs.split(self.batch_size)))

    @cached_property
    def operations(self) -> OperationCount:
        """Of all samples."""
        found = count_operations(self.model, self.inputs.split(self.batch_size))
        return OperationCount(layers=self.named(found.layers), samples=found.samples)

    @property
    def frames(self) -> np.ndarray:
        """The first sample, ``[C, H, W, T]``.

        Raises:
            OptionError: it has no ON and OFF events.
        """
        sample = self.inputs[0].numpy()
        if sample.ndim != 4 or sample.shape[0] != 2:
            raise OptionError("analyze: this data set has no events; animations and frames are of such")
        return sample


Made = tuple["Figure | Gif", Any]
"""A figure, and its data as plain values."""


def new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (8, 3.4)) -> tuple[Figure, Any]:
    """A figure of so many axes, without a window; ``size`` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)
