"""A comparison finds any one value that differs, and says where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lava_bsnn.errors import ShapeError
from netx_export import compare, simulate


@pytest.fixture
def result(make_network, make_data):
    net = make_network(in_shape=(2, 4, 3), convs=((2, 3, 1, 1),), dense=(3,), classes=2)
    return simulate(net, make_data(net, num_samples=2, num_steps=3), trace=True)


def changed(array, index):
    array = array.copy()
    array[index] = int(array[index]) ^ 1
    return array


def with_spike(result, name, index):
    trace = replace(result.layers[name], spikes=changed(result.layers[name].spikes, index))
    return replace(result, layers={**result.layers, name: trace})


def test_equal_runs_are_compared_in_every_value(result):
    found = compare(result, result)
    sizes = [trace.spikes.size for name, trace in result.layers.items()]
    assert (found.mismatches, found.first, found.layer) == (0, "", "")
    assert found.compared == sum(sizes) + result.readout.size


def test_every_single_spike_that_differs_is_found_and_located(result):
    for name, trace in result.layers.items():
        for index in np.ndindex(trace.spikes.shape):
            sample, *neuron, step = index
            found = compare(result, with_spike(result, name, index))
            assert (found.mismatches, found.layer, found.by_layer[name]) == (1, name, 1)
            value, potential = int(trace.spikes[index]), trace.potential[index]
            assert found.first == (
                f"{name} spike, step {step}, sample {sample}, neuron {tuple(neuron)}: {value} and {value ^ 1}"
                f"; membrane potentials {potential} and {potential}"
            )


def test_every_potential_of_a_readout_that_differs_is_found(result):
    for index in np.ndindex(result.readout.shape):
        found = compare(result, replace(result, readout=changed(result.readout, index)))
        assert (found.mismatches, found.layer) == (1, "output")
        sample, neuron, step = index
        value = int(result.readout[index])
        where = f"output readout, step {step}, sample {sample}, neuron ({neuron},): {value} and {value ^ 1}"
        assert found.first.startswith(where)


def test_the_first_difference_is_that_of_the_earliest_layer_then_step(result):
    first, second = list(result.layers)[:2]
    other = with_spike(result, second, (0, 0, 0))
    other = with_spike(other, first, (0, 1, 0, 0, 2))
    other = with_spike(other, first, (1, 0, 0, 0, 1))
    found = compare(result, other)
    assert found.mismatches == 3 and found.by_layer[first] == 2
    assert found.first.startswith(f"{first} spike, step 1, sample 1, neuron (0, 0, 0): ")


def test_runs_of_other_shapes_or_with_nothing_in_common_are_refused(result):
    fewer = replace(result, readout=result.readout[..., :-1])
    with pytest.raises(ShapeError, match=r"output readout: shapes \(2, 2, 3\) and \(2, 2, 2\) differ"):
        compare(result, fewer)
    with pytest.raises(ShapeError, match="share no layer and no output"):
        compare(replace(result, layers={}), replace(result, layers={}, readout=None))
