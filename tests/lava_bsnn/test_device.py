"""A block on the device's grid, against loops over Python integers and fractions."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from fractions import Fraction
from math import ceil, prod

import numpy as np
import pytest
import torch

from lava_bsnn import block, device, fixed_point
from lava_bsnn.device import Affine
from lava_bsnn.modulation import AGMM
from lava_bsnn.synapse import OnGrid

PARAMS = {"threshold": 1.0}
NARROW, WIDE = 127, 2047
"""Largest weights of 8 and of 12 bits."""


def folded_of(kind, seed, outputs=6, inputs=20):
    """Random arithmetic: 1-bit, 4-bit, 13-bit or real weights; one channel of zeros, some negative gains."""
    rng = np.random.default_rng(seed)
    most = {"1 bit": 1, "4 bits": 7, "13 bits": 4095}.get(kind)
    if kind == "1 bit":
        q = rng.choice([-1.0, 1.0], (outputs, inputs))
    elif most is not None:
        q = rng.integers(-most, most + 1, (outputs, inputs)).astype(float)
    else:
        q = rng.normal(size=(outputs, inputs))
    q[-1] = 0
    multiplier = rng.normal(size=outputs) * (1.0 if most is None else 3.0 / most)
    return Affine(q=q, multiplier=multiplier, offset=rng.normal(size=outputs), whole=most is not None)


def slow_on_grid(folded, unit):
    """Weights, scale and bias of each channel, one after the other."""
    weights, scales, biases = [], [], []
    unit = Fraction(unit)
    may_stay = folded.whole and max(abs(v) for v in folded.q.ravel()) <= NARROW
    for q, m, offset in zip(folded.q, folded.multiplier, folded.offset, strict=True):
        row = [Fraction(float(v)) * (-1 if m < 0 else 1) for v in q]
        ideal = abs(Fraction(float(m))) * unit
        scale = max(1, ceil(ideal * max(abs(v) for v in row) / WIDE))
        rounded = [round(v * ideal / scale) for v in row]

        def cost(weight, scale, row=row, ideal=ideal):
            wrong = [w * scale - v * ideal for w, v in zip(weight, row, strict=True)]
            return sum(e * e for e in wrong) + sum(wrong) ** 2

        right = abs(round(ideal) - ideal) * 1000 <= ideal
        if may_stay and (right or cost(row, round(ideal)) <= cost(rounded, scale)):
            rounded, scale = [int(v) for v in row], round(ideal)
        weights.append(rounded)
        scales.append(scale)
        biases.append(round(unit * Fraction(float(offset))))
    return np.array(weights), np.array(scales), np.array(biases)


@pytest.mark.parametrize("unit", [1.0, 7.3, 64.0, 1000.0, 2.0**17])
@pytest.mark.parametrize("kind", ["1 bit", "4 bits", "13 bits", "real"])
def test_integers_of_a_block_are_those_of_the_slow_reference(kind, unit):
    for seed in range(20):
        folded = folded_of(kind, seed)
        grid = device.on_grid(folded, unit)
        for ours, theirs in zip(
            (grid.weight, grid.scale, grid.bias), slow_on_grid(folded, unit), strict=True
        ):
            assert ours.dtype == np.int64
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("unit", [3.0, 64.0, 2.0**14])
@pytest.mark.parametrize("kind", ["13 bits", "real"])
def test_what_rounding_may_cost(kind, unit):
    folded = folded_of(kind, 0)
    grid = device.on_grid(folded, unit)
    real = folded.q * folded.multiplier[:, None] * unit
    scale = grid.scale[:, None]
    assert np.abs(grid.weight).max() <= WIDE
    assert (np.abs(grid.weight * scale - real) <= scale / 2 * (1 + 1e-9)).all()
    assert (np.abs(grid.bias - folded.offset * unit) <= 0.5).all()
    fewer = np.abs(real).max(1) > WIDE * (grid.scale - 1)  # a smaller scale would need larger weights
    assert (fewer | (grid.scale == 1)).all()


def test_whole_weights_with_whole_steps_lose_nothing():
    q = np.array([[1.0, -1, 1], [-7, 3, 5], [127, -100, 2]])
    folded = Affine(q=q, multiplier=np.array([0.5, -0.25, 3.0]), offset=np.zeros(3))
    grid = device.on_grid(folded, 64.0)
    np.testing.assert_array_equal(grid.weight, q * [[1], [-1], [1]])
    assert grid.scale.tolist() == [32, 16, 192]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 7), (-7, 7), (-127, 127), (-3, 9)])
def test_reach_is_the_largest_sum_of_all_corners(low, high):
    rng = np.random.default_rng(high)
    weight = rng.integers(-9, 10, (12, 2, 2, 2))
    weight[0], weight[1], weight[2] = 0, abs(weight[1]), -abs(weight[2])
    corners = np.array(list(itertools.product((low, high), repeat=8)))
    sums = corners @ weight.reshape(12, -1).T
    np.testing.assert_array_equal(device.reach(weight, low, high), np.abs(sums).max(0))
    scale, bias = rng.integers(0, 9, 12), rng.integers(-99, 100, 12)
    grid = device.Grid(weight=weight, scale=scale, bias=bias)
    assert np.abs(sums * scale + bias).max() <= grid.bound(low, high)
    assert device.Grid(weight=weight, scale=scale, bias=bias * 0).bound(low, high) == abs(sums * scale).max()
    gain, offset = rng.normal(size=12), rng.normal(size=12)
    real = Affine(q=weight.astype(float), multiplier=gain, offset=offset)
    assert np.abs(sums * gain + offset).max() <= real.bound(low, high) * (1 + 1e-12)
    without = Affine(q=weight.astype(float), multiplier=gain, offset=offset * 0)
    assert without.bound(low, high) == pytest.approx(np.abs(sums * gain).max())


SHAPES = [(1, 8, 8), (3, 16, 16), (2, 5, 7), (1, 1, 9), (2, 12, 3), (1, 28, 28)]


def places(shape):
    """Positions (y, x) along the curve in each channel."""
    channels, height, width = shape
    order = device._hilbert(shape).reshape(channels, -1)
    assert sorted(order.ravel()) == list(range(prod(shape)))  # each pixel once
    inside = order - np.arange(channels)[:, None] * height * width
    assert inside.min() == 0 and inside.max() < height * width  # channel by channel
    return inside // width, inside % width


@pytest.mark.parametrize("shape", SHAPES)
def test_the_curve_stays_in_each_aligned_square(shape):
    ys, xs = places(shape)
    assert (ys == ys[0]).all() and (xs == xs[0]).all()
    for side in (1, 2, 4, 8, 16):
        squares = [(y // side, x // side) for y, x in zip(ys[0], xs[0], strict=True)]
        visits = [key for key, _ in itertools.groupby(squares)]
        assert len(visits) == len(set(visits))


@pytest.mark.parametrize("side", [2, 8, 32])
def test_the_curve_goes_from_neighbour_to_neighbour(side):
    ys, xs = places((1, side, side))
    assert (np.abs(np.diff(ys[0])) + np.abs(np.diff(xs[0])) == 1).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_rounded_along_the_curve_have_right_sums(shape):
    rng = np.random.default_rng(0)
    rows = rng.normal(scale=3, size=(4, prod(shape))) + 0.3
    ys, xs = places(shape)
    rounded = device.round_along(rows, shape)
    assert rounded.shape == rows.shape and (rounded == np.rint(rounded)).all()
    wrong = (rounded - rows).reshape(4, *shape)
    assert np.abs(wrong).max() < 1
    along = np.cumsum(wrong[:, :, ys[0], xs[0]], -1)
    assert np.abs(along).max() <= 0.5 + 1e-9
    for side in (2, 4, 8, 16):
        rows_of, columns_of = (range(0, size, side) for size in shape[1:])
        for y, x in itertools.product(rows_of, columns_of):
            assert np.abs(wrong[:, :, y : y + side, x : x + side].sum((2, 3))).max() <= 1 + 1e-9
    assert np.abs(wrong.sum((2, 3))).max() <= 0.5 + 1e-9


def test_weights_rounded_along_a_row_have_right_sums():
    rows = np.random.default_rng(0).normal(scale=3, size=(4, 50))
    rounded = device.round_along(rows, None)
    assert (rounded == np.rint(rounded)).all() and np.abs(rounded - rows).max() < 1
    assert np.abs(np.cumsum(rounded - rows, 1)).max() <= 0.5 + 1e-9


def test_weights_of_pixels_are_rounded_along_the_curve():
    folded, shape = folded_of("real", 1, inputs=3 * 16 * 16), (3, 16, 16)
    real = folded.q * np.abs(folded.multiplier)[:, None] * np.sign(folded.multiplier)[:, None] * 200.0
    errors = []
    for image in (shape, None, (3, 16, 15)):
        grid = device.on_grid(folded, 200.0, image)
        assert np.abs(grid.weight).max() <= WIDE
        errors.append(np.abs((grid.weight * grid.scale[:, None] - real).reshape(6, 3, -1).sum(2)))
    assert (errors[0] <= grid.scale[:, None] * 0.52).all()
    assert errors[0].max() < errors[1].max() / 3
    np.testing.assert_array_equal(errors[1], errors[2])  # other inputs than these pixels


def test_ties_along_the_curve_leave_no_weight_beyond_12_bits():
    """0.5 and 2047.5 are rounded to 0 and 2048."""
    for row in ([0.5, WIDE], [WIDE, 0.5], [-0.5, -WIDE]):
        q = np.array([row], dtype=float)
        folded = Affine(q=q, multiplier=np.ones(1), offset=np.zeros(1), whole=False)
        assert np.abs(device.on_grid(folded, 1.0, (1, 1, 2)).weight).max() <= WIDE


def slow_sums(module, weight, x):
    """Weighted sums of integers ``[N, C, ..., T]`` in int64, tap by tap."""
    if isinstance(module, (block.Dense, block.Readout)):
        flat = x.reshape(len(x), -1, x.shape[-1])
        return np.einsum("oi,nit->not", weight.reshape(len(weight), -1), flat)
    layer = module.synapse
    (sy, sx), (py, px), (dy, dx) = (getattr(layer, n)[:2] for n in ("stride", "padding", "dilation"))
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px), (0, 0)))
    groups = x.shape[1] if isinstance(module, block.Pool) else layer.groups
    outputs, per_group, kh, kw = weight.shape
    height, width = module.shape[1:]
    result = np.zeros((len(x), outputs, height, width, x.shape[-1]), np.int64)
    for o, c, i, j in np.ndindex(outputs, per_group, kh, kw):
        source = padded[:, o * groups // outputs * per_group + c, i * dy :, j * dx :]
        result[:, o] += weight[o, c, i, j] * source[:, : sy * height : sy, : sx * width : sx]
    return result


def slow_gate(agmm, steps, unit):
    """AGMM on integers ``[N, C, ..., T]``: multiplier, sum, table and product, number by number."""
    result = np.empty_like(steps)
    alpha = agmm.alpha.detach().double().numpy()
    axes = tuple(range(2, steps.ndim - 1)) if agmm.per == "channel" and steps.ndim == 5 else None
    count = prod(steps.shape[2:-1]) if axes else prod(steps.shape[1:-1])
    real = alpha * 256 / (unit * count)
    shift = max(0, min(48, 18 - ceil(np.log2(np.abs(real).max()))))
    for n, c, t in np.ndindex(steps.shape[0], steps.shape[1], steps.shape[-1]):
        mine = steps[n, c, ..., t] if axes else steps[n, ..., t]
        factor = round(float(alpha[t] if alpha.ndim == 1 else alpha[t, c]) * 256 / (unit * count) * 2**shift)
        z = (int(mine.sum()) * factor * 2 + 2**shift) // 2 ** (shift + 1)
        sigmoid = int(fixed_point.SIGMOID[max(-2048, min(2047, z)) + 2048])
        result[n, c, ..., t] = (steps[n, c, ..., t] * sigmoid + 2048) // 4096
    return result


def prepared(module, shape, low, high, scale=1.0, image=None):
    """The block with random batch norm, told what comes in."""
    module.connect(block.Signal(shape=shape, low=low, high=high, factor=scale, image=image))
    rng = torch.Generator().manual_seed(1)
    if module.norm is not None:
        for term, around in (
            (module.norm.weight, 0.0),
            (module.norm.bias, 0.0),
            (module.norm.running_mean, 0.0),
        ):
            term.data.copy_(around + torch.randn(term.shape, generator=rng))
        module.norm.running_var.uniform_(0.5, 2, generator=rng)
    if module.modulation is not None:
        module.modulation.alpha.data.normal_(0, 2, generator=rng)
    return module.eval()


def check_exact(module, low, high, number=2, num_steps=3):
    """Compare a block's integers with the slow reference; return its sums."""
    shape, source = module.input_shape, module.incoming
    x = np.random.default_rng(0).integers(low, high + 1, (number, *shape, num_steps))
    folded = device.affine(module)
    folded = Affine(
        q=folded.q, multiplier=folded.multiplier * source.factor, offset=folded.offset, whole=folded.whole
    )
    unit = device.power_of_two_below((1 << 22) / folded.bound(low, high))
    grid = device.on_grid(folded, unit, source.image)
    column = (-1, *[1] * (len(module.shape)))
    sums = slow_sums(module, grid.weight, x).reshape(number, *module.shape, num_steps)
    expected = sums * grid.scale.reshape(column) + grid.bias.reshape(column)
    if module.modulation is not None:
        expected = slow_gate(module.modulation, expected, unit)
    for dtype in (torch.float32, torch.float64):
        ours = device.grid_current(module, torch.from_numpy(x * source.factor).to(dtype), unit)
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours.reshape(expected.shape).double().numpy() * unit, expected)
    assert len(np.unique(expected)) > 4 and np.abs(expected).max() < 1 << 23
    return sums


