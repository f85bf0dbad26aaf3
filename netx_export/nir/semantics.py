"""What libraries mean by the same NIR nodes: a row for each that writes graphs, one for each that reads them.

Read from their sources: snnTorch 1.0.0 (``export_nir``, ``import_nir``, ``Leaky``, ``Synaptic``), Norse
1.1.0 (``torch/utils/export_nir``, ``import_nir``), SpikingJelly 2.0.0
(``activation_based/nir_exchange``), Sinabs 3.1.3 (``nir``). The same tables stand in ``docs/nir.md``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np

from lava_bsnn.errors import ExportError, LavaBsnnWarning, check_option

WRITTEN_FOR = "lava_bsnn_semantics"
"""Key of our own in a graph's metadata: for whom ``to_nir`` wrote it."""
_OWN = "input_bits"
"""A key that ``to_nir`` has always written."""
RESETS = ("zero", "subtract", "subtract later")


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """What a library means by the neurons of a graph that it wrote.

    Attributes:
        name: value of ``semantics``.
        dt: seconds per step that it assumes without saying so; None if it assumes nothing.
        per_step: IF and I add ``r i`` in a step; else ``dt r i``.
        at_threshold: spikes where ``v >= v_threshold``; else strictly above.
        reset: ``"zero"``: to ``v_reset``; ``"subtract"``: the threshold, in the step of the spike;
            ``"subtract later"``: the threshold, in the next step, behind the leak.
        jumps: CubaLIF's current jumps by ``w_in S``; else by ``dt / tau_syn w_in S``.
        exponential: a step keeps ``exp(-dt / tau)``; else ``1 - dt / tau``.
        counts: several spikes in a step, one for each multiple of the threshold.
    """

    name: str
    dt: float | None = None
    per_step: bool = False
    at_threshold: bool = False
    reset: str = "zero"
    jumps: bool = False
    exponential: bool = False
    counts: bool = False

    def __post_init__(self) -> None:
        check_option("Semantics", "reset", self.reset, RESETS)

    def share(self, dt: float, tau: np.ndarray) -> np.ndarray:
        """What a step forgets, 0..1, or more if tau is shorter than the step."""
        share: np.ndarray = -np.expm1(-dt / tau) if self.exponential else dt / tau
        return share


SEMANTICS = {
    row.name: row
    for row in (
        Semantics(name="nir"),
        Semantics(name="snntorch", dt=1e-4, per_step=True, reset="subtract later"),
        Semantics(name="norse", dt=1e-3, per_step=True, jumps=True),
        Semantics(name="spikingjelly", dt=1e-4, at_threshold=True),
        Semantics(
            name="sinabs",
            dt=1.0,
            per_step=True,
            at_threshold=True,
            reset="subtract",
            exponential=True,
            counts=True,
        ),
    )
}
"""By name; ``"nir"`` is NIR's own equations in Euler steps."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What a library's reader takes.

    Attributes:
        name: value of ``semantics``.
        dt: seconds per step, by default.
        fixed_dt: no other is possible.
        per_step: IF must have ``r = 1`` and adds ``r i`` in a step.
        has_if: IF is what it says; else it is written as LIF whose time constant has no end.
        r_is_one: LIF must have ``r = 1``, so that the weights hold ``tau / dt``.
        at_threshold: spikes at the threshold, so that half a membrane step is added to it.
        one_threshold: of all neurons of a layer.
        one_decay: likewise.
        plain: knows no Scale, no Delay, no I and LI, and no ``v_leak``.
        breaks_loops: recurrent weights need a second linear node behind them.
        groups: convolutions may have some.
        forgets: membranes may keep nothing (``tau = dt``).
    """

    name: str
    dt: float
    fixed_dt: bool = False
    per_step: bool = False
    has_if: bool = True
    r_is_one: bool = False
    at_threshold: bool = False
    one_threshold: bool = False
    one_decay: bool = False
    plain: bool = True
    breaks_loops: bool = False
    groups: bool = True
    forgets: bool = True


DIALECTS = {
    row.name: row
    for row in (
        Dialect(name="nir", dt=1e-3, plain=False),
        Dialect(name="snntorch", dt=1e-4, fixed_dt=True, has_if=False, one_threshold=True, breaks_loops=True),
        Dialect(name="norse", dt=1e-3, per_step=True, r_is_one=True),
        Dialect(
            name="spikingjelly",
            dt=1e-4,
            at_threshold=True,
            one_threshold=True,
            one_decay=True,
            groups=False,
            forgets=False,
        ),
    )
}
"""By name; Sinabs has none, as its neurons reset by subtraction and those of Loihi do not."""


def is_own(metadata: dict[str, Any]) -> bool:
    """Whether ``to_nir`` wrote the graph."""
    return WRITTEN_FOR in metadata or _OWN in metadata


def chosen(
    semantics: str | Semantics | None, metadata: dict[str, Any], nodes: Iterable[nir.NIRNode]
) -> Semantics:
    """What the nodes of a graph mean; a guess comes with a warning.

    Raises:
        OptionError: the name is unknown.
    """
    if is_own(metadata):
        written = metadata.get(WRITTEN_FOR, "nir")
        name = written.decode() if isinstance(written, bytes) else str(written)
        return replace(SEMANTICS["nir"], per_step=name in DIALECTS and DIALECTS[name].per_step)
    if isinstance(semantics, Semantics):
        return semantics
    if semantics is not None:
        check_option("from_nir", "semantics", semantics, SEMANTICS)
        return SEMANTICS[semantics]
    neurons = list(nodes)
    integrators = [node.r for node in neurons if isinstance(node, (nir.IF, nir.I))]
    ones = bool(integrators) and all(np.all(np.asarray(r) == 1) for r in integrators)
    if any(isinstance(node, (nir.IF, nir.I, nir.LIF, nir.CubaLIF)) for node in neurons):
        adds = ", IF adds its input once per step" if ones else ""
        others = ", ".join(repr(name) for name in SEMANTICS if name != "nir")
        warnings.warn(
            f"from_nir: nothing tells who wrote the graph; taken as NIR's equations with hard reset{adds}; "
            f"if it is of {others}, choose it with semantics=, else semantics='nir'",
            LavaBsnnWarning,
            stacklevel=4,
        )
    return replace(SEMANTICS["nir"], per_step=ones)


def time_step(dt: float | None, metadata: dict[str, Any], meaning: Semantics) -> float | None:
    """Seconds per step: the argument, else the metadata, else what the writer assumes.

    Raises:
        ExportError: it is not above 0.
    """
    found = dt if dt is not None else metadata.get("dt", meaning.dt)
    if found is None:
        return None
    seconds = float(found)
    if not 0 < seconds < math.inf:
        raise ExportError(f"dt={seconds} is not allowed; use a time step in seconds above 0")
    return seconds
