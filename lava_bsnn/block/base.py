"""What all blocks share: names, shapes, and what goes from one to the next."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ..axes import in_order
from ..errors import OptionError, ShapeError
from ..limits import LIMITS

_ENDS = ("input", "output")
"""What networks and graphs call their ends."""

Shape = tuple[int, ...]


def _is_name(name: Any) -> bool:
    """Whether it can be that of a layer, also in files and graphs, where ``/`` parts groups."""
    text = isinstance(name, str) and 0 < len(name) <= LIMITS.name_max
    return text and not {"/", "\0"} & set(name) and name not in (".", *_ENDS)


def refuse(where: str, remedy: str, **options: Any) -> None:
    """Raise :class:`OptionError` for an option that has a value at all."""
    for name, value in options.items():
        if value:
            raise OptionError(f"{where}: {name}={value!r} is not supported; {remedy}")


def make_neuron(
    where: str, neuron: Callable[..., torch.nn.Module], neuron_params: dict[str, Any]
) -> torch.nn.Module:
    """Call ``neuron`` with its parameters; :class:`OptionError` names one that it does not take."""
    try:
        return neuron(**neuron_params)
    except TypeError as error:
        allowed = ", ".join(inspect.signature(neuron).parameters)
        raise OptionError(f"{where}: neuron_params: {error}; use {allowed}") from error


def params_of(where: str, neuron_params: Any) -> dict[str, Any]:
    """A copy of a neuron's parameters; :class:`OptionError` where they are no dictionary."""
    if neuron_params is not None and not isinstance(neuron_params, dict):
        raise OptionError(
            f"{where}: neuron_params={neuron_params!r} is not allowed; use a dictionary such as "
            "{'threshold': 1.0}, or None"
        )
    return dict(neuron_params or {})


def check_counts(where: str, **counts: Any) -> None:
    """Raise :class:`OptionError` for a number of features or neurons that is none."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise OptionError(f"{where}: {name}={value!r} is not allowed; use an integer of 1 or more")


def check_tensor(where: str, x: Any) -> None:
    """Raise :class:`ShapeError` for an input that is no tensor."""
    if not isinstance(x, Tensor):
        raise ShapeError(f"{where}: input is a {type(x).__name__}; use a tensor, e.g. torch.as_tensor(x)")


def pair(where: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """``value`` as (height, width) if it is an integer or two, each ``least`` or more."""
    both = (value, value) if isinstance(value, int) else value
    both = tuple(both) if isinstance(both, (tuple, list)) else ()
    if len(both) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in both):
        raise OptionError(
            f"{where}: {name}={value!r} is not allowed; use an integer of {least} or more, or two of them"
        )
    return both


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What goes from block to block: messages, which are integers, and what one of them counts.

    Attributes:
        shape: ``(C, H, W)`` or ``(C,)``.
        factor: of poolings without neuron and of sub-steps.
        sender: block with the neurons before; in a tuple, so that it is no submodule.
        low: smallest message.
        high: largest message.
        image: shape of the network's input where it comes as it is and is graded: then neighbouring
            inputs are much alike.
    """

    shape: Shape
    factor: float = 1.0
    sender: tuple[torch.nn.Module, ...] = ()
    low: int = 0
    high: int = 1
    image: Shape | None = None

    @property
    def value(self) -> float:
        """Real value of a message of 1."""
        value = self.factor
        for module in self.sender:
            neuron: Any = module.neuron
            value *= neuron.threshold if getattr(neuron, "scaled", False) else 1.0
        return value

    @property
    def largest(self) -> int:
        """Largest magnitude of a message."""
        return max(self.high, -self.low)


