"""Files of NIR graphs."""

from __future__ import annotations

import nir

from lava_bsnn.errors import NetXFormatError, line_of

from ..network import FixedPointNetwork
from .reader import Reader


def read_file(path: str, dt: float | None, semantics: str | None) -> FixedPointNetwork:
    """The network of a file that ``nir.write`` wrote.

    Raises:
        NetXFormatError: nir cannot read it.
        ExportError: as :func:`netx_export.nir.from_nir`.
    """
    try:
        graph = nir.read(path, type_check=False)
    except Exception as error:  # nir trusts its files
        raise NetXFormatError(f"not a readable NIR graph ({line_of(error)}); write it again") from error
    return Reader(graph, None, dt, semantics).network()
