"""The report: its figures, its page, and texts of files that mean harm."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from support import browser

from netx_export import network, report
from netx_export.placement import CHIPS, Fact
from netx_export.reports import html, traces
from netx_export.reports.markup import element
from netx_export.reports.terminal import lines_of
from netx_export.verify import random_data
from netx_export.verify.streamed import step_by_step

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\x1b[31m"
)
KEYS = {
    "chip",
    "layers",
    "neurons",
    "synapses",
    "cores",
    "chips",
    "sops_per_sample",
    "energy_estimate_uj",
    "fits",
}
LAYER_KEYS = {"name", "neurons", "synapses", "weight_bits", "cores"}


@pytest.fixture
def made(make_network):
    """A network, data and the report on them."""
    net = make_network(7, bits=4)
    data = random_data(net, 3, 6)
    labels = [0, 1, 2]
    return net, data, report(net, data, labels, name="seven.net", source="three samples")


def test_the_dictionary_has_the_promised_keys_and_sums(made):
    net, _, found = made
    told = json.loads(json.dumps(found.as_dict()))
    assert told.keys() >= KEYS
    assert all(layer.keys() >= LAYER_KEYS for layer in told["layers"])
    assert [layer["name"] for layer in told["layers"]] == [layer.name for layer in net.layers]
    total = net.summary()
    for key, value in (
        ("neurons", total.neurons),
        ("synapses", total.synapses),
        ("weights", total.weights),
        ("memory_bits", total.weight_bits),
        ("sops_per_sample", found.cost.sops),
    ):
        assert sum(layer[key] for layer in told["layers"]) == pytest.approx(value)
        assert told[key] == pytest.approx(value)
    assert told["fits"] is True and told["chip"] == "loihi2" and told["chips"] == 1
    assert told["cores"] == len(told["core_map"]) == len(found.placement.cores)
    assert told["mismatches"] == 0 and told["stepped"]["compared"] > 0


def test_the_first_line_says_what_it_is_and_whether_it_fits(made):
    net, data, found = made
    assert (
        found.verdict.startswith("4 layers, ") and "; fits Loihi 2: 1 of 128 cores on 1 chip" in found.verdict
    )
    few = Fact(value=3, source="made up", certainty="assumed")
    small = dataclasses.replace(CHIPS["loihi2"], name="small", title="a small chip", neurons=few)
    small = dataclasses.replace(small, chips=few)
    tight = report(net, data, chip=small)
    assert not tight.placement.fits
    assert "does not fit a small chip: " in tight.verdict
    page = html(tight)
    assert 'class="verdict not"' in page and tight.as_dict()["fits"] is False
    assert next(iter(lines_of(tight))).plain == f"network: {tight.verdict}"
    assert repr(tight) == f"Report(network: {tight.verdict})"
    assert next(iter(tight.__rich_console__(None, None))).plain == f"network: {tight.verdict}"


def test_stepping_finds_a_difference(made):
    net, data, _ = made
    other = dataclasses.replace(net, layers=(*net.layers[:1], changed(net.layers[1]), *net.layers[2:]))
    from netx_export import simulate

    found = step_by_step(net, data, simulate(other, data, trace=True))
    assert not found.by_layer[net.layers[0].name]
    assert found.by_layer[net.layers[1].name] > 0 and found.mismatches > 0
    assert not step_by_step(net, data).mismatches


def changed(layer):
    return dataclasses.replace(layer, neuron=dataclasses.replace(layer.neuron, threshold=20))


class Elements(HTMLParser):
    """Names and attributes of all elements of a page, and its texts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def hostile_network():
    dense = [network.Dense(weight=np.ones((size, 3))) for size in (3, 2)]
    neuron = network.LIF(threshold=2, bias=np.zeros(3, int))
    layers = tuple(
        network.Layer(
            name=name,
            connections=(network.Connection(source=source, synapse=synapse),),
            neuron=one,
            shape=(len(synapse.weight),),
        )
        for name, source, synapse, one in (
            (HOSTILE, "input", dense[0], neuron),
            ("out", HOSTILE, dense[1], network.Readout(bias=np.zeros(2, int))),
        )
    )
    entry = network.Input(shape=(3,))
    return network.FixedPointNetwork(
        input=entry, layers=layers, classes=(HOSTILE.replace("\x1b", ""), "[bold]b[/bold]")
    )


def test_texts_of_a_file_stay_texts(capsys):
    from rich.console import Console

    net = hostile_network()
    found = report(net, random_data(net, 2, 3), [0, 1], name=HOSTILE, source=HOSTILE)
    page = html(found)
    elements = Elements(page)
    names = [name for name, _ in elements.found]
    assert names.count("script") == 2 and "img" not in names
    assert not any(key.startswith("on") for _, attributes in elements.found for key in attributes)
    assert "\x1b" not in page and "\\x1b[31m" in page
    visible = HOSTILE.replace("\x1b", "\\x1b")
    assert visible in elements.texts
    shown = json.loads(
        elements.texts[max(i for i, text in enumerate(elements.texts) if text.startswith("{"))]
    )
    assert shown["layers"][1]["name"] == visible
    console = Console(width=300)
    for line in lines_of(found):
        console.print(line, soft_wrap=True)
    printed = capsys.readouterr().out
    assert visible in printed and "\x1b" not in printed


def test_attributes_are_escaped_too():
    made = element("p", "<", title='"><img>\x00', aria_label="a")
    assert made.text == '<p title="&quot;&gt;&lt;img&gt;\\x00" aria-label="a">&lt;</p>'


