from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from lava_bsnn.memory import keep_freed_memory
kept = keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(12 << 20)  # 96 MB
before = faults()
for _ in range(10):
    np.ones(12 << 20)
print(kept, faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.parametrize(("setting", "kept"), [("1", "True"), ("0", "False")])
def test_freed_memory_is_kept_unless_told_not_to(setting, kept, monkeypatch):
    monkeypatch.setenv("LAVA_BSNN_MALLOC", setting)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    told, faults = done.stdout.split()
    assert told == kept
    assert (int(faults) < 100) == (kept == "True"), faults  # 96 MB are 24,576 pages, or 48 huge ones


def test_without_glibc_nothing_is_set(monkeypatch):
    from lava_bsnn import memory

    class Other:
        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Other())
    assert not memory.keep_freed_memory()
