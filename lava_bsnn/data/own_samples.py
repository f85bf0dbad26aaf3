"""Samples of a user's own data: read one by one, checked, and brought into one form."""

from __future__ import annotations

import contextlib
import operator
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import code
from ..errors import DataError
from .events import as_events
from .info import Progress


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the samples of a set are, as the first one tells.

    Attributes:
        kind: ``"events"``, ``"frames"`` or ``"images"``.
        scale: the number that means 1.0; 255 of uint8 images.
        axes: of one sample as it comes, e.g. ``"TCHW"``; empty for events.
        shape: likewise.
        turn: how arrays of their type are turned, ``"transpose"``, of tensors ``"permute"``.
    """

    kind: str
    scale: int = 1
    axes: str = ""
    shape: tuple[int, ...] = ()
    turn: str = "transpose"

    def __call__(self, item: Any) -> np.ndarray:
        """A sample of this form.

        Raises:
            ValueError: it is not of this form.
        """
        if self.kind == "events":
            return as_events(item)
        array = numbers(item)
        if array.ndim != len(self.axes):
            raise ValueError(f"its shape is {list(array.shape)}; allowed are {', '.join(self.axes)}")
        if self.kind == "images" and (array.dtype == np.uint8) != (self.scale == 255):
            raise ValueError(f"it is {array.dtype}, the first sample is not; allowed is one type for all")
        order = "CHWT" if self.kind == "frames" else "CHW"
        array = array.transpose([self.axes.index(axis) for axis in order if axis in self.axes])
        if "H" not in self.axes:  # rows of channels
            array = array[:, None, None]
        if (
            self.kind == "images"
            and self.scale == 1
            and array.size
            and not 0 <= array.min() <= array.max() <= 1
        ):
            raise ValueError(
                f"its values are {array.min():.4g}..{array.max():.4g}; allowed are uint8, or floats in 0..1"
            )
        return array if array.dtype == np.uint8 else array.astype(np.float32)


class OwnSource:
    """Samples of a set that a user gives, checked one by one when they are read."""

    def __init__(self, data: Any, targets: np.ndarray, form: Form, kind: str) -> None:
        self.data, self.form, self.kind = data, form, kind
        self.labels = targets if kind == "classes" else np.zeros(len(targets), dtype=np.int64)
        self.targets = targets
        self.scale = form.scale
        self.in_memory = isinstance(data, Pairs)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        """Sample as structured events, frames ``[C, H, W, T]`` or image ``[C, H, W]``.

        Draws of numpy and Python follow from the seed of torch's, so that a run can be resumed.

        Raises:
            ValueError: it cannot be read, or is not like the first one.
        """
        with _numpy_drawing_as_torch():
            item, label = item_of(self.data, index, self.kind)
        if not np.array_equal(label, self.targets[index]):
            raise ValueError(
                f"its label is {label}, was {self.targets[index]} before; labels must not change"
            )
        return self.form(item)

    def where(self, index: int) -> str:
        return ""


class Pairs:
    """Arrays or lists of inputs and labels, as a dataset."""

    def __init__(self, inputs: Any, labels: np.ndarray, tensors: bool = False) -> None:
        self.inputs, self.targets, self.tensors = inputs, labels, tensors

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.inputs[index], self.targets[index]


def read_one(where: str, data: Any, index: int, form: Form) -> np.ndarray:
    """A sample in its form; :class:`DataError` where it is not of it."""
    try:
        return form(pair_of(data, index)[0])
    except ValueError as error:
        raise DataError(f"{where}[{index}]: {error}") from error


@contextlib.contextmanager
def _numpy_drawing_as_torch() -> Iterator[None]:
    """Seed numpy's and Python's generators with torch's seed, and put them back afterwards."""
    import torch

    seed, before = torch.initial_seed(), (np.random.get_state(), random.getstate())
    np.random.seed(seed % (1 << 32))
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])


def numbers(item: Any) -> np.ndarray:
    """An array of real numbers; tensors as well.

    Raises:
        ValueError: it is none.
    """
    array = (
        item
        if isinstance(item, np.ndarray)
        else np.asarray(item.numpy(force=True) if is_tensor(item) else item)
    )
    if type(item).__module__.startswith("PIL.") or array.dtype.kind not in "buif":
        raise ValueError(
            f"it is a {type(item).__name__}; allowed are arrays and tensors of numbers (of pictures through "
            "torchvision.transforms.PILToTensor()), and recordings with the fields x, y, t, p"
        )
    return array


def is_tensor(item: Any) -> bool:
    """Whether it is one of torch's."""
    return type(item).__module__.startswith("torch") and hasattr(item, "numpy")


def pair_of(data: Any, index: int) -> tuple[Any, Any]:
    """Input and target of a sample as they come.

    Raises:
        ValueError: the dataset raises, or gives no pair.
    """
    try:
        item = data[index]
    except (MemoryError, ImportError):
        raise
    except Exception as error:
        raise ValueError(code.told(error)) from error
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        shown = f"{len(item)} things" if isinstance(item, (tuple, list)) else f"a {type(item).__name__}"
        raise ValueError(f"it is {shown}; allowed is a pair of input and label")
    return item[0], item[1]


