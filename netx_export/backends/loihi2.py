"""Runs networks of stock processes on Loihi 2 through lava-loihi, which Intel gives to members of INRC.

Nothing here has run on hardware: lava-loihi is not public. The tests put stand-ins in the place of
its modules and check how the processes are connected.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, LavaMissingError, ShapeError, check_option
from lava_bsnn.fixed_point import STATE_BITS

from ..network import FixedPointNetwork
from ..network.rails import rails_of, two_rails
from ..simulator import Simulation
from . import check_backend
from .processes import aligned_streams, run_options, time_first

LEAVES = ("LIF", "LIFReset", "Dense", "Sparse", "DelayDense", "DelaySparse", "Conv")
"""Processes of lava-nc in networks of profiles ``"stock"`` and ``"loihi"``, for neurocores."""
_READ_DELAY = 1
"""Steps after which a state that is read on the chip reaches the host."""
_MISSING = (
    "backend 'loihi2' needs lava-loihi, which is not installed: Intel gives it to members of its "
    "Neuromorphic Research Community (INRC) only; elsewhere use backend 'lava'"
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

    Signed messages enter on two rails (:func:`netx_export.two_rails`), since it is not known whether the
    chip's adapters carry a sign.

    Args:
        net: profile ``"stock"`` or ``"loihi"``.
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
    check_loihi2(net, x.shape[-1], len(x))
    if net.input.signed:
        net, x = _on_rails(net, x)
    if host == "slurm":
        loihi.use_slurm_host(partition=partition, board=board)
    elif host == "ethernet":
        loihi.use_ethernet_host(host_address=address)
    return _run(net, x)


def _on_rails(net: FixedPointNetwork, x: np.ndarray) -> tuple[FixedPointNetwork, np.ndarray]:
    low = -net.input.max_value
    if x.min() < low:
        raise ShapeError(
            f"loihi2: messages of {x.min()} do not fit two rails of {net.input.bits - 1} bits; use "
            f"{low}..{-low}"
        )
    return two_rails(net), rails_of(x)


def check_loihi2(net: FixedPointNetwork, num_steps: int, num_samples: int = 1) -> None:
    """Refuse what the chip cannot run.

    Raises:
        ExportError: not a stock network, or an input that enters as bias.
        ShapeError: the number of steps is not a power of two.
    """
    check_backend(net, "loihi2", num_samples)
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
    from ..process import Network

    num_steps = x.shape[-1]
    total = x.shape[0] * num_steps + net.latency + (_READ_DELAY if net.reads_out else 0)
    network = Network(net, **run_options(net, num_steps))
    layers = network.layers
    foreign = foreign_leaves(network.inner())
    if foreign:
        raise ExportError(
            f"loihi2: {', '.join(foreign)} cannot be placed on the chip; use profile 'stock' or 'loihi'"
        )
    spike = import_lava("lava.proc.embedded_io.spike")
    io = import_lava("lava.proc.io")
    flat = len(network.inp.shape) == 1
    source = io.source.RingBuffer(data=np.moveaxis(time_first(x, flat=flat), 0, -1))
    adapter = spike.PyToNxAdapter if flat else spike.PyToN3ConvAdapter
    graded = {"num_message_bits": net.input.bits} if net.input.bits else {}
    to_chip = adapter(shape=network.inp.shape, **graded)
    source.s_out.connect(to_chip.inp)
    to_chip.out.connect(network.inp)
    if net.reads_out:
        state = import_lava("lava.proc.embedded_io.state")
        from_chip = state.Read(shape=network.out.shape, interval=1, offset=0)
        from_chip.connect_var(layers[-1].neuron.v)
    else:
        from_chip = spike.NxToPyAdapter(shape=network.out.shape)
        network.out.connect(from_chip.inp)
    sink = io.sink.RingBuffer(shape=network.out.shape, buffer=total)
    from_chip.out.connect(sink.a_in)
    run_steps = import_lava("lava.magma.core.run_conditions").RunSteps(num_steps=total)
    models = {
        io.source.RingBuffer: io.source.PySendModelFixed,
        io.sink.RingBuffer: io.sink.PyReceiveModelFixed,
    }
    run_cfg = import_lava("lava.magma.core.run_configs").Loihi2HwCfg(exception_proc_model_map=models)
    try:
        network.run(condition=run_steps, run_cfg=run_cfg)
        record = np.moveaxis(np.asarray(sink.data.get()).astype(np.int64), -1, 0)
    finally:
        network.stop()
    if net.reads_out:
        record = _signed(record[_READ_DELAY:])
    return aligned_streams(net, record, x.shape)


def _signed(words: np.ndarray) -> np.ndarray:
    """The lower 24 bits of each word, in two's complement, which is how the chip hands its states out."""
    half: int = 1 << (STATE_BITS - 1)
    return (words + half) % (2 * half) - half
