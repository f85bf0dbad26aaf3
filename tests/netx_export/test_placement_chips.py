"""Facts of chips: each has a source, the page shows all of them, and a file replaces them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lava_bsnn.errors import OptionError
from netx_export.placement import CHIPS, chip, chip_from_toml

PAGE = (Path(__file__).parents[2] / "docs/placement.md").read_text()


def rows(heading):
    """Cells of the table under a heading of the page."""
    part = PAGE.split(f"### {heading}\n")[1].split("\n#")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
def test_the_page_shows_every_fact_of_a_chip(name):
    facts = chip(name).facts.items()
    assert rows(f"{chip(name).title}: `{name}`") == [
        [key, str(fact.value), fact.certainty, fact.source] for key, fact in facts
    ]


def test_the_page_shows_every_board():
    boards = [one for one in CHIPS.values() if one.chips is not None]
    shown = [
        [
            one.name,
            one.title,
            f"{one.chips.value} ({one.chips.certainty})",
            f"{one.cores.value} ({one.cores.certainty})",
        ]
        for one in boards
    ]
    assert [row[:4] for row in rows("Boards")] == shown
    assert len(boards) >= 5


def test_every_fact_has_a_source_and_a_certainty():
    for one in CHIPS.values():
        for fact in one.facts.values():
            assert len(fact.source) > 5 and fact.certainty in ("published", "inferred", "assumed")


def test_numbers_of_the_chips_are_those_that_intel_printed():
    first, second = chip("loihi1"), chip("loihi2")
    assert first.cores.value * first.neurons.value == 131_072
    assert second.cores.value * second.neurons.value == 1_048_576
    hala = chip("hala-point")
    assert hala.chips.value * hala.cores.value == 140_544
    assert round(140_544 * hala.neurons.value, -7) == 1_150_000_000


def test_the_example_of_the_page_is_read(tmp_path):
    path = tmp_path / "my_chip.toml"
    path.write_text(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL).group(1))
    mine = chip_from_toml(path)
    assert (mine.name, mine.title) == ("my_chip", "Loihi 2 as my_chip")
    assert mine.neurons.value == 4095 and mine.neurons.certainty == "assumed"
    assert mine.neurons.source == "my_chip.toml"
    assert mine.synaptic_bits.value == 1_536_000 and mine.synaptic_bits.source == "our measurement"
    assert mine.axons_in == chip("loihi2").axons_in


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("neurons = ", "chip.toml cannot be read: .*; give a TOML file"),
        ("neurons = 3", "has no base; add base = 'loihi2', or another chip's name"),
        ("base = 'loihi3'", "base='loihi3' is unknown; use one of 'loihi1', "),
        ("base = 'loihi2'\nneuron = 3", "fact='neuron' is unknown; use one of 'chips', 'cores', "),
        ("base = 'loihi2'\nname = 'x'", "fact='name' is unknown"),
        ("base = 'loihi2'\nneurons = 0", "neurons=0 is not allowed; use an integer of 1 or more"),
        ("base = 'loihi2'\nneurons = 1.5", "neurons=1.5 is not allowed"),
        ("base = 'loihi2'\nneurons = true", "neurons=True is not allowed"),
        ("base = 'loihi2'\nrow_bits = -1", "row_bits=-1 is not allowed; use an integer of 0 or more"),
        ("base = 'loihi2'\nshares_convolutions = 2", "shares_convolutions=2 is unknown; use one of 0, 1"),
        ("base = 'loihi2'\nneurons = {source = 'x'}", "neurons=None is not allowed"),
        ("base = 'loihi2'\nneurons = {value = 1, by = 'x'}", "key of neurons='by' is unknown"),
        (
            "base = 'loihi2'\nneurons = {value = 1, certainty = 'sure'}",
            "certainty of neurons='sure' is unknown; use one of 'published', 'inferred', 'assumed'",
        ),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message):
    path = tmp_path / "chip.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=message):
        chip_from_toml(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        chip_from_toml(tmp_path / "none.toml")
