from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lava_bsnn import compat
from lava_bsnn.errors import LavaMissingError

ROOT = Path(__file__).parents[2]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lava_imports_after_lava_bsnn():
    code = "import lava_bsnn; import lava.magma.compiler.var_model as m; print(m.PyVarModel().node_id)"
    assert run_python(code).strip() == "-1"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="stock lava imports on Python 3.10")
def test_lava_does_not_import_without_lava_bsnn():
    code = (
        "try:\n import lava.magma.compiler.var_model\n"
        "except ValueError as error: print('mutable default' in str(error))"
    )
    assert run_python(code).strip() == "True"


def test_dataclass_is_restored_after_the_import():
    code = (
        "import dataclasses; before = dataclasses.dataclass; import lava_bsnn;"
        "import lava.magma.compiler.var_model; print(dataclasses.dataclass is before)"
    )
    assert run_python(code).strip() == "True"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="nothing is hooked on Python 3.10")
def test_reshaped_ports_reshape():
    code = (
        "import lava_bsnn, numpy as np; import lava.magma.core.process.ports.ports as m\n"
        "port = m.ReshapePort((2, 3), (6,))\n"
        "fwd, bwd = port.get_transform_func_fwd(), port.get_transform_func_bwd()\n"
        "print(fwd(np.zeros(6)).shape, bwd(np.zeros((2, 3))).shape)"
    )
    assert run_python(code).strip() == "(2, 3) (6,)"


MESSAGES = "lava.magma.runtime.message_infrastructure.multiprocessing"


def test_lava_imports_after_a_data_loader_has_fixed_the_start_method():
    code = (
        "import multiprocessing as mp; before = mp.set_start_method; mp.Queue(); import lava_bsnn;"
        f"import {MESSAGES}; print(mp.get_start_method(), mp.set_start_method is before)"
    )
    assert run_python(code).split() == ["fork", "True"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_another_start_method_stays_and_lava_forks(method):
    code = (
        f"import multiprocessing as mp; mp.set_start_method({method!r}); import lava_bsnn\n"
        f"import {MESSAGES} as lava\n"
        "print(mp.get_start_method(), issubclass(lava.SystemProcess, mp.context.ForkProcess))"
    )
    assert run_python(code).split() == [method, "True"]


@pytest.mark.lava
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_lava_forks_whatever_start_method_is_set(method):
    """Without a guard of the main module, which only fork does without; the method stays set."""
    code = (
        f"import multiprocessing as mp, numpy as np; mp.set_start_method({method!r})\n"
        "from lava_bsnn.compat import import_lava\n"
        "Dense = import_lava('lava.proc.dense.process').Dense\n"
        "LIF = import_lava('lava.proc.lif.process').LIF\n"
        "steps = import_lava('lava.magma.core.run_conditions').RunSteps(num_steps=3)\n"
        "config = import_lava('lava.magma.core.run_configs').Loihi2SimCfg(select_tag='fixed_pt')\n"
        "one, dense = LIF(shape=(1,), bias_mant=9, vth=0), Dense(weights=np.full((1, 1), 64))\n"
        "other = LIF(shape=(1,)); one.s_out.connect(dense.s_in); dense.a_out.connect(other.a_in)\n"
        "one.run(condition=steps, run_cfg=config); print(other.u.get()); one.stop()\n"
        "print(mp.get_start_method(), mp.active_children())"
    )
    assert run_python(code).split() == ["[8191.]", method, "[]"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_lava_imports_in_a_process_of_another_start_method(method):
    code = (
        "import multiprocessing as mp\n"
        f"with mp.get_context({method!r}).Pool(1) as pool:\n"
        f" print(pool.apply(exec, ['import lava_bsnn, {MESSAGES}']))"
    )
    assert run_python(code).strip() == "None"


def test_the_hook_is_installed_once(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [])
    compat.enable_lava()
    compat.enable_lava()
    assert len(sys.meta_path) == 1


def test_lava_that_was_imported_before_tells_of_failures_too():
    code = (
        "import lava_bsnn.compat as c, sys; from lava.magma.runtime import runtime\n"
        "import lava.magma.core.process.process as process\n"
        "stock = runtime.Runtime.__base__; runtime.Runtime = process.Runtime = stock\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, c._Finder)]; c.enable_lava()\n"
        "print(runtime.Runtime is not stock, process.Runtime is runtime.Runtime)"
    )
    assert run_python(code).split() == ["True", "True"]


def test_import_loads_nothing_heavy():
    heavy = ["torch", "matplotlib", "h5py", "sklearn", "lava.lib.dl.slayer", "scipy"]
    code = f"import sys, lava_bsnn, netx_export; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_simulating_loads_no_slayer():
    code = (
        "import sys, numpy as np, netx_export as n; from netx_export import network as g\n"
        "layer = g.Layer(name='a', connections=(g.Connection(source='input', "
        "synapse=g.Dense(weight=np.ones((2, 3), int))),), neuron=g.LIF(threshold=1, "
        "bias=np.zeros(2, int)), shape=(2,))\n"
        "net = n.FixedPointNetwork(input=g.Input(shape=(3,)), layers=(layer,))\n"
        "n.simulate(net, np.ones((1, 3, 2), int))\n"
        "print([m for m in ('lava.lib.dl.slayer', 'matplotlib', 'h5py') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_object_detection_loads_when_it_is_used():
    code = (
        "import sys, lava_bsnn.block, lava.lib.dl.slayer as slayer; print('torchvision' in sys.modules)\n"
        "print(slayer.obd.yolo_base.YOLOBase.__name__, 'torchvision' in sys.modules)"
    )
    assert run_python(code) == "False\nYOLOBase True\n"


def test_missing_lava_names_the_command_that_installs_it():
    with pytest.raises(LavaMissingError, match="pip install --no-deps --ignore-requires-python"):
        compat.import_lava("lava.no_such_module")


def test_the_install_command_has_the_versions_of_pyproject():
    pins = set(re.findall(r"lava-(?:nc|dl)==[0-9.]+", (ROOT / "pyproject.toml").read_text()))
    assert pins == set(re.findall(r"lava-(?:nc|dl)==[0-9.]+", compat.INSTALL_LAVA))


@pytest.mark.parametrize(("width", "channels"), [(3, 130), (200, 2)])
def test_lavas_convolution_takes_sides_and_channels_beyond_int8(width, channels):
    """Its model keeps kernel, stride, padding and groups as int8; NumPy 2 adds no 128 to such."""
    from lava.proc.conv import utils

    rng = np.random.default_rng(0)
    spikes = rng.integers(0, 3, (width, 3, channels))
    weight = rng.integers(-4, 5, (2, 3, 3, channels))
    pairs = [np.array(pair, dtype=np.int8) for pair in ((3, 3), (2, 1), (1, 1), (1, 1))]
    padded = np.pad(spikes, ((1, 1), (1, 1), (0, 0)))
    expected = np.array(
        [
            [
                [(padded[x : x + 3, y : y + 3] * kernel[::-1, ::-1]).sum() for kernel in weight]
                for y in range(3)
            ]
            for x in range(0, width, 2)
        ]
    )
    for conv in (utils.conv, utils.conv_scipy):
        np.testing.assert_array_equal(conv(spikes, weight, *pairs, np.int8(1)), expected)
