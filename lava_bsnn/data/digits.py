"""Real 8x8 handwritten digits that scikit-learn carries (UCI ML repository, 1797 samples)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import OptionError


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Images float32 ``[N, 1, 8, 8]`` in [0, 1], and labels int64 ``[N]``, for training and test."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def digits(test_fraction: float = 0.25, seed: int = 0) -> Split:
    """Return a stratified split of scikit-learn's digits; the same seed gives the same split.

    Raises:
        OptionError: ``test_fraction`` leaves one side without samples of each class.
    """
    if not 0.01 <= test_fraction <= 0.99:
        raise OptionError(f"digits: test_fraction={test_fraction} is not allowed; use 0.01..0.99")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    images = (source.images / 16.0).astype(np.float32)[:, None]
    train_x, test_x, train_y, test_y = train_test_split(
        images,
        source.target.astype(np.int64),
        test_size=test_fraction,
        random_state=seed,
        stratify=source.target,
    )
    return Split(train_images=train_x, train_labels=train_y, test_images=test_x, test_labels=test_y)
