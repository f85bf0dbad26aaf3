"""Intervals and McNemar's test against tables and sums over the binomial's terms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lava_bsnn.errors import ShapeError
from lava_bsnn.studies.statistics import mcnemar, mean_interval

STUDENT = {1: 12.7062, 2: 4.3027, 4: 2.7764, 9: 2.2622}
"""97.5 % points of Student's t by degrees of freedom, from printed tables."""


@pytest.mark.parametrize("degrees", STUDENT)
def test_intervals_are_those_of_printed_tables_of_t(degrees):
    values = list(np.random.default_rng(degrees).normal(0.9, 0.02, degrees + 1))
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / degrees
    found = mean_interval(values)
    assert found.mean == pytest.approx(mean) and found.count == degrees + 1
    assert found.half == pytest.approx(STUDENT[degrees] * math.sqrt(variance / len(values)), rel=1e-4)


def test_the_interval_covers_the_mean_in_95_of_100_cases():
    draws = np.random.default_rng(0).normal(5, 2, (4000, 3))
    found = [mean_interval(list(row)) for row in draws]
    covered = np.mean([abs(one.mean - 5) <= one.half for one in found])
    assert covered == pytest.approx(0.95, abs=0.012)


def test_one_value_has_no_interval_and_none_is_refused():
    assert mean_interval([0.5]).half is None
    with pytest.raises(ShapeError, match="there is no value"):
        mean_interval([])


def binomial_tail(gained, lost):
    """Two-sided p of a fair coin, term by term."""
    flips = gained + lost
    few = sum(math.comb(flips, heads) for heads in range(min(gained, lost) + 1))
    return min(1.0, 2 * few / 2**flips)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (1, 9), (0, 6), (12, 30), (3, 4)])
def test_mcnemar_counts_discordant_samples_and_sums_the_binomial(gained, lost):
    ours = np.array([1] * gained + [0] * lost + [1] * 7 + [0] * 3, dtype=bool)
    theirs = np.array([0] * gained + [1] * lost + [1] * 7 + [0] * 3, dtype=bool)
    order = np.random.default_rng(1).permutation(len(ours))
    found = mcnemar([(ours[order], theirs[order])])
    assert (found.gained, found.lost) == (gained, lost)
    assert found.p == pytest.approx(binomial_tail(gained, lost))
    halves = [(ours[::2], theirs[::2]), (ours[1::2], theirs[1::2])]  # pooled, as of two seeds
    assert mcnemar(halves) == mcnemar([(ours, theirs)])


def test_ten_discordant_pairs_of_the_textbook():
    ours, theirs = np.array([True] * 9 + [False]), np.array([False] * 9 + [True])
    assert mcnemar([(ours, theirs)]).p == pytest.approx(0.021484375)  # 22 / 1024


def test_other_test_sets_are_not_compared():
    with pytest.raises(ShapeError, match="compare the same test set"):
        mcnemar([(np.ones(3, dtype=bool), np.ones(4, dtype=bool))])
