"""Accuracies of floating point and integers over data sets, sizes, bits, models, methods and seeds.

Each network is trained, exported in profiles "stock" and "extended", brought to matched mode, fine-tuned and
exported again. Results go to a CSV file as they come; a run that was stopped continues. The table of
docs/export.md is printed at the end.

    python tests/benchmarks/export_accuracy.py
    python tests/benchmarks/export_accuracy.py --only mlp,digits64
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import netx_export
from lava_bsnn import data, models, training
from lava_bsnn.training.hybrid import to_lmht

METHODS = ("fp", "binary", "agmm", "qsnn", "lmht", "hybrid")
CASES = {  # model -> data set, size, epochs
    "mlp": (
        ("digits", 8, 10),
        ("digits", 32, 10),
        ("digits", 64, 10),
        ("mnist5k", 28, 6),
        ("mnist5k", 56, 6),
    ),
    "cnn": (("digits", 8, 15), ("digits", 16, 15), ("mnist5k", 28, 3)),
    "vgg13": (("digits", 16, 8),),
    "resnet20": (("digits", 8, 10),),
}
WIDTH = {"mlp": 1.0, "cnn": 0.25, "vgg13": 0.125, "resnet20": 0.5}
STEPS = 4
FIELDS = [
    "model",
    "data",
    "size",
    "bits",
    "method",
    "seed",
    "samples",
    "float",
    "extended",
    "extended_same",
    "matched",
    "matched_same",
    "tuned",
    "tuned_integers",
    "tuned_same",
    "stock",
    "stock_same",
    "error",
    "note",
    "seconds",
]


def load(name: str, size: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training and test set in 0..1, enlarged by repeating pixels."""
    splits = data.load(name, size=None)
    parts = []
    for part in (splits.train, splits.test):
        pairs = [part[i] for i in range(len(part))]
        images = np.stack([image.numpy() for image, _ in pairs])
        factor = size // images.shape[-1]
        images = images.repeat(factor, 2).repeat(factor, 3)
        parts.append((images, np.array([label for _, label in pairs])))
    return parts[0], parts[1]


def trained(
    model: str, method: str, bits: int, seed: int, epochs: int, train: tuple, test: tuple
) -> torch.nn.Module:
    """A trained network; a hybrid is trained as QCFS first."""
    training.seed_everything(seed)
    hybrid = method == "hybrid"
    options = {"skip": "classic"} if hybrid and model.startswith("resnet") else {}
    net = models.create(
        model,
        num_classes=10,
        in_shape=train[0].shape[1:],
        num_steps=1 if hybrid else STEPS,
        method="qcfs" if hybrid else method,
        input_bits=bits,
        width=WIDTH[model],
        **options,
    )
    training.fit(net, train, test, epochs=epochs, seed=seed)
    if hybrid:
        net = to_lmht(net, levels=2, num_steps=2)
        training.fit(net, train, test, epochs=2, seed=seed)
    return net.eval()


def measured(model: str, method: str, bits: int, seed: int, epochs: int, train: tuple, test: tuple) -> dict:
    """All accuracies of one network, in percent."""
    net = trained(model, method, bits, seed, epochs, train, test)
    theirs = training.predict(net, test[0])
    row = {"samples": len(test[1]), "float": _percent(theirs == test[1]), "note": ""}

    def both(name: str, profile: str, model_now: torch.nn.Module, **options) -> None:
        reports: list = []
        expected = training.predict(model_now, test[0])
        try:
            frozen = netx_export.convert(model_now.eval(), profile, report=reports.append, **options)
        except netx_export.ExportError as error:
            row["note"] += f"{name}: {str(error)[:200]}; "
            return
        found = netx_export.simulate(frozen, frozen.encode(test[0])).prediction
        row[name] = _percent(found == test[1])
        row[f"{name}_same"] = _percent(found == expected)
        if name == "extended":
            row["error"] = f"{max(report.error for report in reports[:-1]):.4f}"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both("extended", "extended", net)
        if method not in ("lmht", "hybrid") and model != "resnet20":
            gates = (train[0][:500], train[1][:500]) if method == "agmm" else None
            both("stock", "stock", net, calibration=gates, ignore_membrane=True)
        training.match_device(net)
        found = training.predict(net, test[0])
        row["matched"], row["matched_same"] = _percent(found == test[1]), _percent(found == theirs)
        training.finetune(net, train, test, epochs=1, seed=seed)
        row["tuned"] = _percent(training.predict(net, test[0]) == test[1])
        both("tuned_integers", "extended", net)
        row["tuned_same"] = row.pop("tuned_integers_same", "")
    return row


