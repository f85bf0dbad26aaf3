"""A dataset by name, as two torch datasets ready for training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..code import is_code
from ..errors import DataError, OptionError, check_option
from .augment import Augmented, Compose, Mapped, ToFloat
from .catalog import DATASETS
from .frames import Framing
from .info import DatasetInfo, Opened, Place, Progress
from .own import TARGETS, open_own
from .own_form import check_steps
from .packed import PACKED, open_packed
from .parts import cache_folder, divided, frame_bytes, sizing
from .registry import get, locate
from .samples import Samples
from .slicing import SlicedSource
from .transforms import Limit, build

MEMORY_LIMIT = 1 << 29  # bytes of frames that are kept in memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """Training and test data of one set; items are (float32 tensor, int label).

    With other ``targets`` than classes, a label is a tensor bool or float32 ``[num_classes]``.

    Attributes:
        train: with augmentation; ``train.set_epoch(epoch)`` selects the draws of an epoch.
        test: without augmentation.
        validation: likewise, of sets that have one; else None.
        shape: (C, H, W) of the items; those of event sets are ``[C, H, W, T]``.
        classes: names of the classes in the order of labels; those of the set, or of its folders.
        skipped: what was wrong with the samples that ``skip_bad`` left out.
        notes: what differs from the complete set, such as fewer samples.
    """

    train: Augmented
    test: Mapped
    info: DatasetInfo
    shape: tuple[int, int, int]
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    validation: Mapped | None = None


def load(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    num_steps: int = 10,
    size: int | None = None,
    counts: bool = False,
    denoise: float | None = None,
    slice_us: int | None = None,
    bin_us: int | None = None,
    layout: str | None = None,
    options: Mapping[str, Any] | None = None,
    targets: str = "classes",
    augment: str | Sequence[str] = (),
    cutout_fill: Sequence[float] | None = None,
    normalize: bool = False,
    test_fraction: float | None = None,
    split_seed: int = 0,
    seed: int = 0,
    skip_bad: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Load a dataset of ``data.DATASETS``, packed recordings, or data of your own; nothing is downloaded.

    Args:
        name: of ``data.DATASETS``; or ``"packed"``, what :func:`write_packed` wrote at ``root``; or code,
            ``"my_package.module:function"``, which returns what :class:`OwnData` describes. It is called with
            those of ``root``, ``num_steps``, ``size``, ``seed`` (``split_seed``) that it takes.
        root: folder or file to look in first, see :func:`find`.
        num_steps: time bins T of event sets; images have no time and are repeated by the model.
        size: side of the items in pixels, or the number of channels of sounds; None keeps the set's own.
        counts: events per bin instead of 0/1; event sets only.
        denoise: us, drops events without a neighbour within that time; event sets only.
        slice_us: cut recordings into slices of so many us, each a sample; the split is made before, so that
            no recording is on both sides; event sets only.
        bin_us: us of a time bin; None divides each recording into ``num_steps`` equal ones; event sets only.
        layout: axes of arrays of your own, a permutation of ``NCHWT`` (the default), ``NCHW`` or ``NCT``,
            such as ``TNCHW``; samples of datasets have the same without N.
        options: further arguments of a function of your own.
        targets: what a sample of your own has: ``"classes"``, one integer; ``"labels"``, 0 or 1 for each
            class; ``"values"``, real numbers, of which ``info.num_classes`` is the number.
        augment: name or names of random transforms of the training data, see docs/data.md.
        cutout_fill: what cutout sets pixels to, one number per channel in units of the items; None is 0.
            Where the network subtracts the mean: the mean (``DATASETS[name].mean``); static sets only.
        normalize: subtract the set's channel means and divide by its deviations; static sets only.
        test_fraction, split_seed: stratified hold-out of sets without an official split; None is the
            usual share (0.1 for cifar10-dvs, else 0.25).
        seed: of the augmentation.
        skip_bad: read every sample once and leave bad ones out, instead of an error on access.
        cache: folder for frames of event sets that are read from files, and for simulated recordings.
        progress: called with (done, total) while recordings are simulated.

    Raises:
        OptionError: an option is unknown, out of range, or not for this kind of set.
        DataError: the set is missing or damaged; later, on access, a sample is.
    """
    opened = _open_own(
        name,
        root,
        given={"num_steps": num_steps, "size": size, "seed": split_seed},
        options=options or {},
        layout=layout,
        progress=progress,
        tolerant=skip_bad,
        targets=targets,
    )
    if opened is not None and cache is not None:
        raise OptionError(f"data.load: cache is not for {name}; leave it out")
    info = get(name) if opened is None else opened.info
    fraction = info.test_fraction if test_fraction is None else test_fraction
    check_options(
        info,
        num_steps=num_steps,
        size=size,
        counts=counts,
        denoise=denoise,
        slice_us=slice_us,
        bin_us=bin_us,
        normalize=normalize,
        test_fraction=fraction,
        framed=opened is not None and opened.framed,
    )
    if opened is not None and opened.framed:
        check_steps(name, opened.train, num_steps)
    shape = info.sized(size)
    names = (augment,) if isinstance(augment, str) else tuple(augment)
    before, after = build(info, names, shape, cutout_fill)
    folder = None if cache is None else Path(cache)
    if opened is None:
        path = locate(name, root)
        train, test = info.loader(info, Place(path=path, cache=folder, progress=progress))
        opened = Opened(info=info, train=train, test=test, path=path)
    source, path = opened.train, opened.path
    parts, notes = divided(opened, fraction, split_seed)
    if bin_us is not None:
        notes += (f"what comes {num_steps * bin_us} us after the first event is left out, by bin_us",)

    datasets: list[Samples] = []
    skipped: tuple[str, ...] = ()
    for split, part, indices in parts:  # train, test, and validation where there is one
        if slice_us is not None:
            part = SlicedSource(part, indices, slice_us)
            indices = np.arange(len(part))
        options_of: dict[str, Any] = {"num_classes": info.num_classes}
        if opened.framed:
            options_of |= {"convert": _as_is, "shape": (*shape, num_steps)}
            in_memory = False
        elif info.kind == "events":
            framing = Framing(
                sensor=info.shape[1:],
                num_steps=num_steps,
                size=size,
                counts=counts,
                denoise=denoise,
                polarities=info.shape[0],
                bin_us=bin_us,
            )
            options_of |= {"convert": framing, "shape": (*shape, num_steps)}
            in_memory = (
                part.in_memory and frame_bytes(len(indices), options_of["shape"], counts) <= MEMORY_LIMIT
            )
            if folder is not None and not in_memory:
                options_of["cache"] = cache_folder(folder, info, split, path, part, framing)
        else:
            native = "random-resized-crop" in names and split == "train"
            options_of |= sizing(info, part, size, shape, native)
            in_memory = False
        samples = Samples(name, split, part, indices, **options_of)
        if in_memory:
            samples.keep()
        if skip_bad:
            skipped += samples.skip_bad()
        datasets.append(samples)

    if info.kind == "static" and source.scale < 255:
        before.append(Limit(white=source.scale))
    mean, std = (info.mean, info.std) if normalize else ((), ())
    finish = ToFloat(source.scale, mean, std)
    return Splits(
        train=Augmented(datasets[0], Compose([*before, finish, *after]), seed),
        test=Mapped(datasets[1], finish),
        validation=Mapped(datasets[2], finish) if len(datasets) > 2 else None,
        info=info,
        shape=shape,
        classes=info.classes or getattr(source, "classes", ()),
        skipped=skipped,
        notes=notes,
    )


