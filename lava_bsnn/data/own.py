"""A user's own data: from arrays, datasets or loaders to sources, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import code
from ..errors import DataError, OptionError
from .info import DatasetInfo, Opened, Progress
from .own_form import AXES, TRAIN, axes_of, form_of
from .own_samples import (
    OwnSource,
    Pairs,
    attribute,
    class_of,
    is_tensor,
    numbers,
    read_one,
    targets_of,
)

VALIDATION, TEST = "validation", "test"
TARGETS = ("classes", "labels", "values")
"""What a sample may have: one class; 0 or 1 for each class; real numbers, one for each output."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnData:
    """What a function that a recipe names as its dataset may return.

    A set is a pair ``(inputs, labels)`` of arrays (or a list of recordings and labels), a map-style dataset
    of such pairs, or a ``DataLoader``, whose dataset is taken. An input is a recording (structured array or
    mapping with x, y, t, p), frames ``[C, H, W, T]`` or ``[C, T]``, or an image ``[C, H, W]``, float in 0..1
    or uint8.

    Attributes:
        test: None where a share of ``train`` is to be held out.
        validation: None where the set has none.
        classes: names in the order of labels; by default those of ``train.classes``, else the numbers.
        sensor_size: (W, H, P) of recordings; by default ``train.sensor_size``, else the largest coordinates.
    """

    train: Any
    test: Any = None
    validation: Any = None
    classes: Sequence[str] = ()
    sensor_size: Sequence[int] | None = None


def open_own(
    name: str,
    *,
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    layout: str | None = None,
    progress: Progress | None = None,
    tolerant: bool = False,
    targets: str = "classes",
) -> Opened:
    """Call the function ``name`` and look at what it returns.

    Args:
        given: arguments that it gets if it takes them.
        options: further arguments, which it has to take.
        layout: axes of arrays, see :func:`lava_bsnn.data.load`.
        progress: called with (done, total) while labels are read.
        tolerant: whether samples that cannot be read may stay, to be left out later.
        targets: one of :data:`TARGETS`.

    Raises:
        OptionError: the code is not allowed, cannot be imported, or raises.
        DataError: it returns no data, or data that are not alike.
    """
    if layout is not None and sorted(layout) not in [sorted(axes) for axes in AXES]:
        raise OptionError(
            f"data.load: layout={layout!r} is not allowed; use the axes {', '.join(AXES)} in any order"
        )
    given_data = own_data(name, code.called(name, given, options, "data_options"))
    notes: list[str] = []
    sets = {
        split: _as_dataset(f"{name}: {split}", getattr(given_data, split), layout, notes, targets)
        for split in (TRAIN, VALIDATION, TEST)
        if getattr(given_data, split) is not None
    }
    train = sets[TRAIN]
    form = form_of(name, train, layout, notes)
    sensor = given_data.sensor_size or attribute(train, "sensor_size") if form.kind == "events" else None
    sizes: dict[str, Any] = {}
    found: dict[str, np.ndarray] = {}
    for split, data in sets.items():
        found[split], sizes[split] = targets_of(
            f"{name}: {split}",
            data,
            form,
            targets,
            sized=form.kind == "events" and sensor is None,
            progress=progress,
            tolerant=tolerant,
        )
    if form.kind == "events":
        if sensor is None:
            width, height = (max(size[axis] for size in sizes.values()) for axis in (0, 1))
            sensor = (width, height, 2)
            notes.append(f"the sensor is taken as {width} x {height} pixels, the largest coordinates")
        shape = (int(sensor[2]), int(sensor[1]), int(sensor[0]))
    else:
        first: Any = read_one(f"{name}: {TRAIN}", train, 0, form)
        shape = first.shape[:3]
    names = tuple(map(str, given_data.classes or attribute(train, "classes") or ()))
    number = _outputs(name, found, names, notes) if targets == "classes" else found[TRAIN].shape[1]
    if (targets != "classes" and any(one.shape[1] != number for one in found.values())) or names[number:]:
        raise DataError(
            f"{name}: targets have {[one.shape[1] for one in found.values()]} values, for {len(names)} names "
            "in classes; give as many in each set"
        )
    sources = {split: OwnSource(data, found[split], form, targets) for split, data in sets.items()}
    info = DatasetInfo(
        name=name,
        kind="static" if form.kind == "images" else "events",
        shape=shape,
        num_classes=number,
        classes=names,
        train_size=len(train),
        test_size=len(sets.get(TEST, ())),
        licence="the user's",
        source=f"{name}",
        loader=lambda info, place: (sources[TRAIN], sources.get(TEST)),
    )
    return Opened(
        info=info,
        train=sources[TRAIN],
        test=sources.get(TEST),
        validation=sources.get(VALIDATION),
        notes=tuple(notes),
        framed=form.kind == "frames",
    )


