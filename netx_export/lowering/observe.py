"""What a model's layers see and compute for some samples: by it rounding is chosen and judged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lava_bsnn import block
from lava_bsnn.encoding import Encoding
from lava_bsnn.modes import evaluating

_SAMPLES = 16
_VALUES = 1 << 24
"""Most numbers of all layers together that are kept."""
_DENSITY = 0.2
"""Share of active inputs where spikes are random."""


@dataclass(kw_only=True)
class Observed:
    """What the blocks of a model did.

    Attributes:
        inputs: of each block's synapse, and of residuals, ``[N, *shape, T]``.
        currents: what reaches each block's neurons, in front of their mixing; of a readout, its logits.
        given: the samples are the caller's: rounding is chosen by them, not only judged.
    """

    inputs: dict[Any, Tensor] = field(default_factory=dict)
    currents: dict[torch.nn.Module, Tensor] = field(default_factory=dict)
    given: bool = False


def observe(blocks: list[Any], samples: Tensor, *, given: bool = False) -> Observed:
    """Run some of the samples through a chain of blocks in evaluation mode."""
    seen = Observed(given=given)
    chain = torch.nn.ModuleList(blocks)
    sizes = [int(np.prod(m.shape)) for m in chain.modules() if isinstance(m, block.SpikingBlock)]
    steps = samples.shape[-1] if samples.dim() > len(blocks[0].input_shape) + 1 else 1
    number = max(1, min(_SAMPLES, _VALUES // max(1, steps * sum(sizes))))
    with contextlib.ExitStack() as stack:
        for module in chain.modules():
            for handle in _hooks(module, seen):
                stack.callback(handle.remove)
        with evaluating(chain):
            x = samples[:number]
            for module in blocks:
                result = module(x)
                x = result[0] if isinstance(result, tuple) else result
    return seen


def _hooks(module: torch.nn.Module, seen: Observed) -> Iterator[Any]:
    if isinstance(module, block.Residual):
        yield module.register_forward_pre_hook(_keep(seen.inputs, module))
    if not isinstance(module, block.SpikingBlock):
        return
    yield module.synapse.register_forward_pre_hook(_keep(seen.inputs, module))
    if isinstance(module, block.Recurrent):
        assert module.neuron is not None
        yield module.neuron.register_forward_hook(_add_feedback(seen, module))
    if module.neuron is not None:
        yield module.neuron.register_forward_pre_hook(_keep(seen.currents, module))
    else:
        yield module.register_forward_hook(
            lambda _, arguments, result: seen.currents.update(
                {module: result[0] if isinstance(result, tuple) else result}
            )
        )


def _add_feedback(seen: Observed, module: block.Recurrent) -> Callable[..., None]:
    def hook(neuron: torch.nn.Module, arguments: tuple[Tensor, ...], spikes: Tensor) -> None:
        path = module.feedback
        seen.inputs[path] = path.messages(spikes)
        seen.currents[module] = arguments[0] + path.current(seen.inputs[path])

    return hook


def _keep(found: dict[torch.nn.Module, Tensor], owner: torch.nn.Module) -> Callable[..., None]:
    def hook(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> None:
        found[owner] = arguments[0]

    return hook


def samples_for(blocks: list[Any], shape: tuple[int, ...], num_steps: int, given: Any = None) -> Tensor:
    """Samples for :func:`observe`, with a time axis: given ones, those of the training, or random ones."""
    first = blocks[0]
    kept = getattr(first, "samples", None) if given is None else torch.as_tensor(given)
    if given is None and kept is not None and kept.dim() == len(shape) + 2 and kept.shape[-1] != num_steps:
        kept = None  # of a training over other steps
    if kept is None:
        coding = (first.encoding if isinstance(first, block.Input) else None) or Encoding()
        kept = torch.from_numpy(random_samples(coding, (_SAMPLES, *shape, num_steps)).copy())
    like = next((p for one in blocks for p in one.parameters()), torch.zeros(()))
    kept = kept[:_SAMPLES].to(like.device)
    kept = kept if kept.dtype == torch.uint8 else kept.to(like.dtype)
    return kept if kept.dim() == len(shape) + 2 else kept[..., None].expand(*kept.shape, num_steps)


def usual_messages(low: int, high: int) -> tuple[float, float]:
    """Mean and variance of messages ``low..high`` of which nothing is known."""
    if high == 1 and not low:
        return _DENSITY, _DENSITY * (1 - _DENSITY)
    return (high / 4 if low else high / 2), high * high / 12


def random_samples(coding: Encoding, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random samples ``[N, C, ..., T]``, float32, that an encoding takes: images are still, spikes move."""
    rng = np.random.default_rng(seed)
    if coding.kind == "spikes":
        return (rng.random(shape) < _DENSITY).astype(np.float32)
    if coding.kind == "counts":
        return rng.geometric(0.5, shape).clip(None, coding.high + 1).astype(np.float32) - 1
    still = rng.random((*shape[:-1], 1), dtype=np.float32)
    return np.broadcast_to(still, shape)
