"""Runs a NetX file on unmodified lava-dl, on the CPU, bit-accurate to Loihi's fixed point."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lava_bsnn.compat import import_lava

from .hdf5 import read
from .network import FixedPointNetwork, Readout
from .simulator import Simulation, Trace, check_data


def run_stock(path: str | os.PathLike[str], x: np.ndarray, *, trace: bool = False) -> Simulation:
    """Stream the samples of ``x`` through ``lava.lib.dl.netx.hdf5.Network(path)``.

    Samples follow each other without a gap. Each layer is reset one step after the layer
    before it (``reset_interval=T``, ``reset_offset=1``): the neurons behind the first synapse
    see step 0 at Lava time 2. Pipeline delays are removed from the result.

    Args:
        path: a stock-profile file.
        x: integers ``[N, C, H, W, T]`` or ``[N, C, T]``.
        trace: keep the spikes of every layer.
    """
    net = read(path)
    x = check_data(net, x)
    hdf5 = import_lava("lava.lib.dl.netx.hdf5")
    io = import_lava("lava.proc.io")
    network = hdf5.Network(
        net_config=os.fspath(path),
        input_message_bits=net.input.bits,
        reset_interval=x.shape[-1],
        reset_offset=1,
    )
    with _interrupting_the_parent_only():
        return _run(net, network, io, x, trace)


def _run(net: FixedPointNetwork, network: Any, io: Any, x: np.ndarray, trace: bool) -> Simulation:
    num_samples, num_steps = x.shape[0], x.shape[-1]
    total = num_samples * num_steps + len(net.layers)
    try:
        if len(network.inp.shape) == 1:  # a first dense layer reads its input in C, H, W order
            x = x.reshape(num_samples, -1, num_steps)
        source = io.source.RingBuffer(data=_to_stream(x))
        source.s_out.connect(network.inp)
        sinks = []
        for layer in network.layers:
            sink = io.sink.RingBuffer(shape=layer.out.shape, buffer=total)
            layer.out.connect(sink.a_in)
            sinks.append(sink)
        monitor = None
        if isinstance(net.output.neuron, Readout):
            monitor = import_lava("lava.proc.monitor.process").Monitor()
            monitor.probe(network.out_layer.neuron.v, total)
        network.run(
            condition=import_lava("lava.magma.core.run_conditions").RunSteps(num_steps=total),
            run_cfg=import_lava("lava.magma.core.run_configs").Loihi2SimCfg(select_tag="fixed_pt"),
        )
        streams = [sink.data.get() for sink in sinks]
        potential = None if monitor is None else _monitored(monitor)
    finally:
        network.stop()
        network.net_config.f.close()
    return _align(net, streams, potential, num_samples, num_steps, trace)


@contextmanager
def _interrupting_the_parent_only() -> Iterator[None]:
    """Let Ctrl-C raise here and pass by the processes that Lava forks, which would not end."""
    parent, before = os.getpid(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        if os.getpid() == parent:
            before(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _to_stream(x: np.ndarray) -> np.ndarray:
    """``[N, C, H, W, T]`` to ``[W, H, C, N * T]`` (``[N, C, T]`` to ``[C, N * T]``)."""
    samples_last = np.moveaxis(x, 0, -2)
    stream = samples_last.reshape(*samples_last.shape[:-2], -1)
    return stream.transpose(2, 1, 0, 3) if stream.ndim == 4 else stream


def _from_stream(
    stream: np.ndarray, depth: int, shape: tuple[int, ...], num_samples: int, num_steps: int
) -> np.ndarray:
    """Cut the delay of ``depth`` synapses off a stream and give ``[N, *shape, T]``."""
    stream = stream[..., depth : depth + num_samples * num_steps]
    if stream.ndim == 4:
        stream = stream.transpose(2, 1, 0, 3)
    return np.moveaxis(stream.reshape(*shape, num_samples, num_steps), -2, 0)


def _monitored(monitor: object) -> np.ndarray:
    """The monitored potential as ``[C, total steps]``."""
    (recordings,) = monitor.get_data().values()  # type: ignore[attr-defined]
    (values,) = recordings.values()
    return np.asarray(values).T


def _align(
    net: FixedPointNetwork,
    streams: list[np.ndarray],
    potential: np.ndarray | None,
    num_samples: int,
    num_steps: int,
    trace: bool,
) -> Simulation:
    layers = {}
    for depth, (layer, stream) in enumerate(zip(net.layers, streams, strict=True), start=1):
        spikes = _from_stream(stream, depth, layer.shape, num_samples, num_steps)
        layers[layer.name] = Trace(spikes=spikes.astype(bool), potential=None)
    readout = None
    if potential is not None:
        cut = _from_stream(potential, len(streams), net.output.shape, num_samples, num_steps)
        readout = cut.astype(np.int32)
    return Simulation(
        spikes=layers[net.output.name].spikes if readout is None else None,
        readout=readout,
        latency=len(streams),
        layers=layers if trace else {},
    )