def _outputs(name: str, found: Mapping[str, np.ndarray], names: Sequence[str], notes: list[str]) -> int:
    """Number of classes; those without training samples are noted."""
    number = len(names) or max(int(one.max()) for one in found.values()) + 1
    for split, labels in found.items():
        if labels.max() >= number:
            index = int((labels >= number).argmax())
            raise DataError(
                f"{name}: {split}[{index}]: its label is {labels[index]}; allowed are 0..{number - 1}, the "
                f"numbers of the {number} names in classes"
            )
    absent = sorted(set(range(number)) - set(found[TRAIN].tolist()))
    if absent:
        counted = "; labels count from 0" if absent[0] == 0 else ""
        notes.append(f"no training sample has label {', '.join(map(str, absent[:5]))}{counted}")
    return number


def own_data(name: str, returned: Any) -> OwnData:
    """What a function returned, in one form.

    Raises:
        DataError: it is none of those allowed.
    """
    if isinstance(returned, OwnData):
        return returned
    if _is_dataset(returned) and not isinstance(returned, (tuple, list)):
        return OwnData(train=returned)
    if isinstance(returned, (tuple, list)) and len(returned) in (2, 3):
        if len(returned) == 2 and _is_labels(returned[1]):
            return OwnData(train=tuple(returned))
        if len(returned) == 2:
            return OwnData(train=returned[0], test=returned[1])
        return OwnData(train=returned[0], validation=returned[1], test=returned[2])
    shown = (
        f"{len(returned)} things" if isinstance(returned, (tuple, list)) else f"a {type(returned).__name__}"
    )
    raise DataError(
        f"{name}: returned {shown}; return (train, test) or (train, validation, test), each a dataset or a "
        "pair of arrays, or data.OwnData"
    )


def _is_labels(given: Any) -> bool:
    """Whether it is an array, or a list of numbers, and no pair of other things."""
    if isinstance(given, (list, tuple)):
        return bool(given) and all(isinstance(one, (int, np.integer)) for one in given)
    return bool(getattr(given, "shape", ()))


def _is_dataset(data: Any) -> bool:
    return (hasattr(data, "__getitem__") and hasattr(data, "__len__")) or hasattr(data, "batch_sampler")


def _as_dataset(where: str, data: Any, layout: str | None, notes: list[str], targets: str) -> Any:
    """A map-style dataset of what stands for one set."""
    if hasattr(data, "batch_sampler"):  # a DataLoader
        notes.append(
            f"{where.split(': ')[-1]} is a DataLoader: its dataset is taken, in batches of the recipe"
        )
        data = data.dataset
    if isinstance(data, (tuple, list)) and len(data) == 2 and _is_labels(data[1]):
        return _pairs(where, data[0], data[1], layout, targets)
    if not _is_dataset(data) or isinstance(data, (np.ndarray, str, Mapping)) or is_tensor(data):
        shown = f" {list(data.shape)}" if hasattr(data, "shape") else ""
        raise DataError(
            f"{where} is a {type(data).__name__}{shown}; use a dataset with a length, a DataLoader of "
            "one, or a pair of arrays (inputs, labels)"
        )
    if not len(data):
        raise DataError(f"{where} is empty; give at least one sample")
    return data


def _pairs(where: str, inputs: Any, labels: Any, layout: str | None, targets: str) -> Pairs:
    """Arrays as a dataset, samples first."""
    classes = np.asarray(labels)
    if targets == "classes" and (classes.ndim != 1 or classes.dtype.kind not in "iub"):
        try:
            class_of(classes[0])
        except (ValueError, IndexError) as error:
            raise DataError(f"{where}[{0}]: {error}") from error
        raise DataError(f"{where} has labels {list(classes.shape)} of {classes.dtype}; use integers [N]")
    tensors = is_tensor(inputs)
    recordings = isinstance(inputs, (list, tuple)) or getattr(inputs, "dtype", None) == np.dtype(object)
    if not recordings:
        array = numbers(inputs)
        axes = axes_of(where, layout, array.ndim, 1)
        first = axes.index("N")
        inputs = np.moveaxis(array, first, 0)
        if len(inputs) != len(classes) and layout is None and len(classes) in array.shape:
            raise DataError(
                f"{where} has inputs {list(array.shape)} and {len(classes)} labels; samples come first: for "
                f"[T, N, C, H, W] set layout: TNCHW in the recipe, or give x.permute(1, 2, 3, 4, 0)"
            )
    if len(inputs) != len(classes):
        raise DataError(f"{where} has {len(inputs)} inputs and {len(classes)} labels; give one label each")
    if not len(classes):
        raise DataError(f"{where} is empty; give at least one sample")
    return Pairs(inputs, classes, tensors)
