"""What callers give as samples, as an array; what else they give is refused in a line."""

from __future__ import annotations

from typing import Any

import numpy as np

from lava_bsnn.axes import in_order
from lava_bsnn.errors import ShapeError

from .synapses import Shape


def as_array(where: str, samples: Any) -> np.ndarray:
    """Samples as an array of numbers, ``[N, ...]``.

    Args:
        where: function or argument, for errors.
        samples: array, CPU tensor, or a list of samples of one shape.

    Raises:
        ShapeError: something else, such as a loader, a data set, or samples of several shapes.
    """
    kind = type(samples).__name__
    if isinstance(samples, (list, tuple)):
        shapes = list(dict.fromkeys(tuple(getattr(one, "shape", ())) for one in samples))
        if len(shapes) > 1:
            raise ShapeError(
                f"{where}: this {kind} holds shapes {shapes[0]} and {shapes[1]}; give samples of one shape, "
                "cut or padded to one number of steps, without labels"
            )
    elif not hasattr(samples, "__array__"):
        if hasattr(samples, "batch_sampler"):
            remedy = "np.concatenate([np.asarray(x) for x, _ in loader])"
        elif hasattr(samples, "__getitem__") and hasattr(samples, "__len__") and not isinstance(samples, str):
            remedy = "np.stack([np.asarray(dataset[i][0]) for i in range(len(dataset))])"
        else:
            remedy = "an array [N, ...]"
        raise ShapeError(f"{where}: a {kind} is no array of samples; use {remedy}")
    try:
        x = np.asarray(samples)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ShapeError(
            f"{where}: this {kind} is no array of numbers; use .detach().cpu().numpy()"
        ) from error
    if x.dtype.kind not in "buif":
        raise ShapeError(f"{where}: {x.dtype} values are not allowed; use numbers")
    return x


def check_fit(where: str, x: np.ndarray, shape: Shape, *, frames: bool = True) -> None:
    """Refuse samples that are not ``[N, *shape, T]``.

    Args:
        where: function or argument, for errors.
        x: the samples.
        shape: of one step, ``(C, H, W)`` or ``(C,)``.
        frames: allow ``[N, *shape]``, too.

    Raises:
        ShapeError: the shape is another one.
    """
    size = len(shape)
    if x.shape[1 : size + 1] == shape and (x.ndim == size + 2 or (frames and x.ndim == size + 1)):
        return
    sizes = ", ".join(map(str, shape))
    allowed = f"[N, {sizes}] or [N, {sizes}, T]" if frames else f"[N, {sizes}, T]"
    remedy = in_order(x.shape, shape, tensor=False)
    if not remedy and x.shape[1:] == shape:
        remedy = "; net.encode(x, num_steps) adds the time axis"
    raise ShapeError(f"{where}: shape {x.shape} does not fit; use {allowed}{remedy}")
