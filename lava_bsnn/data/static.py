"""Image sets on disk: IDX files, torchvision's CIFAR, and folders of images."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .info import DatasetInfo, Place
from .sources import ArraySource, Source


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def read_idx(path: Path) -> np.ndarray:
    """Return the uint8 array of an IDX file, plain or gzip.

    Raises:
        DataError: the file is cut short or no IDX file of bytes.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({_reason(error)}); get it again") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path}: is no IDX file of bytes; get it again")
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if len(values) != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path}: holds {len(values)} values instead of {shape.tolist()}; get it again")
    return values.reshape(shape).copy()


def load_idx(info: DatasetInfo, place: Place) -> tuple[Source, Source]:
    """MNIST's file format in the folder ``place.path``."""
    assert place.path is not None
    parts = []
    for split in ("train", "t10k"):
        paths = [place.path / f"{split}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
        paths = [path if path.exists() else path.with_name(path.name + ".gz") for path in paths]
        images, labels = (read_idx(path) for path in paths)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            shapes = f"{list(images.shape)} and {list(labels.shape)}"
            raise DataError(f"{paths[0]}: images and labels of shape {shapes} do not fit; get both again")
        parts.append(ArraySource(images[:, None], labels, path=str(paths[0])))
    return parts[0], parts[1]


def load_cifar(info: DatasetInfo, place: Place) -> tuple[Source, Source]:
    """CIFAR-10 and CIFAR-100, read by torchvision, which checks the files' hashes."""
    from torchvision import datasets

    assert place.path is not None
    kind = datasets.CIFAR10 if info.name == "cifar10" else datasets.CIFAR100
    parts = []
    for train in (True, False):
        try:
            data = kind(str(place.path.parent), train=train)
        except Exception as error:
            raise DataError(
                f"{info.name}: {place.path} cannot be read ({_reason(error)}); get it with {info.source}"
            ) from error
        images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
        parts.append(ArraySource(images, data.targets, path=str(place.path)))
    return parts[0], parts[1]


class FileSource:
    """Images in files, read with Pillow as RGB; ``classes`` are the names of folders by label."""

    scale = 255
    in_memory = False

    def __init__(self, paths: list[str], labels: Any, classes: Sequence[str] = ()) -> None:
        self.paths = paths
        self.labels = np.asarray(labels, dtype=np.int64)
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> np.ndarray:
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy()

    def where(self, index: int) -> str:
        return self.paths[index]


def _folder(info: DatasetInfo, folder: Path) -> tuple[FileSource, list[str]]:
    """Images of one folder per class, in torchvision's order, and the class names."""
    from torchvision.datasets import ImageFolder

    try:
        data = ImageFolder(str(folder))
    except Exception as error:
        raise DataError(f"{info.name}: {folder} cannot be read ({_reason(error)}); {info.source}") from error
    if len(data.classes) != info.num_classes:
        raise DataError(
            f"{info.name}: {folder} holds {len(data.classes)} class folders, allowed is {info.num_classes}; "
            "complete it or remove other folders"
        )
    return FileSource([path for path, _ in data.samples], data.targets, data.classes), data.classes


def load_image_folders(info: DatasetInfo, place: Place) -> tuple[Source, Source]:
    """``train/<class>/`` and ``val/<class>/`` with images at any depth."""
    assert place.path is not None
    train, classes = _folder(info, place.path / "train")
    test, test_classes = _folder(info, place.path / "val")
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))[0]
        raise DataError(
            f"{info.name}: {place.path}: class {odd} is in one of train and val only; add or remove it"
        )
    return train, test


def load_tiny_imagenet(info: DatasetInfo, place: Place) -> tuple[Source, Source]:
    """Tiny ImageNet as published, ``val/val_annotations.txt`` naming the classes, or val in class folders."""
    assert place.path is not None
    listing = place.path / "val" / "val_annotations.txt"
    if not listing.exists():
        return load_image_folders(info, place)
    train, classes = _folder(info, place.path / "train")
    number = {name: i for i, name in enumerate(classes)}
    paths, labels = [], []
    for line, text in enumerate(sorted(listing.read_text().splitlines()), 1):
        fields = text.split()
        if len(fields) < 2 or fields[1] not in number:
            raise DataError(f"{listing}: entry {line} {text[:40]!r} names no class of train; get it again")
        paths.append(str(listing.parent / "images" / fields[0]))
        labels.append(number[fields[1]])
    return train, FileSource(paths, labels, classes)
