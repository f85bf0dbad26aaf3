from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure

from lava_bsnn import analysis, models
from lava_bsnn.training import Epoch

EPOCH = {"loss": 1.0, "train_accuracy": 0.5, "test_accuracy": 0.4}


@pytest.fixture(scope="module")
def facts():
    torch.manual_seed(0)
    options = {"num_classes": 3, "in_shape": (1, 6, 6), "num_steps": 2, "width": 0.125, "input_bits": None}
    model = models.create("cnn", method="binary", **options)
    for module in model.modules():
        if getattr(module, "norm", None) is not None:
            torch.nn.init.constant_(module.norm.bias, 0.5)
    x = torch.rand(4, 1, 6, 6)
    model(x).square().sum().backward()
    count = analysis.count_operations(model, x)
    return SimpleNamespace(
        ratios={"a": [0.1, 0.05, 0.02], "b": [0.3, 0.2, 0.04]},
        entropies=analysis.weight_entropy(model),
        gradients=analysis.gradient_statistics(model),
        activities=analysis.activity(model, x),
        count=count,
        energies={
            constants.name: analysis.estimate_energy(count, constants)
            for constants in (analysis.ENERGY_45NM, analysis.ENERGY_AGMM)
        },
        models={m: models.create("cnn", method=m, **options) for m in ("fp", "binary", "qsnn")},
        footprints={
            name: analysis.footprint(model, (1, 6, 6), 64, *bits)
            for name, bits in (("32w-32u", (32, 32)), ("1w-8u", (1, 8)), ("1w-2u", (1, 2)))
        },
        landscape=analysis.Landscape(
            alphas=np.linspace(-1, 1, 5),
            betas=np.linspace(-1, 1, 5),
            losses=np.add.outer(np.linspace(-1, 1, 5) ** 2, 3 * np.linspace(-1, 1, 5) ** 2),
        ),
    )


DRAW = {
    "flip ratio": (lambda f, a: analysis.plot_flip_ratio(f.ratios, a), "(%)"),
    "weight entropy": (lambda f, a: analysis.plot_weight_entropy(f.entropies, a), "(nats)"),
    "firing rates": (lambda f, a: analysis.plot_firing_rates(f.activities, a), "(%)"),
    "spike entropy": (lambda f, a: analysis.plot_spike_entropy(f.activities, a), "(nats)"),
    "operations": (lambda f, a: analysis.plot_operations(f.count, a), "per sample"),
    "energy": (lambda f, a: analysis.plot_energy(f.energies, a), "estimated energy"),
    "model size": (lambda f, a: analysis.plot_model_size(f.models, a), "(bytes)"),
    "footprint": (lambda f, a: analysis.plot_footprint(f.footprints, a), "(bytes)"),
    "landscape": (lambda f, a: analysis.plot_landscape(f.landscape, a), "(filter norms)"),
}


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_has_data_and_labels_with_units(facts, name):
    draw, unit = DRAW[name]
    axes = Figure().subplots()
    assert draw(facts, axes) is axes
    assert axes.has_data()
    assert axes.get_xlabel()
    assert unit in axes.get_ylabel()
    axes.figure.canvas.draw()


def heights(axes):
    return [patch.get_height() for patch in axes.patches]


def test_bars_have_the_heights_of_the_data(facts):
    axes = Figure().subplots()
    analysis.plot_firing_rates(facts.activities, axes)
    assert heights(axes) == [100 * one.firing_rate for one in facts.activities.values()]
    axes = Figure().subplots()
    analysis.plot_footprint(facts.footprints, axes)
    sums = np.reshape(heights(axes), (2, 3)).sum(0)
    assert sums == pytest.approx([one.total for one in facts.footprints.values()])
    axes = Figure().subplots()
    analysis.plot_model_size(facts.models, axes)
    sums = np.reshape(heights(axes), (-1, 3)).sum(0)
    assert sums == pytest.approx([analysis.model_size(m) for m in facts.models.values()], abs=1)
    axes = Figure().subplots()
    analysis.plot_energy(facts.energies, axes)
    sums = np.reshape(heights(axes), (2, 2)).sum(0)
    assert sums == pytest.approx([one.joule for one in facts.energies.values()])


def test_lines_hold_the_ratios_in_percent_and_their_mean(facts):
    axes = analysis.plot_flip_ratio(facts.ratios, Figure().subplots())
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines["a"] == pytest.approx([10, 5, 2])
    assert lines["mean of the layers"] == pytest.approx([20, 12.5, 3])


def looks(axes):
    return {(one.get_linestyle(), one.get_marker()) for one in axes.lines}


def test_lines_and_stacked_bars_can_be_told_apart_without_colour(facts):
    assert len(looks(analysis.plot_flip_ratio(facts.ratios, Figure().subplots()))) == 3
    history = [Epoch(epoch=k, **EPOCH) for k in (1, 2)]
    assert len(looks(analysis.plot_training(history, Figure().subplots(1, 2))[1])) == 2
    for draw in (
        lambda axes: analysis.plot_footprint(facts.footprints, axes),
        lambda axes: analysis.plot_energy(facts.energies, axes),
    ):
        axes = draw(Figure().subplots())
        assert len({patch.get_hatch() for patch in axes.patches}) == 2
    kinds = analysis.plot_model_size(facts.models, Figure().subplots()).containers
    assert len({bars.patches[0].get_hatch() for bars in kinds}) == len(kinds) == 4


def test_gradient_statistics_take_two_axes(facts):
    axes = Figure().subplots(1, 2)
    assert analysis.plot_gradient_statistics(facts.gradients, axes) is axes
    assert heights(axes[0]) == [one.mean for one in facts.gradients.values()]
    assert heights(axes[1]) == [one.variance for one in facts.gradients.values()]
    assert all(one.get_xlabel() and "nats" in one.get_ylabel() for one in axes)


def test_a_landscape_has_its_first_direction_on_the_x_axis(facts):
    axes = Figure().subplots()
    analysis.plot_landscape(facts.landscape, axes)
    outer = axes.collections[0].get_paths()[0].vertices  # lowest level: narrow where the loss is steep
    spread = np.ptp(outer, axis=0)
    assert spread[0] > 1.3 * spread[1]


@pytest.mark.parametrize("value", [2.0, np.nan])
def test_a_flat_or_partly_infinite_landscape_can_be_drawn(value):
    losses = np.full((3, 3), value)
    losses[1, 1] = 2.0
    steps = np.linspace(-1, 1, 3)
    axes = Figure().subplots()
    analysis.plot_landscape(analysis.Landscape(alphas=steps, betas=steps, losses=losses), axes)
    axes.figure.canvas.draw()
    filled = axes.collections[0]
    assert filled.levels[0] == 2 and filled.levels[-1] == 3  # as no loss is above another
    drawn = sum(len(path.vertices) for path in filled.get_paths())
    assert (drawn > 0) == np.isfinite(value)
    (middle,) = axes.lines
    assert [*middle.get_xdata(), *middle.get_ydata()] == [0, 0]


def test_lines_in_our_style_differ_in_colour_dashes_or_marker_too():
    with rc_context():
        analysis.style()
        axes = Figure().subplots()
        lines = [axes.plot([0, 1], [k, k])[0] for k in range(6)]
    assert len({line.get_color() for line in lines}) == 6
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 6
    assert not axes.spines["top"].get_visible()


def test_importing_analysis_loads_no_slayer_and_no_matplotlib():
    heavy = {"matplotlib", "torchvision", "lava"}
    code = f"import sys, lava_bsnn.analysis; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
