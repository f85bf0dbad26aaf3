"""Loss, accuracy and confusion matrix of a model on arrays and datasets."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import distributed
from ..errors import LavaBsnnError, LavaBsnnWarning
from ..modes import evaluating
from .batches import Data, as_dataset, as_input, loader


def check_batch(split: str, indices: Tensor, inputs: Any, targets: Any, classes: bool = True) -> None:
    """Raise :class:`LavaBsnnError` that names the sample unless inputs are finite and targets tensors.

    Args:
        classes: targets must be classes, int64; else they may be bool or real, too.
    """
    allowed = isinstance(inputs, Tensor) and isinstance(targets, Tensor)
    if allowed and targets.dtype != torch.int64:
        allowed = not classes and (targets.dtype == torch.bool or targets.is_floating_point())
    if not allowed:
        kinds = [
            f"{v.dtype} tensor" if isinstance(v, Tensor) else type(v).__name__ for v in (inputs, targets)
        ]
        wanted = "an integer" if classes else "an integer, or a target of type int64, bool or float"
        raise LavaBsnnError(
            f"fit: {split} gives batches of {' and '.join(kinds)}; use pairs of a tensor and {wanted}"
        )
    finite = torch.isfinite(inputs)
    if not finite.all():
        bad = int((~finite).flatten(1).any(1).nonzero()[0])
        raise LavaBsnnError(f"fit: {split}[{int(indices[bad])}] holds values that are not finite; mend it")


def check_classes(split: str, indices: Tensor, targets: Tensor, logits: Tensor) -> None:
    """Raise :class:`LavaBsnnError` unless targets fit the logits ``[N, classes, T]``.

    Integers are classes ``[N]`` or, per step, ``[N, T]``; bools are ``[N, classes]``; real targets are the
    loss's own matter.
    """
    if targets.is_floating_point():
        return
    samples, classes, steps = logits.shape[0], logits.shape[1], logits.shape[-1]
    per_step = targets.dtype == torch.int64 and targets.dim() == 2
    allowed = [(samples, classes)] if targets.dtype == torch.bool else [(samples,), (samples, steps)]
    one_hot = (
        per_step
        and targets.shape[1] == classes
        and bool(((targets != 0).sum(1) == 1).all() and (targets <= 1).all())
    )
    if one_hot or tuple(targets.shape) not in allowed:
        hint = (
            "one-hot labels become classes by labels.argmax(1)"
            if one_hot
            else (
                "use bool [N, classes]"
                if targets.dtype == torch.bool
                else "use classes [N], or [N, T] per step"
            )
        )
        raise LavaBsnnError(
            f"fit: {split} has targets {list(targets.shape)} for {classes} classes and {steps} steps; {hint}"
        )
    if targets.dtype == torch.bool:
        return
    wrong = (targets < 0) | (targets >= classes)
    if wrong.any():
        sample, *step = (int(i) for i in wrong.nonzero()[0])
        raise LavaBsnnError(
            f"fit: {split}[{int(indices[sample])}]: label {int(targets[(sample, *step)])} does not fit the "
            f"model's {classes} classes; use 0..{classes - 1}"
        )


def predicted(logits: Tensor, targets: Tensor) -> Tensor | None:
    """What logits ``[N, classes, T]`` say of targets of such a kind.

    Of classes ``[N]`` the largest summed logit, of classes per step ``[N, T]`` the largest logit of each
    step, of bools ``[N, classes]`` whether the summed logit is above 0; None for real targets.
    """
    if targets.dtype == torch.bool:
        return logits.sum(-1) > 0
    if targets.is_floating_point():
        return None
    return (logits.sum(-1) if targets.dim() == 1 else logits).argmax(1)


def right_per_sample(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over the samples of their share of right predictions, a scalar; 0 for real targets."""
    guess = predicted(logits, targets)
    if guess is None:
        return torch.zeros((), dtype=torch.float64, device=logits.device)
    hits = (guess == targets).sum()
    return hits if targets.dim() == 1 else hits.double() / targets[0].numel()


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What a model makes of a set.

    Attributes:
        samples: their number.
        accuracy: share of right predictions, 0..1, over samples, steps or labels; None for real targets.
        loss: mean over the samples; None where no loss was given.
        confusion: int64 ``[classes, classes]``, a row per true and a column per predicted class; None for
            targets other than classes.
    """

    samples: int
    accuracy: float | None
    loss: float | None = None
    confusion: np.ndarray | None = None

    @property
    def class_accuracy(self) -> list[float | None] | None:
        """Share of each class's samples that are right, 0..1; None for a class without any."""
        if self.confusion is None:
            return None
        pairs = zip(self.confusion.diagonal().tolist(), self.confusion.sum(1).tolist(), strict=True)
        return [right / all_ if all_ else None for right, all_ in pairs]

    @property
    def macro_f1(self) -> float | None:
        """Mean over the classes of the harmonic mean of precision and recall (as scikit-learn)."""
        if self.confusion is None:
            return None
        from sklearn.metrics import f1_score

        truth, guess = np.indices(self.confusion.shape).reshape(2, -1)
        weights = self.confusion.ravel()
        seen = weights > 0
        return float(
            f1_score(truth[seen], guess[seen], sample_weight=weights[seen], average="macro", zero_division=0)
        )


