"""Lava processes of a :class:`netx_export.network.FixedPointNetwork`.

Lava's compiler looks for process models in every module of this folder and runs each of them
again, without its package; hence absolute imports, and nothing that happens at import.
"""

from __future__ import annotations

from lava_bsnn.compat import import_lava

import_lava("lava.magma.core.process.process")  # names the remedy where lava is missing

from netx_export.process.network import Network  # noqa: E402

__all__ = ["Network"]