def _open_own(
    name: str,
    root: str | os.PathLike[str] | None,
    *,
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    layout: str | None,
    progress: Progress | None,
    tolerant: bool,
    targets: str,
) -> Opened | None:
    """Sources of packed recordings or of the user's own code; None of a dataset by name."""
    check_option("data.load", "targets", targets, TARGETS)
    if is_code(name):
        place = None if root is None else Path(root)
        return open_own(
            name,
            given={"root": place, **given},
            options=options,
            layout=layout,
            progress=progress,
            tolerant=tolerant,
            targets=targets,
        )
    if options or layout is not None or targets != "classes":
        what = "data_options" if options else f"layout={layout!r}" if layout else f"targets={targets!r}"
        raise OptionError(f"data.load: {what} is for data of your own, not for {name}; leave it out")
    if name == PACKED:
        if root is None:
            raise DataError("packed: needs data_root, the file that data.write_packed wrote; set it")
        return open_packed(name, Path(root).expanduser())
    check_option("data.load", "name", name, (*DATASETS, PACKED, "package.module:function"))
    return None


def check_options(
    info: DatasetInfo,
    *,
    num_steps: int,
    size: int | None = None,
    counts: bool = False,
    denoise: float | None = None,
    slice_us: int | None = None,
    bin_us: int | None = None,
    normalize: bool = False,
    test_fraction: float = 0.5,
    framed: bool = False,
) -> None:
    """Raise :class:`OptionError` for options of :func:`load` that are out of range or not for this kind.

    ``framed``: samples of an event set are frames already.
    """
    if num_steps < 1:
        raise OptionError(f"data.load: num_steps={num_steps} is not allowed; use 1 or more")
    if not 0.01 <= test_fraction <= 0.99:
        raise OptionError(f"data.load: test_fraction={test_fraction} is not allowed; use 0.01..0.99")
    largest = info.shape[2] if info.kind == "events" else 1024
    if size is not None and not 1 <= size <= largest:
        raise OptionError(f"data.load: size={size} is not allowed for {info.name}; use 1..{largest}")

    recordings_only = {"denoise": denoise, "slice_us": slice_us, "bin_us": bin_us}
    for name, value in ({"size": size, **recordings_only} if framed else {}).items():
        if value is not None:
            raise OptionError(f"data.load: {name} is for recordings, {info.name} gives frames; leave it out")
    events_only = {"counts": counts, **recordings_only}
    for name, value in (events_only if info.kind == "static" else {"normalize": normalize}).items():
        if value:
            raise OptionError(f"data.load: {name} is not for {info.name} ({info.kind}); leave it out")
    if denoise is not None and not denoise > 0:
        raise OptionError(f"data.load: denoise={denoise} is not allowed; use a time above 0 us, or None")
    if slice_us is not None and slice_us < num_steps:
        raise OptionError(
            f"data.load: slice_us={slice_us} is not allowed; use num_steps={num_steps} us or more"
        )
    if bin_us is not None and bin_us < 1:
        raise OptionError(f"data.load: bin_us={bin_us} is not allowed; use 1 us or more, or None")


def _as_is(frames: np.ndarray) -> np.ndarray:
    return frames
