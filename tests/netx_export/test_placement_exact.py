"""On small networks the number of cores is within 10 % of the least one, which an exact solver finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.generators import random_network

from netx_export.placement import CHIPS, Fact, place

pytest.importorskip("ortools", reason="ortools is not installed: python -m pip install ortools")


def drawn(seed):
    """A network of four layers, and a chip on whose cores it fits, two to four of them by each limit."""
    rng = np.random.default_rng(seed)
    convs = [(int(rng.integers(3, 9)), int(rng.integers(1, 4)), 1, 1), (int(rng.integers(3, 9)), 3, 2, 1)]
    net = random_network(seed, in_shape=(2, 6, 6), convs=convs, dense=(int(rng.integers(5, 40)),))
    whole = place(net).cores[0]
    while True:
        share = rng.uniform(0.3, 0.6, 3)
        limits = {
            "neurons": int(whole.neurons * share[0]),
            "synaptic_bits": int(whole.synaptic_bits * share[1]),
            "axons_in": int(whole.axons_in * 2 * share[2]),
            "axons_out": 1 << 30,
            "groups": int(rng.integers(2, 5)),
        }
        facts = {
            name: Fact(value=value, source="test", certainty="assumed") for name, value in limits.items()
        }
        chip = replace(CHIPS["loihi2"], **facts)
        placement = place(net, chip)
        if placement.fits:
            return net, chip, placement


@pytest.mark.parametrize("seed", range(11))
def test_cores_are_within_a_tenth_of_the_least_number(seed):
    from support.exact import least_cores

    net, chip, placement = drawn(seed)
    least = least_cores(net, chip, len(placement.cores))
    assert least is not None, "the solver found no proof"
    assert len(placement.cores) <= 1.1 * least