WEIGHTS = [{}, {"binarize": "layer"}, {"binarize": None}, {"binarize": None, "weight_bits": None}]


def test_off_the_cpu_sums_are_in_double_precision(monkeypatch):
    """GPUs may round float32 to 10 bits in convolutions."""
    kinds = []

    def grid(**parts):
        kinds.append(parts["weight"].dtype)
        return OnGrid(**parts)

    monkeypatch.setattr(device, "OnGrid", grid)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # does not know "meta"
    module = prepared(block.Conv(None, 2, 4, 3), (2, 5, 5), 0, 1)
    for where in ("cpu", "meta"):
        x = torch.ones(1, 2, 5, 5, 3, device=where)
        device.grid_steps(module, device.grid_of(module, 64.0), x, 64.0, 1)
    assert kinds == [torch.float32, torch.float64]


@pytest.mark.parametrize(
    ("low", "high", "scale"), [(0, 1, 1.0), (0, 255, 1.0), (-127, 127, 1.0), (0, 4, 0.25)]
)
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_currents_are_exact(weights, low, high, scale):
    convolution = block.Conv(PARAMS, 4, 6, 3, (2, 1), 1, (1, 2), 2, **weights)
    check_exact(prepared(convolution, (4, 7, 8), low, high, scale), low, high)
    check_exact(prepared(block.Dense(PARAMS, 4 * 12, 5, **weights), (4, 3, 4), low, high, scale), low, high)
    check_exact(
        prepared(block.Dense(PARAMS, 30, 5, norm=None, **weights), (30,), low, high, scale), low, high
    )


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (-127, 127)])
def test_pooled_currents_are_exact(low, high):
    check_exact(prepared(block.Pool(PARAMS, 2, padding=1), (3, 6, 5), low, high), low, high)
    check_exact(prepared(block.Pool(PARAMS, (3, 2), mode="sum"), (3, 6, 5), low, high), low, high)


