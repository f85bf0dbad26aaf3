"""Recordings packed into one ``.npz`` file.

Arrays ``labels`` [N], ``offsets`` [N + 1], ``x``, ``y``, ``t`` (us), ``p`` (0 OFF, 1 ON), and optional
``ids`` [N]; sample i is ``[offsets[i]:offsets[i + 1]]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import atomic_path

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])
WIDE = np.dtype([(name, np.int64) for name in "xytp"])
KEYS = ("labels", "offsets", "x", "y", "t", "p")


class PackedSource:
    """Recordings in memory; ``read`` gives structured events.

    Raises:
        DataError: the file is damaged, lacks an array, or its arrays do not fit together.
    """

    scale = 1
    in_memory = True

    def __init__(self, path: Path) -> None:
        self._set(_read(path), str(path))

    @classmethod
    def of(cls, recordings: Sequence[np.ndarray], labels: np.ndarray) -> PackedSource:
        """Return a source of structured ``recordings`` that are in no file."""
        source = cls.__new__(cls)
        source._set(_pack(recordings, labels), "")
        return source

    def _set(self, arrays: dict[str, np.ndarray], path: str) -> None:
        self.path = path
        self.labels = arrays["labels"].astype(np.int64)
        self.offsets = arrays["offsets"].astype(np.int64)
        self.ids = arrays.get("ids")
        self.fields = {key: arrays[key] for key in ("x", "y", "t", "p")}

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        part = slice(self.offsets[index], self.offsets[index + 1])
        return structured(**{key: array[part] for key, array in self.fields.items()})

    def where(self, index: int) -> str:
        name = "" if self.ids is None else f" id {self.ids[index]}"
        return f"{self.path} recording {index}{name}".strip()


def structured(x: Any, y: Any, t: Any, p: Any, dtype: Any = WIDE) -> np.ndarray:
    """Return structured events with the fields given."""
    events = np.empty(len(x), dtype=dtype)
    for name, values in zip("xytp", (x, y, t, p), strict=True):
        events[name] = values
    return events


def in_order(events: np.ndarray) -> np.ndarray:
    """Return structured events sorted by time; simultaneous ones keep their order."""
    times = events["t"]
    return events if (times[1:] >= times[:-1]).all() else events[np.argsort(times, kind="stable")]


def write_packed(path: Path, recordings: Sequence[np.ndarray], labels: np.ndarray) -> None:
    """Write ``recordings`` (structured events) as one packed file, whole or not at all.

    Raises:
        LavaBsnnError: the folder does not exist or cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **_pack(recordings, labels))


def _pack(recordings: Sequence[np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    events = np.concatenate(list(recordings))
    side = max(events["x"].max(initial=0), events["y"].max(initial=0))
    pixel = np.uint8 if side < 256 else np.uint16
    return {
        "labels": np.asarray(labels),
        "offsets": np.concatenate([[0], np.cumsum([len(one) for one in recordings])]).astype(np.int64),
        "x": events["x"].astype(pixel),
        "y": events["y"].astype(pixel),
        "t": events["t"].astype(np.int64),
        "p": events["p"].astype(np.uint8),
    }


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file.files]
            arrays = {} if missing else {key: file[key] for key in (*KEYS, "ids") if key in file.files}
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable npz file ({reason}); get or make it again") from error
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)}; packed recordings hold {', '.join(KEYS)}")
    for key in KEYS:
        array = arrays[key]
        if array.ndim != 1 or array.dtype.kind not in "iub":
            raise DataError(
                f"{path}: {key} is {array.dtype} {list(array.shape)}; allowed are integers in one dimension"
            )
    offsets, labels, events = arrays["offsets"].astype(np.int64), len(arrays["labels"]), len(arrays["x"])
    if len(offsets) != labels + 1 or not labels:
        raise DataError(
            f"{path}: {len(offsets)} offsets for {labels} labels; "
            "allowed is one offset more than labels, and at least one label"
        )
    if "ids" in arrays and len(arrays["ids"]) != labels:
        raise DataError(f"{path}: {len(arrays['ids'])} ids for {labels} labels; give one each, or none")
    if len({len(arrays[key]) for key in ("x", "y", "t", "p")}) != 1:
        raise DataError(f"{path}: x, y, t, p differ in length; pack it again")
    if offsets[0] != 0 or offsets[-1] != events or (np.diff(offsets) < 0).any():
        raise DataError(
            f"{path}: offsets {offsets[0]}..{offsets[-1]} do not rise from 0 to {events} events; "
            "pack it again"
        )
    return arrays
