"""Whether a model computes its blocks in a row, which is what export takes it for."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from lava_bsnn import block
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError
from lava_bsnn.functional import direct_code
from lava_bsnn.functional.time import is_constant_in_time
from lava_bsnn.modes import evaluating

from .observe import random_samples

_REMEDY = "export sees the blocks only; convert(model.blocks) takes them as a chain, whatever forward does"


def unwrapped(model: Any) -> Any:
    """The model inside of wrappers for several devices, averages of weights, or ``torch.compile``."""
    wrappers = (
        torch.nn.DataParallel,
        torch.nn.parallel.DistributedDataParallel,
        torch.optim.swa_utils.AveragedModel,
    )
    while True:
        if isinstance(model, wrappers):
            model = model.module
        elif isinstance(model, torch.nn.Module) and "_orig_mod" in model._modules:
            model = model._orig_mod
        else:
            return model


def check_wiring(model: Any, blocks: list[Any], num_steps: int) -> None:
    """Run a model with random values on each wire, and compare what the blocks get and what comes out.

    Each block's result is replaced by random numbers; the next block must get exactly these, the
    first one the model's input, and the model must return the last ones, or their sum or mean over time.

    Raises:
        ExportError: it does anything else.
    """
    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.nn.ModuleList):
        return  # a list of blocks
    first = blocks[0]
    coding = (first.encoding if isinstance(first, block.Input) else None) or Encoding()
    like = next(model.parameters(), torch.zeros(()))
    shape = (2, *first.input_shape, num_steps)
    moving = torch.from_numpy(random_samples(coding, shape).copy()).to(like)
    name, errors = type(model).__name__, []
    forms = (moving, moving[..., 0])
    for x in forms:
        probe = _Probe(blocks)
        try:
            with evaluating(model), probe:
                result = model(x)
        except Exception as error:  # of a model that takes the other form only
            errors.append(f"{type(error).__name__}: {error}")
            continue
        reason = probe.difference(x, result)
        if reason:
            raise ExportError(f"convert: forward of {name} is not its blocks in a row: {reason}; {_REMEDY}")
    if len(errors) == len(forms):
        raise ExportError(f"convert: {name} cannot be run on random input ({errors[-1]}); {_REMEDY}")


class _Probe(contextlib.ExitStack):
    """Puts random numbers in the place of what blocks return, and keeps what they get."""

    def __init__(self, blocks: list[Any]) -> None:
        super().__init__()
        self._blocks = blocks
        self._generator = torch.Generator().manual_seed(0)
        self._got: list[tuple[Any, Tensor]] = []
        self._gave: list[Tensor] = []

    def __enter__(self) -> _Probe:
        super().__enter__()
        for module in self._blocks:
            self.callback(module.register_forward_hook(self._replace).remove)
        return self

    def _replace(self, module: Any, arguments: tuple[Any, ...], result: Any) -> Any:
        value = result[0] if isinstance(result, tuple) else result
        numbers = torch.randint(-3, 4, value.shape, generator=self._generator).to(value)
        self._got.append((module, arguments[0]))
        self._gave.append(numbers)
        return (numbers, *result[1:]) if isinstance(result, tuple) else numbers

    def difference(self, x: Tensor, result: Any) -> str:
        """What differs from a chain, in words; empty if nothing does."""
        called = [module for module, _ in self._got]
        for index, module in enumerate(self._blocks):
            if called[index : index + 1] != [module]:
                return f"block {index} ({module.label}) is not run in its place"
        if len(called) > len(self._blocks):
            return f"{len(called)} blocks are run, where there are {len(self._blocks)}"
        inputs = [got for _, got in self._got]
        if not _same_input(inputs[0], x):
            return f"the first block ({self._blocks[0].label}) does not get the model's input as it is"
        for index in range(1, len(inputs)):
            if not _equal(inputs[index], self._gave[index - 1]):
                label = self._blocks[index].label
                return f"block {index} ({label}) does not get what the block before it returns"
        result = result[0] if isinstance(result, tuple) else result
        last = self._gave[-1]
        if not isinstance(result, Tensor):
            return f"it returns a {type(result).__name__}"
        sums = (last, last.sum(-1), last.mean(-1))
        if not any(value.shape == result.shape and torch.allclose(value, result) for value in sums):
            return "it returns something else than the last block does, or its sum or mean over time"
        return ""


def _same_input(got: Tensor, x: Tensor) -> bool:
    if got.dim() == x.dim() + 1:
        still = is_constant_in_time(got) or bool((got == got[..., :1]).all())
        return still and _equal(got, direct_code(x, got.shape[-1]))
    return _equal(got, x)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.to(b.dtype), b)
