"""The script of docs/own_graph.md runs as printed; Lava does with the files beside it what the page says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/own_graph.md").read_text()

pytestmark = pytest.mark.lava


def test_the_script_prints_what_the_page_says_and_lava_imports_its_neighbours(tmp_path, capsys, nothing_left):
    (code,) = re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (printed,) = re.findall(r"^It prints\n\n```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "watch.py").write_text(code)
    (tmp_path / "beside.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__)")
    runpy.run_path(str(tmp_path / "watch.py"), run_name="__main__")
    assert capsys.readouterr().out == printed
    assert (tmp_path / "ran").read_text().startswith("beside")


def test_a_var_of_one_number_fits_no_ref_port():
    """Which the page says of thresholds and decays."""
    from lava_bsnn.compat import import_lava

    neuron = import_lava("lava.proc.lif.process").LIF(shape=(3,), vth=8)
    assert neuron.vth.shape == (1,) and neuron.v.shape == neuron.bias_mant.shape == (3,)
