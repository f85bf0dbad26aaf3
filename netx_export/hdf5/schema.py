"""The one description of both file layouts; readers, writers and the docs follow it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lava_bsnn.fixed_point import ALIGN_BITS

from .. import limits
from ..input_checks import CHANNELS_MAX, CLASSES_MAX, ENCODING_MAX

VERSION = "lava_bsnn_schema"
"""Attribute of the file with the version of its layout."""
STOCK_VERSION = 1
EXTENDED_VERSION = 2
SIGNS, INTEGERS, STRUCTURE = "signs", "integers", "network"
"""Datasets of the extended layout."""
MAX_STRUCTURE = 1 << 24
"""Most bytes of the structure's text, or of an attribute that is one."""
BY_BLOCKS = "lava_bsnn_blocks"
"""Attribute of a file that our blocks wrote one by one, without version and digest."""
SIGNED, ENCODING, CLASSES = "input_signed", "encoding", "classes"
"""Attributes of a stock file, which lava-dl ignores; the latter two JSON as in the extended layout."""
_TOP = limits.POTENTIAL_MAX
_INT32 = (1 << 31) - 1


@dataclass(frozen=True)
class Key:
    """A dataset of a stock file's group.

    Attributes:
        name: of the dataset.
        dtype: numpy type that is written; readers take any whole numbers.
        shape: in words, for the docs.
        meaning: in words.
        written: whether our files have it always; else only where it is needed.
    """

    name: str
    dtype: str
    shape: str
    meaning: str
    written: bool = True


TYPE = Key("type", "S10", "1", "`input`, `conv`, `flatten`, `dense`, `dense_rec`, `average`")
SHAPE = Key("shape", "int32", "1 to 3", "(C, H, W) or (C)")
BIAS = Key("bias", "int16", "C", "mantissa, in weight steps")
STOCK: dict[str, tuple[Key, ...]] = {
    "input": (
        TYPE,
        SHAPE,
        Key("weight", "int32", "1", "with a neuron: input x enters as weight * x + bias", False),
        Key("bias", "int32", "1", "see weight", False),
    ),
    "conv": (
        TYPE,
        SHAPE,
        Key("inChannels", "int64", "", "channels of the input"),
        Key("outChannels", "int64", "", "channels"),
        Key("kernelSize", "int32", "2", "(h, w)"),
        Key("stride", "int32", "2", "(h, w)"),
        Key("padding", "int32", "2", "(h, w)"),
        Key("dilation", "int32", "2", "(h, w)"),
        Key("groups", "int64", "", "groups of channels"),
        Key("weight", "int8", "out, in / groups, h, w", "weights"),
        BIAS,
    ),
    "dense": (
        TYPE,
        SHAPE,
        Key("outFeatures", "int64", "", "neurons"),
        Key("inFeatures", "int64", "", "inputs"),
        Key("weight", "int8", "out, in", "weights"),
        Key("weight_rec", "int8", "out, out", "`dense_rec` only: weights of the layer to itself", False),
        Key("delay", "int32", "out or in", "axonal delays in steps", False),
        BIAS,
    ),
    "flatten": (TYPE, SHAPE),
    "neuron": (
        Key("type", "S", "", "`CUBA` or `LOIHI`"),
        Key("iDecay", "int64", "", "decay of the current, 0..4096"),
        Key("vDecay", "int64", "", "decay of the potential, 0..4096"),
        Key("vThMant", "int64", "", "threshold, in weight steps"),
        Key("refDelay", "int64", "", "1"),
        Key("gradedSpike", "bool", "", "false"),
    ),
}
"""Groups of a stock file, as lava-dl 0.6.0 reads them, in the order in which keys are written."""


@dataclass(frozen=True)
class Field:
    """A field of a class of :mod:`netx_export.network`, in an extended file.

    Attributes:
        name: of the field.
        kind: ``"int"``, ``"bool"``, ``"text"``, ``"texts"`` (a list), ``"ints"`` (a list of
            integers), ``"array"`` (in the dataset of integers), ``"weight"`` (in the dataset of
            signs if all are -1 or 1), ``"value"`` (integer or array), ``"node"``, or ``"nodes"``
            (a list).
        low: least value.
        high: largest value.
        types: classes of a node.
        default: value that is not written; None also stands for no value.
        count: least and largest length of a list of integers or texts.
    """

    name: str
    kind: str
    low: int = -_INT32
    high: int = _INT32
    types: tuple[str, ...] = ()
    default: object = ...
    count: tuple[int, int] = (1, 3)


def _pair(name: str, low: int) -> Field:
    return Field(name, "ints", low, 1 << 16)