def test_the_page_needs_nothing_else_and_its_policy_allows_nothing(made):
    page = html(made[2])
    elements = Elements(page)
    for name, attributes in elements.found:
        assert not {"src", "href", "srcset", "data", "action"} & attributes.keys(), name
    assert "url(" not in page and "@import" not in page
    policy = next(a["content"] for n, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ") and "http" not in policy
    assert len(page.encode()) < 200_000


def test_rasters_and_traces_are_those_of_the_simulator(made):
    from netx_export import simulate

    net, data, found = made
    shown = found.shown
    run = simulate(net, data, trace=True)
    assert [layer["name"] for layer in shown.layers] == ["input", *(layer.name for layer in net.layers)]
    for n, sample in enumerate(shown.samples):
        for layer, drawn in zip(shown.layers, sample["layers"], strict=True):
            sent = data[n] if layer["name"] == "input" else run.layers[layer["name"]].spikes[n]
            for place, row in zip(layer["rows"], drawn["rows"], strict=True):
                index = tuple(map(int, place.split(",")))
                assert [digit != "0" for digit in row] == (sent[index] != 0).tolist()
            for place, row in zip(layer["traced"], drawn["potentials"], strict=True):
                index = tuple(map(int, place.split(",")))
                assert row == run.layers[layer["name"]].potential[n][index].tolist()
    thresholds = shown.layers[1]["thresholds"]
    assert thresholds == [net.layers[0].neuron.threshold * 64] * len(thresholds) and thresholds
    assert max(map(max, (row for row in shown.samples[0]["layers"][0]["rows"]))) == "9"


def test_the_page_stays_small_however_long_the_samples_are(make_network):
    net = make_network(8, dense=(5,) * 60)
    net = dataclasses.replace(net, layers=(*net.layers[:-1],))
    found = report(net, random_data(net, 9, 300))
    assert found.shown.steps < 300
    assert len(html(found).encode()) < 2_000_000
    assert len(json.dumps(dataclasses.asdict(found.shown))) < 1.3 * traces._BUDGET


def test_a_model_at_hand_shows_how_integers_agree(trained_run):
    import torch

    from lava_bsnn.training.run import load_run
    from netx_export import agreement, convert

    _, model = load_run(trained_run)
    net = convert(model, "extended")
    samples = torch.rand(6, 1, 8, 8)
    agreed = agreement(model, net, samples)
    found = report(net, net.encode(samples), agreement=agreed)
    assert found.as_dict()["agreement"]["same_class"] == agreed.same_class
    page = html(found)
    assert "equal neuron-steps" in page and "the file holds integers only" not in page
    assert not found.mismatches


needs_browser = pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium here (Debian: chromium)")


@pytest.fixture(scope="module")
def tab():
    with browser.page() as page:
        yield page


@pytest.fixture
def file(made, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(html(made[2]), encoding="utf-8")
    return path


def spikes(tab):
    return tab.run("document.querySelectorAll('#raster .spike').length")


@needs_browser
@pytest.mark.parametrize(
    "look", [{}, {"dark": True}, {"width": 390, "height": 844}, {"width": 320}, {"media": "print"}]
)
def test_page_fits_its_window_without_complaints(tab, file, look, tmp_path):
    tab.open(file, **look)
    assert tab.complaints() == []
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    assert tab.run("document.getElementById('verdict').getBoundingClientRect().top < innerHeight / 2")
    colours = tab.run(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    text, back = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert text > back + 500 if look.get("dark") else back > text + 500
    tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


@needs_browser
def test_the_picker_draws_what_is_picked(tab, file, made):
    _, _, found = made
    tab.open(file)
    assert tab.run("document.getElementById('sample').options.length") == 3
    for n, sample in enumerate(found.shown.samples):
        for i, layer in enumerate(sample["layers"]):
            tab.run(f"picks.sample.value = {n}; picks.layer.value = {i}")
            tab.run("picks.layer.dispatchEvent(new Event('change'))")
            assert spikes(tab) == sum(digit != "0" for row in layer["rows"] for digit in row)
            assert tab.run("document.querySelectorAll('#membrane polyline').length") == len(
                layer["potentials"]
            )
            told = tab.run("document.getElementById('picked').textContent")
            assert told.startswith(sample["title"]) and found.shown.layers[i]["name"] in told
    assert tab.complaints() == []


@needs_browser
def test_the_page_works_by_keyboard(tab, file, made):
    tab.open(file)
    reached = []
    for _ in range(30):
        tab.key("Tab")
        reached.append(
            tab.run("document.activeElement.id || document.activeElement.getAttribute('class') || ''")
        )
        if reached[-1] == "map":
            tab.key("ArrowRight")
            assert tab.run("document.getElementById('core').textContent").startswith(
                "core 0.0: conv0 channels 0-"
            )
        if reached[-1] == "next":
            tab.key("Enter")
            assert tab.run("picks.sample.value") == "2"
            assert tab.run("document.getElementById('picked').textContent").startswith("sample 2: ")
            break
        if reached[-1] == "sample":
            tab.key("ArrowDown")
            assert tab.run("document.getElementById('picked').textContent").startswith("sample 1: ")
    assert {"map", "sample", "layer", "previous", "next"} <= set(reached)
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") != "none"


@needs_browser
def test_hostile_names_do_not_run_in_a_browser(tab, tmp_path):
    net = hostile_network()
    path = tmp_path / "hostile.html"
    path.write_text(html(report(net, random_data(net, 2, 3), [0, 1], name=HOSTILE)), encoding="utf-8")
    tab.open(path)
    assert tab.complaints() == []
    assert tab.run("document.title") != "taken" and tab.run("document.images.length") == 0
    assert "<script>" in tab.run("document.getElementById('layer').options[1].text")


@needs_browser
def test_details_are_open_in_print(tab, file):
    tab.open(file)
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run("[...document.querySelectorAll('details')].every((one) => one.open)")
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert not tab.run("[...document.querySelectorAll('details')].some((one) => one.open)")
