"""How the simulator's machine code is compiled, and what of it numba has no words for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic

LANES = 32
"""Outputs that one step of :func:`add_row` adds up; rows of weights are padded to a multiple."""
BLOCK = 64
"""Outputs of which :func:`gather` keeps sums in registers, and messages that are looked through at once."""

_I8, _I64 = ir.IntType(8), ir.IntType(64)


class _DistinctArrays(CompilerBase):
    """Compiles for arguments that share no memory, without which LLVM forms no vectors."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call; the machine code is kept beside the file, or in the user's cache folder."""
    options: dict[str, Any] = dict(nogil=True, error_model="numpy", pipeline_class=_DistinctArrays)
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to
        compiled = njit(**options)(function)
    return compiled


def _vector(context: Any, builder: Any, kind: Any, array: Any, index: Any, lanes: int) -> Any:
    """Pointer to so many values of an array, from an index on."""
    data = context.make_array(kind)(context, builder, array).data
    vector = ir.VectorType(ir.IntType(kind.dtype.bitwidth), lanes)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _load(builder: Any, pointer: Any, align: int) -> Any:
    value = builder.load(pointer)
    value.align = align
    return value


def _to(builder: Any, value: Any, bits: int) -> Any:
    """Integers of a vector in so many bits."""
    lanes, width = value.type.count, value.type.element.width
    if width == bits:
        return value
    wide = ir.VectorType(ir.IntType(bits), lanes)
    return builder.sext(value, wide) if width < bits else builder.trunc(value, wide)


@intrinsic
def add_row(typing: Any, out: Any, start: Any, weight: Any, row: Any, factor: Any) -> Any:
    """``out[start : start + LANES] += factor * weight[row : row + LANES]``, modulo the width of ``out``."""
    signature = types.void(out, types.uint64, weight, types.uint64, types.int32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> None:
        bits = out.dtype.bitwidth
        target = _vector(context, builder, out, args[0], args[1], LANES)
        source = _vector(context, builder, weight, args[2], args[3], LANES)
        sums = _load(builder, target, bits // 8)
        weights = _to(builder, _load(builder, source, weight.dtype.bitwidth // 8), bits)
        nothing = ir.Constant(sums.type, ir.Undefined)
        one = args[4] if bits == 32 else builder.trunc(args[4], ir.IntType(bits))
        factors = builder.insert_element(nothing, one, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        factors = builder.shuffle_vector(factors, nothing, zeros)
        builder.store(builder.add(sums, builder.mul(weights, factors)), target).align = bits // 8

    return signature, generate


def _gather(blocks: int) -> Any:
    @intrinsic
    def gather(
        typing: Any,
        out: Any,
        start: Any,
        weight: Any,
        column: Any,
        rows: Any,
        first: Any,
        last: Any,
        adds: Any,
        accumulator: Any,
    ) -> Any:
        index = types.uint64
        signature = types.void(out, index, weight, index, rows, index, index, types.boolean, accumulator)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> None:
            bits, narrow = accumulator.dtype.bitwidth, weight.dtype.bitwidth
            zeros = ir.Constant(ir.VectorType(ir.IntType(bits), BLOCK), None)
            sums = [cgutils.alloca_once(builder, zeros.type) for _ in range(blocks)]
            for one in sums:
                builder.store(zeros, one)
            listed = context.make_array(rows)(context, builder, args[4]).data
            with cgutils.for_range_slice(builder, args[5], args[6], ir.Constant(_I64, 1), intp=_I64) as (
                k,
                _,
            ):
                row = builder.add(builder.zext(builder.load(builder.gep(listed, [k])), _I64), args[3])
                for i, one in enumerate(sums):
                    at = builder.add(row, ir.Constant(_I64, i * BLOCK))
                    values = _load(
                        builder, _vector(context, builder, weight, args[2], at, BLOCK), narrow // 8
                    )
                    builder.store(builder.add(builder.load(one), _to(builder, values, bits)), one)
            width = out.dtype.bitwidth
            for i, one in enumerate(sums):
                at = builder.add(args[1], ir.Constant(_I64, i * BLOCK))
                target = _vector(context, builder, out, args[0], at, BLOCK)
                before = _load(builder, target, width // 8)
                before = builder.select(args[7], before, ir.Constant(before.type, None))
                after = builder.add(before, _to(builder, builder.load(one), width))
                builder.store(after, target).align = width // 8

        return signature, generate

    gather.__doc__ = f"""Add up rows of weights in registers.

    ``out[start : start + {blocks} * BLOCK]`` becomes the sum of ``weight[r + column : ...]`` for r in
    ``rows[first:last]``, plus itself where ``adds``. Sums are kept in the type of ``accumulator``.
    """
    return gather


gather_1, gather_2, gather_4 = _gather(1), _gather(2), _gather(4)


@intrinsic
def nonzero(typing: Any, messages: Any, start: Any) -> Any:
    """Bits of the messages that are not 0 among ``messages[start : start + BLOCK]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = _load(builder, _vector(context, builder, messages, args[0], args[1], BLOCK), 1)
        return builder.bitcast(builder.icmp_unsigned("!=", values, ir.Constant(values.type, None)), _I64)

    return types.uint64(messages, types.uint64), generate


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> Any:
    """Index of the lowest bit that is set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate
