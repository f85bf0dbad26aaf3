"""How samples become the integers that enter a network: one definition for training and for the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import OptionError, ShapeError, check_option

KINDS = ("spikes", "counts", "intensities", "images")
MESSAGE_BITS_MAX = 8
"""Widest graded message, its sign included."""
MILLION = 1_000_000
_PIXELS = np.arange(256, dtype=np.float32) / np.float32(255)


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _range(x: Any) -> tuple[float, float]:
    """Smallest and largest number of an array or tensor."""
    low, high = (x.min(), x.max()) if isinstance(x, np.ndarray) else x.aminmax()  # a tensor in one pass
    return float(low), float(high)


def _equal(x: Any, y: Any) -> bool:
    return bool(np.array_equal(x, y)) if isinstance(x, np.ndarray) else bool(x.equal(y))


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What enters a network, and the integers (messages) that it becomes.

    =========== ======================== ===================================================
    kind        samples                  messages
    =========== ======================== ===================================================
    spikes      0 or 1                   the same
    counts      whole numbers from 0 on  the same, up to ``2^bits - 1``
    intensities 0..1, or uint8 pixels    ``round(x * (2^bits - 1))``
    images      0..1, or uint8 pixels    ``round((x - mean) / std * gain)``, signed
    =========== ======================== ===================================================

    Samples are read as float32 whatever their type, halves are rounded to even; uint8 pixels mean
    x / 255. All fields are integers, as in files; :meth:`images` takes real means and deviations.

    Attributes:
        kind: ``"spikes"``, ``"counts"``, ``"intensities"`` or ``"images"``.
        bits: width of a message, the sign included: 0 for spikes, else 1..8.
        mean: of images, per channel, in millionths.
        std: likewise.
        gain: of images: messages per standard deviation.
        saturate: counts beyond the largest message become it, which is reported; else they are refused.
        rails: an image enters as two unsigned ones: first the positive parts of all its channels, then
            the negative ones.
        repeat: how often each step of a sample with a time axis enters.
        steps: time steps of a sample in the network, repetitions included; 0 for any.

    Raises:
        OptionError: a value is not allowed.
    """

    kind: str = "spikes"
    bits: int = 0
    mean: tuple[int, ...] = ()
    std: tuple[int, ...] = ()
    gain: int = 0
    saturate: bool = False
    rails: bool = False
    repeat: int = 1
    steps: int = 0

    def __post_init__(self) -> None:
        check_option("Encoding", "kind", self.kind, KINDS)
        for name in ("bits", "gain", "repeat", "steps"):  # numpy's integers print otherwise
            value = getattr(self, name)
            object.__setattr__(self, name, int(value) if _whole(value) else value)
        for name in ("mean", "std"):
            values = tuple(int(v) if _whole(v) else v for v in getattr(self, name))
            object.__setattr__(self, name, values)
        least, most = {"spikes": (0, 0), "images": (2 - self.rails, MESSAGE_BITS_MAX - self.rails)}.get(
            self.kind, (1, MESSAGE_BITS_MAX)
        )
        if not _whole(self.bits) or not least <= self.bits <= most:
            allowed = f"{least}..{most}" if most else "0"
            raise OptionError(f"Encoding: bits={self.bits!r} is not allowed for {self.kind}; use {allowed}")
        if not _whole(self.repeat) or self.repeat < 1 or not _whole(self.steps) or self.steps < 0:
            raise OptionError(f"Encoding: repeat={self.repeat!r}, steps={self.steps!r} are not allowed")
        if self.saturate and self.kind != "counts":
            raise OptionError(f"Encoding: saturate is for counts, not for {self.kind}")
        if self.kind != "images":
            if self.mean or self.std or self.gain or self.rails:
                raise OptionError(f"Encoding: mean, std, gain, rails are for images, not for {self.kind}")
            return
        values = (*self.mean, *self.std, self.gain)
        if not self.mean or len(self.mean) != len(self.std) or not all(map(_whole, values)):
            raise OptionError("Encoding: mean and std of images are integers, one of each per channel")
        if min(*self.std, self.gain) < 1:
            raise OptionError(f"Encoding: std={self.std}, gain={self.gain} are not allowed; use 1 or more")
        largest = int(np.abs(self._levels(np.tile([[0.0], [1.0]], len(self.mean)))).max())
        if largest > self.high:
            raise OptionError(f"Encoding: gain={self.gain} gives {largest}; messages go to {self.high}")

    @classmethod
    def images(
        cls, mean: Sequence[float], std: Sequence[float], *, bits: int = 8, **options: Any
    ) -> Encoding:
        """Encoding of images in 0..1 with these means and deviations per channel.

        The gain is the largest whole number with which no pixel, before rounding, leaves ``bits`` bits.

        Raises:
            OptionError: not one mean and one deviation above 0 per channel.
        """
        if not len(mean) or len(mean) != len(std) or not min(std) > 1 / MILLION:
            raise OptionError(f"Encoding: mean={mean}, std={std} are not allowed; give both per channel")
        farthest = max(max(abs(m), abs(1 - m)) / s for m, s in zip(mean, std, strict=True))
        return cls(
            kind="images",
            bits=bits,
            mean=tuple(round(m * MILLION) for m in mean),
            std=tuple(round(s * MILLION) for s in std),
            gain=max(1, math.floor(((1 << (bits - (not options.get("rails")))) - 1) / farthest)),
            **options,
        )

    @property
    def signed(self) -> bool:
        """Whether messages have a sign."""
        return self.kind == "images" and not self.rails

    @property
    def high(self) -> int:
        """Largest message."""
        return (1 << (self.bits - self.signed)) - 1 if self.bits else 1

    @property
    def low(self) -> int:
        """Smallest message."""
        return -self.high if self.signed else 0

    @property
    def event_driven(self) -> bool:
        """Whether what enters is sparse, spikes or counts of events."""
        return self.kind in ("spikes", "counts")

    def __str__(self) -> str:
        if self.kind == "spikes":
            return "spikes"
        signed = "signed " if self.signed else "two rails of " if self.rails else ""
        return f"{signed}{self.bits}-bit {self.kind}"

    def check(self, where: str, low: float, high: float, whole: bool) -> None:
        """Refuse samples with values ``low..high``; ``whole``: all are whole numbers.

        Raises:
            ShapeError: this encoding cannot take them.
        """
        shown = f"values in {low:.4g}..{high:.4g}"
        if self.kind in ("intensities", "images"):
            if not (low >= 0 and high <= 1):
                raise ShapeError(
                    f"{where}: {shown} are not allowed; scale them to 0..1, or give uint8 pixels"
                )
            return
        shown += "" if whole else " that are not whole"
        if self.kind == "spikes" and not (whole and low >= 0 and high <= 1):
            raise ShapeError(
                f"{where}: {shown} are no spikes (0 or 1), which the device takes here; give bits=1..8 for "
                "intensities, or an encoding of counts or images"
            )
        if not (whole and low >= 0 and high < math.inf and (self.saturate or high <= self.high)):
            raise ShapeError(
                f"{where}: {shown} are no counts of {self.bits} bits; use whole numbers 0..{self.high}, more "
                "bits, or saturate=True, which lets larger ones become the largest"
            )

    def table(self, channels: int) -> np.ndarray:
        """Messages of uint8 pixels, int32 ``[channels, 256]``."""
        levels: np.ndarray = self._levels(np.tile(_PIXELS[:, None], channels)).T.astype(np.int32)
        return levels

    def _levels(self, x: Any) -> Any:
        """Messages of float32 samples ``[N, C, ...]``, numpy or torch, not rounded to integers' type.

        Both compute in the same order and precision, hence the same bits.
        """
        if self.kind == "intensities":
            return (x * self.high).round()
        if self.kind != "images":
            return x.clip(None, self.high) if self.saturate else x
        column = (1, -1, *[1] * (x.ndim - 2))
        mean, std = (np.array(part, dtype=np.float64).reshape(column) for part in (self.mean, self.std))
        if isinstance(x, np.ndarray):
            levels: Any = (x.astype(np.float64) * MILLION - mean) * self.gain / std
        else:
            import torch

            mu, sigma = (torch.from_numpy(part).to(x.device, non_blocking=True) for part in (mean, std))
            levels = (x.double() * MILLION - mu) * self.gain / sigma
        return levels.round()

    def carrier(self, x: Any) -> Any:
        """Messages of a torch tensor ``[N, C, ...]`` without rounding, which gradients go through."""
        import torch

        if self.kind == "intensities":
            return x * self.high
        if self.kind != "images":
            return x
        slope = torch.tensor([self.gain * MILLION / std for std in self.std], dtype=x.dtype)
        slope = slope.to(x.device, non_blocking=True)
        real = x * slope.view(-1, *[1] * (x.dim() - 2))
        return torch.cat([real, -real], 1) if self.rails else real

    def messages(self, x: Any, where: str = "input", *, look: bool = True) -> tuple[Any, int]:
        """Messages of samples ``[N, C, ...]``, and how many of them saturated.

        Args:
            x: numpy array or torch tensor, as the class describes.
            where: how errors call it.
            look: whether to check values and to count what saturates, for which a GPU is waited for.

        Returns:
            float32 (images: float64) of whole numbers in the shape of ``x``, with ``2 C`` channels for
            rails; numpy or torch as ``x``.

        Raises:
            ShapeError: values that this encoding cannot take, or another number of channels.
        """
        is_array = isinstance(x, np.ndarray)
        if self.kind == "images" and x.shape[1] != len(self.mean):
            raise ShapeError(
                f"{where}: {x.shape[1]} channels do not fit; the encoding has {len(self.mean)} (mean, std)"
            )
        saturated = 0
        if self.kind in ("intensities", "images") and str(x.dtype).endswith("uint8"):
            channel = np.arange(x.shape[1]).reshape(1, -1, *[1] * (x.ndim - 2))
            table = self.table(x.shape[1]).astype(np.float32)
            if is_array:
                levels = table[channel, x]
            else:
                import torch

                lookup, index = (
                    torch.from_numpy(part).to(x.device, non_blocking=True) for part in (table, channel)
                )
                levels = lookup[index, x.long()]
        else:
            x = x.astype(np.float32) if is_array else x.float()
            if look:
                low, high = _range(x) if math.prod(x.shape) else (0.0, 0.0)
                whole = self.kind in ("intensities", "images") or _equal(x, x.round())
                self.check(where, low, high, whole)
                if self.saturate and high > self.high:
                    saturated = int((x > self.high).sum())
            levels = self._levels(x)
        if self.rails:
            stacked = (levels.clip(0, None), (-levels).clip(0, None))
            if is_array:
                levels = np.concatenate(stacked, 1)
            else:
                import torch

                levels = torch.cat(stacked, 1)
        return levels, saturated
