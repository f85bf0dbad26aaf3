"""What is given to models by mistake is refused in one line: what, what is allowed, and how to mend it."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from lava_bsnn import block, models
from lava_bsnn.axes import in_order
from lava_bsnn.errors import LavaBsnnWarning, OptionError, ShapeError

PARAMS = {"threshold": 1.0}


@pytest.fixture(scope="module")
def model():
    """Maps [N, 2, 6, 5, T]."""
    blocks = [block.Conv(PARAMS, 2, 3, 3, name="edges"), block.Flatten(), block.Readout(None, 36, 4)]
    return models.SpikingNetwork(blocks, in_shape=(2, 6, 5), num_steps=7).eval()


ORDERS = {
    (9, 7, 2, 6, 5): (0, 2, 3, 4, 1),  # [N, T, C, H, W]
    (9, 6, 5, 2, 7): (0, 3, 1, 2, 4),
    (9, 7, 6, 5, 2): (0, 4, 2, 3, 1),
    (9, 6, 5, 2): (0, 3, 1, 2),
}


@pytest.mark.parametrize(("shape", "axes"), ORDERS.items())
def test_another_order_of_axes_is_told_with_the_call_that_mends_it(shape, axes, model):
    x = torch.zeros(shape)
    with pytest.raises(ShapeError, match="does not fit") as caught:
        model(x)
    call = f"x.permute({', '.join(map(str, axes))})"
    assert call in str(caught.value)
    assert model(eval(call, {"x": x})).shape[:2] == (9, 4)
    call = f"np.transpose(x, {axes})"
    assert call in in_order(shape, (2, 6, 5), tensor=False)
    assert np.transpose(np.zeros(shape), axes).shape[1:4] == (2, 6, 5)


def test_time_in_front_of_the_batch_is_told_too(model):
    x = torch.zeros(7, 9, 2, 6, 5)
    with pytest.raises(ShapeError, match=r"x\.permute\(1, 2, 3, 4, 0\) of \[T, N, C, H, W\]"):
        model(x)
    assert model(x.permute(1, 2, 3, 4, 0)).shape == (9, 4, 7)
    assert "x.permute(1, 2, 0) of [T, N, C]" in in_order((7, 9, 30), (30,))


def test_a_sample_without_batch_and_one_without_channel_axis(model):
    with pytest.raises(ShapeError, match=r"x\[None\]"):
        model(torch.zeros(2, 6, 5, 7))
    assert in_order((9, 6, 5), (1, 6, 5)).endswith("x[:, None]")


def test_no_remedy_is_told_where_no_order_fits():
    for shape in ((9, 3, 6, 5, 7), (9, 2, 6), (9,), ()):
        assert not in_order(shape, (2, 6, 5))


@pytest.mark.parametrize("x", [np.zeros((9, 2, 6, 5, 7)), [1, 2], None])
def test_an_input_that_is_no_tensor(x, model):
    with pytest.raises(ShapeError, match=rf"input is a {type(x).__name__}; use a tensor"):
        model(x)
    with pytest.raises(ShapeError, match=rf"edges: input is a {type(x).__name__}; use a tensor"):
        model.blocks[0](x)


def test_double_precision_names_the_block_and_fits_a_model_of_double_precision(model):
    x = torch.zeros(9, 2, 6, 5, 7, dtype=torch.float64)
    with pytest.raises(ShapeError, match=r"edges: input of torch\.float64 does not fit parameters"):
        model(x)
    blocks = [block.Conv(PARAMS, 2, 3, 3), block.Flatten(), block.Readout(None, 36, 4)]
    double = models.SpikingNetwork(blocks, in_shape=(2, 6, 5), num_steps=7).double().eval()
    assert double(x).dtype is torch.float64


def test_batch_norm_of_one_value_names_the_block():
    one = block.Dense(PARAMS, 30, 3, name="hidden")
    for x in (torch.zeros(1, 30, 2), torch.zeros(2, 30, 1)):
        one(x)
    with pytest.raises(ShapeError, match="hidden: batch norm in training needs 2 or more values"):
        one(torch.zeros(1, 30, 1))
    one.eval()(torch.zeros(1, 30, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: block.Dense(1.0, 30, 3), r"neuron_params=1\.0 is not allowed; use a dictionary"),
        (lambda: block.Recurrent(1.0, 30, 3), r"neuron_params=1\.0 is not allowed"),
        (
            lambda: block.Conv(PARAMS, 2, -4, 3),
            "out_features=-4 is not allowed; use an integer of 1",
        ),
        (lambda: block.Conv(PARAMS, 2.0, 4, 3), r"in_features=2\.0 is not allowed"),
        (lambda: block.Dense(PARAMS, 30, 10.0), r"out_neurons=10\.0 is not allowed"),
        (lambda: block.Recurrent(PARAMS, 30, 0), "out_neurons=0 is not allowed"),
        (lambda: block.Readout(None, 30, True), "out_neurons=True is not allowed"),
    ],
)
def test_sizes_and_parameters_that_are_none(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_integers_of_numpy_are_sizes():
    assert block.Dense(PARAMS, 30, np.int64(3)).build((30,)) == (3,)


def test_a_module_of_torch_among_blocks_is_named():
    with pytest.raises(ShapeError, match=r"build: a Linear cannot take \[N, 30, T\] .*; time is last"):
        block.build([torch.nn.Linear(30, 10)], (30,))


def test_warnings_of_ours_are_one_line_without_a_path_and_others_stay_as_they_are():
    ours = warnings.formatwarning("edges: too coarse", LavaBsnnWarning, "/home/a/b.py", 7)
    assert ours == "lava-bsnn: edges: too coarse\n"
    others = warnings.formatwarning("old", DeprecationWarning, "/home/a/b.py", 7, "x = 1")
    assert others == "/home/a/b.py:7: DeprecationWarning: old\n  x = 1\n"


def test_a_warning_reaches_standard_error_as_one_line():
    code = (
        "import warnings; from lava_bsnn.errors import LavaBsnnWarning\n"
        "warnings.warn('edges: too coarse', LavaBsnnWarning); warnings.warn('theirs')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours, theirs = done.stderr.splitlines()[:2]  # Python 3.13 shows the line of code of its own kinds, too
    assert (ours, theirs) == ("lava-bsnn: edges: too coarse", "<string>:2: UserWarning: theirs")


def test_a_warning_of_a_block_is_ours():
    with pytest.warns(LavaBsnnWarning, match="export will be refused"):
        block.Input().train()(torch.full((2, 3, 4), 0.5))
