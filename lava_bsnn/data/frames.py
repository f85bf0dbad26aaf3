"""From events or images to frames of the shape a model expects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .events import EVENT, check_events, in_order


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Events to frames int16 or uint8 ``[C, H, W, T]`` of ``num_steps`` equal time bins, with tonic.

    As in tonic, bins last ``(t[-1] - t[0]) // num_steps`` us from the first event on, and what
    comes after the last bin (at least the last event) is in none. With ``bin_us`` they last as long as that
    says: a shorter recording ends with empty bins, and what comes after the last bin is in none.

    Attributes:
        sensor: (H, W) of the events.
        size: side of the frames, or length of a single row; coordinates are scaled before framing. None
            keeps the sensor.
        counts: events per pixel and bin (int16) instead of 0/1 (uint8).
        denoise: us within which a neighbouring pixel must have an event; None keeps all.
        polarities: C.
        bin_us: us of a bin; None divides each recording.

    Raises:
        ValueError: the recording is empty, leaves the sensor, or lasts fewer us than steps.
    """

    sensor: tuple[int, int]
    num_steps: int
    size: int | None = None
    counts: bool = False
    denoise: float | None = None
    polarities: int = 2
    bin_us: int | None = None

    def __call__(self, events: np.ndarray) -> np.ndarray:
        from tonic import transforms

        events = self._checked(events)
        height, width = self.sensor
        if self.denoise is not None:
            events = transforms.Denoise(filter_time=self.denoise)(events)
        if self.size is not None:
            target = (self.size, 1 if height == 1 else self.size)
            sensor = (width, height, self.polarities)
            events = transforms.Downsample(sensor_size=sensor, target_size=target)(events)
            width, height = target
        if len(events) == 0:
            raise ValueError(f"no event is left by denoise={self.denoise} us; use a longer time")
        lasts = int(events["t"][-1] - events["t"][0])
        sensor = (width, height, self.polarities)
        if self.bin_us is not None:
            frames = fixed_bins(events, sensor, self.num_steps, self.bin_us)
        elif lasts < self.num_steps:
            raise ValueError(f"it lasts {lasts} us, allowed is num_steps={self.num_steps} or more")
        else:
            frames = transforms.ToFrame(sensor_size=sensor, n_time_bins=self.num_steps)(events)
        if not self.counts:
            frames = (frames > 0).astype(np.uint8)
        result: np.ndarray = np.ascontiguousarray(frames.transpose(1, 2, 3, 0))
        return result

    def _checked(self, events: np.ndarray) -> np.ndarray:
        """Events as tonic's dtype, sorted by time."""
        check_events(events, self.sensor, self.polarities)
        clean = np.empty(len(events), dtype=EVENT)
        for name in "xytp":
            clean[name] = events[name]
        return in_order(clean)


def fixed_bins(
    events: np.ndarray, sensor_size: tuple[int, int, int], num_steps: int, bin_us: int
) -> np.ndarray:
    """Counts int16 ``[T, P, H, W]`` of sorted events in bins of ``bin_us`` us from the first one on."""
    width, height, polarities = sensor_size
    step = (events["t"] - events["t"][0]) // bin_us
    kept = events[step < num_steps]
    frames = np.zeros((num_steps, polarities, height, width), dtype=np.int16)
    where = (step[: len(kept)], kept["p"].astype(np.int64), kept["y"], kept["x"])
    np.add.at(frames, where, 1)
    return frames


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """Images uint8 ``[C, h, w]`` to ``[C, size, size]``; None keeps any size.

    With ``crop`` the shorter side becomes ``size * 8 / 7`` (256 for 224) and the middle is kept, the usual
    way to test on ImageNet.

    Raises:
        ValueError: an image of a set with one size has another.
    """

    shape: tuple[int, int, int] | None
    size: int | None = None
    crop: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self.shape is not None and image.shape != self.shape:
            raise ValueError(f"its shape is {list(image.shape)}, allowed is {list(self.shape)}")
        if self.size is None or image.shape[1:] == (self.size, self.size):
            return image
        import torch
        from torchvision.transforms import functional

        tensor, side = torch.from_numpy(np.ascontiguousarray(image)), [self.size, self.size]
        if self.crop:
            tensor = functional.resize(tensor, [self.size * 8 // 7], antialias=True)
            return functional.center_crop(tensor, side).numpy()
        return functional.resize(tensor, side, antialias=True).numpy()
