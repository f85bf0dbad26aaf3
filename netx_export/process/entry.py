"""The check of what enters a network of processes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from lava.magma.core.process.ports.ports import AbstractPort, AbstractVirtualPort, InPort

from lava_bsnn.errors import ShapeError
from netx_export.network import Input


class EntryPort(AbstractVirtualPort):
    """Where its messages are received, those that an input does not allow raise an error.

    Args:
        entry: the input.
        port: what it passes on.
        targets: ports that receive it.
    """

    def __init__(self, entry: Input, port: InPort, targets: list[InPort]) -> None:
        super().__init__(port.shape)
        self._check = functools.partial(checked, low=entry.min_value, high=entry.max_value)
        port._connect_forward([self], AbstractPort, [None])
        for target in targets:
            join(self, target)

    def get_transform_func_fwd(self) -> Callable[[np.ndarray], np.ndarray]:
        """Check messages."""
        return self._check

    get_transform_func_bwd = get_transform_func_fwd


def join(source: AbstractPort, target: AbstractPort) -> None:
    """Connect two ports, over a reshape where one is flat."""
    if source.shape != target.shape:
        source = source.reshape(target.shape)
    source.connect(target)


def checked(x: np.ndarray, *, low: int, high: int) -> np.ndarray:
    """The messages ``x``.

    Raises:
        ShapeError: out of the range.
    """
    if x.max() > high or x.min() < low:
        raise ShapeError(
            f"Network: {x.dtype} values {x.min()}..{x.max()} do not fit; use integers {low}..{high}"
        )
    return x
