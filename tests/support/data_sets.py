"""What tests of readers of data sets share."""

from __future__ import annotations

import dataclasses

import pytest

from lava_bsnn import data


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAVA_BSNN_DATA", raising=False)


def change(monkeypatch, name, **fields):
    monkeypatch.setitem(data.DATASETS, name, dataclasses.replace(data.DATASETS[name], **fields))


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)
