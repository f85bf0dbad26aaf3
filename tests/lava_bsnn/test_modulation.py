from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import block, functional
from lava_bsnn.errors import OptionError, ShapeError
from lava_bsnn.modulation import AGMM


def slow_agmm(x, alpha, per):
    """Eq. 11 by loops in numpy; x is [N, C, H, W, T] or [N, C, T]."""
    out = np.empty_like(x)
    for n, t in np.ndindex(x.shape[0], x.shape[-1]):
        for c in range(x.shape[1]):
            a = alpha[t] if alpha.ndim == 1 else alpha[t, c]
            over_layer = per == "layer" or x.ndim == 3
            mean = x[n, ..., t].mean() if over_layer else x[n, c, ..., t].mean()
            out[n, c, ..., t] = x[n, c, ..., t] / (1 + np.exp(-a * mean))
    return out


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (2, 3, 6)])
@pytest.mark.parametrize("per", ["channel", "layer"])
@pytest.mark.parametrize("alpha", ["step", "channel"])
def test_gate_equals_the_slow_reference_and_passes_gradcheck(shape, per, alpha):
    gate = AGMM(6, 3, per=per, alpha=alpha).double()
    torch.nn.init.normal_(gate.alpha)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    np.testing.assert_allclose(
        gate(x).detach(), slow_agmm(x.detach().numpy(), gate.alpha.detach().numpy(), per), rtol=1e-12
    )
    assert torch.autograd.gradcheck(lambda a, b: functional.agmm(a, b, per), (x, gate.alpha))


def test_alpha_starts_at_one():
    assert AGMM(4).alpha.tolist() == [1.0] * 4
    assert AGMM(4, 3, alpha="channel").alpha.shape == (4, 3)


def test_a_gate_can_start_elsewhere_and_stay_there():
    gate = AGMM(2, start=0, learn=False)
    x = torch.randn(2, 3, 4, 4, 2, requires_grad=True)
    assert not gate.alpha.requires_grad
    assert torch.equal(gate(x), x / 2)  # a gate of 1/2 is a factor, whose gradient it is, too
    (gate(x) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, x.detach() / 2)


@pytest.mark.parametrize("per", ["channel", "layer"])
def test_a_detached_gate_scales_the_gradient_as_it_does_the_current(per):
    gate = AGMM(2, per=per, detach=True)
    x = torch.randn(2, 3, 4, 4, 2, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(x)
    (found,) = torch.autograd.grad(gate(x), x, upstream)
    torch.testing.assert_close(found, upstream * (gate(x) / x).detach())
    torch.testing.assert_close(gate(x), AGMM(2, per=per)(x))  # the gate is the same
    assert not gate.alpha.requires_grad and "detach=True" in repr(gate)


@pytest.mark.parametrize("size", [8, 16])
def test_the_additional_gradient_term_is_small_as_in_eq_15(size):
    """dL/dX = gate * dL/dXhat + a term divided by H * W, small for H * W >= 64."""
    x = torch.randn(8, 4, size, size, 2, dtype=torch.float64, requires_grad=True)
    alpha = torch.ones(2, dtype=torch.float64)
    upstream = torch.randn_like(x)
    (full,) = torch.autograd.grad(functional.agmm(x, alpha), x, upstream)
    gate = (functional.agmm(x, alpha) / x).detach()
    leading = gate * upstream
    additional = full - leading
    # exactly: gate (1 - gate) alpha / (H W) * sum(X * upstream)
    total = (x.detach() * upstream).sum((2, 3), keepdim=True)
    np.testing.assert_allclose(additional, (gate * (1 - gate) * total / size**2).expand_as(x), atol=1e-12)
    assert additional.norm() / leading.norm() < 2 / size
    assert (gate > 0).all() and (gate < 1).all()


def test_a_repeated_frame_is_gated_per_step():
    frames = torch.randn(2, 3, 4, 4)
    alpha = torch.tensor([0.0, 1.0, 5.0])
    repeated = functional.direct_code(frames, 3)
    torch.testing.assert_close(functional.agmm(repeated, alpha), functional.agmm(repeated.clone(), alpha))


def test_it_stands_between_norm_and_neuron():
    conv = block.Conv({"threshold": 1.0}, 1, 4, 3, modulation=AGMM(5)).eval()
    plain = block.Conv({"threshold": 1.0}, 1, 4, 3).eval()
    plain.load_state_dict(conv.state_dict(), strict=False)
    x = torch.rand(2, 1, 6, 6, 5)
    gated = functional.agmm(plain.current(x), conv.modulation.alpha)
    assert torch.equal(conv.current(x), gated)
    assert torch.equal(conv(x), plain.neuron(gated))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AGMM(4, per="row"), OptionError, "per='row' is unknown; use one of 'channel', 'layer'"),
        (lambda: AGMM(4, alpha="layer"), OptionError, "alpha='layer' is unknown"),
        (lambda: AGMM(4, alpha="channel"), OptionError, "needs num_features"),
        (lambda: AGMM(0), OptionError, "num_steps=0"),
        (lambda: AGMM(4)(torch.ones(1, 2, 3, 3, 5)), ShapeError, "num_steps=5"),
        (lambda: AGMM(4, 3, alpha="channel")(torch.ones(1, 2, 4)), ShapeError, "num_features=2"),
        (lambda: AGMM(4)(torch.ones(2, 4)), ShapeError, r"use \[N, C, H, W, T\]"),
    ],
)
def test_bad_options_and_shapes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
