"""What a run knows of its data: of sets by name at once, of a user's own when they have been opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from .. import data
from ..code import is_code
from ..data.info import DatasetInfo
from ..data.packed import PACKED
from ..encoding import Encoding
from ..errors import DataError, LavaBsnnError, OptionError, ShapeError, check_option
from ..files import atomic_path
from .holdout import hold_out, keep_some
from .recipe import Recipe

DATA = "data.yaml"
"""What a run's folder says of data that have no entry in ``data.DATASETS``."""
_FIELDS = ("name", "kind", "shape", "num_classes", "classes")


def is_own(recipe: Recipe) -> bool:
    """Whether a recipe's data are known only when they have been opened."""
    return recipe.dataset == PACKED or is_code(recipe.dataset)


def known_info(recipe: Recipe) -> DatasetInfo:
    """Entry of a recipe's data set.

    Raises:
        OptionError: an unknown data set, or the user's own, of which nothing is known yet.
    """
    if is_own(recipe):
        raise OptionError(
            f"recipe: shape and classes of {recipe.dataset} are known when it is loaded; load it"
        )
    check_option("recipe", "dataset", recipe.dataset, (*data.DATASETS, PACKED, "package.module:function"))
    return data.DATASETS[recipe.dataset]


def write_info(out: Path, info: DatasetInfo) -> None:
    """Keep in a run's folder what is known of its own data."""
    values = {name: getattr(info, name) for name in _FIELDS}
    values |= {"shape": list(info.shape), "classes": list(info.classes)}
    with atomic_path(out / DATA) as temporary:
        temporary.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def info_of_run(recipe: Recipe, out: Path) -> DatasetInfo:
    """What a run was trained on; no data are read.

    Raises:
        LavaBsnnError: the folder does not say it.
    """
    if not is_own(recipe):
        return known_info(recipe)
    try:
        values = yaml.safe_load((out / DATA).read_text(encoding="utf-8"))
        fields: dict[str, Any] = {name: values[name] for name in _FIELDS}
        if fields["kind"] not in ("static", "events") or len(fields["shape"]) != 3:
            raise TypeError("kind or shape is wrong")
        fields["shape"] = tuple(map(int, fields["shape"]))
        fields["classes"] = tuple(map(str, fields["classes"]))
        fields["num_classes"] = int(fields["num_classes"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise LavaBsnnError(f"{out / DATA}: does not say what the run was trained on; train again") from error
    return DatasetInfo(
        **fields, train_size=0, test_size=0, licence="the user's", source=recipe.dataset, loader=_no_loader
    )


def _no_loader(*_: Any) -> Any:
    raise AssertionError("a run's data are loaded through its recipe")


def check_info(recipe: Recipe, out: Path, info: DatasetInfo) -> None:
    """Compare data with those that a run in a folder was trained on.

    Raises:
        LavaBsnnError: they differ.
    """
    before = info_of_run(recipe, out)
    for name in _FIELDS:
        ours, theirs = getattr(info, name), getattr(before, name)
        if ours != theirs:
            raise LavaBsnnError(
                f"{out}: was trained on data with {name}={theirs}, they have {ours} now; use the same data"
            )


def described(info: DatasetInfo) -> str:
    """Shape and classes of data in words."""
    names = list(info.classes)
    shown = ", ".join(names if len(names) <= 10 else [*names[:9], "...", names[-1]])
    shape = " x ".join(map(str, info.shape))
    kind = "events" if info.kind == "events" else "images"
    return f"{shape} ({kind}), {info.num_classes} classes" + (f" ({shown})" if names else "")


def encoding_of(recipe: Recipe, info: DatasetInfo) -> Encoding:
    """What samples of ``info`` are for a recipe's network.

    Raises:
        OptionError: no device takes them so.
    """
    return info.encoding(
        bits=recipe.input_bits,
        counts=recipe.counts,
        normalize=recipe.normalize,
        saturate=recipe.saturate,
    )


def load_data(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> data.Splits:
    """Training, validation and test set of a recipe; ``progress(done, total)`` is called in long work."""
    split_seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    splits = data.load(
        recipe.dataset,
        root=recipe.data_root,
        num_steps=recipe.frames,
        size=recipe.size,
        counts=recipe.counts,
        augment=recipe.augment,
        cutout_fill=known_info(recipe).mean if recipe.normalize and not is_own(recipe) else None,
        test_fraction=recipe.test_fraction,
        split_seed=split_seed,
        seed=recipe.seed,
        skip_bad=recipe.skip_bad,
        cache=recipe.cache,
        denoise=recipe.denoise,
        bin_us=recipe.bin_us,
        slice_us=recipe.slice_us,
        layout=recipe.layout,
        options=recipe.data_options,
        targets=recipe.targets,
        progress=progress,
    )
    check_first(recipe, splits)
    splits = keep_some(splits, recipe.train_samples, split_seed)
    return hold_out(splits, recipe.validation_fraction, split_seed)


def input_shape(recipe: Recipe) -> tuple[int, int, int]:
    """``(C, H, W)`` of a recipe's samples, known without the data.

    Raises:
        OptionError: an unknown data set, or one of the user's own.
    """
    return known_info(recipe).sized(recipe.size)


def input_encoding(recipe: Recipe) -> Encoding:
    """What samples of a data set by name are for a recipe's network.

    Raises:
        OptionError: no device takes them so.
    """
    return encoding_of(recipe, known_info(recipe))


def check_first(recipe: Recipe, splits: data.Splits) -> None:
    """Compare the first sample of a user's own data with what the recipe says of them.

    Raises:
        DataError: the network would refuse it.
    """
    if not is_own(recipe):
        return
    sample, _ = splits.train[0]
    encoding = encoding_of(recipe, splits.info)
    try:
        encoding.messages(sample[None], "sample")
    except ShapeError as error:
        low, high = float(sample.min()), float(sample.max())
        remedy = "set counts: true for numbers of events, input_bits: 8 for values in 0..1, or give 0 and 1"
        if recipe.counts:
            remedy = "set saturate: true, or more input_bits (up to 8)"
        raise DataError(
            f"{recipe.dataset}: train[0] has values {low:.4g}..{high:.4g}, which are no {encoding}; {remedy}"
        ) from error
