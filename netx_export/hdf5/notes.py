"""Where a file of lava-dl and what is made of it differ."""

from __future__ import annotations


class Notes:
    """Remarks on a file, each with the layers that it concerns.

    Args:
        ours: the file is one of :func:`netx_export.write`, which says what it means.

    Attributes:
        ours: likewise.
        beyond_stock: a network of profile ``"stock"`` does not compute what was read.
    """

    def __init__(self, *, ours: bool) -> None:
        self.ours = ours
        self._layers: dict[str, list[str]] = {}
        self.beyond_stock = False

    def add(self, layer: str, remark: str, *, beyond_stock: bool = False) -> None:
        """Note something once per layer."""
        layers = self._layers.setdefault(remark, [])
        if layer not in layers:
            layers.append(layer)
        self.beyond_stock |= beyond_stock

    def lines(self) -> tuple[str, ...]:
        """A line per remark."""
        return tuple(f"{', '.join(layers)}: {remark}" for remark, layers in self._layers.items())
