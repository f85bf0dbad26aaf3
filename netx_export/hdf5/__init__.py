"""Files of networks: NetX HDF5 that unmodified lava-dl 0.6.0 loads, or the extended layout.

See ``docs/netx.md`` for both layouts. Files are written with a digest of their content; those
of lava-dl have none.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lava_bsnn.errors import LavaBsnnError, LavaBsnnWarning, NetXFormatError, OptionError
from lava_bsnn.files import atomic_path

from ..network import FixedPointNetwork, Shape
from ..network.graph import check_network
from ..targets import target
from . import extended, schema, stock, stock_read
from .foreign import foreign
from .safe import attribute

_REMEDY = "use a file of netx_export.write, of SLAYER's export_hdf5, or of nir.write"
_LONGEST = 2000
"""Most characters of an error's text that a file may fill."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How files of a target look.

    Attributes:
        version: of the schema, in the file.
        write_header: writes attributes in front of the digest.
        write: writes the network.
        read: reads it; also gives remarks on it.
    """

    version: int
    write_header: Callable[[h5py.File, FixedPointNetwork], None]
    write: Callable[[h5py.File, FixedPointNetwork], None]
    read: Callable[[h5py.File, Shape | None], tuple[FixedPointNetwork, tuple[str, ...]]]


_LAYOUTS = {
    "stock": Layout(
        version=schema.STOCK_VERSION,
        write_header=stock.write_input,
        write=stock.write_network,
        read=stock_read.read_network,
    ),
    "extended": Layout(
        version=schema.EXTENDED_VERSION,
        write_header=lambda file, net: None,
        write=extended.write_network,
        read=lambda file, input_shape: (extended.read_network(file), ()),
    ),
}
"""By what a target says."""


def write(net: FixedPointNetwork, path: str | os.PathLike[str]) -> None:
    """Write the network; the file is complete or not there.

    Raises:
        ExportError: names of layers or classes are too long to be read.
        OptionError: ``net`` is no network.
        LavaBsnnError: the folder does not exist.
    """
    check_network("write", net)
    layout = _LAYOUTS[target(net.profile).layout]
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs[schema.VERSION] = layout.version
        file.attrs["profile"] = np.bytes_(net.profile)
        layout.write_header(file, net)
        file.attrs["digest"] = np.bytes_(net.digest())
        layout.write(file, net)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a file is.

    Attributes:
        net: the network in it.
        profile: ``"stock"`` or ``"extended"``.
        origin: who wrote the file: ``"lava-bsnn"``, ``"lava-dl"`` or ``"NIR"``.
        schema: version of the file's schema; None where another origin has none.
        digest: whether the file carries a digest of its content, which has been checked.
        size: bytes.
        notes: what lava-dl would do otherwise, or cuts off likewise; only for files of lava-dl.
    """

    net: FixedPointNetwork
    profile: str
    origin: str
    schema: int | None
    digest: bool
    size: int
    notes: tuple[str, ...] = ()


def read(
    path: str | os.PathLike[str],
    input_shape: Shape | None = None,
    *,
    dt: float | None = None,
    semantics: str | None = None,
) -> FixedPointNetwork:
    """Read a file of :func:`write`, a CUBA / LOIHI file of lava-dl or SLAYER, or a NIR graph.

    A file of lava-dl is read as it stands. Where unmodified lava-dl computes something else than it says,
    or where numbers are cut off, a warning says so; what profile ``"stock"`` does not hold becomes a
    network in profile ``"extended"``.

    Args:
        path: of the file.
        input_shape: ``(C, H, W)`` or ``(C,)`` of what enters, for a file that begins with a conv and does
            not say it; with stride 1 it follows from the file. lava-dl's argument of this name is
            ``(W, H, C)``.
        dt: seconds per time step of a NIR graph, as in :func:`netx_export.from_nir`.
        semantics: who wrote a NIR graph, likewise.

    Raises:
        NetXFormatError: none of these, damaged, or outside what this version reads.
        OptionError: ``input_shape`` is no shape, or another one than the file says.
    """
    return _warned(path, describe(path, input_shape, dt=dt, semantics=semantics), 3)


def describe(
    path: str | os.PathLike[str],
    input_shape: Shape | None = None,
    *,
    dt: float | None = None,
    semantics: str | None = None,
) -> Description:
    """Read a file, with the arguments of :func:`read`, and tell what it is.

    What :func:`read` warns of a file of lava-dl stands in ``notes``.

    Raises:
        NetXFormatError, OptionError: as :func:`read`.
    """
    _check_shape("read", input_shape)
    found = _described(path, input_shape, dt, semantics)
    _check_fit("read", found.net, input_shape)
    return found


