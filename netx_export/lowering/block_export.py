"""One block into one HDF5 group, as SLAYER's export loop asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lava_bsnn import block
from lava_bsnn.errors import ExportError

from ..hdf5 import schema, stock
from ..network import INPUT, Encoding, FixedPointNetwork, Input
from ..targets import target
from .job import Job
from .mantissas import Mantissas
from .observe import observe
from .rules import block_problems


def export_block(module: Any, handle: Any) -> None:
    """Write one block in the stock profile, as :func:`netx_export.convert` and ``write`` would.

    The blocks must have been built in a row (``block.build``, or a ``SpikingNetwork``), which tells each
    what its input may be.

    Args:
        handle: group named by the block's place, e.g. ``file["layer"].create_group("3")``.

    Raises:
        ExportError: the block needs its neighbours or the extended profile; nothing was written.
    """
    if module.input_shape is None:
        raise ExportError(
            f"{module.label}: shape is not known yet; call block.build(blocks, input_shape) first"
        )
    job = Job(target=target("stock"), model=module, blocks=[module])
    problems = list(block_problems(module, job))
    if problems:
        raise ExportError(*problems)
    if isinstance(module, block.Input):
        coding = module.encoding or Encoding()
        entry = Input(shape=module.shape, bits=coding.bits, signed=coding.signed, encoding=coding)
        stock.put(handle, "input", {"type": "input", "shape": entry.shape})
        stock.write_entry(handle.file, entry)
        handle.file.attrs[schema.BY_BLOCKS] = 1
        return
    if isinstance(module, block.Flatten):
        size = int(np.prod(module.input_shape))
        stock.put(handle, "flatten", {"type": "flatten", "shape": [size, 1, 1]})
        return
    if (isinstance(module, block.Pool) and module.neuron is None) or module.input_scale != 1.0:
        raise ExportError(
            f"{module.label}: a pooling without neuron is merged into the next block, which one block alone "
            "cannot do; use netx_export.write(netx_export.convert(model), path)"
        )
    index = int(handle.name.rsplit("/", 1)[-1])
    steps, source = getattr(module, "num_steps", block.DEFAULT_STEPS), module.incoming
    signed = source.low < 0
    bits = source.high.bit_length() + signed if source.high > 1 or signed else 0
    entry = Input(shape=module.input_shape, bits=bits, signed=signed)
    job = replace(job, entry=entry, num_steps=steps, seen=observe([module], _random(entry)))
    walk = Mantissas(job)
    walk.add(module, INPUT, index, None)
    FixedPointNetwork(input=entry, layers=tuple(walk.layers))  # validates the layer
    stock.write_layer(handle, *walk.layers)


def _random(entry: Input) -> torch.Tensor:
    """Random messages."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(
        entry.min_value, entry.max_value + 1, (16, *entry.shape, 1), generator=generator
    ).float()