def item_of(data: Any, index: int, kind: str) -> tuple[Any, Any]:
    """Input and target of a sample: a class (int), or an array of labels or values.

    Raises:
        ValueError: as :func:`pair_of`, or the target is none of that kind.
    """
    item, target = pair_of(data, index)
    return item, class_of(target) if kind == "classes" else vector_of(target, kind)


def vector_of(target: Any, kind: str) -> np.ndarray:
    """A target as bool ``[K]`` (``"labels"``) or float32 ``[K]`` (``"values"``).

    Raises:
        ValueError: it is none.
    """
    array = np.atleast_1d(np.asarray(target))
    if array.ndim == 1 and array.size and array.dtype.kind in "iubf" and np.isfinite(array).all():
        if kind == "values":
            return array.astype(np.float32)
        if set(np.unique(array).tolist()) <= {0, 1}:
            return array.astype(bool)
    wanted = "0 or 1 for each class" if kind == "labels" else "finite numbers"
    raise ValueError(f"its target is {array.dtype} {list(array.shape)}; allowed are [K] of {wanted}")


def class_of(label: Any) -> int:
    """A label as integer.

    Raises:
        ValueError: it is none; one-hot vectors are told apart.
    """
    array = np.asarray(label)
    if array.dtype.kind in "iub" and array.size == 1:
        return operator.index(array.astype(np.int64).item())
    if array.dtype.kind in "iubf" and array.ndim == 1 and np.count_nonzero(array) == 1 == array.max():
        raise ValueError(
            f"its label is one-hot, {list(array.shape)}; allowed are integers: label.argmax(), here "
            f"{int(array.argmax())}"
        )
    if array.dtype.kind in "US" and array.size == 1:
        raise ValueError(f"its label is {str(label)!r}; allowed are integers from 0 on: classes.index(label)")
    shown = repr(label) if array.size == 1 else f"{array.dtype} {list(array.shape)}"
    raise ValueError(f"its label is {shown}; allowed are integers from 0 on")


def targets_of(
    where: str,
    data: Any,
    form: Form,
    kind: str,
    *,
    sized: bool,
    progress: Progress | None,
    tolerant: bool,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Targets of a dataset, and with ``sized`` the width and height that its events need.

    Datasets that keep their labels, as torchvision's and tonic's do, are not read for them.
    """
    known = _kept(data) if kind == "classes" else None
    if known is not None and not sized:
        return _whole(where, known), (0, 0)
    found: list[Any] = []
    width = height = 1
    for index in range(len(data)):
        try:
            item, target = item_of(data, index, kind)
            if sized:
                events = as_events(item)
                width = max(width, int(events["x"].max(initial=0)) + 1)
                height = max(height, int(events["y"].max(initial=0)) + 1)
        except ValueError as error:
            if not tolerant:
                raise DataError(
                    f"{where}[{index}]: {error}; mend it, or leave bad samples out with skip_bad: true"
                ) from error
            target = None  # reading it raises again
        found.append(target)
        if progress is not None:
            progress(index + 1, len(data))
    like = next((one for one in found if one is not None), 0)
    found = [np.zeros_like(like) if one is None else one for one in found]
    for index, one in enumerate(found):
        if np.shape(one) != np.shape(like):
            raise DataError(
                f"{where}[{index}]: its target has {np.size(one)} values, others {np.size(like)}; "
                "give as many"
            )
    return _whole(where, np.array(found)) if kind == "classes" else np.array(found), (width, height)


def _whole(where: str, labels: np.ndarray) -> np.ndarray:
    """Classes as int64, none of them negative."""
    if labels.min() < 0:
        index = int((labels < 0).argmax())
        raise DataError(f"{where}[{index}]: its label is {labels[index]}; allowed are integers from 0 on")
    return labels.astype(np.int64)


def attribute(data: Any, name: str) -> Any:
    """Attribute of a dataset, as torchvision's and tonic's have it, or of what it is part of; else None."""
    found = getattr(data, name, None)
    inner = getattr(data, "dataset", None)
    return attribute(inner, name) if found is None and inner is not None else found


def _kept(data: Any) -> np.ndarray | None:
    """Labels that a dataset keeps; None where it keeps none, or changes them when it is read."""
    from torch.utils.data import Subset

    if isinstance(data, Subset):
        kept = _kept(data.dataset)
        return None if kept is None else kept[np.asarray(data.indices)]
    if getattr(data, "target_transform", None) is not None:
        return None
    for attribute in ("targets", "labels"):
        kept = getattr(data, attribute, None)
        if kept is not None and len(kept) == len(data):
            array = np.asarray(kept)
            if array.ndim == 1 and array.dtype.kind in "iu":
                return array.astype(np.int64)
    return None
