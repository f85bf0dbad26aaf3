"""One way to run a network anywhere: the batched simulator, or unmodified lava-dl."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lava_bsnn.errors import check_option

from .hdf5 import write
from .network import FixedPointNetwork
from .simulator import Simulation, check_data, simulate

BACKENDS = ("simulator", "stock")


def run(
    net: FixedPointNetwork, data: np.ndarray, backend: str = "simulator", *, trace: bool = False
) -> Simulation:
    """Run all samples of ``data`` on a backend; results do not depend on which.

    Args:
        net: the network.
        data: integers ``[N, C, H, W, T]`` or ``[N, C, T]`` (see :func:`simulate`).
        backend: ``"simulator"`` (batched, ours), or ``"stock"``: unmodified
            ``lava.lib.dl.netx.hdf5.Network`` on ``Loihi2SimCfg(select_tag="fixed_pt")``,
            samples back to back with resets between them.
        trace: keep the spikes of every layer.

    Raises:
        ShapeError: ``data`` does not fit.
        LavaMissingError: backend ``"stock"`` without lava-dl.
    """
    check_option("run", "backend", backend, BACKENDS)
    data = check_data(net, data)
    start = time.perf_counter()
    if backend == "simulator":
        result = simulate(net, data, trace=trace)
    else:
        from .stock import run_stock

        with tempfile.TemporaryDirectory(prefix="lava-bsnn-") as folder:
            path = Path(folder) / "network.net"
            write(net, path)
            result = run_stock(path, data, trace=trace)
    return replace(result, seconds=time.perf_counter() - start)
