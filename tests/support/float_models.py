"""Random samples of each encoding, and models whose batch norm has statistics of such samples."""

from __future__ import annotations

import numpy as np
import torch

from lava_bsnn import block, functional
from lava_bsnn.encoding import Encoding
from lava_bsnn.norm import BatchNorm


def random_samples(coding, shape, rng):
    """Random samples ``shape`` that an encoding takes, float32: spikes, counts, or numbers in 0..1."""
    if coding.kind == "spikes":
        return (rng.random(shape) < 0.4).astype(np.float32)
    if coding.kind == "counts":
        return rng.integers(0, coding.high + 1, shape).astype(np.float32)
    return rng.random(shape).astype(np.float32)


def encoding_of(model):
    """What a model or a list of blocks takes."""
    first = next(iter(getattr(model, "blocks", model)))
    return (first.encoding if isinstance(first, block.Input) else None) or Encoding()


def samples_of(model, number, num_steps, seed=0):
    """Samples ``[N, *shape, T]`` of a built model; spikes and counts move, images are still."""
    rng, coding = np.random.default_rng(seed), encoding_of(model)
    shape = next(iter(getattr(model, "blocks", model))).input_shape
    if coding.event_driven:
        return torch.from_numpy(random_samples(coding, (number, *shape, num_steps), rng))
    return functional.direct_code(torch.from_numpy(random_samples(coding, (number, *shape), rng)), num_steps)


def run_chain(model, x):
    """What a model, or a list of blocks, returns."""
    if isinstance(model, torch.nn.Module) and not isinstance(model, torch.nn.ModuleList):
        return model(x)
    for module in model:
        result = module(x)
        x = result[0] if isinstance(result, tuple) else result
    return x


def settle(model, shape=None, num_steps=None, *, batches=20, number=16, seed=0):
    """Build blocks for ``shape``, run random batches in training mode; return them in evaluation mode."""
    if shape is not None:
        block.build(model, shape)
    blocks = torch.nn.ModuleList(getattr(model, "blocks", model))
    num_steps = num_steps or getattr(model, "num_steps", None) or 4
    blocks.train()
    if any(isinstance(module, BatchNorm) for module in blocks.modules()):
        for index in range(batches):
            with torch.no_grad():
                run_chain(model, samples_of(model, number, num_steps, seed=1000 * seed + index))
    blocks.eval()
    return model.eval() if isinstance(model, torch.nn.Module) else model


def spiking_layers(net):
    """Layers of a network with neurons that spike, without the poolings that only add up."""
    return [layer for layer in net.layers if layer is not net.output and not layer.name.startswith("pool")]
