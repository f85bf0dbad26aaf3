"""A simulated event camera that looks at still images with three saccades, as N-MNIST was recorded.

All arithmetic is on integers, so the same seed gives the same events on every machine.
Source: Orchard et al. 2015 (movement), Rebecq et al. 2018, ESIM (events from log intensity).
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from ..errors import OptionError
from .events import EVENT, structured
from .info import Progress

VERSION = 1  # of the events; a change of them makes old cache files invalid
DEFAULTS = {"sensor": 34, "object_size": 26, "threshold": 0.6, "background": 0.07, "mismatch": 0.1}
DURATION = 315_000  # us, three moves of equal length
_CORNERS = ((0.0, 0.0), (3.5, 7.0), (7.0, 0.0), (0.0, 0.0))  # (x, y) in pixels
_STEP = 1_000  # us between two images that the camera compares
_MARGIN = 7  # pixels that the image moves at most
_UNIT = 256  # parts of a pixel
_LOG_UNIT = 1 << 12  # parts of 1.0 of log intensity
_BATCH = 64


def saccades(
    images: np.ndarray,
    seed: int = 0,
    *,
    sensor: int = 34,
    object_size: int = 26,
    threshold: float = 0.6,
    background: float = 0.07,
    mismatch: float = 0.1,
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """Simulate recordings of ``images`` that move along a triangle for 315 ms.

    An event is one crossing of ``threshold`` by the log intensity of a pixel since its last event:
    ON (p = 1) upwards, OFF downwards. Random are only the level that each pixel starts from and its
    threshold; sample i depends on ``seed`` and i, not on the other images.

    Args:
        images: ``[N, H, W]`` in [0, 1].
        sensor: side of the square sensor in pixels.
        object_size: side of the enlarged image in pixels, at most ``sensor - 7`` so that it stays in view.
        threshold: of natural log intensity, relative to ``background``.
        background: intensity that is added everywhere.
        mismatch: threshold of a pixel varies by up to this share.
        progress: called with (done, total) samples.

    Returns:
        One structured array per image, sorted by t (us), fields x, y, t, p as in tonic.

    Raises:
        OptionError: shape or values of ``images``, or a parameter, are out of range.
    """
    images = np.asarray(images)
    _check(images, sensor, object_size, threshold, background, mismatch)
    levels = np.rint(images * 255).astype(np.int64)
    canvas = _enlarge(levels, object_size)
    first = _MARGIN + (sensor - _MARGIN - object_size) // 2
    rest = sensor + _MARGIN + 1 - object_size - first
    canvas = np.pad(canvas, ((0, 0), (first, rest), (first, rest))).astype(np.int32)
    table = _log_table(background)
    recordings: list[np.ndarray] = []
    for start in range(0, len(canvas), _BATCH):
        batch = canvas[start : start + _BATCH]
        draws = [_draw(seed, start + i, sensor, threshold, mismatch) for i in range(len(batch))]
        limits, offsets = (np.stack(arrays) for arrays in zip(*draws, strict=True))
        recordings += _record(batch, limits, offsets, table, sensor)
        if progress is not None:
            progress(len(recordings), len(canvas))
    return recordings


def _check(
    images: np.ndarray, sensor: int, size: int, threshold: float, background: float, mismatch: float
) -> None:
    if images.ndim != 3 or not images.size or not (images.min() >= 0 and images.max() <= 1):
        raise OptionError(
            f"saccades: images of shape {list(images.shape)} are not allowed; use [N, H, W] with values 0..1"
        )
    if not 1 <= size <= sensor - _MARGIN:
        raise OptionError(f"saccades: object_size={size} is not allowed; use 1..{sensor - _MARGIN}")
    if not (threshold >= 0.05 and background >= 0.01 and 0 <= mismatch <= 0.5):
        raise OptionError(
            f"saccades: threshold={threshold}, background={background}, mismatch={mismatch} are not allowed; "
            "use threshold >= 0.05, background >= 0.01, mismatch 0..0.5"
        )


def _enlarge(levels: np.ndarray, size: int) -> np.ndarray:
    """Enlarge ``[N, H, W]`` to a square of ``size`` by bilinear interpolation in integers, values 0..255."""
    for axis in (1, 2):
        side = levels.shape[axis]
        centre = np.clip((2 * np.arange(size) + 1) * side - size, 0, 2 * size * (side - 1))
        low, part = np.divmod(centre, 2 * size)  # source pixel and its fraction in 1 / (2 size)
        high = np.minimum(low + 1, side - 1)
        weight = part[:, None] if axis == 1 else part
        levels = levels.take(low, axis) * (2 * size - weight) + levels.take(high, axis) * weight
        levels = (levels + size) // (2 * size)
    return levels


def _log_table(background: float) -> np.ndarray:
    """Log intensity in 1 / 4096 for intensities 0..4080, 16 parts of a grey level."""
    values = [round(_LOG_UNIT * math.log(i / 4080 + background)) for i in range(4081)]
    return np.array(values, dtype=np.int32)


def _draw(
    seed: int, index: int, sensor: int, threshold: float, mismatch: float
) -> tuple[np.ndarray, np.ndarray]:
    """Threshold of each pixel and the level it starts from, in parts of log intensity."""
    rng = np.random.default_rng([seed, index])
    middle = round(threshold * _LOG_UNIT)
    spread = math.floor(middle * mismatch)
    limit = rng.integers(middle - spread, middle + spread, (sensor, sensor), endpoint=True)
    start = rng.integers(-(middle // 2), middle // 2, (sensor, sensor), endpoint=True)
    return limit.astype(np.int32), start.astype(np.int32)


def _path() -> np.ndarray:
    """Position of the image ``[steps + 1, 2]`` (x, y) in 1 / 256 pixel."""
    steps = DURATION // 3 // _STEP
    corners = [(round(x * _UNIT), round(y * _UNIT)) for x, y in _CORNERS]
    points = [corners[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        points += [(x0 + (x1 - x0) * k // steps, y0 + (y1 - y0) * k // steps) for k in range(1, steps + 1)]
    return np.array(points)


def _view(canvas: np.ndarray, position: np.ndarray, sensor: int) -> np.ndarray:
    """Intensity 0..4080 that the sensor sees when the image has moved by (x, y)."""
    x, y = position.tolist()
    column, right = divmod(_MARGIN * _UNIT - x, _UNIT)
    row, below = divmod(_MARGIN * _UNIT - y, _UNIT)
    part = canvas[:, row : row + sensor + 1, column : column + sensor + 1]
    part = part[:, :-1] * (_UNIT - below) + part[:, 1:] * below
    part = part[..., :-1] * (_UNIT - right) + part[..., 1:] * right
    return part >> 12  # 255 * 256 * 256 becomes 4080


def _record(
    canvas: np.ndarray, limits: np.ndarray, offsets: np.ndarray, table: np.ndarray, sensor: int
) -> list[np.ndarray]:
    """Events of a batch of moving images ``[B, h, w]``."""
    path = _path()
    before = table[_view(canvas, path[0], sensor)].ravel()
    reference = before + offsets.ravel()
    limits = limits.ravel()
    found = []
    for step in range(1, len(path)):
        now = table[_view(canvas, path[step], sensor)].ravel()
        change = now - reference
        pixel = np.flatnonzero(np.abs(change) >= limits)
        if len(pixel):
            limit, sign = limits[pixel], np.sign(change[pixel])
            number = np.abs(change[pixel]) // limit
            found.append(_crossings(pixel, number, limit, sign, reference, before, now, step))
            reference[pixel] += sign * number * limit
        before = now
    empty = (np.zeros(0, np.int64),) * 3
    pixel, t, p = (np.concatenate(parts) for parts in zip(empty, *found, strict=True))
    sample, pixel = np.divmod(pixel, sensor * sensor)
    order = np.lexsort((pixel, t, sample))
    sample, pixel, t, p = sample[order], pixel[order], t[order], p[order]
    events = structured(pixel % sensor, pixel // sensor, t, p, EVENT)
    return np.split(events, np.searchsorted(sample, np.arange(1, len(canvas))))


def _crossings(
    pixel: np.ndarray,
    number: np.ndarray,
    limit: np.ndarray,
    sign: np.ndarray,
    reference: np.ndarray,
    before: np.ndarray,
    now: np.ndarray,
    step: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel, time (us) and polarity of each crossing; times are interpolated within the step."""
    which = np.repeat(np.arange(len(pixel)), number)
    rank = np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number) + 1
    pixel, sign = pixel[which], sign[which]
    level = reference[pixel] + sign * rank * limit[which]
    way = np.abs(now[pixel] - before[pixel]).astype(np.int64)
    part = np.clip(sign * (level - before[pixel]), 0, way)
    t = (step - 1) * _STEP + part * (_STEP - 1) // np.maximum(way, 1)
    return pixel, t, sign > 0
