"""What a kind of neurons declares, once: fields with ranges, the step on integers, the way from torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS
from lava_bsnn.limits import LIMITS

from ..content import Content, domains, fits_neurons, holds, range_problems

if TYPE_CHECKING:
    from ..lowering.drive import Drive
    from ..network.front import Mix

PerChannel = int | np.ndarray
"""One number, one per channel ``[C]``, or one per neuron in the layer's shape."""
State = tuple[Any, ...]
"""Arrays of one shape, int64, by :attr:`Neuron.states`."""
Kernel = Callable[[np.ndarray, State, np.ndarray, np.ndarray, int], None]
"""Machine code over all steps: weighted input, states, messages, potentials, first step of the sample."""


class Lowered(NamedTuple):
    """Neurons in integers.

    Attributes:
        neuron: of the network.
        unit: membrane steps per unit of the model's current.
        mix: mixing of time steps in front of them.
    """

    neuron: Neuron
    unit: float
    mix: Mix | None = None


class Neuron(Content):
    """Base of kinds of neurons: frozen, keyword-only dataclasses with ``eq=False``.

    A kind of its own declares fields with ``integer``, ``per_channel`` or ``per_step``, and
    overrides :meth:`step` and, to be made of a torch module, :meth:`from_module`; see
    :func:`netx_export.register_neuron`.

    Attributes:
        states: names of the state's arrays; ``"v"``, the membrane potential, is one of them, and
            ``"u"`` the current, if it is kept.
        exponent: log2 of the membrane steps per step of thresholds and biases.
        bias: added at each step.
        max_message: largest message that is sent: 1 for spikes, at most 255.
        reads_out: the neurons never send; their potential is the result.
    """

    states: ClassVar[tuple[str, ...]] = ("v",)
    exponent: int = 0
    bias: PerChannel = 0
    max_message: int = 1
    reads_out: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Name for tables."""
        return type(self).__name__

    @property
    def leak(self) -> int:
        """Share of the potential, in 1/4096, that each step loses; 0 if it may add up."""
        return int(np.min(getattr(self, "voltage_decay", 0)))

    @property
    def step_counts(self) -> set[int]:
        """Lengths T of values that are given per time step."""
        steps = (field.name for field, domain in domains(type(self)) if domain.kind == "steps")
        return {len(value) for name in steps if isinstance(value := getattr(self, name), np.ndarray)}

    def start(self, zeros: Any) -> State:
        """State before the first step, by ``states``, in the shape of ``zeros``."""
        return (zeros,) * len(self.states)

    def step(self, state: State, current: Any, time: int, injected: Any = 0) -> tuple[State, Any, Any]:
        """Return the next state, the messages, and the potential before any reset.

        All arrays are int64 ``[..., C, H, W]`` or ``[..., C]``; values per channel of ``self`` have a shape
        that fits them (:meth:`spread`).

        Args:
            state: of the step before, by ``states``; states stay within 24 bits.
            current: sum of all currents, mixed; membrane steps.
            time: step of the sample.
            injected: input that adds to the biases, behind the current's decay.
        """
        raise NotImplementedError

    def compiled(self, table: Callable[[Any, Any], np.ndarray], *, injects: bool) -> Kernel | None:
        """Machine code for :meth:`step`, or None, for which :meth:`step` runs.

        Args:
            table: gives the kernels' parameters for a bias and a threshold in membrane steps.
            injects: the network's input adds to the biases.
        """
        return None

    @classmethod
    def from_module(cls, module: Any, unit: float) -> Neuron:
        """Neurons of a trained module, for ``unit`` membrane steps per unit of its current."""
        raise NotImplementedError

    @classmethod
    def lower(cls, module: Any, drive: Drive) -> Lowered:
        """Choose the unit for the currents that come, and make neurons of a trained module.

        By default as fine as 24 bits allow; a module's own ``unit``, if it has one, is kept.

        Raises:
            ExportError: 24 bits do not hold the currents.
        """
        unit, threshold = getattr(module, "unit", None), float(getattr(module, "threshold", 0))
        if not threshold > 0:
            raise ExportError(
                f"{drive.label}: {type(module).__name__} has threshold={threshold}, from which its grid "
                "follows; give it an attribute threshold > 0"
            )
        if unit is None:
            unit = drive.best_unit(drive.largest_unit(threshold))
        else:
            drive.check_matched(unit, threshold)
        return Lowered(cls.from_module(module, unit), float(unit))

    @classmethod
    def with_mantissas(cls, module: Any, scale: float, bias: np.ndarray) -> Neuron:
        """Neurons of a trained module in the mantissas of Loihi's own neurons.

        Args:
            scale: weight steps per threshold.
            bias: weight steps ``[C]``.
        """
        raise NotImplementedError

    @classmethod
    def module_problems(cls, module: Any) -> Iterator[str]:
        """What of a trained module no target can express, a line each."""
        return iter(())

    def spread(self, axes: int) -> Neuron:
        """A copy whose values per channel or neuron are int64 and fit ``[..., C, *axes]``."""
        wide = copy.copy(self)
        for field, domain in domains(type(self)):
            value = getattr(self, field.name)
            if domain.kind == "value" and isinstance(value, np.ndarray):
                spread = value.astype(np.int64)
                spread = spread.reshape(-1, *[1] * axes) if spread.ndim == 1 else spread
                object.__setattr__(wide, field.name, spread)
        return wide

    def problems(self, shape: tuple[int, ...]) -> Iterator[str]:
        """A line per value that is not what its field holds in a layer of this shape."""
        if self.exponent not in LIMITS.exponents:
            yield f"exponent={self.exponent!r} is not allowed; use one of {LIMITS.exponents}"
            return
        yield from _problems("", self, shape, self.exponent == ALIGN_BITS)


def _problems(prefix: str, part: Content, shape: tuple[int, ...], mantissas: bool) -> Iterator[str]:
    for field, domain in domains(type(part)):
        value, what = getattr(part, field.name), f"{prefix}{field.name}"
        bounds = domain.mantissa if mantissas and domain.mantissa else (domain.low, domain.high, "")
        if domain.kind == "node":
            if value is not None:
                yield from _problems(f"{what} ", value, shape, mantissas)
        elif domain.kind == "value" and not fits_neurons(value, shape):
            yield f"{what} of shape {value.shape} does not fit; use ({shape[0]},)"
        elif field.name != "exponent" and domain.kind != "bool":
            yield from range_problems(what, value, *bounds)
            if domain.kind == "steps" and np.ndim(value) > 1:
                yield f"{what} of shape {np.shape(value)} does not fit; use one number or (T,)"


def integer(low: int, high: int, *, default: Any = ...) -> Any:
    """Field of a kind: an integer in ``low..high``."""
    return holds("int", low, high, **_default(default))


def per_channel(low: int, high: int, *, default: Any = ...) -> Any:
    """Field of a kind: an integer in ``low..high``, or one per channel ``[C]`` or neuron ``[C, H, W]``."""
    return holds("value", low, high, **_default(default))


def per_step(low: int, high: int, *, default: Any = ...) -> Any:
    """Field of a kind: an integer in ``low..high``, or one per time step ``[T]``."""
    return holds("steps", low, high, **_default(default))


def _default(default: Any) -> dict[str, Any]:
    return {} if default is ... else {"default": default}