class Block:
    """A name, and what comes in and goes out once it is built.

    Attributes:
        name: of the layer in errors, tables, figures and files; None for one of its type and place.
        label: what errors call the block: its name, else its type and sizes.
    """

    label: str
    name: str | None = None

    def _set_name(self, name: str | None, otherwise: str) -> None:
        if name is not None and not _is_name(name):
            raise OptionError(
                f"{otherwise}: name={name!r} is not allowed; use a text of 1..{LIMITS.name_max} characters "
                "without '/' and NUL, other than 'input', 'output' and '.'"
            )
        self.name, self.label = name, name or otherwise

    input_shape: Shape | None = None
    """Shape that the block was built for; None before."""
    _incoming: Signal | None = None
    _outgoing: Signal | None = None

    @property
    def incoming(self) -> Signal:
        """What comes in; spikes of no shape before the block is built."""
        return self._incoming or Signal(shape=())

    @property
    def input_scale(self) -> float:
        """What one input spike counts, behind a pooling without neuron or neurons that scale their spikes."""
        return self.incoming.value

    @property
    def shape(self) -> Shape:
        """Output shape without batch and time.

        Raises:
            ShapeError: the block has not been built.
        """
        if self._outgoing is None:
            raise ShapeError(f"{self.label}: shape is not known yet; call build(input_shape) first")
        return self._outgoing.shape

    def build(self, input_shape: Iterable[int]) -> Shape:
        """Fix the shapes for spikes ``(C, H, W)`` or ``(C,)`` and return the output shape.

        Raises:
            ShapeError: the block cannot take this input.
        """
        return self.connect(Signal(shape=tuple(int(size) for size in input_shape))).shape

    def connect(self, incoming: Signal) -> Signal:
        """Fix what comes in, and return what goes out.

        Raises:
            ShapeError: the block cannot take this input.
        """
        self._check_shape(incoming.shape)
        self._incoming, self.input_shape = incoming, incoming.shape
        self._outgoing = self._sends(replace(incoming, shape=self._output_shape(incoming.shape)))
        if getattr(self, "neuron", None) is not None:
            self.neuron.shape = torch.Size(self._outgoing.shape)  # type: ignore[attr-defined]
        if getattr(self, "delay", None) is not None:
            self.delay.build(self._outgoing.shape[0])  # type: ignore[attr-defined]
        return self._outgoing

    def _sends(self, signal: Signal) -> Signal:
        """What goes out, given what comes in, of the output's shape already."""
        return signal

    def _check_shape(self, shape: Shape) -> None:
        raise NotImplementedError

    def _output_shape(self, shape: Shape) -> Shape:
        raise NotImplementedError

    def _check_input(self, x: Tensor) -> None:
        check_tensor(self.label, x)
        if x.dim() not in (3, 5):
            raise ShapeError(
                f"{self.label}: input of shape {tuple(x.shape)} is not allowed; use "
                "[N, C, H, W, T] or [N, C, T], e.g. functional.direct_code(frames, num_steps)"
            )
        if not x.is_floating_point() or not x.shape[-1]:
            raise ShapeError(
                f"{self.label}: input of {x.dtype} with {x.shape[-1]} steps is not allowed; use floating "
                "point, e.g. x.float(), and at least one step"
            )
        shape = tuple(x.shape[1:-1])
        if self.input_shape is not None and shape != self.input_shape:
            raise ShapeError(
                f"{self.label}: input of shape {shape} does not fit; it was built for {self.input_shape}"
                f"{in_order(tuple(x.shape), self.input_shape)}"
            )
        if x.dtype is torch.float64:  # autocast leaves it as it is
            mine = next(self.parameters(), x)  # type: ignore[attr-defined]
            if mine.dtype is not x.dtype:
                raise ShapeError(
                    f"{self.label}: input of {x.dtype} does not fit parameters of {mine.dtype}; use x.float()"
                )
        self._check_shape(shape)

    def export_hdf5(self, handle: Any) -> None:
        """Write this block into an HDF5 group, as SLAYER's export loop does for each block.

        The result is what ``netx_export.convert`` and ``write`` give in profile ``"stock"``.

        Args:
            handle: ``h5py`` group named by the block's place in the network.

        Raises:
            ExportError: the block has not been built, or needs the extended profile.
        """
        from netx_export.lowering.block_export import export_block

        export_block(self, handle)
