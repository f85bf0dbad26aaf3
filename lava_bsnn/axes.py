"""What to do about samples whose axes stand in another order than here, where time is last."""

from __future__ import annotations

Shape = tuple[int, ...]


def in_order(shape: Shape, wanted: Shape, *, tensor: bool = True) -> str:
    """How ``x`` of a shape becomes ``[N, *wanted, T]`` or ``[N, *wanted]``, for the end of a message.

    Args:
        shape: of ``x``.
        wanted: ``(C, H, W)`` or ``(C,)``.
        tensor: ``x`` is a tensor; else an array.

    Returns:
        ``"; time is last: x.permute(...) of [N, T, C, H, W]"`` and the like; empty if no order of axes fits.
    """
    size = len(wanted)

    def moved(*axes: int) -> str:
        order = ", ".join(map(str, axes))
        return f"x.permute({order})" if tensor else f"np.transpose(x, ({order}))"

    if len(shape) == size + 2 and shape[2:] == wanted:
        names, rest = ("C, H, W" if size == 3 else "C"), range(2, size + 2)
        one, other = moved(0, *rest, 1), moved(1, *rest, 0)
        return f"; time is last: {one} of [N, T, {names}], {other} of [T, N, {names}]"
    if shape[:size] == wanted and len(shape) <= size + 1:
        return "; one sample is a batch, too: x[None]"
    if size == 3:
        last = (*wanted[1:], wanted[0])
        if len(shape) == 4 and shape[1:] == last:
            return f"; channels come first: {moved(0, 3, 1, 2)} of [N, H, W, C]"
        if len(shape) == 5 and shape[1:4] == last:
            return f"; channels come first: {moved(0, 3, 1, 2, 4)} of [N, H, W, C, T]"
        if len(shape) == 5 and shape[2:] == last:
            return f"; channels come first, time last: {moved(0, 4, 2, 3, 1)} of [N, T, H, W, C]"
        if wanted[0] == 1 and shape[1:3] == wanted[1:]:
            return "; the axis of one channel is missing: x[:, None]"
    return ""
