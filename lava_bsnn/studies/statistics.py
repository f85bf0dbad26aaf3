"""Means with intervals, differences of pairs, and McNemar's test."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and how far it may be off.

    Attributes:
        mean: of the values.
        half: half of the two-sided 95 % interval of Student's t; None of fewer than two values.
        count: of the values.
    """

    mean: float
    half: float | None
    count: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean and interval ``mean +- t(n - 1) s / sqrt(n)``, with s the sample's standard deviation.

    It holds for independent values of a normal distribution.

    Raises:
        ShapeError: there is no value.
    """
    from scipy.stats import t

    if not values:
        raise ShapeError("mean_interval: there is no value; give one or more")
    count = len(values)
    if count < 2:
        return Interval(mean=float(values[0]), half=None, count=1)
    factor = float(t.ppf(0.5 + confidence / 2, count - 1))
    half = factor * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean=statistics.fmean(values), half=half, count=count)


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Outcome of :func:`mcnemar`.

    Attributes:
        gained: samples that ours has right and theirs wrong.
        lost: samples that ours has wrong and theirs right.
        p: of the exact test, two-sided.
    """

    gained: int
    lost: int
    p: float


def mcnemar(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> McNemar:
    """McNemar's exact test on samples that one of two networks has right, pooled over pairs of networks.

    Under the null hypothesis a discordant sample falls to either side with probability 1/2: p is that of a
    binomial at least as far from the middle. It tells of these networks on samples like these, not of
    networks with other seeds; samples that stand in the test sets of several pairs are counted in each,
    which makes p too small.

    Args:
        pairs: ours and theirs, bools ``[N]``: which samples are right.

    Raises:
        ShapeError: a pair has different numbers of samples.
    """
    from scipy.stats import binomtest

    gained = lost = 0
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ShapeError(f"mcnemar: {ours.shape} and {theirs.shape} samples; compare the same test set")
        gained += int((ours & ~theirs).sum())
        lost += int((~ours & theirs).sum())
    discordant = gained + lost
    p = float(binomtest(gained, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(gained=gained, lost=lost, p=p)
