"""Kinds of neurons: what a network's layers may be made of, and where a user's own kind is registered.

Thresholds, biases and decays are one integer, one per channel ``[C]``, or one per neuron ``[C, H, W]``.
With ``exponent`` 6 thresholds and biases are mantissas in weight steps, as on Loihi; with 0 they are in
membrane steps (see :mod:`lava_bsnn.fixed_point`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from lava_bsnn.errors import OptionError

from .kind import Lowered, Neuron, PerChannel, State, integer, per_channel, per_step
from .lif import LIF, Membrane
from .multi_threshold import MultiThreshold
from .readout import Readout

__all__ = [
    "LIF",
    "Lowered",
    "Membrane",
    "MultiThreshold",
    "Neuron",
    "PerChannel",
    "Readout",
    "State",
    "integer",
    "kind_of",
    "kinds",
    "per_channel",
    "per_step",
    "register_neuron",
]

_OURS = (LIF, MultiThreshold, Readout)
_kinds: dict[str, type[Neuron]] = {kind.__name__: kind for kind in _OURS}
_trained_as: dict[str, type[Neuron]] = {  # by name: torch modules are not imported here
    "lava_bsnn.neuron.lif.LIF": LIF,
    "lava_bsnn.neuron.multi_threshold.MultiThresholdLIF": MultiThreshold,
}


_RESERVED = {"Membrane", "Input", "Encoding", "Layer", "Connection", "Conv", "Dense", "Identity", "BiasInput"}
_RESERVED |= {"FixedPointNetwork", "Gate", "Mix"}
"""Names of other nodes of a file."""


def kinds() -> dict[str, type[Neuron]]:
    """All kinds of neurons, by the name under which they stand in files."""
    return dict(_kinds)


def kind_of(module: Any) -> type[Neuron] | None:
    """The kind that a trained module becomes; None for one that nobody registered."""
    for base in type(module).__mro__:
        if _name(base) in _trained_as:
            return _trained_as[_name(base)]
    return None


def is_registered(kind: type) -> bool:
    """Whether a class of torch modules, itself, is the one that a kind is made of."""
    return _name(kind) in _trained_as


def register_neuron(kind: type[Neuron], module: type | None = None) -> type[Neuron]:
    """Make a kind of neurons known to ``convert``, files, simulators, and Lava processes.

    A kind replaces one of the same name that was registered before, as in a notebook's cell that runs twice.

    Args:
        kind: a frozen dataclass derived from :class:`Neuron`.
        module: class of torch modules that is trained as these neurons: what a block gets as ``neuron``.
            ``models.create`` and recipes know it by its name.

    Returns:
        ``kind``, so that this can be used as a decorator.

    Raises:
        OptionError: it is not a complete kind, or has a name of this package.
    """
    name = getattr(kind, "__name__", repr(kind))
    parameters = getattr(kind, "__dataclass_params__", None)
    if not (isinstance(kind, type) and issubclass(kind, Neuron)) or parameters is None or parameters.eq:
        raise OptionError(
            f"register_neuron: {name} is not a kind; use a class derived from netx_export.Neuron under "
            "@dataclass(frozen=True, kw_only=True, eq=False)"
        )
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    bare = [field.name for field in fields if "domain" not in field.metadata]
    if bare:
        raise OptionError(
            f"register_neuron: {name}.{bare[0]} has no range; use integer(low, high), per_channel(low, high) "
            "or per_step(low, high)"
        )
    if kind.step is Neuron.step or "v" not in kind.states:
        raise OptionError(
            f"register_neuron: {name} needs a method step, and a state named 'v', the membrane potential"
        )
    makes = any(
        name in vars(base)
        for base in kind.__mro__[:-1]
        for name in ("from_module", "lower")
        if base is not Neuron
    )
    if module is not None and not makes:
        raise OptionError(f"register_neuron: {name} needs a classmethod from_module to be made of a module")
    if name in _RESERVED or name in (one.__name__ for one in _OURS):
        raise OptionError(f"register_neuron: {name} is a name of netx_export; choose another")
    _kinds[name] = kind
    if module is not None:
        from lava_bsnn.models.method import NEURONS

        _trained_as[_name(module)] = kind
        NEURONS[module.__name__] = module  # for models.create and recipes
    return kind


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
