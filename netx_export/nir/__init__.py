"""Exchange with NIR, the neuromorphic intermediate representation (Pedersen et al., 2024).

NIR's neurons follow differential equations. By Euler steps of ``dt`` seconds these are Loihi's equations
without its rounding. With decays du, dv in 1/4096 and values in weight steps:

    LIF       tau = 4096 dt / dv, r = tau / dt, input W x + b                    du = 4096
    IF        r = 1 / dt, input W x + b                                          du = 4096, dv = 0
    CubaLIF   tau_syn = 4096 dt / du, w_in = tau_syn / dt, tau_mem and r as for LIF,
              v_leak = 4096 b / dv: the bias stands behind the current's decay
    I, LI     r = 1 / dt, or as LIF: a readout, without or with a leak
    Delay     delay = steps dt

Libraries mean other things by the same nodes; :mod:`netx_export.nir.semantics` says which.

NIR has no pipeline delays: step t of all nodes belongs to input step t; only what neurons send to
themselves arrives one step later. Several edges into a node add up. A round trip of a network in profile
``"stock"`` gives the same network. What NIR has no place for (the time step, width and sign of the
messages, the encoding, names of the classes, whether samples are streams) stands in the metadata.
"""

from __future__ import annotations

import math

import nir

from lava_bsnn.errors import ExportError, OptionError, check_option

from ..network import FixedPointNetwork
from ..network.graph import check_network
from .entry import described
from .reader import Reader
from .semantics import DIALECTS, SEMANTICS, WRITTEN_FOR, Dialect, Semantics
from .writer import Writer


def to_nir(net: FixedPointNetwork, *, dt: float | None = None, semantics: str = "nir") -> nir.NIRGraph:
    """Express a network as a NIR graph; ``nir.write(path, graph)`` stores it.

    Weights, biases and thresholds are in weight steps. Recurrence is an edge back to the neurons.

    Args:
        net: of LIF neurons, and maybe a readout.
        dt: seconds per time step; by default 0.001 for ``"nir"`` and ``"norse"``, 0.0001 for others.
        semantics: who reads the graph: ``"nir"`` (NIR's equations), ``"snntorch"``, ``"norse"`` or
            ``"spikingjelly"``: written so that its reader takes it and computes the same spikes.

    Raises:
        ExportError: NIR, or the reader, has no node for something; every such layer is listed.
        OptionError: ``net`` is no network, or the semantics is unknown.
    """
    check_network("to_nir", net)
    check_option("to_nir", "semantics", semantics, DIALECTS)
    dialect = DIALECTS[semantics]
    seconds = dialect.dt if dt is None else dt
    if not 0 < seconds < math.inf:
        raise ExportError(f"to_nir: dt={seconds} is not allowed; use a time step in seconds above 0")
    if dialect.fixed_dt and seconds != dialect.dt:
        raise ExportError(
            f"to_nir: dt={seconds} is not what the reader of semantics={semantics!r} assumes; leave dt out"
        )
    metadata = {
        "dt": seconds,
        "input_bits": net.input.bits,
        "profile": net.profile,
        WRITTEN_FOR: semantics,
        **described(net),
    }
    return Writer(net, dialect, seconds).graph(metadata)


def from_nir(
    graph: nir.NIRGraph,
    *,
    input_bits: int | None = None,
    dt: float | None = None,
    semantics: str | Semantics | None = None,
) -> FixedPointNetwork:
    """Make a network of a NIR graph.

    A graph whose weights, biases and thresholds are integers within Loihi's limits becomes a
    network in profile ``"stock"``, if it is a chain. Any other becomes one in profile
    ``"extended"``: thresholds and biases are rounded to membrane steps, of which there are as many
    per unit as 24 bits allow, weights to 12 bits with a scale per channel, or to fewer where all of a
    channel are multiples of one step; time constants become decays in 1/4096. Poolings merge into the
    synapse behind them, subgraphs into the graph. Potentials are counted from ``v_reset``, where they start.

    Args:
        graph: with one Input and one Output.
        input_bits: width of graded input without sign; by default the graph's metadata, or 0 for spikes.
        dt: seconds per time step; by default the graph's metadata, or what the library assumes. Only time
            constants, delays, and IF under NIR's equations need one.
        semantics: who wrote the graph, a name in :data:`~netx_export.nir.semantics.SEMANTICS` or an own
            :class:`~netx_export.nir.semantics.Semantics`; by default NIR's equations, with a warning.
            Graphs of :func:`to_nir` say it themselves.

    Raises:
        ExportError: a node is not supported or does not fit, or the time step is missing; it is named.
        OptionError: the semantics is unknown, or the graph is none.
    """
    if not isinstance(graph, nir.NIRGraph):
        raise OptionError(
            f"from_nir: {type(graph).__name__} is no NIRGraph; use nir.read(path), or netx_export.read(path, "
            "semantics=...) for a file"
        )
    return Reader(graph, input_bits, dt, semantics).network()


__all__ = ["DIALECTS", "SEMANTICS", "Dialect", "Semantics", "from_nir", "to_nir"]
