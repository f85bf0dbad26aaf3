"""Recordings packed into one ``.npz`` file.

Arrays ``labels`` [N], ``offsets`` [N + 1], ``x``, ``y``, ``t`` (us), ``p`` (0 OFF, 1 ON), and optional
``ids`` [N], ``sensor_size`` (W, H, P) and ``classes`` (names); sample i is ``[offsets[i]:offsets[i + 1]]``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, check_option
from ..files import atomic_path
from .events import FIELDS, TIME_UNITS, as_events, check_events, structured
from .info import DatasetInfo, Opened

KEYS = ("labels", "offsets", *FIELDS)
PACKED = "packed"
"""Name of a data set of packed recordings of the user's own."""
OPTIONAL = ("ids", "sensor_size", "classes")
_LARGEST = 1 << 15
"""Pixels of a side up to which coordinates are 16 bits wide everywhere."""


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
        self.sensor_size = tuple(map(int, arrays.get("sensor_size", ())))
        self.classes = tuple(map(str, arrays.get("classes", ())))
        self.fields = {key: arrays[key] for key in FIELDS}

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        part = slice(self.offsets[index], self.offsets[index + 1])
        return structured(**{key: array[part] for key, array in self.fields.items()})

    def where(self, index: int) -> str:
        name = "" if self.ids is None else f" id {self.ids[index]}"
        return f"{self.path} recording {index}{name}".strip()


def write_packed(
    path: str | os.PathLike[str],
    recordings: Iterable[Any],
    labels: Any,
    *,
    sensor_size: Sequence[int] | None = None,
    classes: Sequence[str] = (),
    time_unit: str = "us",
) -> None:
    """Write recordings of an event camera as one packed file, whole or not at all.

    Args:
        recordings: structured arrays, or mappings of arrays, with the fields x, y, t and p (0 OFF and 1 ON,
            booleans, or -1 OFF and 1 ON), integers.
        labels: classes ``[N]``, integers from 0 on.
        sensor_size: (W, H, P) as tonic has it, kept in the file; P is 2, or 1 where p is always 0. By default
            who reads the file knows it, or takes the largest coordinates.
        classes: names in the order of labels, kept in the file.
        time_unit: of t: ``"us"`` (integers), ``"ns"``, ``"ms"`` or ``"s"``, which become us.

    Raises:
        DataError: no recordings, or one that is not like this; or labels that do not fit.
        OptionError: an unknown time unit.
        LavaBsnnError: the folder does not exist or cannot be written.
    """
    check_option("write_packed", "time_unit", time_unit, TIME_UNITS)
    size = None if sensor_size is None else tuple(int(side) for side in sensor_size)
    if size is not None and (len(size) != 3 or not (min(size) > 0 and max(size) <= _LARGEST and size[2] < 3)):
        raise DataError(
            f"write_packed: sensor_size={size} is not allowed; use (W, H, P) of 1..{_LARGEST} pixels and "
            "1 or 2 polarities"
        )
    width, height, polarities = size or (_LARGEST, _LARGEST, 2)
    checked = []
    for index, recording in enumerate(recordings):
        try:
            events = as_events(recording, time_unit)
            check_events(events, (height, width), polarities)
        except ValueError as error:
            raise DataError(f"write_packed: recording {index}: {error}; mend it or leave it out") from error
        checked.append(events)
    numbers = np.asarray(labels)
    if not checked or numbers.shape != (len(checked),) or numbers.dtype.kind not in "iu":
        raise DataError(
            f"write_packed: {len(checked)} recordings and labels {list(numbers.shape)} of {numbers.dtype}; "
            "use one integer per recording, and at least one"
        )
    most = len(classes) - 1 if len(classes) else np.iinfo(np.int32).max
    if numbers.min() < 0 or numbers.max() > most:
        raise DataError(f"write_packed: labels are {numbers.min()}..{numbers.max()}; allowed are 0..{most}")
    arrays = _pack(checked, numbers)
    if size is not None:
        arrays["sensor_size"] = np.array(size)
    if len(classes):
        arrays["classes"] = np.array([str(name) for name in classes])
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


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
            arrays = {} if missing else {key: file[key] for key in (*KEYS, *OPTIONAL) if key in file.files}
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
    size, names = arrays.get("sensor_size"), arrays.get("classes")
    if size is not None and (size.shape != (3,) or size.dtype.kind not in "iu" or size.min() < 1):
        raise DataError(f"{path}: sensor_size is {size.tolist()}; allowed is (W, H, P)")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise DataError(f"{path}: classes are {names.dtype} {list(names.shape)}; allowed are names")
    if len({len(arrays[key]) for key in FIELDS}) != 1:
        raise DataError(f"{path}: x, y, t, p differ in length; pack it again")
    if offsets[0] != 0 or offsets[-1] != events or (np.diff(offsets) < 0).any():
        raise DataError(
            f"{path}: offsets {offsets[0]}..{offsets[-1]} do not rise from 0 to {events} events; "
            "pack it again"
        )
    return arrays


def open_packed(name: str, path: Path) -> Opened:
    """Packed recordings of any sensor: one file, or a folder with ``train.npz`` and ``test.npz``.

    ``validation.npz`` beside them is the validation set.

    Raises:
        DataError: no such file, or a damaged one; files that do not fit each other.
    """
    files = (
        {split: path / f"{split}.npz" for split in ("train", "validation", "test")}
        if path.is_dir()
        else {"train": path}
    )
    sources = {split: PackedSource(file) for split, file in files.items() if file.is_file()}
    if "train" not in sources:
        raise DataError(
            f"{name}: {path} is no file of packed recordings, nor a folder with train.npz; set data_root"
        )
    notes = []
    first = sources["train"]
    for split, source in sources.items():
        for field in ("sensor_size", "classes"):
            ours, theirs = getattr(first, field), getattr(source, field)
            if ours != theirs:
                raise DataError(
                    f"{name}: {files[split]} has {field}={theirs}, train.npz has {ours}; pack both alike"
                )
    sensor = first.sensor_size
    if not sensor:
        sides = [max(int(one.fields[axis].max(initial=0)) for one in sources.values()) + 1 for axis in "xy"]
        sensor = (*sides, 2)
        notes.append(f"the sensor is taken as {sides[0]} x {sides[1]} pixels, the largest coordinates")
    number = len(first.classes) or max(int(one.labels.max()) for one in sources.values()) + 1
    info = DatasetInfo(
        name=name,
        kind="events",
        shape=(sensor[2], sensor[1], sensor[0]),
        num_classes=number,
        classes=first.classes,
        train_size=len(first),
        test_size=len(sources["test"]) if "test" in sources else 0,
        licence="the user's",
        source="data.write_packed",
        loader=lambda info, place: (first, sources.get("test")),
    )
    return Opened(
        info=info,
        train=first,
        test=sources.get("test"),
        validation=sources.get("validation"),
        notes=tuple(notes),
    )
