"""Runs stock networks on Loihi 2 through lava-loihi, which Intel gives to members of INRC.

Nothing here has run on hardware: lava-loihi is not public. The tests put stand-ins in the place of
its modules and check how the processes are connected.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, LavaMissingError, ShapeError, check_option

from .lava_run import aligned_streams, check_stock, run_options
from .network import FixedPointNetwork, Readout
from .simulator import Simulation

LEAVES = ("LIF", "LIFReset", "Dense", "Sparse", "DelayDense", "DelaySparse", "Conv")
"""Processes of lava-nc in networks of profile ``"stock"``; lava-loihi places them on neurocores."""
_MISSING = (
    "backend 'loihi2' needs the package lava-loihi, which is not installed: Intel gives it to members of the "
    "Intel Neuromorphic Research Community (INRC) only. Join at "
    "https://intel-ncl.atlassian.net/wiki/spaces/INRC and install its archive beside lava-nc 0.10.0; "
    "everywhere else, use backend 'lava'"
)


def run_loihi2(
    net: FixedPointNetwork,
    x: np.ndarray,
    *,
    trace: bool = False,
    timeout: float | None = None,
    host: str | None = None,
    address: str | None = None,
    partition: str | None = None,
    board: str | None = None,
) -> Simulation:
    """Stream the samples of ``x`` through the network on a Loihi 2 chip.

    Args:
        net: profile ``"stock"``.
        x: integers ``[N, *shape, T]``; T must be a power of two, as the chip's reset interval is.
        trace: not on the chip, where only the output is read; must be False.
        timeout: not on the chip; must be None.
        host: ``"slurm"`` or ``"ethernet"`` (``loihi.use_slurm_host``, ``use_ethernet_host``); None for what
            the environment says.
        address: of an ethernet host.
        partition, board: of a slurm host.

    Raises:
        LavaMissingError: lava-loihi is not installed.
        ExportError, ShapeError, OptionError: the chip cannot run this.
    """
    loihi = import_lava("lava.utils.loihi")
    if not loihi.is_installed():
        raise LavaMissingError(_MISSING)
    check_option("loihi2", "host", host, (None, "slurm", "ethernet"))
    check_option("loihi2", "trace", trace, (False,))
    check_option("loihi2", "timeout", timeout, (None,))
    check_loihi2(net, x.shape[-1])
    if host == "slurm":
        loihi.use_slurm_host(partition=partition, board=board)
    elif host == "ethernet":
        loihi.use_ethernet_host(host_address=address)
    return _run(net, x)


def check_loihi2(net: FixedPointNetwork, num_steps: int) -> None:
    """Refuse what the chip cannot run.

    Raises:
        ExportError: not a stock network, or a signed input.
        ShapeError: the number of steps is not a power of two.
    """
    check_stock(net)
    if net.input.signed:
        raise ExportError(
            "loihi2: inputs that enter as biases cannot be streamed to the chip; train without them"
        )
    if num_steps & (num_steps - 1):
        below = 1 << (num_steps.bit_length() - 1)
        raise ShapeError(
            f"loihi2: {num_steps} steps per sample are not possible, resets come at powers of two; "
            f"use {below} or {2 * below}"
        )


def foreign_leaves(processes: list[Any]) -> list[str]:
    """Names of the classes that lava-loihi has no model for, given all processes of a network."""
    found = set()
    for process in processes:
        kind = type(process)
        block = kind.__module__.startswith("lava.lib.dl.netx.")
        stock = kind.__module__.startswith("lava.proc.") and kind.__name__ in LEAVES
        if not block and not stock:
            found.add(f"{kind.__module__}.{kind.__name__}")
    return sorted(found)


def _run(net: FixedPointNetwork, x: np.ndarray) -> Simulation:
    from .process import Network

    num_samples, num_steps = x.shape[0], x.shape[-1]
    total = num_samples * num_steps + net.latency
    network = Network(net, **run_options(net, num_steps))
    layers = network.layers
    foreign = foreign_leaves(network.inner())
    if foreign:
        raise ExportError(f"loihi2: {', '.join(foreign)} cannot be placed on the chip; use profile 'stock'")
    ports = import_lava("lava.proc.embedded_io.spike")
    ends = import_lava("lava.proc.io")
    data = np.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)
    data = data.reshape(-1, data.shape[-1]) if len(network.inp.shape) == 1 else data.transpose(2, 1, 0, 3)
    source = ends.source.RingBuffer(data=data)
    adapter = ports.PyToNxAdapter if len(network.inp.shape) == 1 else ports.PyToN3ConvAdapter
    graded = {"num_message_bits": net.input.bits} if _takes(adapter, "num_message_bits") else {}
    to_chip = adapter(shape=network.inp.shape, **graded)
    source.s_out.connect(to_chip.inp)
    to_chip.out.connect(network.inp)
    reads_out = isinstance(net.output.neuron, Readout)
    if reads_out:
        state = import_lava("lava.proc.embedded_io.state")
        reader = state.Read(buffer=total, interval=1, offset=0)
        reader.connect_var(layers[-1].neuron.v)
        sink = reader
    else:
        from_chip = ports.NxToPyAdapter(shape=network.out.shape)
        sink = ends.sink.RingBuffer(shape=network.out.shape, buffer=total)
        network.out.connect(from_chip.inp)
        from_chip.out.connect(sink.a_in)
    conditions = import_lava("lava.magma.core.run_conditions")
    run_cfg = import_lava("lava.magma.core.run_configs").Loihi2HwCfg()
    try:
        network.run(condition=conditions.RunSteps(num_steps=total), run_cfg=run_cfg)
        record = np.moveaxis(np.asarray(sink.data.get()).astype(np.int64), -1, 0)
    finally:
        network.stop()
    return aligned_streams(net, record, x.shape)


def _takes(cls: Any, name: str) -> bool:
    return name in inspect.signature(cls.__init__).parameters  # Lava's metaclass hides those of the class
