"""Training passes as CUDA graphs: a GPU gets all kernels of a pass at once, and does not wait for Python."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..block import Input
from ..errors import LavaBsnnWarning, line_of
from ..synapse import Binarize, Quantize

SWITCH = "LAVA_BSNN_GRAPHS"
"""Environment variable: ``0`` takes each pass kernel by kernel."""
_KNOWN = ("lava_bsnn", "lava", "torch")
"""Packages whose modules do the same in each pass, but for what is checked here."""


class _Pass(torch.nn.Module):
    """A forward pass and its autocast, as ``torch.cuda.make_graphed_callables`` takes it."""

    def __init__(self, model: torch.nn.Module, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.model, self.autocast = model, autocast

    def forward(self, x: Tensor) -> Tensor:
        with self.autocast():
            result: Tensor = self.model(x)
        return result.float()


class GraphedPasses:
    """A model's training passes, each recorded once per shape of input and repeated from then on.

    A pass that does more than the recorded one is the model's own: those in which an ``Input`` looks at
    what comes in, and all while somebody's hooks see what layers do.

    Args:
        model: on a GPU, in training mode.
        autocast: makes the context of a pass.
        plain: a pass kernel by kernel; by default the model's.
        ignored: whether a hook has nothing to do in the next pass.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        *,
        plain: Callable[[Tensor], Tensor] | None = None,
        ignored: Callable[[Any], bool] = lambda hook: False,
    ) -> None:
        self.passed = _Pass(model, autocast)
        self.plain, self.ignored = plain or self.passed, ignored
        self.inputs = [module for module in model.modules() if isinstance(module, Input)]
        self.known = os.environ.get(SWITCH) != "0" and _is_known(model)
        self.settings: Any = None
        self.graphs: dict[Any, Callable[[Tensor], Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Logits with a gradient."""
        if not self.known or not self._is_repeated(x):
            return self.plain(x)
        settings = [_hook_of(module) for module in self.passed.modules()]
        if settings != self.settings:  # annealing has another sharpness in each epoch
            self.settings, self.graphs = settings, {}
        key = (x.shape, x.stride(), x.dtype)
        if key not in self.graphs:
            self.graphs[key] = self._recorded(x)
        if not self.known:  # which counts itself
            return self.plain(x)
        for entry in self.inputs:
            entry.calls += 1
        return self.graphs[key](x)

    def _is_repeated(self, x: Tensor) -> bool:
        model = self.passed.model
        if not x.is_cuda or not model.training or any(entry.looks for entry in self.inputs):
            return False
        hooks = (hook for module in model.modules() for hook in _hooks_of(module))
        return all(self.ignored(hook) for hook in hooks)

    def _recorded(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        # gradients of recorded passes come from another stream than those of plain ones, which is meant
        told = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
        if told is not None:
            told(False)
        try:
            with _unchanged(self.passed, self.inputs):
                recorded: Any = torch.cuda.make_graphed_callables(
                    _Pass(self.passed.model, self.passed.autocast), (x.clone(),), allow_unused_input=True
                )
        except RuntimeError as error:  # something waits for the device
            self.known = False
            warnings.warn(
                f"fit: the model's passes cannot be recorded as CUDA graphs ({line_of(error)}); they are "
                f"taken kernel by kernel, as with {SWITCH}=0",
                LavaBsnnWarning,
                stacklevel=4,
            )
            return self.plain
        result: Callable[[Tensor], Tensor] = recorded
        return result


def _hook_of(module: torch.nn.Module) -> Any:
    """What makes a synapse's weights."""
    return getattr(module, "_pre_hook_fx", None)


def _is_known(model: torch.nn.Module) -> bool:
    """Whether all modules are ours, without states that go from pass to pass, and none is in matched mode."""
    return all(
        type(module).__module__.split(".")[0] in _KNOWN
        and (_hook_of(module) is None or isinstance(_hook_of(module), Binarize | Quantize))
        and not getattr(module, "persistent_state", False)
        and getattr(module, "unit", None) is None
        for module in model.modules()
    )


def _hooks_of(module: torch.nn.Module) -> Iterator[Any]:
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        yield from getattr(module, name).values()


@contextmanager
def _unchanged(model: torch.nn.Module, inputs: list[Input]) -> Iterator[None]:
    """Undo what passes for warming up do to statistics and counts; meanwhile no input looks."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    calls = [entry.calls for entry in inputs]
    for entry in inputs:
        entry.calls = 1
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
        for entry, count in zip(inputs, calls, strict=True):
            entry.calls = count
