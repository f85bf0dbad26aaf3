"""lava-dl's own tests of its Network, run with ours in its place."""

from __future__ import annotations

import unittest
from types import SimpleNamespace

import pytest
from support.lava_dl import wheel_tests

from lava_bsnn.compat import import_lava
from netx_export import FusedSimCfg
from netx_export.process import Network

pytestmark = [
    pytest.mark.lava,
    pytest.mark.filterwarnings("ignore"),  # theirs
]
CUBA = [
    "test_num_layers",
    "test_input_transform",
    "test_mnist",
    "test_tinynet",
    pytest.param("test_axonal_delay_ntidigits", marks=pytest.mark.nightly),  # minutes
    "test_sparse_axonal_delay_ntidigits",
    "test_recurrent_netx_save_and_load",
]
SIGMA_DELTA = ["test_sparse_pilotnet_sdnn"]


@pytest.fixture(scope="module")
def theirs():
    """Their test module, with ``netx.hdf5.Network`` replaced."""
    import_lava("lava.lib.dl.netx.hdf5")
    module = wheel_tests("lava.lib.dl.netx.test_hdf5")
    made = []

    class Counted(Network):
        def __new__(cls, *args, **options):
            made.append(1)
            return Network(*args, **options)

    ours = SimpleNamespace(hdf5=SimpleNamespace(Network=Counted), blocks=module.netx.blocks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "netx", ours)
        yield module, made


@pytest.mark.parametrize("name", CUBA + SIGMA_DELTA)
def test_their_test_passes_with_our_network(theirs, name, tmp_path, monkeypatch):
    module, made = theirs
    if name == "test_recurrent_netx_save_and_load":  # it writes beside itself
        monkeypatch.setattr(module.os.path, "abspath", lambda path: str(tmp_path / "test_hdf5.py"))
    before = len(made)
    result = unittest.TestResult()
    module.TestHdf5Netx(name)(result)
    problems = [text for _, text in result.errors + result.failures]
    assert not problems, problems[0]
    assert result.testsRun == 1 and not result.skipped
    assert len(made) == before + 1


@pytest.mark.nightly
def test_their_recording_of_ntidigits_holds_in_a_fused_run(theirs, monkeypatch):
    module, _ = theirs
    monkeypatch.setattr(module, "TestRunConfig", FusedSimCfg)
    result = unittest.TestResult()
    module.TestHdf5Netx("test_axonal_delay_ntidigits")(result)
    problems = [text for _, text in result.errors + result.failures]
    assert not problems, problems[0]
