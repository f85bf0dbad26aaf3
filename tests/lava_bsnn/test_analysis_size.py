from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lava_bsnn import analysis, block, models
from lava_bsnn._slayer import neuron_base
from lava_bsnn.analysis import published
from lava_bsnn.errors import OptionError, ShapeError

DOCS = Path(__file__).parents[2] / "docs" / "sizes.md"
PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}
ROUNDING = 0.0056
"""The papers print MB with two digits; sums of two such numbers are off by a little more than 0.005."""


def slow_bits(convs, classes, hidden, first, last, shortcut=32):
    """Bits of a chain of convolutions ``(inputs, outputs, kernel)`` with BN, and of FC with bias."""
    bits = 0
    for index, (inputs, outputs, kernel) in enumerate(convs):
        per_weight = first if index == 0 else shortcut if kernel == 1 else hidden
        bits += inputs * outputs * kernel**2 * per_weight
        bits += 2 * outputs * 32  # gain and offset of batch norm
    features = convs[-1][1]
    return bits + features * classes * last + classes * 32


def resnet19_convs():
    convs, inputs = [(3, 128, 3)], 128
    for features, count in ((128, 3), (256, 3), (512, 2)):
        for _ in range(count):
            if inputs != features:
                convs.append((inputs, features, 1))
            convs += [(inputs, features, 3), (features, features, 3)]
            inputs = features
    return convs


def chain(inputs, *features):
    return list(zip((inputs, *features), features, [3] * len(features), strict=False))


CHAINS = {
    "resnet19": resnet19_convs(),
    "vgg16": chain(3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512),
    "vggsnn": chain(2, 64, 128, 256, 256, 512, 512, 512, 512),
}
NEURONS = {"resnet19": 128 * 32 * 32, "vgg16": 64 * 32 * 32, "vggsnn": 128 * 32 * 32}


@pytest.fixture(scope="module")
def networks():
    return {
        name: models.create(name, num_classes=10, num_steps=2, method="binary", **options)
        for name, options in published.NETWORKS.items()
    }


