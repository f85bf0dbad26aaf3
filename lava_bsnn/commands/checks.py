"""What ``lava-bsnn doctor`` looks at.

Whatever can fail to import, crash or hang runs in a Python process of its own.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .. import __version__
from ..compat import INSTALL_LAVA, LAVA
from ..errors import LavaBsnnError
from .child import CheckError, child, end_children

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

SUPPORTED = ((3, 10), (3, 13))
"""First and last version of Python."""
SHARED_MEMORY = Path("/dev/shm")
_FEW_SHARED_BYTES = 1 << 20
_AGAIN = f"or install again: {INSTALL_LAVA.replace('install', 'install --force-reinstall', 1)}"


@dataclass(frozen=True)
class Finding:
    """Outcome of a check: OK, a note (something optional is missing), or a problem (something is broken)."""

    check: str
    state: Literal["OK", "note", "problem"]
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain data."""
        return asdict(self)


def examine() -> list[Finding]:
    """Run all checks."""
    checks = (python, packages, torch, kernels, lava, lava_dl, loihi, datasets, processors, shared_memory)
    pool = ThreadPoolExecutor(max_workers=2)
    found: list[Future[list[Finding]]] = []
    try:
        for check in checks:
            found.append(pool.submit(_safely, check))
        return [finding for each in found for finding in each.result()]
    finally:  # after Ctrl-C, too
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(each.done() for each in found):  # a check may be about to start a child
            end_children()
            time.sleep(0.01)


def _safely(check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except Exception as error:  # a check must never hide the others
        remedy = "please report it, with the whole table"
        return [Finding(check.__name__, "problem", f"the check itself failed: {_line(error)}", remedy)]


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def python() -> list[Finding]:
    """Version and path of the interpreter, and of this package."""
    version = ".".join(map(str, sys.version_info[:3]))
    first, last = (".".join(map(str, version)) for version in SUPPORTED)
    interpreter = f"{platform.python_implementation()} {version}, {sys.executable}"
    good = SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]
    return [
        Finding("lava-bsnn", "OK", f"{__version__}, {Path(__file__).parents[1]}"),
        Finding("python", "OK", interpreter)
        if good
        else Finding("python", "problem", interpreter, f"use Python {first} to {last}"),
    ]


def needs() -> dict[str, SpecifierSet]:
    """Packages that this Python needs, each with the versions that do.

    Raises:
        metadata.PackageNotFoundError: lava-bsnn runs from a folder and is not installed.
    """
    from packaging.requirements import Requirement

    found = {}
    for text in metadata.requires("lava-bsnn") or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found[requirement.name] = requirement.specifier
    return found


def _range(versions: SpecifierSet) -> str:
    return ",".join(sorted(map(str, versions), reverse=True))  # as people write it: >=1.26.4,<3


def packages() -> list[Finding]:
    """Every package that lava-bsnn needs, against the versions that do."""
    try:
        wanted = needs()
    except ImportError as error:  # lava-bsnn or packaging
        remedy = f"install it: pip install {Path(__file__).parents[2]}"
        return [Finding("packages", "note", f"versions cannot be checked: {_line(error)}", remedy)]
    findings, good = [], []
    for name, versions in sorted(wanted.items()):
        remedy = f"pip install '{name}{_range(versions)}'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            findings.append(Finding(name, "problem", "not installed", remedy))
            continue
        if versions.contains(version, prereleases=True):
            good.append(f"{name} {version}")
        else:
            found = f"{version}; tested with {_range(versions)}"
            findings.append(Finding(name, "note", found, f"if something fails: {remedy}"))
    if good:
        findings.insert(0, Finding("packages", "OK", ", ".join(good)))
    return findings


def torch() -> list[Finding]:
    """Whether torch and torchvision load and compute together."""
    code = (
        "import torch, torchvision\n"
        "result = [torch.__version__, torchvision.__version__, torch.cuda.is_available()]\n"
        "assert torch.ones(2).numpy().sum() == 2, 'torch computes nonsense'\n"
    )
    try:
        version, vision, cuda = child(code)
    except CheckError as error:
        wanted = {}
        with contextlib.suppress(ImportError):
            wanted = needs()
        names = (f"'{name}{_range(wanted[name])}'" for name in ("torch", "torchvision") if name in wanted)
        remedy = f"pip install --force-reinstall {' '.join(names) or 'torch torchvision'}"
        return [Finding("torch", "problem", str(error), remedy)]
    devices = "CPU and CUDA" if cuda else "CPU only"
    return [Finding("torch", "OK", f"{version}, torchvision {vision}, {devices}")]


def kernels() -> list[Finding]:
    """Whether the simulator's kernels compile, and are kept."""
    code = (
        "import time\n"
        "import numpy as np\n"
        "from netx_export import network, simulate\n"
        "from netx_export.simulator import kernels\n"
        "synapse = network.Dense(weight=np.full((1, 1), 3))\n"
        "layer = network.Layer(\n"
        "    name='a', connections=(network.Connection(source='input', synapse=synapse),),\n"
        "    neuron=network.LIF(threshold=2, bias=np.zeros(1, int)), shape=(1,),\n"
        ")\n"
        "net = network.FixedPointNetwork(input=network.Input(shape=(1,)), layers=(layer,))\n"
        "start = time.perf_counter()\n"
        "spikes = simulate(net, np.array([[[1, 0, 1]]])).spikes\n"
        "assert spikes.ravel().tolist() == [1, 0, 1], f'wrong spikes {spikes.ravel()}'\n"
        "every = [value for value in vars(kernels).values() if hasattr(value, 'stats')]\n"
        "places = {one.stats.cache_path for one in every}\n"
        "result = [time.perf_counter() - start, sorted(map(str, places - {None}))]\n"
    )
    try:
        seconds, places = child(code)
    except CheckError as error:
        remedy = "pip install --force-reinstall numba numpy, in the versions of the line packages"
        return [Finding("kernels", "problem", str(error), remedy)]
    if not places:
        found = f"compiled in {seconds:.1f} s, but cannot be kept: every process compiles anew"
        remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
        return [Finding("kernels", "note", found, remedy)]
    return [Finding("kernels", "OK", f"ready after {seconds:.1f} s, kept in {', '.join(places)}")]


