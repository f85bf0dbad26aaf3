"""Random transforms by name: of images uint8 ``[C, H, W]`` and of event frames ``[C, H, W, T]``.

All draw from torch's generator; those of frames do the same to every time step.
Sources: Cubuk et al. 2019 (autoaugment), DeVries and Taylor 2017 (cutout), Li et al. 2022,
Neuromorphic Data Augmentation for Training Spiking Neural Networks (frames: N = 2, M = 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError
from .augment import Transform, integer, uniform
from .info import DatasetInfo

STATIC = ("crop", "shift", "flip", "autoaugment", "cutout", "random-resized-crop")
_PLACES = ("crop", "shift", "random-resized-crop")
EVENTS = ("flip", "roll", "rotate", "shear", "cutout", "nda")


def build(
    info: DatasetInfo,
    names: tuple[str, ...],
    shape: tuple[int, int, int],
    cutout_fill: Sequence[float] | None = None,
) -> tuple[list[Transform], list[Transform]]:
    """Return the transforms before and after the conversion to float, in an order of their own.

    Images: random-resized-crop, crop or shift, flip, autoaugment, conversion, cutout. Frames: one after the
    other as named.

    Args:
        cutout_fill: what cutout sets the channels of images to; None is 0.

    Raises:
        OptionError: a name is unknown or not for this kind of set, or named twice, or two exclude each
            other; ``cutout_fill`` is given for events, or is not one finite number per channel.
    """
    allowed = EVENTS if info.kind == "events" else STATIC
    for name in names:
        if name not in allowed:
            raise OptionError(
                f"data.load: augment={name!r} is unknown for {info.name} ({info.kind}); "
                f"use some of {', '.join(allowed)}"
            )
        if names.count(name) > 1:
            raise OptionError(f"data.load: augment names {name!r} twice; name it once")
    fill = () if cutout_fill is None else tuple(map(float, cutout_fill))
    if cutout_fill is not None:
        if info.kind == "events":
            raise OptionError(f"data.load: cutout_fill is not for {info.name} ({info.kind}); leave it out")
        if len(fill) != shape[0] or not all(map(math.isfinite, fill)):
            raise OptionError(
                f"data.load: cutout_fill={fill} is not allowed; use one finite number for each of "
                f"{shape[0]} channels"
            )
    side = min(shape[1:])
    length = min(16, side // 2)
    if info.kind == "events":
        return [], [_events(name, length) for name in names]
    if len(places := [name for name in _PLACES if name in names]) > 1:
        raise OptionError(f"data.load: augment has {' and '.join(places)}; use one of them")
    made: dict[str, Callable[[], Any]] = {
        "random-resized-crop": lambda: _random_resized_crop(shape),
        "crop": lambda: Crop(padding=min(4, max(1, side // 7))),
        "shift": lambda: Crop(padding=max(1, side // 14)),
        "flip": Flip,
        "autoaugment": lambda: _autoaugment(info),
    }
    before = [make() for name, make in made.items() if name in names]
    return before, [Cutout(length=length, fill=fill)] if "cutout" in names else []


def _events(name: str, length: int) -> Transform:
    made: dict[str, Transform] = {
        "flip": Flip(),
        "roll": Roll(),
        "rotate": Rotate(),
        "shear": Shear(),
        "cutout": Cutout(length=length),
    }
    if name != "nda":
        return made[name]
    choices = tuple(made[key] for key in ("roll", "rotate", "shear", "cutout"))
    return OneOf(choices=choices, first=made["flip"])


def _random_resized_crop(shape: tuple[int, int, int]) -> Any:
    from torchvision.transforms import RandomResizedCrop

    return RandomResizedCrop(shape[1:], antialias=True)


def _autoaugment(info: DatasetInfo) -> Any:
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    large = "imagenet" in info.name
    return AutoAugment(AutoAugmentPolicy.IMAGENET if large else AutoAugmentPolicy.CIFAR10)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Cut the image's own size out of it with ``padding`` zeros added on each side, at a random place."""

    padding: int = 4

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:3]
        padded = torch.nn.functional.pad(image, (self.padding,) * 4)
        row, column = integer(0, 2 * self.padding), integer(0, 2 * self.padding)
        return padded[:, row : row + height, column : column + width]


@dataclass(frozen=True)
class Flip:
    """Exchange left and right in half of the cases."""

    def __call__(self, frames: Tensor) -> Tensor:
        return frames.flip(2) if integer(0, 1) else frames


@dataclass(frozen=True, kw_only=True)
class Cutout:
    """Set a square of ``length`` pixels around a random pixel to ``fill`` per channel, empty for 0.

    The square may reach over the border.
    """

    length: int = 16
    fill: tuple[float, ...] = ()

    def __call__(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[1:3]
        top = integer(0, height - 1) - self.length // 2
        left = integer(0, width - 1) - self.length // 2
        result = frames.clone()
        square = result[:, max(top, 0) : max(top + self.length, 0), max(left, 0) : max(left + self.length, 0)]
        square[:] = frames.new_tensor(self.fill or 0).reshape(-1, *[1] * (frames.ndim - 1))
        return result


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Set pixels above ``white`` to it: torchvision's white is 255, that of some sets is less."""

    white: int

    def __call__(self, image: Tensor) -> Tensor:
        return image.clamp(max=self.white)


@dataclass(frozen=True, kw_only=True)
class Roll:
    """Shift by up to ``pixels`` in both directions; what leaves on one side comes in on the other."""

    pixels: int = 5

    def __call__(self, frames: Tensor) -> Tensor:
        shifts = (integer(-self.pixels, self.pixels), integer(-self.pixels, self.pixels))
        return frames.roll(shifts, dims=(1, 2))


@dataclass(frozen=True, kw_only=True)
class Rotate:
    """Rotate clockwise by -degrees..degrees; the nearest pixel is taken, so spikes stay 0/1."""

    degrees: float = 30

    def __call__(self, frames: Tensor) -> Tensor:
        return _affine(frames, angle=uniform(-self.degrees, self.degrees), shear=0.0)


@dataclass(frozen=True, kw_only=True)
class Shear:
    """Shear along x by -degrees..degrees; the nearest pixel is taken, so spikes stay 0/1."""

    degrees: float = 30

    def __call__(self, frames: Tensor) -> Tensor:
        return _affine(frames, angle=0.0, shear=uniform(-self.degrees, self.degrees))


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """``first``, and then one of ``choices``."""

    choices: tuple[Transform, ...]
    first: Transform

    def __call__(self, frames: Tensor) -> Tensor:
        frames = self.first(frames)
        return self.choices[integer(0, len(self.choices) - 1)](frames)


def _affine(frames: Tensor, angle: float, shear: float) -> Tensor:
    """Rotate or shear ``[C, H, W, T]``, all channels and steps alike."""
    from torchvision.transforms import functional

    channels, height, width, steps = frames.shape
    stacked = frames.permute(0, 3, 1, 2).reshape(channels * steps, height, width)
    moved = functional.affine(stacked, angle, translate=[0, 0], scale=1.0, shear=[shear, 0.0])
    return moved.reshape(channels, steps, height, width).permute(0, 2, 3, 1).contiguous()
