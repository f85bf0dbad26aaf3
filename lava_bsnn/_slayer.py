"""The one place where SLAYER is imported: its base classes under short names."""

from __future__ import annotations

from .compat import import_lava

import_lava("lava.lib.dl.slayer")

from lava.lib.dl.slayer.axon import Delay as Axon  # noqa: E402
from lava.lib.dl.slayer.block import base as block_base  # noqa: E402
from lava.lib.dl.slayer.block.base import step_delay  # noqa: E402
from lava.lib.dl.slayer.neuron import base as neuron_base  # noqa: E402
from lava.lib.dl.slayer.synapse import layer as synapse_layer  # noqa: E402

__all__ = [
    "Axon",
    "block_base",
    "neuron_base",
    "step_delay",
    "synapse_layer",
]
