"""Runs a NetX file on unmodified lava-dl, on the CPU, bit-accurate to Loihi's fixed point."""

from __future__ import annotations

import os

import numpy as np

from lava_bsnn.compat import import_lava

from ..network import FixedPointNetwork
from ..simulator import Simulation
from . import run
from .processes import run_on_lava, run_options


def run_stock(
    path: str | os.PathLike[str],
    x: np.ndarray,
    *,
    trace: bool = False,
    timeout: float | None = None,
    probe: str | None = None,
) -> Simulation:
    """Stream the samples of ``x`` through ``lava.lib.dl.netx.hdf5.Network(path)``.

    Samples follow each other without a gap, except where they would mix (:func:`netx_export.run`). Each
    layer is reset one step after the layer before it (``reset_interval=T``, ``reset_offset=1``): the
    neurons behind the first synapse see step 0 at Lava time 2. Pipeline delays are removed from the result.

    Args:
        path: a file in profile ``"stock"``, or one of lava-dl or SLAYER that it can hold.
        x: integers ``[N, C, H, W, T]`` or ``[N, C, T]``.
        trace: keep the spikes of every layer.
        timeout: seconds that the run may take.
        probe: name of a layer of which to keep the membrane potential, too, as it is after a reset.

    Raises:
        ExportError: not a stock network.
        LavaRunError: the run failed, or the time is over.
    """
    return run(path, x, "stock", trace=trace, timeout=timeout, probe=probe)


def run_file(
    net: FixedPointNetwork,
    path: str | os.PathLike[str],
    x: np.ndarray,
    *,
    trace: bool,
    timeout: float | None,
    probe: str | None,
) -> Simulation:
    """Run the file of ``net``, which has been checked, as :func:`run_stock` does."""
    network = import_lava("lava.lib.dl.netx.hdf5").Network(
        net_config=os.fspath(path),
        input_message_bits=0 if net.input.enters_as_bias else net.input.bits,
        input_shape=net.input.shape[::-1],
        **run_options(net, x.shape[-1]),
    )
    run_cfg = import_lava("lava.magma.core.run_configs").Loihi2SimCfg(select_tag="fixed_pt")
    try:
        return run_on_lava(net, network, x, run_cfg, trace=trace, timeout=timeout, probe=probe)
    finally:
        network.net_config.f.close()
