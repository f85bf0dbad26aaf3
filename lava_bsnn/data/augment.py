"""Random transforms whose draws depend only on seed, epoch and sample."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

Transform = Callable[[Tensor], Tensor]


class Augmented(Dataset[tuple[Tensor, int]]):
    """Items (``transform(tensor)``, label) of ``dataset``, which may draw as well.

    Before each item torch's CPU generator is seeded from (seed, epoch, index), and put back afterwards, so
    the draws are the same for any number of workers, in any order, and in a run resumed in mid-epoch.
    """

    def __init__(self, dataset: Any, transform: Transform, seed: int = 0) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # seen by workers that persist

    @property
    def epoch(self) -> int:
        """Epoch whose draws are made."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Make the draws of ``epoch`` from now on."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        dataset: Sized = self.dataset
        return len(dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would seed the GPUs too
            torch.default_generator.manual_seed(mix(self.seed, self.epoch, index))
            tensor, label = self.dataset[index]
            return self.transform(tensor), label


class Mapped(Dataset[tuple[Tensor, int]]):
    """Items (``transform(tensor)``, label) of ``dataset``, without random numbers."""

    def __init__(self, dataset: Any, transform: Transform) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        dataset: Sized = self.dataset
        return len(dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        tensor, label = self.dataset[index]
        return self.transform(tensor), label


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: list[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, tensor: Tensor) -> Tensor:
        for transform in self.transforms:
            tensor = transform(tensor)
        return tensor


class ToFloat:
    """Integers to float32, divided by ``scale``, then by channel ``(x - mean) / std`` where given."""

    def __init__(self, scale: int = 1, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> None:
        self.scale = scale
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (mean, std))

    def __call__(self, tensor: Tensor) -> Tensor:
        result = tensor.to(torch.float32)
        if self.scale != 1:
            result = result / self.scale
        return (result - self.mean) / self.std if self.mean.numel() else result


def mix(seed: int, epoch: int, index: int) -> int:
    """Return a seed of 63 bits in which a change of any argument changes about half of the bits."""
    digest = hashlib.blake2b(f"{seed},{epoch},{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniform(low: float, high: float) -> float:
    """Draw from [low, high) with torch's generator."""
    return low + (high - low) * float(torch.rand(()))


def integer(low: int, high: int) -> int:
    """Draw from low..high, both included, with torch's generator."""
    return int(torch.randint(low, high + 1, ()))
