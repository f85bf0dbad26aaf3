"""What a target states: limits, what it cannot express and why, lowering, file layout, backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lava_bsnn.fixed_point import ONE, STATE_BITS
from lava_bsnn.limits import LIMITS, Limits

from ..content import range_problems

if TYPE_CHECKING:
    from ..lowering.job import Job
    from ..network import FixedPointNetwork, Layer

BlockRule = Callable[[Any, "Job"], Iterator[str]]
"""What a block cannot express, a line each, with its label."""


class Target:
    """A device or its software for which networks are made; each is one file of this folder.

    The defaults are those of our own arithmetic; a target overrides what is different there. Problems are
    lines for an error's message: what, value, what is allowed, remedy.

    Attributes:
        name: value of ``profile``.
        limits: its numbers.
        counts_signs: the largest sum of messages without sign is that of the weights of one sign; else, as
            a bound, that of all magnitudes.
        delays_messages: connections may delay what their source sends; else the weighted input of their
            own neurons only.
        has_gates: its layers may have gates; else they become constants.
        layout: of its files, a module of :mod:`netx_export.hdf5`.
        processes: that compute its networks on Lava: ``"lava-dl"``: unmodified lava-dl builds them, which are
            chains; ``"lava-nc"``: unmodified processes of lava-nc; ``"ours"``.
    """

    name: ClassVar[str]
    limits: ClassVar[Limits] = LIMITS
    counts_signs: ClassVar[bool] = True
    delays_messages: ClassVar[bool] = True
    has_gates: ClassVar[bool] = True
    layout: ClassVar[str] = "extended"
    processes: ClassVar[str] = "ours"

    # networks

    def weight_problems(self, weight: np.ndarray) -> Iterator[str]:
        """Weights that are out of range."""
        low, high = self.limits.weight_min, self.limits.weight_max
        yield from range_problems("weights", weight, low, high, f" ({high.bit_length() + 1} bit)")

    def layer_problems(self, layer: Layer) -> Iterator[str]:
        """What cannot be computed of a layer by itself."""
        return iter(())

    def sum_problems(self, net: FixedPointNetwork, layer: Layer) -> Iterator[str]:
        """Sums of a layer that may overflow."""
        from ..network.checks import current_bound, neuron_bound

        if getattr(layer.neuron, "wraps", False):
            yield from _wrap_problems(int(current_bound(net, layer).max()), layer.neuron, self.limits)
            return
        worst = int(neuron_bound(net, layer).max())
        if worst > self.limits.potential_max:
            yield (
                f"a step adds up to {worst} membrane steps, which overflows 24 bits; at most "
                f"{self.limits.potential_max} is allowed; use smaller scales or biases"
            )

    def network_problems(self, net: FixedPointNetwork) -> Iterator[str]:
        """What cannot be computed of a network whose layers are sound."""
        return iter(())

    def largest_sum(self, layer: Layer) -> int | None:
        """Largest potential of neurons that add up all that comes in, a readout; None for others.

        None, too, for a readout whose threshold no potential reaches: its sums may saturate.
        """
        neuron = layer.neuron
        if not neuron.reads_out or getattr(neuron, "threshold", 0) > LIMITS.threshold_max:
            return None
        return self.limits.readout_max

    # models

    def block_rules(self) -> Mapping[type, BlockRule]:
        """Rules by type of block that stand in the place of those of :mod:`netx_export.lowering.rules`."""
        return {}

    def chain_problems(self, job: Job) -> Iterator[str]:
        """What cannot be expressed about built blocks in their order."""
        return iter(())

    def lower(self, job: Job) -> tuple[Layer, ...]:
        """Make integers of checked blocks."""
        raise NotImplementedError

    # runs

    def backend_problems(self, net: FixedPointNetwork, backend: str, *, alone: bool) -> Iterator[str]:
        """Why a backend cannot run samples of a network, one after the other or ``alone``."""
        if backend == "stock" and self.processes != "lava-dl":
            yield "unmodified lava-dl computes networks of profile 'stock' only; use backend 'lava'"
        if backend == "loihi2" and self.processes == "ours":
            yield (
                f"the processes of profile {self.name!r} have no model on the chip; use profile 'loihi' "
                "or 'stock', or backend 'lava'"
            )


def _wrap_problems(worst: int, neuron: Any, limits: Limits) -> Iterator[str]:
    """Currents of which 32 bits do not hold all, since one wrap per step does not bring them back to 24."""
    excess = max(0, worst - (1 << STATE_BITS))
    slowest = int(np.min(neuron.current_decay))
    if worst > limits.wrapping_max or excess * ONE > limits.wrapped_max * slowest:
        yield (
            f"a step adds up to {worst} membrane steps, more than currents can wrap; {1 << STATE_BITS} are "
            f"always allowed, with current_decay={ONE} at most {limits.wrapping_max}; use smaller weights"
        )
