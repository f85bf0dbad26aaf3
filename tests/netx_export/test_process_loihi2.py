"""How stock networks would go to Loihi 2. The closed modules of lava-loihi are stand-ins here.

These tests show what is connected to what, and what is refused. Nothing of this has run on hardware.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, LavaMissingError, OptionError, ShapeError
from netx_export import network, run
from netx_export.loihi2 import check_loihi2, foreign_leaves
from netx_export.process import Network

pytestmark = pytest.mark.lava
AbstractProcess = import_lava("lava.magma.core.process.process").AbstractProcess
ports = import_lava("lava.magma.core.process.ports.ports")
variable = import_lava("lava.magma.core.process.variable")


class StandInAdapter(AbstractProcess):
    """In the place of the spike adapters of lava-loihi."""

    def __init__(self, shape, num_message_bits=0):
        super().__init__(shape=shape)
        self.inp, self.out = ports.InPort(shape=shape), ports.OutPort(shape=shape)
        self.num_message_bits = num_message_bits
        MADE.append(self)


class StandInConvAdapter(StandInAdapter):
    """In the place of the one for inputs of convolutions, as lava-dl's hardware tests use it."""


class StandInRead(AbstractProcess):
    """In the place of the state reader of lava-loihi."""

    def __init__(self, buffer, interval, offset):
        super().__init__()
        self.buffer, self.var = buffer, None
        MADE.append(self)

    def connect_var(self, var):
        self.var = var
        self.data = variable.Var(shape=(*var.shape, self.buffer), init=0)


MADE: list = []


@pytest.fixture
def lava_loihi(monkeypatch):
    """Stand-ins for the closed modules; the run is recorded, not done."""
    MADE.clear()
    spike, state = ModuleType("lava.proc.embedded_io.spike"), ModuleType("lava.proc.embedded_io.state")
    spike.PyToNxAdapter = spike.NxToPyAdapter = StandInAdapter
    spike.PyToN3ConvAdapter = StandInConvAdapter
    state.Read = StandInRead
    monkeypatch.setitem(sys.modules, "lava.proc.embedded_io", ModuleType("lava.proc.embedded_io"))
    monkeypatch.setitem(sys.modules, "lava.proc.embedded_io.spike", spike)
    monkeypatch.setitem(sys.modules, "lava.proc.embedded_io.state", state)
    loihi = import_lava("lava.utils.loihi")
    calls = []
    monkeypatch.setattr(loihi, "is_installed", lambda: True)
    monkeypatch.setattr(loihi, "use_slurm_host", lambda **options: calls.append(("slurm", options)))
    monkeypatch.setattr(loihi, "use_ethernet_host", lambda **options: calls.append(("ethernet", options)))

    def instead_of_a_run(self, condition, run_cfg):
        calls.append(("run", type(run_cfg).__name__, condition.num_steps, self))

    monkeypatch.setattr(Network, "run", instead_of_a_run)
    monkeypatch.setattr(Network, "stop", lambda self: calls.append(("stop",)))
    monkeypatch.setattr(variable.Var, "get", lambda self: np.zeros(self.shape))
    return calls


def feeders(port):
    return [type(source.process).__name__ for source in port.get_src_ports()]


def test_without_lava_loihi_one_error_says_what_is_missing_and_who_gets_it(make_network, make_data):
    net = make_network()
    with pytest.raises(LavaMissingError, match="lava-loihi, which is not installed: .*INRC") as caught:
        run(net, make_data(net, num_steps=8), "loihi2")
    assert "\n" not in str(caught.value)


def test_a_readout_is_wired_through_adapters_and_a_state_reader(lava_loihi, make_network, make_data):
    net = make_network(bits=4)
    result = run(net, make_data(net, num_samples=3, num_steps=8), "loihi2")
    (kind, cfg, steps, process), stopped = lava_loihi
    assert (kind, cfg, steps, stopped) == ("run", "Loihi2HwCfg", 3 * 8 + 4, ("stop",))
    to_chip, reader = MADE
    assert feeders(process.inp) == ["StandInConvAdapter"] and feeders(to_chip.inp) == ["RingBuffer"]
    assert to_chip.num_message_bits == 4
    assert reader.var is process.layers[-1].neuron.v and reader.buffer == steps
    assert process.reset_interval == 8 and process.reset_offset == 1
    assert result.readout.shape == (3, 4, 8) and result.latency == 4


def test_spikes_come_back_through_an_adapter(lava_loihi, make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8,), classes=0)
    result = run(net, make_data(net, num_steps=4), "loihi2", host="slurm", partition="oheogulch")
    assert lava_loihi[0] == ("slurm", {"partition": "oheogulch", "board": None})
    to_chip, from_chip = MADE
    assert type(to_chip) is StandInAdapter
    assert feeders(from_chip.inp) == ["LIFReset"] or "LIFReset" in str(feeders(from_chip.inp))
    assert result.spikes.shape == (3, 8, 4)


def test_an_ethernet_host_is_passed_on(lava_loihi, make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    run(net, make_data(net, num_steps=2), "loihi2", host="ethernet", address="10.0.0.7")
    assert lava_loihi[0] == ("ethernet", {"host_address": "10.0.0.7"})
    with pytest.raises(OptionError, match="host='usb' is unknown"):
        run(net, make_data(net, num_steps=2), "loihi2", host="usb")


def test_what_the_chip_cannot_do_is_refused(make_network):
    net = make_network()
    with pytest.raises(ShapeError, match="6 steps per sample are not possible, .* use 4 or 8"):
        check_loihi2(net, 6)
    extended = network.FixedPointNetwork(input=net.input, layers=net.layers, profile="extended")
    with pytest.raises(ExportError, match="profile 'stock' only"):
        check_loihi2(extended, 8)
    for steps in (1, 2, 16):
        check_loihi2(net, steps)


def test_only_stock_leaves_make_up_a_stock_network(make_network):
    net = make_network(bits=4)
    stock = Network(net, reset_interval=8)
    assert len(stock.layers) == 4
    assert foreign_leaves(stock.inner()) == []
    ours = Network(net, reset_interval=8, clear_delays=True)
    _ = ours.layers
    assert "netx_export.process.neuron.Neurons" in foreign_leaves(ours.inner())
