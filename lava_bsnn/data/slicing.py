"""Long recordings cut into slices of equal time."""

from __future__ import annotations

import numpy as np

from .events import in_order
from .sources import Source


class SlicedSource:
    """Slices of ``slice_us`` us of the recordings ``indices``, as tonic's SliceByTime cuts them.

    What is left at the end of a recording is dropped; a shorter recording is one slice. All recordings are
    read once; one that cannot be read stays a single slice, so that the error comes on access.
    """

    def __init__(self, source: Source, indices: np.ndarray, slice_us: int) -> None:
        from tonic.slicers import SliceByTime

        self.source = source
        self.scale, self.in_memory = source.scale, source.in_memory
        self.slices: list[tuple[int, slice]] = []
        cut = SliceByTime(time_window=slice_us)
        for index in indices.tolist():
            try:
                spans = cut.get_slice_metadata(in_order(source.read(index)), None)
            except (MemoryError, ImportError):
                raise
            except Exception:  # readers raise anything on damaged files
                self.slices.append((index, slice(None)))
                continue
            self.slices += [(index, slice(int(start), int(stop))) for start, stop in spans]
        taken = [index for index, _ in self.slices]
        self.labels = source.labels[taken]
        targets = getattr(source, "targets", None)
        self.targets = None if targets is None else targets[taken]

    def __len__(self) -> int:
        return len(self.slices)

    def read(self, index: int) -> np.ndarray:
        recording, part = self.slices[index]
        return in_order(self.source.read(recording))[part]

    def where(self, index: int) -> str:
        recording, part = self.slices[index]
        return f"{self.source.where(recording)} events {part.start}:{part.stop}"
