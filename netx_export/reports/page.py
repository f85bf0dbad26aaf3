"""One self-contained HTML page: no part of it comes from elsewhere, and its policy allows none."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from dataclasses import asdict
from importlib import resources

from . import parts
from .content import Report
from .core_map import core_map
from .markup import Markup, element, safe
from .traces import LEVELS


def html(report: Report) -> str:
    """The page; readable on a phone and in print, in light and dark, and by keyboard."""
    css, script = (
        resources.files(__package__).joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    sections = (
        parts.head(report),
        parts.layers(report),
        core_map(report),
        parts.activity(report),
        parts.picker(report),
        parts.agreement(report),
        parts.parity(report),
        parts.twins(report),
    )
    body = element(
        "body",
        element("main", *itertools.chain.from_iterable(sections)),
        Markup(f'<script type="application/json" id="data">{_json(report)}</script>'),
        Markup(f"<script>{script}</script>"),
    )
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{report.name}: {report.verdict}"),
        Markup(f"<style>{css}</style>"),
    )
    return "<!doctype html>\n" + safe(element("html", head, body, lang="en")) + "\n"


def _json(report: Report) -> str:
    """Data of the picker; nothing in it can end the element that holds it."""
    text = json.dumps({**asdict(report.shown), "levels": LEVELS}, separators=(",", ":"))
    return text.replace("<", "\\u003c")
