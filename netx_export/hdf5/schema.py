"""The one description of both file layouts; readers, writers and the docs follow it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lava_bsnn.encoding import Encoding
from lava_bsnn.limits import LIMITS

from .. import network
from ..content import Domain, domains
from ..neurons import kinds

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
PERSISTENT = "persistent"
"""Attribute of a stock file, which lava-dl ignores: samples are streams; there if true."""


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
    """A field of a node of an extended file.

    Attributes:
        name: of the field.
        domain: what it holds.
        default: value that is not written; None also stands for no value, ``...`` for none.
    """

    name: str
    domain: Domain
    default: object = ...

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the classes of a node."""
        return tuple(kinds()) if self.domain.types == ("neuron",) else self.domain.types


_LONG = (0, LIMITS.channels_max)
_ENCODING = {
    "kind": Domain(kind="text"),
    "bits": Domain(kind="int", low=0, high=LIMITS.message_bits_max),
    "mean": Domain(kind="ints", low=-LIMITS.encoding_max, high=LIMITS.encoding_max, count=_LONG),
    "std": Domain(kind="ints", low=1, high=LIMITS.encoding_max, count=_LONG),
    "gain": Domain(kind="int", low=0, high=LIMITS.encoding_max),
    "saturate": Domain(kind="bool"),
    "rails": Domain(kind="bool"),
    "repeat": Domain(kind="int", low=1, high=LIMITS.encoding_max),
    "steps": Domain(kind="int", low=0, high=LIMITS.encoding_max),
}
_CLASSES: tuple[type, ...] = (
    network.FixedPointNetwork,
    network.Input,
    Encoding,
    network.Layer,
    network.Connection,
    network.Conv,
    network.Dense,
    network.Identity,
    network.BiasInput,
    network.Gate,
    network.Mix,
    network.Membrane,
)


def nodes() -> dict[str, type]:
    """Classes of an extended file's structure, by name: those of the network, and every kind of neurons."""
    return {kind.__name__: kind for kind in _CLASSES} | kinds()


def fields(kind: type) -> tuple[Field, ...]:
    """Fields of a class, as they stand in files."""
    if kind is Encoding:
        return tuple(Field(name, domain) for name, domain in _ENCODING.items())
    return tuple(
        Field(one.name, domain, one.default if one.metadata["optional"] else ...)
        for one, domain in domains(kind)
    )


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
    ours = {name: kind for name, kind in nodes().items() if kind.__module__.startswith(("netx_", "lava_"))}
    for node, kind in ours.items():
        for field in fields(kind):
            bounds, domain = "", field.domain
            if field.types:
                bounds = ", ".join(field.types)
            elif domain.kind not in ("text", "texts", "bool"):
                bounds = f"{domain.low}..{domain.high}"
            if domain.count != (1, 3):
                bounds = ", ".join(filter(None, (bounds, "{}..{} of them".format(*domain.count))))
            default = "" if field.default is ... else str(field.default).lower()
            default = "empty" if field.default == () else default
            yield f"| {node} | `{field.name}` | {domain.kind} | {bounds} | {default} |"
