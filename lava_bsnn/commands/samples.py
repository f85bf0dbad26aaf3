"""Samples that commands run a network on: of a run, of a data set, of a file, or random ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from netx_export import FixedPointNetwork

    from ..training import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """Samples of one source.

    Attributes:
        samples: as models take them, ``[N, *shape]`` or ``[N, *shape, T]``.
        labels: ``[N]``, where they are known.
        source: what they are, in words.
    """

    samples: Any
    labels: np.ndarray | None
    source: str


def of_recipe(recipe: Recipe, split: str, number: int) -> tuple[Any, np.ndarray | None]:
    """Inputs and labels of the first samples, without augmentation; None where they are no classes."""
    from ..training.run_data import load_data

    return _first(getattr(load_data(dataclasses.replace(recipe, augment=())), split), number)


def test_batches(
    recipe: Recipe, limit: int | None, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Inputs and labels of the first test samples, all of them without limit, so many at a time; their sum.

    What was random in the training, as augmentation, is left out.
    """
    from ..training.run_data import load_data

    samples = load_data(dataclasses.replace(recipe, augment=())).test
    total = len(samples) if limit is None else min(limit, len(samples))
    for start in range(0, total, size):
        inputs, labels = _some(samples, range(start, min(start + size, total)))
        if labels is None:
            raise DataError(f"{recipe.dataset}: targets are no classes; use eval without backend and limit")
        yield inputs.numpy(), labels, total


def of_data_set(net: FixedPointNetwork, name: str, number: int, num_steps: int) -> Given:
    """First test samples of a data set, sized and binned for a network.

    Raises:
        OptionError: the name is unknown.
        DataError: the set is missing.
    """
    from ..data.loading import load
    from ..data.registry import get

    coding, shape, info = net.input.coded, net.input.shape, get(name)
    size = shape[1] if len(shape) == 3 and shape[1:] != info.shape[1:] else None
    counts = info.kind == "events" and coding is not None and coding.kind == "counts"
    bins = max(1, num_steps // (coding.repeat if coding else 1))
    splits = load(name, num_steps=bins, size=size, counts=counts)
    samples, labels = _first(splits.test, number)
    return Given(samples=samples, labels=labels, source=f"test samples of {name}")


def of_file(path: Path, number: int) -> Given:
    """First samples of a .npy file, as :meth:`netx_export.FixedPointNetwork.encode` takes them.

    Raises:
        DataError: it holds no array of numbers.
    """
    import numpy as np

    try:
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: no array can be read ({reason}); write one with numpy.save") from error
    if not isinstance(samples, np.ndarray) or samples.ndim < 2 or not len(samples):
        raise DataError(f"{path}: no samples [N, ...] are in it; write one array of them with numpy.save")
    return Given(samples=np.array(samples[:number]), labels=None, source=f"samples of {path.name}")


def _first(samples: Any, number: int) -> tuple[Any, np.ndarray | None]:
    return _some(samples, range(min(number, len(samples))))


def _some(samples: Any, indices: range) -> tuple[Any, np.ndarray | None]:
    import numpy as np
    import torch

    pairs = [samples[index] for index in indices]
    labels = [label for _, label in pairs]
    classes = np.array(labels) if all(isinstance(label, int) for label in labels) else None
    return torch.stack([inputs for inputs, _ in pairs]), classes
