"""Decays of current and membrane potential: fractions that learn, under SLAYER's names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._slayer import neuron_base
from ..errors import OptionError
from ..fixed_point import NO_MEMORY
from ..functional.weights import straight_through
from ..waiting import is_at_hand

_NAMES = ("current_decay", "voltage_decay")
_SPREAD_STEPS = 16
_JITTER = 0.01
"""Share by which decays per channel that are given as one number are spread, as in SLAYER; not 0 and 1."""


class Decays(neuron_base.Neuron):
    """Base of neurons whose current and potential decay.

    The parameters are fractions lost per step, 0..1, ``[1]`` or ``[C]``, so that usual learning rates move
    them; what is computed with is rounded to 1/4096. SLAYER's attributes and state dicts hold 4096 times
    that; its state dicts load.

    Attributes:
        current_decay_fraction, voltage_decay_fraction: the parameters.
    """

    _ranges: dict[str, tuple[float, float]] | None = None
    _shape: torch.Size | None = None
    _filters: bool | None = None

    def _set_decays(self, kind: str, **decays: Any) -> None:
        ranges = {name: _range(kind, name, decays[name], self.shared_param) for name in _NAMES}
        for name, (least, _) in ranges.items():
            fraction = torch.tensor([least], dtype=torch.float32)
            parameter = torch.nn.Parameter(fraction, requires_grad=self.requires_grad)
            self.register_parameter(f"{name}_fraction", parameter)
        self._filters = round(ranges["current_decay"][0] * NO_MEMORY) < NO_MEMORY
        self._ranges = None if self.shared_param else ranges

    def _fraction(self, name: str) -> torch.nn.Parameter:
        fraction: torch.nn.Parameter = getattr(self, f"{name}_fraction")
        return fraction

    @property
    def shape(self) -> torch.Size | None:
        """Shape (C, H, W) or (C,), known once the block is built, or at the first forward pass."""
        return self._shape

    @shape.setter
    def shape(self, shape: torch.Size | None) -> None:
        self._shape = shape
        if shape is None or self._ranges is None:
            return
        for name, (least, largest) in self._ranges.items():
            fraction = self._fraction(name)
            drawn = torch.rand(shape[0], device=fraction.device, dtype=fraction.dtype)
            fraction.data = least + (largest - least) * drawn
        self._ranges = None
        self._look()

    def _look(self) -> None:
        """See, if that takes no waiting, what the decays are after a change."""
        self._filters = None
        if is_at_hand(self._fraction("current_decay")):
            self._filters = self.filters_current

    def clamp(self) -> None:
        """Bring the parameters back to 0..1."""
        with torch.no_grad():
            for name in _NAMES:
                self._fraction(name).clamp_(0, 1)

    @property
    def current_decay(self) -> Tensor:
        """In 1/4096, not rounded."""
        return self._fraction("current_decay") * NO_MEMORY

    @property
    def voltage_decay(self) -> Tensor:
        """In 1/4096, not rounded."""
        return self._fraction("voltage_decay") * NO_MEMORY

    @property
    def cx_current_decay(self) -> Any:
        """Current decay of the device, 0..4096: an integer, or one per channel, int64 ``[C]``."""
        return self._whole("current_decay")

    @property
    def cx_voltage_decay(self) -> Any:
        """Voltage decay of the device, likewise."""
        return self._whole("voltage_decay")

    @property
    def spread(self) -> float:
        """Standard deviation of the potential after 16 steps of independent currents of deviation 1."""
        keep_current, keep_voltage = (1 - float(self._fraction(name).detach().min()) for name in _NAMES)
        current = potential = total = 0.0
        for step in range(_SPREAD_STEPS):  # the response to a current of 1 in the first step
            current = keep_current * current + (step == 0)
            potential = keep_voltage * potential + current
            total += potential * potential
        return math.sqrt(total)

    @property
    def filters_current(self) -> bool:
        """Whether the current has a memory, or may learn one; on a GPU, as decays were when set or loaded."""
        if self.requires_grad:
            return True
        if self._filters is None or is_at_hand(self._fraction("current_decay")):
            self._filters = bool(np.min(self.cx_current_decay) < NO_MEMORY)
        return self._filters

    def _whole(self, name: str) -> Any:
        values = self._rounded(name).float().cpu().numpy().astype(np.int64)
        return int(values[0]) if (values == values[0]).all() else values

    def _rounded(self, name: str) -> Tensor:
        return (self._fraction(name).detach() * NO_MEMORY).round().clamp(0, NO_MEMORY)

    def _retain(self, name: str, axes: int) -> Tensor:
        """Fraction that is kept, rounded, with the parameter's gradient; it fits ``[C, *axes]``."""
        lost = straight_through(self._rounded(name) / NO_MEMORY, self._fraction(name))
        return 1.0 - (lost if len(lost) == 1 else lost.view(-1, *[1] * axes))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for name in _NAMES:
            key, ours = prefix + name, f"{prefix}{name}_fraction"
            if key in state_dict:  # of SLAYER, or of an older version of this package
                state_dict[ours] = state_dict.pop(key) / NO_MEMORY
            if self._ranges is not None and ours in state_dict:  # not drawn yet
                fraction = self._fraction(name)
                fraction.data = fraction.data.new_empty(state_dict[ours].shape)
        if self._ranges is not None and any(f"{prefix}{name}_fraction" in state_dict for name in _NAMES):
            self._ranges = None
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._look()


def _range(kind: str, name: str, value: Any, shared: bool) -> tuple[float, float]:
    """Least and largest first value of a decay."""
    pair = tuple(value) if isinstance(value, (tuple, list)) and not shared else (value, value)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in pair)
    if len(pair) != 2 or not numbers or not 0 <= pair[0] <= pair[1] <= 1:
        also = "" if shared else ", or two: the least and the largest"
        raise OptionError(f"{kind}: {name}={value!r} is not allowed; use a number in 0..1{also}")
    if shared or value in (0, 1) or isinstance(value, (tuple, list)):
        return pair[0], pair[1]
    return value * (1 - _JITTER), min(1.0, value * (1 + _JITTER))
