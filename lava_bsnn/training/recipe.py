"""A recipe: everything that defines a training run, in one flat dataclass and one YAML file."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..code import RUN_FILE, is_code
from ..errors import LavaBsnnError, OptionError, check_option
from .recipe_fields import RANGES, assign, check_loss, checked
from .recipe_files import mapping_in
from .schedule import DECAYS, OPTIMIZERS, SCHEDULES
from .targets import TARGETS

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
LOSSES = ("tet", "rate", "multilabel", "mse")
SAMPLERS = ("shuffled", "balanced")
CONFIG = RUN_FILE
"""Recipe in the folder of a run."""
SPIKE_TERMS = ("sum", "mean")
HYBRID = "hybrid"
"""Method of a recipe that turns a trained QCFS network into LM-HT and fine-tunes it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, on what, and how.

    Attributes:
        summary: what it is, and the row of the table that it aims at.
        published: test accuracy that the source prints, percent.
        dataset: a name of ``data.DATASETS``, ``"packed"``, or a function of your own,
            ``"package.module:function"``; see :func:`lava_bsnn.data.load`.
        data_root: where the data set is; by default where ``data.find`` looks.
        data_options: further arguments of a function of your own.
        layout: axes of arrays of your own, such as ``"TNCHW"``; by default time comes last.
        cache: folder that keeps the frames of event recordings; by default they are made anew.
        skip_bad: leave samples out that cannot be read, instead of stopping.
        num_steps: time steps T, and frames of event data unless ``method_options`` has ``mix_frames``.
        size: height and width that images or events are brought to.
        counts: event frames hold counts instead of 0 and 1.
        saturate: counts beyond ``input_bits`` become the largest, and are reported, instead of an error.
        denoise: drop events without a neighbour within so many microseconds.
        bin_us: microseconds of a time bin; by default each recording is divided into ``num_steps``.
        slice_us: cut recordings into samples of so many microseconds.
        augment: names of ``data`` augmentations, in order.
        normalize: the network subtracts the set's mean and divides by its deviation per channel, and takes
            the result as signed messages.
        test_fraction: held-out share of data sets without a split of their own; by default
            the usual one.
        split_seed: seed of that split, and of the next two; by default ``seed``.
        train_samples: so many training samples, by class; by default all.
        validation_fraction: share of the training set, by class, that is held out to choose ``best.pt`` on
            and to stop early; the test set is used once, at the end. 0, as published recipes have it: the
            test set chooses. Sets with a validation set of their own keep that.
        model: a name of ``models.MODELS``, or a class or function of your own,
            ``"package.module:Net"``; see :func:`lava_bsnn.models.own`.
        method: a name of ``models.METHODS``, or ``"hybrid"``: the network of ``start``, trained
            with method ``qcfs``, becomes LM-HT and is fine-tuned.
        width: factor on all hidden features.
        input_bits: bits of the messages that enter; by default 8 for images and counts, 0 for spikes.
        model_options: of the architecture.
        method_options: changes to the method; of a hybrid, ``levels`` and ``mix``.
        start: folder of a run whose weights are taken first.
        epochs: passes over the training set.
        patience: stop after so many epochs without a better one on the validation set; None goes on.
        batch_size: samples per step, over all processes.
        optimizer: ``"sgd"``, ``"adam"``, ``"adamw"``, or ``"bso"``: 1-bit weights flip, without latent ones.
        lr: learning rate.
        momentum: of SGD.
        nesterov: Nesterov's momentum.
        weight_decay: on what ``decay`` names.
        decay: ``"weights"``, or ``"all"``: norms, biases and thresholds, too.
        flip_threshold: of ``"bso"``: sign times mean gradient above which a weight flips.
        flip_decay: of ``"bso"``: what a step keeps of the mean gradient.
        schedule: ``"cosine"`` or ``"constant"``.
        warmup_epochs: epochs in which the learning rate rises.
        clip_norm: largest norm of the gradient.
        label_smoothing: share of the target spread over all classes.
        loss: ``"tet"`` (cross entropy at each step), ``"rate"`` (of the mean over time); ``"multilabel"`` and
            ``"mse"`` for data of your own with such targets; or a function of your own of logits
            ``[N, classes, T]`` and labels ``[N]``, ``"package.module:function"``.
        class_weights: factor on the loss of each class, or ``"balanced"``: N / (classes * samples of it).
        mixup: strength of mixup (:class:`lava_bsnn.training.Mixing`); 0 for none.
        cutmix: of CutMix, likewise.
        sampler: ``"shuffled"``: each sample once an epoch; ``"balanced"``: drawn so that classes come alike.
        spike_regulation: weight of Q-SNN's firing rate term; 0 leaves it out.
        spike_term: that term: ``"sum"`` over the layers, or ``"mean"``, without the last spiking layer.
        sop_budget: synaptic operations per sample above which the loss grows; None for no budget.
        target: of export, for which to train: ``"stock"`` and ``"loihi"`` have no gates.
        matched: go on with the network of ``start`` in the integers of ``target`` (or ``"extended"``);
            ``lava-bsnn finetune`` sets it.
        ema_decay: moving average of the weights.
        precision: ``"32-true"``, ``"16-mixed"`` or ``"bf16-mixed"``.
        seed: seeds weights, order, augmentation.
        num_workers: processes that load data.
        checkpoint_steps: write a checkpoint every so many steps too.

    Raises:
        OptionError: a value is not allowed.
    """

    summary: str = ""
    published: float | None = None
    dataset: str
    data_root: str | None = None
    data_options: Mapping[str, Any] = field(default_factory=dict)
    layout: str | None = None
    cache: str | None = None
    skip_bad: bool = False
    num_steps: int = 4
    size: int | None = None
    counts: bool = False
    saturate: bool = False
    denoise: float | None = None
    bin_us: int | None = None
    slice_us: int | None = None
    augment: tuple[str, ...] = ()
    normalize: bool = False
    test_fraction: float | None = None
    split_seed: int | None = None
    train_samples: int | None = None
    validation_fraction: float = 0.1
    model: str
    method: str = "agmm"
    width: float = 1.0
    input_bits: int | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    method_options: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    epochs: int
    patience: int | None = None
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 2e-3
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay: str = "weights"
    flip_threshold: float = 5e-7
    flip_decay: float = 0.999
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    loss: str = "tet"
    class_weights: str | tuple[float, ...] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    sampler: str = "shuffled"
    spike_regulation: float = 0.0
    spike_term: str = "sum"
    sop_budget: float | None = None
    target: str | None = None
    matched: bool = False
    ema_decay: float | None = None
    precision: str = "32-true"
    seed: int = 0
    num_workers: int = 0
    checkpoint_steps: int = 0

    @property
    def frames(self) -> int:
        """Frames of a sample, which the first neurons may mix into time steps; else T."""
        frames = self.method_options.get("mix_frames")
        return frames if type(frames) is int else self.num_steps  # else the model names it

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            object.__setattr__(self, name, checked(name, getattr(self, name), kind))
        for name, allowed in (
            ("optimizer", OPTIMIZERS),
            ("decay", DECAYS),
            ("spike_term", SPIKE_TERMS),
            ("schedule", SCHEDULES),
            ("loss", (self.loss,) if is_code(self.loss) else LOSSES),
            ("sampler", SAMPLERS),
            ("precision", PRECISIONS),
            ("target", (None, *TARGETS)),
        ):
            check_option("recipe", name, getattr(self, name), allowed)
        for name in self.method_options if self.method == HYBRID else ():
            check_option("recipe", "method_options", name, ("levels", "mix"))
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise OptionError(f"recipe: {name}={value} is not allowed; use {low}..{high}")
        if self.optimizer == "bso" and self.ema_decay is not None:
            raise OptionError(
                f"recipe: ema_decay={self.ema_decay} is not allowed with optimizer='bso', whose weights are "
                "+1 and -1; leave it out"
            )
        check_loss(self)

    @property
    def code(self) -> tuple[str, ...]:
        """Names of code in the recipe, which is imported when data or model are made."""
        return tuple(name for name in (self.dataset, self.model, self.loss) if is_code(name))

    @property
    def targets(self) -> str:
        """What the loss compares with, as :func:`lava_bsnn.data.load` names it."""
        return {"multilabel": "labels", "mse": "values"}.get(self.loss, "classes")

    def replace(self, assignments: Iterable[str]) -> Recipe:
        """Return the recipe with fields changed by ``"name=value"`` texts.

        Values are YAML; ``"method_options.ends=8"`` changes one entry of a mapping.

        Raises:
            OptionError: not of this form, an unknown field, or a value that is not allowed.
        """
        values = dataclasses.asdict(self)
        for text in assignments:
            key, equals, value = text.partition("=")
            if not equals:
                raise OptionError(f"--set {text}: is not key=value; use e.g. --set lr=0.01")
            assign(values, key.strip(), value, text)
        return from_mapping(values, "--set")

    def to_yaml(self, *, full: bool = True) -> str:
        """Return the recipe as a YAML file; ``full=False`` leaves defaults out."""
        values = dataclasses.asdict(self)
        if not full:
            values = {name: value for name, value in values.items() if value != _DEFAULTS.get(name, ...)}
        text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
        return text


_KINDS: dict[str, Any] = typing.get_type_hints(Recipe)
_DEFAULTS = {
    f.name: f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
    for f in dataclasses.fields(Recipe)
}


def from_mapping(values: Any, where: str) -> Recipe:
    """Build a recipe from what a YAML file holds.

    Raises:
        OptionError: not a mapping, unknown or missing fields, or a value that is not allowed.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"{where}: a recipe is a YAML mapping of fields to values")
    unknown = [str(name) for name in values if name not in _KINDS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], _KINDS, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"use {', '.join(_KINDS)}"
        raise OptionError(f"{where}: unknown fields {', '.join(unknown)}; {hint}")
    missing = [name for name, default in _DEFAULTS.items() if default is dataclasses.MISSING]
    missing = [name for name in missing if name not in values]
    if missing:
        raise OptionError(f"{where}: fields {', '.join(missing)} are missing; add them")
    return Recipe(**values)


def load_recipe(name: str | Path) -> Recipe:
    """Return a recipe of the package by name, or one from a ``.yaml`` file.

    A file may start from another with ``extends: NAME`` (or a file beside it) and give only
    what differs.

    Raises:
        OptionError: no such recipe, or a file that is none.
    """
    return from_mapping(mapping_in(name), str(name))


def run_recipe(out: Path) -> Recipe:
    """Recipe of a run's folder; one of before there were validation sets has none.

    Raises:
        LavaBsnnError: the folder holds no run.
    """
    if not (out / CONFIG).is_file():
        inside = sorted(path.parent.name for path in out.glob(f"*/{CONFIG}"))
        better = f"{out / inside[0]}, or another run in it" if inside else "the --out of lava-bsnn train"
        raise LavaBsnnError(f"{out}: holds no run ({CONFIG} is missing); give {better}")
    values = {"validation_fraction": 0, **mapping_in(out / CONFIG)}
    return from_mapping(values, str(out / CONFIG))
