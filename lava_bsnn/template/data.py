"""Recordings of an event camera: those in a folder, or simulated ones to begin with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lava_bsnn.data import OwnData

WIDTH, HEIGHT = 64, 48
"""Pixels of the sensor."""
SUFFIXES = (".npy", ".npz")
"""Names of files with recordings end like this; ``Files`` reads them."""


def make(root: Path | None, seed: int) -> OwnData:
    """Data of the recipe, which names this function; ``root`` is its ``data_root``."""
    return simulated(seed) if root is None else from_folder(root)


def from_folder(root: Path) -> OwnData:
    """``root/CLASS/*.npy`` or ``*.npz`` with the fields t (us), x, y, p; a part is held out for test."""
    classes = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    files, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(file for file in (root / name).iterdir() if file.suffix in SUFFIXES)
        files += found
        labels += [label] * len(found)
    if not files:
        raise ValueError(f"no files *{', *'.join(SUFFIXES)} in the folders {classes} of {root}")
    return OwnData(train=Files(files, labels), classes=classes, sensor_size=(WIDTH, HEIGHT, 2))


class Files:
    """Recordings that are read when they are needed; another format is another line here."""

    def __init__(self, files: list[Path], labels: list[int]) -> None:
        self.files, self.targets = files, labels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.load(self.files[index]), self.targets[index]


def simulated(seed: int) -> OwnData:
    """Bars that move to the left, to the right, or upwards, each for a tenth of a second."""
    rng = np.random.default_rng(seed)

    def part(number: int) -> tuple[list[np.ndarray], np.ndarray]:
        labels = np.arange(number) % 3
        return [bar(int(label), rng) for label in labels], labels

    sets = {"train": part(150), "validation": part(30), "test": part(60)}
    return OwnData(**sets, classes=("left", "right", "up"), sensor_size=(WIDTH, HEIGHT, 2))


def bar(direction: int, rng: np.random.Generator) -> np.ndarray:
    """Events of the two edges of a bar, of which the front edge turns on, and of noise."""
    number = 500
    events = np.zeros(number, dtype=[("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.int8)])
    events["t"] = np.sort(rng.integers(0, 100_000, number))
    events["p"] = rng.integers(0, 2, number)
    length, across = (HEIGHT, WIDTH) if direction == 2 else (WIDTH, HEIGHT)
    moved = rng.integers(4, 12) + events["t"] * 2e-4 + 6 * events["p"] + rng.normal(0, 0.7, number)
    along = np.clip(moved, 0, length - 1).astype(np.int16)
    if direction != 1:
        along = length - 1 - along
    other = rng.integers(across // 4, 3 * across // 4, number)
    noise = rng.random(number) < 0.1
    along = np.where(noise, rng.integers(0, length, number), along)
    events["x"], events["y"] = (other, along) if direction == 2 else (along, other)
    return events