def network_of(
    where: str,
    net: FixedPointNetwork | str | os.PathLike[str],
    input_shape: Shape | None = None,
    *,
    otherwise: Shape | None = None,
) -> FixedPointNetwork:
    """A network, or that of a file.

    Args:
        where: function that takes the network, for its errors.
        net: the network, or the path of a file.
        input_shape: as in :func:`read`.
        otherwise: likewise, and not taken where the file does say it.

    Raises:
        NetXFormatError: as :func:`read`.
        OptionError: ``net`` is neither, or ``input_shape`` as in :func:`read`.
    """
    _check_shape(where, input_shape)
    if isinstance(net, (str, os.PathLike)):
        net = _warned(net, _described(net, input_shape or otherwise), 4)
    check_network(where, net)
    _check_fit(where, net, input_shape)
    return net


def is_layered(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the layout of lava-dl."""
    try:
        with h5py.File(path, "r") as file:
            return "layer" in file
    except OSError:
        return False


def _warned(path: str | os.PathLike[str], found: Description, stacklevel: int) -> FixedPointNetwork:
    if found.notes:
        warnings.warn(f"{os.fspath(path)}: {'; '.join(found.notes)}", LavaBsnnWarning, stacklevel=stacklevel)
    return found.net


def _check_shape(where: str, shape: Any) -> None:
    numbers = shape if isinstance(shape, tuple) else ()
    if shape is not None and not (len(numbers) in (1, 3) and all(type(n) is int and n > 0 for n in numbers)):
        raise OptionError(f"{where}: input_shape={shape!r} is not allowed; use (C, H, W) or (C,)")


def _check_fit(where: str, net: FixedPointNetwork, shape: Shape | None) -> None:
    if shape not in (None, net.input.shape):
        raise OptionError(f"{where}: input_shape={shape} is not that of the network, {net.input.shape}")


def _described(
    path: str | os.PathLike[str],
    input_shape: Shape | None,
    dt: float | None = None,
    semantics: str | None = None,
) -> Description:
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(f"read: path is a {type(path).__name__}; use the path of a .net or .nir file")
    name = os.fspath(path)
    if not Path(name).is_file():
        what = "is not a file" if Path(name).exists() else "no such file"
        raise NetXFormatError(f"{name}: {what}; give the path of a .net file")
    try:
        with h5py.File(name, "r") as file:
            if "node" in file and "version" in file:
                return _described_graph(name, dt, semantics)
            if "layer" not in file and schema.VERSION not in file.attrs:
                held = ", ".join(list(file)[:3]) or "nothing"
                raise NetXFormatError(f"is HDF5 of another program (it holds {held}); {_REMEDY}")
            return _describe(file, Path(name).stat().st_size, input_shape)
    except LavaBsnnError as error:
        raise NetXFormatError(f"{name}: {_line(error)}") from error
    except PermissionError as error:
        raise NetXFormatError(f"{name}: permission denied; make it readable") from error
    except (
        OSError,
        LookupError,
        ValueError,
        TypeError,
        RuntimeError,
        ArithmeticError,
        MemoryError,
        NotImplementedError,
    ) as error:
        what = foreign(Path(name))
        if what:
            raise NetXFormatError(f"{name}: is {what}, no NetX file and no NIR graph; {_REMEDY}") from error
        raise NetXFormatError(
            f"{name}: not a readable NetX HDF5 file ({_line(error)}); export it again"
        ) from error


def _described_graph(name: str, dt: float | None, semantics: str | None) -> Description:
    from ..nir.files import read_file

    net = read_file(name, dt, semantics)
    size = Path(name).stat().st_size
    return Description(net=net, profile=net.profile, origin="NIR", schema=None, digest=False, size=size)


def _line(error: Exception) -> str:
    """The first line of an error, without what a terminal cannot show."""
    line = str(error)[:_LONGEST].splitlines()[0] if str(error) else type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in line)


def _describe(file: h5py.File, size: int, input_shape: Shape | None) -> Description:
    version = attribute(file, schema.VERSION, None)
    readers = {layout.version: layout.read for layout in _LAYOUTS.values()}
    if version not in (None, *readers):
        known = " and ".join(map(str, readers))
        raise NetXFormatError(f"schema {version} is not known; this version reads {known}")
    net, notes = readers.get(version, stock_read.read_network)(file, input_shape)
    profile = net.profile if version is None else attribute(file, "profile", "stock")
    if profile != net.profile:
        raise NetXFormatError(f"profile {profile!r} does not fit the content; export it again")
    digest = attribute(file, "digest", None)
    if digest is None and version is not None:
        raise NetXFormatError("the digest is missing; export the file again")
    if digest is not None and digest != net.digest():
        raise NetXFormatError("content does not match its digest; the file is damaged, export it again")
    return Description(
        net=net,
        profile=profile,
        origin="lava-dl" if version is None else "lava-bsnn",
        schema=version,
        digest=digest is not None,
        size=size,
        notes=notes,
    )
