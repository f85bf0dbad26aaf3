"""Streams samples through a network of Lava processes and aligns what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np

from lava_bsnn.compat import import_lava

from ..network import FixedPointNetwork
from ..simulator import Simulation, Trace, simulation_of
from ..targets import target
from .runtime import run_steps


def run_options(net: FixedPointNetwork, num_steps: int) -> dict[str, Any]:
    """Resets for samples back to back, the first one sent at time 1."""
    return {"reset_interval": net.period(num_steps), "reset_offset": net.depth(net.layers[0].name)}


def run_on_lava(
    net: FixedPointNetwork,
    process: Any,
    x: np.ndarray,
    run_cfg: Any,
    *,
    trace: bool,
    timeout: float | None,
    probe: str | None = None,
) -> Simulation:
    """Stream the samples of ``x`` through a process with ``inp``, ``out`` and ``layers``.

    Args:
        net: what the process computes.
        process: made with :func:`run_options`; has not run.
        x: integers ``[N, *shape, T]``.
        run_cfg: Lava's run configuration.
        trace: keep the spikes of every layer, and the potentials where they can be had.
        timeout: seconds.
        probe: name of a layer of stock processes of which to keep the potential, too.

    Raises:
        LavaRunError: the run failed, or the time is over.
    """
    from ..process.stream import BiasPlayer, Player, Probe, Recorder
    from .fused import FusedSimCfg

    pause = net.period(x.shape[-1]) - x.shape[-1]
    data = time_first(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, pause)]), flat=len(process.inp.shape) == 1)
    total = len(data) + max(net.depth(layer.name) for layer in net.layers)
    fused = isinstance(run_cfg, FusedSimCfg)
    ours = hasattr(process, "potential")
    if net.input.enters_as_bias and not fused and not hasattr(process.layers[0].neuron, "bias_in"):
        BiasPlayer(data, process.layers[0].neuron.bias_mant)
    else:
        Player(data).s_out.connect(process.inp)
    rows = Recorder(process.trace, total) if fused and trace else None
    spikes: dict[str, Any] = {}
    potentials: dict[str, Any] = {}
    last, reads_out = net.output.name, net.reads_out
    if fused:
        spikes[last] = Recorder(process.out, total, np.int16)
        if reads_out and not trace:
            potentials[last] = Probe(process.potential, total)
    else:
        for layer, block in zip(net.layers, process.layers, strict=True):
            kept = trace or (layer.name == last and not reads_out)
            if kept or layer.name == last:
                spikes[layer.name] = Recorder(block.out, total, np.int16)
            if ours and (trace or layer.name == last) and hasattr(block.neuron, "v_out"):
                potentials[layer.name] = Recorder(block.neuron.v_out, total)
            elif layer.name == probe:
                potentials[layer.name] = Probe(block.neuron.v, total)
        if reads_out and last not in potentials:
            potentials[last] = Probe(process.layers[-1].neuron.v, total)
    run_steps(process, total, run_cfg, timeout=timeout)
    if rows is not None:
        return _aligned(net, *_of_rows(net, rows.record), x.shape, trace)
    sent, before = (
        {name: _channels_first(kept.record) for name, kept in part.items()} for part in (spikes, potentials)
    )
    return _aligned(net, sent, before, x.shape, trace)


def time_first(x: np.ndarray, *, flat: bool) -> np.ndarray:
    """``[N, *shape, T]`` to ``[N * T, *shape reversed]``, or flat in C, H, W order."""
    steps = np.moveaxis(x, -1, 1).astype(np.int32)
    steps = steps.reshape(-1, *steps.shape[2:])
    if flat:
        return steps.reshape(len(steps), -1)
    return np.ascontiguousarray(steps.transpose(0, *range(steps.ndim - 1, 0, -1)))


def _channels_first(record: np.ndarray) -> np.ndarray:
    """``[steps, W, H, C]`` to ``[steps, C, H, W]``."""
    return record.transpose(0, *range(record.ndim - 1, 0, -1))


def _of_rows(net: FixedPointNetwork, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Messages and potentials by layer, ``[steps, *shape]``, from the trace of a fused model."""
    parts: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    start = 0
    for layer in net.layers:
        end = start + int(np.prod(layer.shape))
        for part, row in zip(parts, (rows[:, 0], rows[:, 1]), strict=True):
            part[layer.name] = row[:, start:end].reshape(-1, *layer.shape)
        start = end
    return parts


def _aligned(
    net: FixedPointNetwork,
    spikes: dict[str, np.ndarray],
    potentials: dict[str, np.ndarray],
    shape: tuple[int, ...],
    trace: bool,
) -> Simulation:
    """Cut each layer's delay off, and the stream into samples ``[N, *shape, T]``."""
    num_samples, period = shape[0], net.period(shape[-1])

    def cut(name: str, record: np.ndarray) -> np.ndarray:
        depth = net.depth(name)
        samples = record[depth : depth + num_samples * period]
        samples = samples.reshape(num_samples, period, *record.shape[1:])
        return np.moveaxis(samples[:, : net.steps(name, shape[-1])], 1, -1)

    layers = {}
    for layer in net.layers:
        if layer.name in spikes:
            counts = layer.neuron.max_message > 1
            sent = cut(layer.name, spikes[layer.name]).astype(np.int16 if counts else bool)
            v = cut(layer.name, potentials[layer.name]) if layer.name in potentials else None
            layers[layer.name] = Trace(spikes=sent, potential=v)
    return simulation_of(net, layers, trace)


def aligned_streams(net: FixedPointNetwork, record: np.ndarray, shape: tuple[int, ...]) -> Simulation:
    """Result of a run of which only the output is known: ``[steps, W, H, C]``, potentials of a readout."""
    last = net.output.name
    sent = _channels_first(record)
    potentials = {last: sent} if net.reads_out else {}
    return _aligned(net, {last: sent}, potentials, shape, False)


def run_processes(
    net: FixedPointNetwork,
    x: np.ndarray,
    *,
    fused: bool,
    trace: bool,
    timeout: float | None,
    probe: str | None = None,
) -> Simulation:
    """Run :class:`netx_export.process.Network`, fused or as a graph per layer.

    Raises:
        LavaRunError: the run failed, or the time is over.
    """
    from ..process import Network
    from .fused import FusedSimCfg

    chosen, clears = target(net.profile), True if fused else None
    if chosen.processes == "lava-dl" and any(chosen.backend_problems(net, "stock", alone=len(x) == 1)):
        clears = True
    process = Network(net, **run_options(net, x.shape[-1]), clear_delays=clears)
    sim_cfg = import_lava("lava.magma.core.run_configs").Loihi2SimCfg
    run_cfg = FusedSimCfg() if fused else sim_cfg(select_tag="fixed_pt")
    return run_on_lava(net, process, x, run_cfg, trace=trace, timeout=timeout, probe=probe)
