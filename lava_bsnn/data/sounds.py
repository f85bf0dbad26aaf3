"""Recordings of an artificial cochlea: made-up words of two sweeps, and the Spiking Heidelberg Digits.

Channels are pixels of one row; there is one polarity.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from ..errors import DataError, OptionError
from .events import in_order, structured
from .info import DatasetInfo, Place
from .packed import PackedSource

CHANNELS = 64
DURATION = 1_000_000
"""Length of a word in us."""
_SWEEPS = ((6, 24), (24, 6), (36, 58), (58, 36))
"""First and last channel."""
_NAMES = ("low up", "low down", "high up", "high down")
_PAIRS = tuple(itertools.permutations(range(len(_SWEEPS)), 2))
WORDS = tuple(f"{_NAMES[first]}, {_NAMES[second]}" for first, second in _PAIRS)
"""Classes: each pair of sweeps in both orders."""
_STARTS, _LENGTHS = ((0, 150_000), (550_000, 800_000)), (120_000, 200_000)
_EVENTS, _NOISE = 60, 120
"""Mean number of events of a sweep, and of the background."""


def sweeps(labels: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Simulate words of two sweeps each, with a pause between them, as in the set ``"sweeps"``.

    What a word is shows only in the order of its sweeps, which are at least 0.2 s apart: it takes a memory
    that outlasts the pause. Start, length and pitch of a sweep vary, and there is noise. Sample i depends on
    ``seed`` and i.

    Args:
        labels: int ``[N]``, the classes of ``DATASETS["sweeps"]``.

    Returns:
        One structured array per label, sorted by t (us), fields x, y, t, p as in tonic.

    Raises:
        OptionError: a label is no class.
    """
    labels = np.asarray(labels)
    known = labels.ndim == 1 and labels.dtype.kind in "iu" and np.isin(labels, range(len(WORDS))).all()
    if not known:
        raise OptionError(f"sweeps: these labels are not allowed; use integers 0..{len(WORDS) - 1}")
    return [_word(_PAIRS[label], np.random.default_rng((seed, index))) for index, label in enumerate(labels)]


def _word(pair: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    number = rng.poisson(_NOISE)
    x, t = [rng.uniform(0, CHANNELS, number)], [rng.uniform(0, DURATION, number)]
    for start, sweep in zip(_STARTS, pair, strict=True):
        first, last = _SWEEPS[sweep]
        begin, length = rng.uniform(*start), rng.uniform(*_LENGTHS)
        along = rng.random(rng.poisson(_EVENTS))
        x.append(first + (last - first) * along + rng.normal(0, 1.5) + rng.normal(0, 1.5, len(along)))
        t.append(begin + length * along + rng.normal(0, 7_500, len(along)))
    channel, time = np.floor(np.concatenate(x)).astype(np.int64), np.concatenate(t).astype(np.int64)
    inside = (channel >= 0) & (channel < CHANNELS) & (time >= 0) & (time < DURATION)
    channel, time = channel[inside], time[inside]
    ends = np.array([0, DURATION])  # so that all are cut into the same time bins
    channel, time = np.concatenate([channel, [0, 0]]), np.concatenate([time, ends])
    zeros = np.zeros(len(time), dtype=np.int64)
    return in_order(structured(channel, zeros, time, zeros))


def load_sweeps(info: DatasetInfo, place: Place) -> tuple[PackedSource, None]:
    """2,400 simulated words, 200 a class; a second or two."""
    labels = np.arange(info.train_size) % info.num_classes
    return PackedSource.of(sweeps(labels), labels), None


class HeidelbergSource:
    """Recordings in a file of the Spiking Heidelberg Digits (Cramer et al. 2020), read one by one.

    Raises:
        DataError: the file is damaged or lacks an array.
    """

    scale = 1
    in_memory = False

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = path
        try:
            with h5py.File(path, "r") as file:
                self.labels = np.asarray(file["labels"][:]).astype(np.int64)
                sizes = {len(file["spikes"][name]) for name in ("times", "units")}
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{path}: not a file of Heidelberg digits ({reason}); get it again") from error
        if sizes != {len(self.labels)}:
            raise DataError(f"{path}: {len(self.labels)} labels for {sorted(sizes)} recordings; get it again")

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        """Events of one recording; times become us."""
        import h5py

        with h5py.File(self.path, "r") as file:
            times = np.asarray(file["spikes/times"][index], dtype=np.float64)
            units = np.asarray(file["spikes/units"][index]).astype(np.int64)
        zeros = np.zeros(len(units), dtype=np.int64)
        return in_order(structured(units, zeros, np.rint(times * 1e6).astype(np.int64), zeros))

    def where(self, index: int) -> str:
        return f"{self.path} recording {index}"


def load_heidelberg(info: DatasetInfo, place: Place) -> tuple[HeidelbergSource, HeidelbergSource]:
    """``shd_train.h5`` and ``shd_test.h5``."""
    assert place.path is not None
    return HeidelbergSource(place.path / "shd_train.h5"), HeidelbergSource(place.path / "shd_test.h5")
