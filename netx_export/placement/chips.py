"""Chips and boards: what a neurocore holds, each number with its source and how sure it is."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lava_bsnn.errors import OptionError, check_option
from lava_bsnn.limits import LIMITS, LOIHI

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Certainty = Literal["published", "inferred", "assumed"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A number of a chip.

    Attributes:
        value: the number.
        source: where it is written, or what it is concluded from.
        certainty: ``"published"``, ``"inferred"`` from what was published, or ``"assumed"``.
    """

    value: int
    source: str
    certainty: Certainty


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip, or a board of several; all but the names are :class:`Fact`.

    Attributes:
        name: key in :data:`~netx_export.placement.CHIPS`.
        title: name for readers.
        chips: on the board; None for a bare chip, of which any number may be used.
        cores: neurocores per chip.
        neurons: per core.
        synaptic_bits: memory for synapses per core, bits.
        axons_in: entries for sources of messages per core.
        axons_out: entries for destinations of messages per core.
        groups: neuron groups per core, hence slices of layers.
        fan_in: synapses per neuron.
        weight_bits: widest weight of one synapse; wider ones take several.
        message_bits: widest message; 1 for spikes without payload.
        delay_max: longest delay of a synapse, steps.
        shares_convolutions: 1 if a core stores a kernel once for all positions of its image, else 0.
        word_bits: synaptic memory is used in words of so many bits.
        row_bits: memory of a row of synapses, those of one source, besides its synapses.
        index_bits: memory of a synapse besides its weight, unless kernels are shared.
    """

    name: str
    title: str
    chips: Fact | None
    cores: Fact
    neurons: Fact
    synaptic_bits: Fact
    axons_in: Fact
    axons_out: Fact
    groups: Fact
    fan_in: Fact
    weight_bits: Fact
    message_bits: Fact
    delay_max: Fact
    shares_convolutions: Fact
    word_bits: Fact
    row_bits: Fact
    index_bits: Fact

    @property
    def facts(self) -> dict[str, Fact]:
        """All facts by name; ``chips`` only for boards."""
        found = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: fact for name, fact in found if isinstance(fact, Fact)}


_DAVIES = "Davies et al., Loihi, IEEE Micro 38(1), 2018"
_NENGO = "nengo-loihi, block.py"
_BRIEF = "Intel, Loihi 2 technology brief, 2021"
_NEWS = "Intel, press releases of 2018 to 2024"
_WEIGHT = LOIHI.weight_max.bit_length() + 1
_LOG = "logs of Lava's compiler in lava-dl's tutorials"


def _published(value: int, source: str) -> Fact:
    return Fact(value=value, source=source, certainty="published")


def _inferred(value: int, source: str) -> Fact:
    return Fact(value=value, source=source, certainty="inferred")


def _assumed(value: int, source: str) -> Fact:
    return Fact(value=value, source=source, certainty="assumed")


_LOIHI1 = Chip(
    name="loihi1",
    title="Loihi",
    chips=None,
    cores=_published(128, _DAVIES),
    neurons=_published(1024, _DAVIES),
    synaptic_bits=_published(1 << 20, f"{_NENGO}: 128 KiB"),
    axons_in=_published(4096, _NENGO),
    axons_out=_published(4096, _NENGO),
    groups=_inferred(16, "nengo-loihi, hardware/validate.py: 16 formats of synapses and of thresholds"),
    fan_in=_inferred(1 << 17, "all synaptic memory of a core at 8 bits"),
    weight_bits=_published(_WEIGHT, f"{_DAVIES}: 1 to 9 bits; 8 with a sign, as in lava-nc"),
    message_bits=_published(1, f"{_DAVIES}: spikes without payload"),
    delay_max=_published(LIMITS.delay_max, f"{_DAVIES}; longer ones are cut off by lava-dl"),
    shares_convolutions=_published(1, f"{_DAVIES}: weight sharing; used by Rueckauer et al., NxTF, 2022"),
    word_bits=_inferred(64, f"{_NENGO}: 2^20 bits are 16384 words of 64"),
    row_bits=_assumed(32, "as Loihi 2"),
    index_bits=_assumed(8, "as Loihi 2"),
)

_LOIHI2 = replace(
    _LOIHI1,
    name="loihi2",
    title="Loihi 2",
    cores=_published(128, _BRIEF),
    neurons=_published(8192, f"{_BRIEF}; {_LOG} divide by 4095"),
    synaptic_bits=_inferred(12_000 * 64, f"{_LOG}: SynMem of 12000 words, taken as 64 bits each"),
    axons_in=_inferred(16_000, f"{_LOG}: 784 are 4.90 %"),
    axons_out=_inferred(16_000, f"{_LOG}: 2688 are 16.80 %"),
    groups=_inferred(8, f"{_LOG}: one is 12.5 %"),
    fan_in=_inferred(12_000 * 8, "all synaptic memory of a core at 8 bits"),
    weight_bits=_published(_WEIGHT, "lava-nc, num_weight_bits"),
    message_bits=_published(32, f"{_BRIEF}: graded spikes"),
    delay_max=_assumed(LIMITS.delay_max, "as Loihi"),
    shares_convolutions=_published(1, f"{_BRIEF}: convolutional connectivity"),
    word_bits=_inferred(64, f"as Loihi; rows of kernels in {_LOG} fit it"),
    row_bits=_inferred(32, f"rows of 1 to 100 synapses in {_LOG}"),
    index_bits=_inferred(8, f"{_LOG}: 100 weights of 8 bits take 26 words"),
)

CHIPS: dict[str, Chip] = {
    one.name: one
    for one in (
        _LOIHI1,
        replace(_LOIHI1, name="kapoho-bay", title="Kapoho Bay", chips=_published(2, _NEWS)),
        replace(_LOIHI1, name="nahuku", title="Nahuku", chips=_published(32, _NEWS)),
        _LOIHI2,
        replace(_LOIHI2, name="oheo-gulch", title="Oheo Gulch", chips=_published(1, _BRIEF)),
        replace(_LOIHI2, name="kapoho-point", title="Kapoho Point", chips=_published(8, _BRIEF)),
        replace(
            _LOIHI2,
            name="hala-point",
            title="Hala Point",
            chips=_published(1152, _NEWS),
            cores=_inferred(122, f"{_NEWS}: 140544 cores on 1152 chips"),
        ),
    )
}
"""Chips and boards by name."""


def chip(name: str) -> Chip:
    """The chip or board of a name.

    Raises:
        OptionError: there is none.
    """
    check_option("chip", "name", name, tuple(CHIPS))
    return CHIPS[name]


def chip_from_toml(path: str | Path) -> Chip:
    """A chip of :data:`~netx_export.placement.CHIPS` with other facts.

    The file names it as ``base``; each further key is a fact: a number, which counts as assumed, or a table
    with ``value``, ``source`` and ``certainty``. The chip is named after the file.

    Raises:
        OptionError: the file cannot be read, or a key or value is not allowed.
    """
    where = f"chip_from_toml: {path}"
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{where} cannot be read: {error}; give a TOML file") from error
    if "base" not in given:
        raise OptionError(f"{where} has no base; add base = 'loihi2', or another chip's name")
    base = given.pop("base")
    check_option(where, "base", base, tuple(CHIPS))
    names = tuple(field.name for field in fields(Chip) if field.name not in ("name", "title"))
    for key in given:
        check_option(where, "fact", key, names)
    facts = {key: _fact(where, key, value) for key, value in given.items()}
    name = Path(path).stem
    return replace(CHIPS[base], name=name, title=f"{CHIPS[base].title} as {name}", **facts)


_ZERO = ("shares_convolutions", "row_bits", "index_bits", "delay_max")
"""Facts that may be 0."""


def _fact(where: str, key: str, value: Any) -> Fact:
    table = value if isinstance(value, dict) else {"value": value}
    for name in table:
        check_option(where, f"key of {key}", name, ("value", "source", "certainty"))
    number, low = table.get("value"), int(key not in _ZERO)
    if type(number) is not int or number < low:
        raise OptionError(f"{where}: {key}={number!r} is not allowed; use an integer of {low} or more")
    if key == "shares_convolutions":
        check_option(where, key, number, (0, 1))
    certainty = table.get("certainty", "assumed")
    check_option(where, f"certainty of {key}", certainty, get_args(Certainty))
    return Fact(value=number, source=str(table.get("source", Path(where).name)), certainty=certainty)