@pytest.mark.parametrize(
    ("method", "bits"),
    [
        ("fp", {"hidden": 32, "first": 32, "last": 32}),
        ("binary", {"hidden": 1, "first": 32, "last": 32}),
        ("qsnn", {"hidden": 1, "first": 8, "last": 8, "shortcut": 1}),
    ],
)
def test_model_size_of_resnet19_equals_a_sum_over_its_plan(method, bits):
    model = models.create("resnet19", num_classes=100, in_shape=(3, 32, 32), num_steps=2, method=method)
    convs = resnet19_convs()
    assert analysis.model_size(model) == -(-slow_bits(convs, 100, **bits) // 8)


def test_published_model_sizes_are_met_or_their_difference_is_known():
    differences = {row.what: row.difference for row in published.compare_model_sizes()}
    assert differences.pop("AGMM table 2, vanilla BSNN") == pytest.approx(0.1547, abs=0.0001)
    assert len(differences) == 4
    assert all(abs(value) < ROUNDING for value in differences.values()), differences


CELLS = [
    (name, batch, bits, cell)
    for (name, batch), cells in published.Q_SNN_TABLE_2.items()
    for bits, cell in zip(published.BITS.values(), cells, strict=True)
]


@pytest.mark.parametrize(("name", "batch", "bits", "cell"), CELLS)
def test_memory_footprint_meets_each_cell_of_q_snn_table_2(networks, name, batch, bits, cell):
    model = networks[name]
    size = analysis.memory_footprint(model, model.in_shape, batch, *bits) / 1e6
    weight_bits, membrane_bits = bits
    ends = 8 if weight_bits == 1 else 32
    expected = slow_bits(CHAINS[name], 10, weight_bits, ends, ends, shortcut=weight_bits)
    expected += batch * NEURONS[name] * membrane_bits
    assert size == expected / 8e6
    tolerance = 0.05 if cell == 10.0 else ROUNDING  # printed with one digit
    if name == "vgg16" and weight_bits == 1:
        assert cell - size == pytest.approx(5120 * 3 / 1e6, abs=ROUNDING)
        size = analysis.memory_footprint(model, model.in_shape, batch, *bits, ends_bits=(8, 32)) / 1e6
    assert size == pytest.approx(cell, abs=tolerance)


@pytest.mark.parametrize(
    ("key", "percent"),
    [
        (("resnet19", 1), (96.56, 96.69, 96.75)),
        (("resnet19", 64), (88.07, 93.07, 95.56)),
        (("resnet19", 256), (80.94, 90.03, 94.57)),
        (("vgg16", 1), (96.69, 96.74, 96.77)),
        (("vgg16", 64), (91.95, 94.73, 96.11)),
        (("vgg16", 256), (85.18, 91.84, 95.17)),
        (("vggsnn", 1), (96.50, 96.66, 96.77)),
        (("vggsnn", 64), (86.42, 92.37, 95.35)),
        (("vggsnn", 256), (79.70, 89.51, 94.41)),
    ],
)
def test_the_published_cells_agree_with_the_savings_that_the_paper_prints_beside_them(key, percent):
    full, *others = published.Q_SNN_TABLE_2[key]
    assert [100 * (1 - one / full) for one in others] == pytest.approx(percent, abs=0.011)


def test_the_tables_in_the_docs_are_those_of_the_code():
    text = DOCS.read_text()
    assert published.markdown(published.compare_model_sizes()) in text
    assert published.markdown(published.compare_footprints()) in text


def tiny(**first):
    return torch.nn.Sequential(
        block.Conv(PARAMS, 2, 4, 3, **(first or {"binarize": None})),
        block.Pool(None, 2),
        block.Conv(PARAMS, 4, 8, 1),
        block.Flatten(),
        block.Readout(None, 32, 5, weight_bits=None),
    )


def test_each_kind_of_parameter_is_counted_once_with_its_bits():
    model = tiny()
    weights = 2 * 4 * 9 * 8 + 4 * 8 * 1 + 32 * 5 * 32
    rest = (2 * 4 + 2 * 8 + 5) * 32
    assert analysis.model_size(model) * 8 == weights + rest
    steps = (4 + 8) * 32  # one per channel of the two quantised layers
    assert analysis.model_size(model, scales=True) * 8 == weights + rest + steps
    statistics = 2 * (4 + 8) * 32
    assert analysis.model_size(model, running_stats=True) * 8 == weights + rest + statistics
    assert {g.kind for g in analysis.parameter_groups(model)} == {"weights", "other"}


def test_frozen_weights_count_and_constants_of_neurons_do_not():
    model = tiny()
    size = analysis.model_size(model)
    model.requires_grad_(False)
    assert analysis.model_size(model) == size
    learnt = torch.nn.Sequential(block.Conv({**PARAMS, "requires_grad": True}, 2, 4, 3))
    fixed = torch.nn.Sequential(block.Conv(PARAMS, 2, 4, 3))
    assert analysis.model_size(learnt) == analysis.model_size(fixed) + 2 * 4


def test_modulation_counts_and_sizes_round_up_to_a_byte():
    agmm, binary = (
        models.create("mlp", num_classes=2, in_shape=(3,), num_steps=5, method=method, hidden=(3, 3))
        for method in ("agmm", "binary")
    )
    assert analysis.model_size(agmm) - analysis.model_size(binary) == 2 * 5 * 4
    one = torch.nn.Sequential(block.Dense(PARAMS, 3, 3, norm=None))
    assert analysis.model_size(one) == 2  # 9 bits


def test_neurons_are_counted_per_layer_by_shape_or_by_one_forward_pass():
    model = models.create("cnn", num_classes=3, in_shape=(1, 6, 6), num_steps=2, width=0.125)
    counts = {"blocks.1": 4 * 6 * 6, "blocks.2": 8 * 3 * 3, "blocks.4": 16}
    assert analysis.neuron_counts(model, (1, 6, 6)) == counts
    unbuilt = tiny()
    assert analysis.neuron_counts(unbuilt, (2, 6, 6)) == {"0": 4 * 4 * 4, "2": 8 * 2 * 2}
    assert not any(isinstance(m, neuron_base.Neuron) and m._forward_hooks for m in unbuilt.modules())
    everything = analysis.footprint(model, (1, 6, 6), 3, 1, 4, membranes="all")
    largest = analysis.footprint(model, (1, 6, 6), 3, 1, 4)
    assert everything.membranes == 3 * sum(counts.values()) * 4 // 8
    assert largest.membranes == 3 * 144 * 4 // 8
    assert largest.total == analysis.memory_footprint(model, (1, 6, 6), 3, 1, 4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch": 0}, OptionError, "batch=0 is not allowed; use 1 or more"),
        ({"weight_bits": 0}, OptionError, r"weight_bits=0 is not allowed; use 1\.\.32"),
        ({"membrane_bits": 33}, OptionError, r"membrane_bits=33 is not allowed; use 1\.\.32"),
        ({"membranes": "some"}, OptionError, "membranes='some' is unknown; use one of 'largest', 'all'"),
    ],
)
def test_footprint_refuses_what_makes_no_sense(options, error, message):
    arguments = {"in_shape": (2, 6, 6), "batch": 1, "weight_bits": 1, "membrane_bits": 8, **options}
    with pytest.raises(error, match=message):
        analysis.memory_footprint(tiny(), **arguments)
    with pytest.raises(ShapeError, match="no neuron"):
        analysis.memory_footprint(torch.nn.Sequential(block.Readout(None, 3, 2)), (3,), 1, 1, 8)