def _lava_version(name: str) -> tuple[str, list[Finding]]:
    """Version of lava-nc or lava-dl, and a finding if it is missing or another one."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return "", [Finding(name, "problem", "not installed", f"run: {INSTALL_LAVA}")]
    if version == LAVA[name]:
        return version, []
    found = f"{version}; tested with {LAVA[name]}"
    return version, [Finding(name, "note", found, f"if something fails: {INSTALL_LAVA}")]


def lava() -> list[Finding]:
    """Whether lava-nc runs a graph of processes on this Python."""
    version, findings = _lava_version("lava-nc")
    if not version:
        return findings
    code = (
        "from lava_bsnn.compat import import_lava\n"
        "LIF = import_lava('lava.proc.lif.process').LIF\n"
        "config = import_lava('lava.magma.core.run_configs').Loihi2SimCfg(select_tag='fixed_pt')\n"
        "steps = import_lava('lava.magma.core.run_conditions').RunSteps(num_steps=1)\n"
        "neuron = LIF(shape=(1,), bias_mant=3, vth=10)\n"
        "try:\n"
        "    neuron.run(condition=steps, run_cfg=config)\n"
        "    result = int(neuron.v.get()[0])\n"
        "finally:\n"
        "    neuron.stop()\n"
        "assert result == 3, f'a LIF neuron with bias 3 has potential {result}'\n"
    )
    try:
        child(code)
    except CheckError as error:
        return [*findings, Finding("lava-nc", "problem", str(error), f"see line shared memory, {_AGAIN}")]
    mended = " through lava_bsnn.compat" if sys.version_info >= (3, 11) else ""
    return [
        *findings,
        Finding("lava-nc", "OK", f"{version} runs on this Python{mended}: one neuron, one step"),
    ]


def lava_dl() -> list[Finding]:
    """Whether SLAYER and lava-dl's network reader load."""
    version, findings = _lava_version("lava-dl")
    if not version:
        return findings
    code = (
        "from lava_bsnn.compat import import_lava\n"
        "for name in ('lava.lib.dl.slayer', 'lava.lib.dl.netx.hdf5'):\n"
        "    import_lava(name)\n"
        "result = True\n"
    )
    try:
        child(code)
    except CheckError as error:
        remedy = f"mend lava-nc, torch and packages first, {_AGAIN}"
        return [*findings, Finding("lava-dl", "problem", str(error), remedy)]
    return [*findings, Finding("lava-dl", "OK", f"{version}: slayer and netx load")]


def loihi() -> list[Finding]:
    """Whether lava-loihi is there."""
    remedy = (
        "only for runs on Loihi 2: Intel gives lava-loihi to members of its Neuromorphic Research Community "
        "(INRC)"
    )
    code = (
        "from lava_bsnn.compat import import_lava\n"
        "result = bool(import_lava('lava.utils.loihi').is_installed())\n"
    )
    try:
        found = child(code)
    except CheckError:
        return [Finding("lava-loihi", "note", "cannot be looked for without lava-nc", remedy)]
    if found:
        return [Finding("lava-loihi", "OK", "installed: backend loihi2 can be tried")]
    return [Finding("lava-loihi", "note", "not installed", remedy)]


def datasets() -> list[Finding]:
    """Which data sets are here."""
    try:
        from .. import data

        states = {name: data.status(name) for name in data.DATASETS}
    except (ImportError, OSError, LavaBsnnError) as error:
        return [Finding("data sets", "problem", _line(error), "mend what the lines of packages name")]
    here = [name for name, state in states.items() if state in ("embedded", "present")]
    found = f"{len(here)} of {len(states)} here: {', '.join(here)}"
    if len(here) == len(states):
        return [Finding("data sets", "OK", found)]
    return [Finding("data sets", "note", found, "`lava-bsnn datasets` tells how to get each of the others")]


def processors() -> list[Finding]:
    """How many processors this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable > 1:
        return [Finding("processors", "OK", f"{usable} usable, {platform.machine()}")]
    remedy = "give this process more, if there are more (taskset, docker run --cpus)"
    return [Finding("processors", "note", f"1 usable, {platform.machine()}; all works, slower", remedy)]


def shared_memory() -> list[Finding]:
    """Whether Lava's processes can share semaphores."""
    name, place = "shared memory", SHARED_MEMORY
    if sys.platform != "linux":
        return [Finding(name, "OK", f"left to {platform.system()}")]
    if not os.access(place, os.W_OK):
        remedy = "mount a tmpfs there that can be written (in containers: docker run --shm-size=1g)"
        return [Finding(name, "problem", f"{place} is missing or cannot be written; Lava needs it", remedy)]
    usage = shutil.disk_usage(place)
    found = f"{place}: {usage.free >> 20:,} of {usage.total >> 20:,} MB free"
    if usage.free >= _FEW_SHARED_BYTES:
        return [Finding(name, "OK", found)]
    remedy = "semaphores of Lava's channels need some room there: delete what nobody uses any more"
    return [Finding(name, "note", found, remedy)]