@pytest.mark.parametrize("per", ["channel", "layer"])
@pytest.mark.parametrize("alpha", ["step", "channel"])
@pytest.mark.parametrize("high", [1, 255])
def test_gated_currents_are_exact(per, alpha, high):
    def gate():
        return AGMM(3, 6, per, alpha)

    convolution = block.Conv(PARAMS, 2, 6, 3, padding=1, modulation=gate())
    check_exact(prepared(convolution, (2, 5, 6), 0, high), 0, high)
    check_exact(prepared(block.Dense(PARAMS, 20, 6, modulation=gate()), (20,), 0, high), 0, high)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("onednn", [True, False])
def test_large_sums_of_bytes_are_exact(onednn):
    """Up to 2^22; transforms of 3x3 kernels in single precision would be off by many steps."""
    options = {"norm": None, "binarize": None}
    module = prepared(block.Conv(PARAMS, 64, 8, 3, padding=1, **options), (64, 12, 12), 0, 255)
    module.synapse.weight.data.abs_()
    with torch.backends.mkldnn.flags(enabled=onednn):
        assert check_exact(module, 0, 255, number=8).max() > 1 << 20
    dense = prepared(block.Dense(PARAMS, 2000, 4, **options), (2000,), 0, 255)
    dense.synapse.weight.data.abs_()
    assert check_exact(dense, 0, 255).max() > 1 << 20


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("channels", [27, 28, 29])  # just in single precision, and just not
@pytest.mark.parametrize("onednn", [True, False])
def test_sums_are_exact_whatever_algorithm_a_convolution_takes(onednn, channels):
    """Transforms of 3x3 kernels in single precision (NNPACK, 16 images or more) are not exact."""
    module = prepared(
        block.Conv(PARAMS, channels, 8, 3, padding=1, norm=None, binarize=None), (channels, 12, 12), 0, 1
    )
    module.synapse.weight.data.copy_(module.synapse.weight.data.sign() * 127)
    with torch.backends.mkldnn.flags(enabled=onednn):
        check_exact(module, 0, 1, number=10)


def test_the_current_of_pixels_is_exact_along_the_curve():
    module = block.Dense(PARAMS, 3 * 64, 5, binarize=None, weight_bits=None)
    check_exact(prepared(module, (3 * 64,), 0, 255, image=(3, 8, 8)), 0, 255)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (-127, 127)])
@pytest.mark.parametrize("num_steps", [1, 8, 300])
def test_a_readouts_unit_is_the_largest_power_of_two_that_cannot_overflow(low, high, num_steps):
    most = ((1 << 17) - 1) * 64
    for seed in range(10):
        folded = folded_of("real", seed)
        unit = device.readout_unit(folded, low, high, num_steps)
        assert unit == 2.0 ** round(np.log2(unit))
        assert device.on_grid(folded, unit).bound(low, high) * num_steps <= most
        twice = max(device.on_grid(folded, 2 * unit).bound(low, high), 2 * unit * folded.bound(low, high))
        assert twice * num_steps > most


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, 1.0), (1.99, 1.0), (2.0, 2.0), (0.3, 0.25), (1e6, 2.0**19)]
)
def test_powers_of_two(value, expected):
    assert device.power_of_two_below(value) == expected
