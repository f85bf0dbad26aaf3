"""One way to run a network anywhere."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lava_bsnn.errors import ExportError, OptionError, check_option

from ..hdf5 import is_layered, network_of, write
from ..network import FixedPointNetwork
from ..simulator import Simulation, check_data, joined, shape_of_samples, simulate
from ..targets import target

_YEAR = 365 * 86_400
BACKENDS = ("simulator", "lava", "lava-fused", "stock", "loihi2")
_ONE_BY_ONE = ("lava", "stock")
"""Backends that may run each sample by itself; the chip's runs are too dear for that."""


def run(
    net: FixedPointNetwork | str | os.PathLike[str],
    data: np.ndarray,
    backend: str = "simulator",
    *,
    trace: bool = False,
    timeout: float | None = None,
    probe: str | None = None,
    **options: Any,
) -> Simulation:
    """Run all samples of ``data`` on a backend; results do not depend on which.

    Except in the simulator, samples stream back to back with resets between them, and pipeline delays are
    removed from the result. Each sample of a ``persistent`` network is a stream of its own. Where unmodified
    synapses would keep messages of one sample for the next, each sample is a run of its own. No child process
    or shared memory outlives the call.

    Args:
        net: the network, or the path of a file (:func:`netx_export.read`); SLAYER's files, too. Backend
            ``"stock"`` runs the file itself.
        data: integers ``[N, C, H, W, T]`` or ``[N, C, T]`` (see :func:`simulate`).
        backend: ``"simulator"`` (batched, ours), ``"lava"`` (a graph of Lava processes per layer),
            ``"lava-fused"`` (one Lava process), ``"stock"`` (unmodified ``lava.lib.dl.netx.hdf5.Network``),
            all three on ``Loihi2SimCfg(select_tag="fixed_pt")`` or a subclass of it, or ``"loihi2"``.
        trace: keep the spikes of every layer, and the potentials where the backend has them.
        timeout: seconds that a run on Lava may take, other runs before it included; None for any. Outside
            the main thread, Lava's compilation is not interrupted. Not for the simulator.
        probe: name of a layer of which a traced run on stock processes also keeps the membrane potential,
            as it is after a reset.
        options: of backend ``"loihi2"``; see :func:`netx_export.backends.loihi2.run_loihi2`.

    Raises:
        ShapeError: ``data`` does not fit.
        ExportError: the backend cannot compute this network.
        LavaMissingError: lava-nc, lava-dl or lava-loihi is missing.
        NetXFormatError: the file cannot be read.
        OptionError: ``net`` or an option is not what is allowed.
        LavaRunError: a run on Lava failed, or the time is over.
    """
    given, net = net, network_of("run", net, otherwise=shape_of_samples(data))
    file = given if not isinstance(given, FixedPointNetwork) and is_layered(given) else None
    check_option("run", "backend", backend, BACKENDS)
    check_timeout("run", timeout)
    if options and backend != "loihi2":
        check_option("run", "option", next(iter(options)), ("trace", "timeout", "probe"))
    data = check_data(net, data)
    check_backend(net, backend, len(data))
    start = time.perf_counter()
    parts = data[:, None] if _mix(net, backend, len(data)) else [data]
    results: list[Simulation] = []
    for part in parts:
        left = timeout if timeout is None or not results else timeout - (time.perf_counter() - start)
        left = None if left is None else max(1e-3, left)
        results.append(_run(net, part, backend, {"trace": trace, "timeout": left}, probe, options, file))
    result = results[0] if len(results) == 1 else joined(results)
    return replace(result, seconds=time.perf_counter() - start)


def _run(
    net: FixedPointNetwork,
    data: np.ndarray,
    backend: str,
    common: dict[str, Any],
    probe: str | None,
    options: dict[str, Any],
    file: str | os.PathLike[str] | None,
) -> Simulation:
    if backend == "simulator":
        return simulate(net, data, trace=common["trace"])
    from .runtime import forgotten

    with forgotten():
        if backend == "loihi2":
            from .loihi2 import run_loihi2

            return run_loihi2(net, data, **common, **options)
        if backend == "stock":
            from .stock import run_file

            if file is not None:
                return run_file(net, file, data, probe=probe, **common)
            with tempfile.TemporaryDirectory(prefix="lava-bsnn-") as folder:
                path = Path(folder) / "network.net"
                write(net, path)
                return run_file(net, path, data, probe=probe, **common)
        from .processes import run_processes

        return run_processes(net, data, fused=backend == "lava-fused", probe=probe, **common)


def check_backend(net: FixedPointNetwork, backend: str, num_samples: int) -> None:
    """Refuse a network that a backend cannot run.

    Raises:
        ExportError: every reason is listed.
    """
    problems = backend_problems(net, backend, num_samples)
    if problems:
        raise ExportError(*problems)


def backend_problems(net: FixedPointNetwork, backend: str, num_samples: int) -> list[str]:
    """Why a backend cannot run so many samples."""
    alone = num_samples == 1 or backend in _ONE_BY_ONE
    return list(target(net.profile).backend_problems(net, backend, alone=alone))


def _mix(net: FixedPointNetwork, backend: str, num_samples: int) -> bool:
    """Whether samples that follow each other would mix, so that each is a run of its own."""
    if num_samples == 1 or backend not in _ONE_BY_ONE:
        return False
    return any(target(net.profile).backend_problems(net, backend, alone=False))


def check_timeout(where: str, timeout: float | None) -> None:
    """Refuse a time limit that is none.

    Raises:
        OptionError: not a positive number of seconds below a year.
    """
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 < timeout < _YEAR):
        raise OptionError(
            f"{where}: timeout={timeout!r} is not allowed; use seconds > 0, or None for no limit"
        )
