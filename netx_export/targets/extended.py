"""Profile ``"extended"``: all that our own arithmetic, files and Lava processes do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .base import BlockRule, Target

if TYPE_CHECKING:
    from ..lowering.job import Job
    from ..network import Layer


class Extended(Target):
    """Skip connections, gates, mixings of steps, membranes of k bits, and every kind of neurons."""

    name = "extended"

    def block_rules(self) -> Mapping[type, BlockRule]:
        """Trained weights of more than 8 bits, and membranes that the device would keep otherwise."""
        from lava_bsnn import block

        return {block.SpikingBlock: _spiking_problems}

    def chain_problems(self, job: Job) -> Iterator[str]:
        """Sums of poolings that are no messages."""
        from ..lowering.pooling import bare_pools, merges, sends_messages, taps

        for pool, following in bare_pools(job.blocks):
            if not sends_messages(pool) and not merges(pool, following):
                came = pool.incoming
                yield (
                    f"{pool.label}: sums of {taps(pool)} messages {came.low}..{came.high} are not in 0.."
                    f"{self.limits.levels_max}; use a smaller window, fewer levels or input bits, or a Dense "
                    "behind it"
                )

    def lower(self, job: Job) -> tuple[Layer, ...]:
        """See :mod:`netx_export.lowering.extended`."""
        from ..lowering.extended import lower_extended

        return lower_extended(job)


def _spiking_problems(module: Any, job: Job) -> Iterator[str]:
    from ..lowering.rules import spiking_problems

    yield from spiking_problems(module, job)
    bits, neuron = getattr(module.synapse.pre_hook_fx, "bits", 8), module.neuron
    if bits > 8:
        yield (
            f"{module.label}: weights of {bits} bits cannot be exported in profile 'extended'; "
            "use weight_bits=8"
        )
    if getattr(neuron, "membrane_bits", None) is not None and neuron.membrane_when != "stored":
        yield (
            f"{module.label}: membrane_when={neuron.membrane_when!r} cannot be exported: the device "
            "quantises what it stores; use membrane_when='stored'"
        )