EXTENDED: dict[str, tuple[Field, ...]] = {
    "FixedPointNetwork": (
        Field("input", "node", types=("Input",)),
        Field("layers", "nodes", types=("Layer",)),
        Field("profile", "text"),
        Field("classes", "texts", default=(), count=(1, CLASSES_MAX)),
    ),
    "Input": (
        Field("shape", "ints", 1, 1 << 24),
        Field("bits", "int", 0, limits.BIAS_INPUT_BITS),
        Field("signed", "bool", default=False),
        Field("transform", "ints", default=None),
        Field("encoding", "node", types=("Encoding",), default=None),
    ),
    "Encoding": (
        Field("kind", "text"),
        Field("bits", "int", 0, limits.MESSAGE_BITS_MAX),
        Field("mean", "ints", -ENCODING_MAX, ENCODING_MAX, count=(0, CHANNELS_MAX)),
        Field("std", "ints", 1, ENCODING_MAX, count=(0, CHANNELS_MAX)),
        Field("gain", "int", 0, ENCODING_MAX),
        Field("saturate", "bool"),
        Field("rails", "bool"),
        Field("repeat", "int", 1, ENCODING_MAX),
        Field("steps", "int", 0, ENCODING_MAX),
    ),
    "Layer": (
        Field("name", "text"),
        Field("connections", "nodes", types=("Connection",)),
        Field("neuron", "node", types=("LIF", "MultiThreshold", "Readout")),
        Field("shape", "ints", 1, 1 << 24),
        Field("mix", "node", types=("Mix",), default=None),
    ),
    "Connection": (
        Field("source", "text"),
        Field("synapse", "node", types=("Conv", "Dense", "Identity", "BiasInput")),
        Field("scale", "array", -_TOP, _TOP, default=None),
        Field("bias", "array", -_TOP, _TOP, default=None),
        Field("gate", "node", types=("Gate",), default=None),
        Field("delay", "array", 0, limits.DELAY_MAX, default=None),
    ),
    "Conv": (
        Field("weight", "weight", -limits.WIDE_WEIGHT_MAX, limits.WIDE_WEIGHT_MAX),
        _pair("stride", 1),
        _pair("padding", 0),
        _pair("dilation", 1),
        Field("groups", "int", 1, 1 << 24),
    ),
    "Dense": (Field("weight", "weight", -limits.WIDE_WEIGHT_MAX, limits.WIDE_WEIGHT_MAX),),
    "Identity": (),
    "BiasInput": (),
    "Gate": (
        Field("multiplier", "array", -limits.MULTIPLIER_MAX, limits.MULTIPLIER_MAX),
        Field("shift", "int", 0, limits.GATE_SHIFT_MAX),
        Field("per", "text"),
    ),
    "Mix": (Field("omega", "array", -limits.FACTOR_MAX, limits.FACTOR_MAX),),
    "Membrane": (
        Field("bits", "int", limits.MEMBRANE_BITS_MIN, limits.MEMBRANE_BITS_MAX),
        Field("shift", "int", 0, limits.MEMBRANE_SHIFT_MAX),
    ),
    "LIF": (
        Field("threshold", "value", 0, _TOP),
        Field("bias", "value", -_TOP, _TOP),
        Field("current_decay", "int", 0, limits.DECAY_MAX),
        Field("voltage_decay", "int", 0, limits.DECAY_MAX),
        Field("membrane", "node", types=("Membrane",), default=None),
        Field("exponent", "int", 0, ALIGN_BITS, default=ALIGN_BITS),
    ),
    "MultiThreshold": (
        Field("threshold", "value", 1, _TOP),
        Field("levels", "int", 1, limits.LEVELS_MAX),
        Field("initial", "value", -_TOP, _TOP),
        Field("lam", "value", 0, limits.FACTOR_MAX),
        Field("bias", "value", -_TOP, _TOP),
    ),
    "Readout": (
        Field("bias", "value", -_TOP, _TOP),
        Field("exponent", "int", 0, ALIGN_BITS, default=ALIGN_BITS),
    ),
}
"""Nodes of an extended file's structure: the classes of the network, by name."""


def markdown() -> str:
    """Tables of both layouts, as ``docs/netx.md`` shows them."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "| group | key | type written | shape | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for group, keys in STOCK.items():
        for key in keys:
            note = "" if key.written else " (where needed)"
            yield f"| {group} | `{key.name}` | {key.dtype} | {key.shape or 'scalar'} | {key.meaning}{note} |"
    yield ""
    yield "| node | field | kind | range or nodes | left out if |"
    yield "| --- | --- | --- | --- | --- |"
    for node, fields in EXTENDED.items():
        for field in fields:
            bounds = ""
            if field.types:
                bounds = ", ".join(field.types)
            elif field.kind not in ("text", "texts", "bool"):
                bounds = f"{field.low}..{field.high}"
            if field.count != (1, 3):
                bounds = ", ".join(filter(None, (bounds, "{}..{} of them".format(*field.count))))
            default = "" if field.default is ... else str(field.default).lower()
            default = "empty" if field.default == () else default
            yield f"| {node} | `{field.name}` | {field.kind} | {bounds} | {default} |"
