"""What ``convert`` reports as rounding error is what numpy measures on the network's integers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from lava_bsnn.errors import ExportError
from netx_export import convert

VISIBLE = 1e-4
"""Errors in thresholds below it are rounding of float32 in part."""


def converted(model, profile, calibration, num_steps):
    """A network and its reports by layer; None where it is refused."""
    reports = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coarse layers and gains of 0
        try:
            net = convert(
                model,
                profile,
                calibration,
                num_steps=num_steps,
                ignore_membrane=True,
                report=lambda layer: reports.update({layer.name: layer}),
            )
        except ExportError:
            return None
    return net, reports


@pytest.mark.parametrize(("profile", "least", "seeds"), [("extended", 70, 120), ("stock", 15, 180)])
def test_random_networks_report_their_error(generate, rounding_errors, profile, least, seeds):
    """The calibration batch to the last digit, another batch of the same kind within a factor of 2."""
    layers, checked = 0, 0
    for seed in range(seeds):
        num_steps = 4 + seed % 5
        model = generate.torch(seed, 1 + seed % 3, num_steps, matched=False)
        samples = generate.samples(model, 80, num_steps, np.random.default_rng(seed))
        made = converted(model, profile, samples[:16], num_steps)
        if made is None:
            continue
        net, reports = made
        checked += 1
        same = rounding_errors(model, net, reports, samples[:16])
        other = rounding_errors(model, net, reports, samples[16:])
        assert same.keys() == other.keys() == reports.keys()
        for name, (error, worst) in same.items():
            told, again = reports[name], other[name][0]
            if max(told.worst, worst) > VISIBLE:
                assert told.worst == pytest.approx(worst, rel=0.01), (seed, name)
            if max(told.error, error) > VISIBLE:
                layers += 1
                assert told.error == pytest.approx(error, rel=0.01), (seed, name)
                assert 0.5 < told.error / again < 2, (seed, name)
            assert again < 2 * max(told.error, 2 * VISIBLE), (seed, name)
    assert checked >= least and layers >= least, (checked, layers)


def test_matched_networks_have_no_error(generate, rounding_errors):
    """Their float currents are on the grid already; so is the report's measure of them."""
    checked = 0
    for seed in range(60):
        num_steps = 4 + seed % 5
        model = generate.torch(seed, 1 + seed % 3, num_steps)
        samples = generate.samples(model, 32, num_steps, np.random.default_rng(seed))
        made = converted(model, "extended", samples[:16], num_steps)
        if made is None:
            continue
        checked += 1
        net, reports = made
        for name, errors in rounding_errors(model, net, reports, samples[16:]).items():
            assert errors == (0, 0), (seed, name)
            assert reports[name].error == reports[name].worst == 0, (seed, name)
    assert checked > 40