def _percent(right: np.ndarray) -> str:
    return f"{100 * right.mean():.2f}"


def cases(only: list[str], seeds: int) -> Iterator[tuple[tuple[str, str, int, int, str, int], int]]:
    """Model, data set, size, bits, method and seed of each network, seed by seed; and the epochs."""
    for seed, (model, sets) in itertools.product(range(seeds), CASES.items()):
        for (name, size, epochs), bits, method in itertools.product(sets, (4, 8), METHODS):
            words = {model, name, f"{name}{size}", method, f"{bits}bit"}
            if set(only) <= words:
                yield (model, name, size, bits, method, seed), epochs


def table(rows: list[dict]) -> str:
    """Accuracies over methods and seeds, in Markdown; AGMM's gates are calibrated in profile stock."""
    lines = [
        "| model | data | bits | float | extended | largest loss | same class | least | matched "
        "| tuned, integers | stock | largest loss | AGMM stock |",
        "| --- | --- " + "| --: " * 11 + "|",
    ]
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        key = (row["model"], f"{row['data']} {row['size']}x{row['size']}", row["bits"])
        groups.setdefault(key, []).append(row)
    for key, some in groups.items():
        real, gated = _column(some, "float"), np.array([row["method"] == "agmm" for row in some])
        extended, same, stock = (_column(some, name) for name in ("extended", "extended_same", "stock"))
        plain = ~gated & ~np.isnan(stock)
        figures = [real.mean(), extended.mean(), (real - extended).max(), same.mean(), same.min()]
        figures += [_column(some, name).mean() for name in ("matched", "tuned_integers")]
        if plain.any():
            figures += [stock[plain].mean(), (real - stock)[plain].max()]
            figures += [stock[gated].mean()] if gated.any() else []
        cells = [*key, *(f"{figure:.2f}" for figure in figures)]
        lines.append("| " + " | ".join(cells + [""] * (13 - len(cells))) + " |")
    return "\n".join(lines)


def _column(rows: list[dict], name: str) -> np.ndarray:
    return np.array([float(row[name]) if row.get(name) else np.nan for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/export_accuracy.csv"))
    parser.add_argument("--only", default="", help="words that all must fit: mlp, digits64, 8bit, agmm...")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and stop")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader(options.out.open())) if options.out.exists() else []
    done = {tuple(str(row[key]) for key in FIELDS[:6]) for row in rows}
    only = options.only.split(",") if options.only else []
    sets: dict = {}
    for case, epochs in [] if options.table else cases(only, options.seeds):
        if tuple(map(str, case)) in done:
            continue
        model, name, size, bits, method, seed = case
        if (name, size) not in sets:
            sets[name, size] = load(name, size)
        start = time.perf_counter()
        row = dict(zip(FIELDS, case, strict=False))
        row |= measured(model, method, bits, seed, epochs, *sets[name, size])
        row["seconds"] = f"{time.perf_counter() - start:.1f}"
        new = not options.out.exists()
        with options.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        rows.append({key: str(row.get(key, "")) for key in FIELDS})
        print(" ".join(f"{key}={row.get(key, '')}" for key in FIELDS), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