def warn_of_one_class(scores: Scores, names: Sequence[str] = ()) -> None:
    """Warn where one class is all that is predicted, though the set has several."""
    matrix = scores.confusion
    if matrix is None or (matrix.sum(1) > 0).sum() < 2:
        return
    columns = np.flatnonzero(matrix.sum(0))
    if len(columns) == 1:
        only = int(columns[0])
        name = f"{only} ({names[only]})" if names else f"{only}"
        share = matrix[only].sum() / matrix.sum()
        warnings.warn(
            f"fit: all {matrix.sum():,} test samples are taken for class {name}, which {share:.1%} of them "
            "are: such accuracy is no learning; train longer, or change lr or class_weights",
            LavaBsnnWarning,
            stacklevel=3,
        )


def _batched(dataset: Any, batch_size: int, rank: int, world_size: int) -> list[Tensor]:
    return list(torch.arange(rank, len(dataset), world_size).split(batch_size))


def score_share(
    model: torch.nn.Module,
    dataset: Any,
    loss: Callable[[Tensor, Tensor], Tensor] | None,
    *,
    split: str = "test",
    batch_size: int = 64,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    classes: bool = True,
) -> Scores:
    """Scores over all processes, of which this one takes every ``world_size``-th sample."""
    device = next(model.parameters()).device
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # loss, right
    confusion: Tensor | None = None
    known = True
    with evaluating(model):
        batches = _batched(dataset, batch_size, rank, world_size)
        for indices, (inputs, targets) in zip(batches, loader(dataset, batches, num_workers), strict=True):
            check_batch(split, indices, inputs, targets, classes)
            logits = model(as_input(model, inputs))
            check_classes(split, indices, targets, logits)
            targets = targets.to(logits.device, non_blocking=True)
            guess = predicted(logits, targets)
            known = guess is not None
            if loss is not None:
                sums[0] += loss(logits, targets).double() * len(targets)
            sums[1] += right_per_sample(logits, targets)
            if guess is not None and targets.dtype == torch.int64:
                number = logits.shape[1]
                if confusion is None:
                    confusion = torch.zeros(number * number, dtype=torch.int64, device=device)
                cells = (targets * number + guess).flatten()
                confusion.index_add_(0, cells, torch.ones_like(cells))
    total, right = distributed.total(sums).tolist()
    cells_of = 0 if confusion is None else len(confusion)  # a process may have no sample
    number, real = distributed.largest(torch.tensor([cells_of, not known], device=device)).tolist()
    matrix = None
    if number:
        if confusion is None:
            confusion = torch.zeros(number, dtype=torch.int64, device=device)
        matrix = distributed.total(confusion).view(math.isqrt(number), -1).cpu().numpy()
    return Scores(
        samples=len(dataset),
        accuracy=None if real else right / len(dataset),
        loss=None if loss is None else total / len(dataset),
        confusion=matrix,
    )


def score(
    model: torch.nn.Module,
    data: Data,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
) -> Scores:
    """Scores of a model on a set, in evaluation mode.

    Args:
        data: as :func:`fit` takes it.
        loss: whose mean is taken, too.
    """
    dataset = as_dataset(data, "test", classes=False)
    return score_share(model, dataset, loss, batch_size=batch_size, num_workers=num_workers, classes=False)


def predict(model: torch.nn.Module, inputs: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Class of the summed logits ``[N]``, in evaluation mode; the model's mode is restored.

    Raises:
        LavaBsnnError: ``inputs`` are no array, or ``model`` is none of torch.
    """
    if not isinstance(model, torch.nn.Module):
        raise LavaBsnnError(
            f"predict: model is a {type(model).__name__}; use one of torch (networks of integers: simulate)"
        )
    if not isinstance(inputs, np.ndarray):
        raise LavaBsnnError(
            f"predict: inputs are a {type(inputs).__name__}; use an array [N, ...] (evaluate takes data sets)"
        )
    with evaluating(model):
        parts = [
            model(as_input(model, torch.from_numpy(inputs[start : start + batch_size]))).sum(-1).argmax(1)
            for start in range(0, len(inputs), batch_size)
        ]
    result: np.ndarray = torch.cat(parts).cpu().numpy()
    return result


def accuracy(model: torch.nn.Module, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples that :func:`predict` gets right, in 0..1."""
    return evaluate(model, (inputs, labels), batch_size=256)


def evaluate(model: torch.nn.Module, data: Data, *, batch_size: int = 64, num_workers: int = 0) -> float:
    """Share of samples whose class of the summed logits is right, in 0..1, in evaluation mode."""
    if not isinstance(model, torch.nn.Module):
        raise LavaBsnnError(
            f"evaluate: model is a {type(model).__name__}; use one of torch (networks of integers: simulate)"
        )
    dataset = as_dataset(data, "test")
    found = score_share(model, dataset, None, batch_size=batch_size, num_workers=num_workers)
    assert found.accuracy is not None  # classes are all that is let through
    return found.accuracy
