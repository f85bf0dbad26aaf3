"""Sizes that the papers print, next to what our models count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from .. import models
from .size import memory_footprint, model_size, packed_bytes, parameter_groups

MEGABYTE = 10**6
"""The papers' MB; 2^20 fits none of their numbers."""

RESNET19_MODELS: dict[str, tuple[str, dict[str, Any], float]] = {
    "AGMM table 2, FP-SNN": ("fp", {"num_classes": 100}, 50.46),
    "AGMM table 2, vanilla BSNN": ("binary", {"num_classes": 100}, 2.31),
    "AGMM table 2, AGMM-BSNN": ("agmm", {"num_classes": 100}, 2.46),
    "Q-SNN figure 3, CIFAR-10": ("qsnn", {"num_classes": 10}, 1.62),
}
"""Sizes of ResNet-19 in MB by place; method, options of ``models.create``, published size."""

BITS = {"32w-32u": (32, 32), "1w-8u": (1, 8), "1w-4u": (1, 4), "1w-2u": (1, 2)}
"""Columns of Q-SNN table 2 (weight bits, membrane bits)."""
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet19": {"in_shape": (3, 32, 32)},
    "vgg16": {"in_shape": (3, 32, 32)},
    "vggsnn": {"in_shape": (2, 32, 32), "global_pool": True},
}
"""Networks of Q-SNN table 2, with the options that its numbers imply; 10 classes each."""
Q_SNN_TABLE_2: dict[tuple[str, int], tuple[float, ...]] = {
    ("resnet19", 1): (50.80, 1.75, 1.68, 1.65),
    ("resnet19", 64): (83.83, 10.0, 5.81, 3.72),
    ("resnet19", 256): (184.49, 35.17, 18.40, 10.01),
    ("vgg16", 1): (59.16, 1.96, 1.93, 1.91),
    ("vgg16", 64): (75.67, 6.09, 3.99, 2.94),
    ("vgg16", 256): (126.01, 18.67, 10.28, 6.09),
    ("vggsnn", 1): (37.44, 1.31, 1.25, 1.21),
    ("vggsnn", 64): (70.47, 9.57, 5.38, 3.28),
    ("vggsnn", 256): (171.13, 34.74, 17.96, 9.57),
}
"""Q-SNN table 2 in MB by (network, batch), a number per column of :data:`BITS`."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One published number and ours, both in MB."""

    what: str
    published: float
    ours: float

    @property
    def difference(self) -> float:
        """Ours minus the published number, in MB; up to 0.005 is the paper's rounding."""
        return self.ours - self.published


def compare_model_sizes() -> list[Comparison]:
    """Compare :func:`lava_bsnn.analysis.model_size` of ResNet-19 with AGMM's and Q-SNN's numbers.

    The vanilla model is counted twice: as AGMM's text describes it, and with 8 bits in the last layer.
    """
    rows = []
    for what, (method, options, published) in RESNET19_MODELS.items():
        model = models.create("resnet19", in_shape=(3, 32, 32), num_steps=2, method=method, **options)
        rows.append(Comparison(what=what, published=published, ours=model_size(model) / MEGABYTE))
        if "vanilla" in what:
            groups = parameter_groups(model)
            last = [one for one in groups if one.layer][-1]
            size = packed_bytes(replace(one, bits=8) if one is last else one for one in groups)
            what += ", last layer at 8 bit"
            rows.append(Comparison(what=what, published=published, ours=size / MEGABYTE))
    return rows


@cache
def _network(name: str) -> models.SpikingNetwork:
    return models.create(name, num_classes=10, num_steps=2, method="qsnn", **NETWORKS[name])


def compare_footprints() -> list[Comparison]:
    """Compare :func:`lava_bsnn.analysis.memory_footprint` with each cell of Q-SNN table 2.

    VGG-16 with binary weights is counted twice: as the text describes it, and with 32 bits in the last
    layer.
    """
    rows = []
    for (name, batch), cells in Q_SNN_TABLE_2.items():
        model = _network(name)
        for (column, bits), published in zip(BITS.items(), cells, strict=True):
            variants: dict[str, dict[str, Any]] = {"": {}}
            if name == "vgg16" and bits[0] == 1:
                variants[", last layer at 32 bit"] = {"ends_bits": (8, 32)}
            for note, options in variants.items():
                ours = memory_footprint(model, model.in_shape, batch, *bits, **options) / MEGABYTE
                what = f"{name}, batch {batch}, {column}{note}"
                rows.append(Comparison(what=what, published=published, ours=ours))
    return rows


def markdown(rows: list[Comparison]) -> str:
    """A table of published size, ours, and the difference, in MB."""
    lines = ["| what | published (MB) | ours (MB) | difference (MB) |", "| --- | --: | --: | --: |"]
    lines += [f"| {r.what} | {r.published:.2f} | {r.ours:.4f} | {r.difference:+.4f} |" for r in rows]
    return "\n".join(lines)
