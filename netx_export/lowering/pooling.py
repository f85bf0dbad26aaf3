"""Poolings without neuron: they send sums of messages, or become a part of the block behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeGuard

import numpy as np

from lava_bsnn import block, synapse
from lava_bsnn.limits import LIMITS

from ..network import Conv


def is_dense(module: Any) -> bool:
    """Whether a block's synapse is dense."""
    return isinstance(getattr(module, "synapse", None), synapse.Dense)


def is_bare_pool(module: Any) -> TypeGuard[block.Pool]:
    """Whether a block is a pooling without neuron."""
    return isinstance(module, block.Pool) and module.neuron is None


def behind(blocks: list[Any], index: int) -> Any:
    """The block behind place ``index``, over flattenings; None at the end."""
    return next((one for one in blocks[index + 1 :] if not isinstance(one, block.Flatten)), None)


def bare_pools(blocks: list[Any]) -> Iterator[tuple[block.Pool, Any]]:
    """Poolings without neuron, in residuals too, each with the block behind it in the chain, or None."""
    for index, module in enumerate(blocks):
        if is_bare_pool(module):
            yield module, behind(blocks, index)
        elif isinstance(module, block.Residual):
            for one in (*list(module.blocks)[:-1], *list(module.shortcut)[:-1]):
                if is_bare_pool(one):
                    yield one, None


def rows(blocks: list[Any]) -> Iterator[list[Any]]:
    """The chain, and the rows of blocks inside of residuals."""
    yield blocks
    for module in blocks:
        if isinstance(module, block.Residual):
            yield from rows(list(module.blocks))
            yield list(module.shortcut)


def taps(pool: block.Pool) -> int:
    """Values of a window."""
    return math.prod(pool.synapse.kernel_size[:2])


def sends_messages(pool: block.Pool) -> bool:
    """Whether a window's sums are messages: 8 bits without sign."""
    return not pool.incoming.low and taps(pool) * pool.incoming.high <= LIMITS.levels_max


def merges(pool: block.Pool, following: Any) -> bool:
    """Whether a pooling whose sums are no messages becomes a part of the dense block behind it."""
    tiles = pool.synapse.stride == pool.synapse.kernel_size and not any(pool.synapse.padding)
    return not sends_messages(pool) and is_dense(following) and tiles


def pool_synapse(module: block.Pool, weight: np.ndarray | None = None) -> Conv:
    """Sums over windows, channel by channel."""
    layer, channels = module.synapse, module.shape[0]
    ones = np.ones((channels, 1, *layer.kernel_size[:2]), dtype=np.int64)
    return Conv(
        weight=ones if weight is None else weight,
        stride=layer.stride[:2],
        padding=layer.padding[:2],
        groups=channels,
    )


def over_window(pool: block.Pool, q: np.ndarray) -> np.ndarray:
    """Dense weights ``[out, in]`` behind a pooling whose windows tile the image, for that image."""
    assert pool.input_shape is not None
    channels, height, width = pool.input_shape
    q = np.kron(q.reshape(len(q), channels, *pool.shape[1:]), np.ones(pool.synapse.kernel_size[:2], q.dtype))
    rest = ((0, 0), (0, 0), (0, height - q.shape[2]), (0, width - q.shape[3]))
    return np.pad(q, rest).reshape(len(q), -1)


def over_pooled(pool: block.Pool, conv: Conv) -> Conv:
    """A convolution behind a pooling whose windows tile the image, for that image."""
    factor = pool.synapse.kernel_size[:2]
    return Conv(
        weight=np.kron(conv.weight, np.ones(factor, dtype=np.int64)),
        stride=(conv.stride[0] * factor[0], conv.stride[1] * factor[1]),
        padding=(conv.padding[0] * factor[0], conv.padding[1] * factor[1]),
        dilation=conv.dilation,
        groups=conv.groups,
    )
