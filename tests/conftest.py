from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import settings
from support import generators

import lava_bsnn  # noqa: F401  makes lava importable before any test module does

torch.set_num_threads(1)  # small tensors; a second thread only waits on a loaded machine
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def make_network():
    return generators.random_network


@pytest.fixture
def make_data():
    return generators.random_data


@torch.no_grad()
def spikes_of_model(model, x):
    """Spike counts of every block with neurons, in the order of the forward pass, and what comes out."""
    from lava_bsnn import block  # loads slayer: not for every test

    found, hooks = [], []
    for module in model.modules():
        if isinstance(module, block.SpikingBlock) and module.neuron is not None:
            hooks.append(module.neuron.register_forward_hook(lambda n, i, out: found.append((n, out))))
    x = torch.from_numpy(np.asarray(x))
    logits = model(x if x.dtype == torch.uint8 else x.float())  # pixels stay what they are
    for hook in hooks:
        hook.remove()
    counts = [(out / n.theta).round() if getattr(n, "scaled", False) else out for n, out in found]
    return [count.numpy() for count in counts], logits.numpy()


@pytest.fixture(scope="session")
def float_spikes():
    return spikes_of_model
