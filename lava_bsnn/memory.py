"""Freed memory that is kept: fresh pages cost more time than small networks' arithmetic."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEPT, _STEP = (1 << 31) - 1, 64 << 20
OFF = "LAVA_BSNN_MALLOC"
"""Environment variable; ``0`` leaves the allocator as it is."""


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to reuse what is freed, large blocks too, instead of returning it to the system.

    By default each large tensor is mapped anew and filled with zeros, page by page. The setting is the
    process's; training sets it. Peak memory may rise, as freed blocks of other sizes are kept.

    Returns:
        Whether it is set: not with another allocator or system, nor with ``LAVA_BSNN_MALLOC=0``.
    """
    if os.environ.get(OFF) == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, _STEP))
    return all([mallopt(*setting) == 1 for setting in settings])
