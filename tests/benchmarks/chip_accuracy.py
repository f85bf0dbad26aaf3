"""Accuracy of trained runs in the chip's integers, gates of AGMM as constants, before and after fine-tuning.

    python tests/benchmarks/chip_accuracy.py RUN... [--epochs 3] [--lr 2e-4] [--target loihi]

For each folder of ``lava-bsnn train``: test accuracy in floating point, of profile "extended", of the
target without and with fine-tuning on it, and how many of the last one's classes the model in matched mode
gives, too.
"""

from __future__ import annotations

import argparse
import copy
import warnings

import numpy as np
import torch

from lava_bsnn import training
from lava_bsnn.training.run_data import load_data
from netx_export import FixedPointNetwork, convert, simulate


def accuracy(net: FixedPointNetwork, inputs: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Share of right classes, and the classes, in batches."""
    parts = [simulate(net, net.encode(inputs[i : i + 64])).prediction for i in range(0, len(inputs), 64)]
    classes = np.concatenate(parts)
    return float((classes == labels).mean()), classes


def arrays(data: torch.utils.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All samples and labels of a data set."""
    pairs = [data[index] for index in range(len(data))]  # type: ignore[arg-type]
    return np.stack([np.asarray(x) for x, _ in pairs]), np.array([int(y) for _, y in pairs])


def main() -> None:
    """Print a line per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--target", default="loihi")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'run':24} {'float':>8} {'extended':>9} {'constant':>9} {'tuned':>8} {'matched':>8} {'agree':>8}")
    for run in options.runs:
        recipe, model = training.load_run(run)
        splits = load_data(recipe)
        x, y = arrays(splits.test)
        calibration = torch.stack([torch.as_tensor(splits.train[i][0]) for i in range(256)])
        figures = [training.accuracy(model, x, y)]
        figures.append(accuracy(convert(model, "extended"), x, y)[0])
        figures.append(accuracy(convert(model, options.target, calibration=calibration), x, y)[0])
        tuned = copy.deepcopy(model)
        training.finetune(
            tuned, splits.train, splits.test, epochs=options.epochs, lr=options.lr, target=options.target
        )
        share, classes = accuracy(convert(tuned, options.target), x, y)
        figures += [share, training.accuracy(tuned, x, y)]
        figures.append(float((training.predict(tuned, x) == classes).mean()))
        print(f"{run[-24:]:24} " + " ".join(f"{100 * value:7.2f}%" for value in figures), flush=True)


if __name__ == "__main__":
    main()
