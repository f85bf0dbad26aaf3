"""Graphs of snnTorch, SpikingJelly, Norse and Sinabs themselves, and ours in their readers.

They are installed with the optional group ``peers``; each test is skipped without its library.
"""

from __future__ import annotations

import contextlib
import io

import nir
import numpy as np
import pytest
import torch

from netx_export import from_nir, simulate, to_nir

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
REASON = "not installed; pip install 'lava-bsnn[peers]'"


def on_grid(net, step=1 / 16, gain=3.0):
    """Weights that neither side rounds."""
    for module in net.modules():
        for name in ("weight", "bias"):
            value = getattr(module, name, None)
            if isinstance(value, torch.nn.Parameter):
                value.data = torch.round(gain * value.data / step).clip(-9, 9) * step
    return net


def spikes_of(net, x, *, initial=None):
    """Spikes ``[*shape, T]`` of a module that is called step by step with ``x`` ``[*shape, T]``.

    ``initial`` None: it keeps its state itself.
    """
    out, state = [], None
    with torch.no_grad():
        for t in range(x.shape[-1]):
            now = torch.tensor(x[..., t], dtype=torch.float32)
            y = net(now) if initial is None or state is None else net(now, state)
            if isinstance(y, tuple):
                state = y[1] if initial == "keep" else None
                y = y[0]
            out.append(y.numpy().copy())
    return np.stack(out, -1)


def samples(shape, *, count=10, num_steps=12, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (count, *shape, num_steps))


def assert_equal(ours, theirs):
    assert np.mean(theirs) > 0.03 and np.min(theirs) == 0 < np.max(theirs)
    np.testing.assert_array_equal(ours, theirs)


# from libraries


def snntorch_net(kind, **options):
    snn = pytest.importorskip("snntorch", reason=REASON)
    torch.manual_seed(0)

    def neurons(*shape, last=False):
        values = {"threshold": torch.ones(shape), "init_hidden": True, "output": last, **options}
        if kind == "synaptic":
            return snn.Synaptic(alpha=torch.full(shape, 0.5), beta=torch.full(shape, 0.75), **values)
        if kind == "recurrent" and not last:
            return snn.RLeaky(beta=torch.full(shape, 0.75), linear_features=shape[0], **values)
        return snn.Leaky(beta=torch.full(shape, 0.75), **values)

    nn = torch.nn
    if kind == "conv":
        layers = [nn.Conv2d(2, 4, 3, padding=1), neurons(4, 8, 8), nn.AvgPool2d(2), nn.Flatten()]
        shape, layers = (2, 8, 8), [*layers, nn.Linear(64, 5), neurons(5, last=True)]
    else:
        shape, layers = (6,), [nn.Linear(6, 16), neurons(16), nn.Linear(16, 5), neurons(5, last=True)]
    return on_grid(nn.Sequential(*layers)), shape


def from_snntorch(net, shape):
    from snntorch.export_nir import export_to_nir

    return export_to_nir(net, torch.zeros(1, *shape), ignore_dims=[0])


def reset_snntorch(net):
    for module in net:
        for name in ("reset_mem", "init_rleaky"):
            if hasattr(module, name):
                getattr(module, name)()


@pytest.mark.parametrize("kind", ["dense", "conv", "recurrent"])
def test_leaky_of_snntorch_as_it_is_by_default(kind, tmp_path):
    net, shape = snntorch_net(kind)
    graph = from_snntorch(net, shape)
    x = samples(shape)
    reset_snntorch(net)
    theirs = spikes_of(net, x)
    ours = from_nir(graph, semantics="snntorch")
    assert_equal(simulate(ours, x).spikes, theirs)
    nir.write(tmp_path / "x.nir", graph)
    assert from_nir(nir.read(tmp_path / "x.nir", type_check=False), semantics="snntorch") == ours
    hard = from_nir(graph, semantics="nir", dt=1e-4)  # the other meaning is another one
    assert (simulate(hard, x).spikes != theirs).any()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("dense", {"reset_mechanism": "zero"}),
        ("dense", {"reset_mechanism": "zero", "reset_delay": False}),
        ("conv", {"reset_mechanism": "zero"}),
        ("recurrent", {"reset_mechanism": "zero", "reset_delay": False}),
        ("synaptic", {"reset_mechanism": "zero", "reset_delay": False}),
    ],
)
def test_resets_to_zero_of_snntorch_are_those_of_nir(kind, options):
    net, shape = snntorch_net(kind, **options)
    graph = from_snntorch(net, shape)
    x = samples(shape)
    reset_snntorch(net)
    assert_equal(simulate(from_nir(graph, semantics="nir", dt=1e-4), x).spikes, spikes_of(net, x))


def test_a_trained_net_of_snntorch_nearly_keeps_its_spikes():
    """Decays of 0.9 and real weights are rounded, to 1/4096 and 12 bits."""
    snn = pytest.importorskip("snntorch", reason=REASON)
    torch.manual_seed(0)
    labels = np.arange(100) % 5
    x = samples((6,), count=100, num_steps=20)
    x[np.arange(100), labels] = 1  # the input of that number is always on
    leaky = [
        snn.Leaky(beta=torch.full((n,), 0.9), threshold=torch.ones(n), init_hidden=True) for n in (32, 5)
    ]
    net = torch.nn.Sequential(torch.nn.Linear(6, 32), leaky[0], torch.nn.Linear(32, 5), leaky[1])
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        reset_snntorch(net)
        counts = sum(net(torch.tensor(x[..., t], dtype=torch.float32)) for t in range(x.shape[-1]))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(counts, torch.tensor(labels)).backward()
        optimizer.step()
    graph = from_snntorch(net, (6,))
    reset_snntorch(net)
    theirs = spikes_of(net, x)
    ours = simulate(from_nir(graph, semantics="snntorch"), x).spikes
    assert (theirs.sum(-1).argmax(1) == labels).mean() > 0.9
    assert (ours == theirs).mean() > 0.98 and (ours.sum(-1).argmax(1) == labels).mean() > 0.9


@pytest.mark.parametrize("kind", ["if", "lif", "lif without decay_input", "cuba", "conv"])
def test_nets_of_spikingjelly(kind):
    pytest.importorskip("spikingjelly", reason=REASON)
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    torch.manual_seed(0)
    made = {
        "if": lambda: neuron.IFNode(),
        "lif": lambda: neuron.LIFNode(tau=2.0, v_threshold=0.5),
        "lif without decay_input": lambda: neuron.LIFNode(
            tau=4.0, decay_input=False, v_threshold=0.5, v_reset=-0.25
        ),
        "cuba": lambda: neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75),
        "conv": lambda: neuron.IFNode(),
    }[kind]
    nn = torch.nn
    if kind == "conv":
        shape, first = (2, 8, 8), [nn.Conv2d(2, 4, 3, padding=1), made(), nn.AvgPool2d(2), nn.Flatten()]
        net = nn.Sequential(*first, nn.Linear(64, 5), made())
    else:
        shape, net = (6,), nn.Sequential(nn.Linear(6, 16), made(), nn.Linear(16, 5), made())
    on_grid(net)
    graph = export_to_nir(net, torch.zeros(1, *shape))
    functional.reset_net(net)
    x = samples(shape)
    assert_equal(simulate(from_nir(graph, semantics="spikingjelly"), x).spikes, spikes_of(net, x))


@pytest.mark.parametrize("kind", ["iaf", "lif box", "lif"])
def test_nets_of_norse(kind):
    norse = pytest.importorskip("norse.torch", reason=REASON)
    from norse.torch.utils.export_nir import to_nir as norse_to_nir

    torch.manual_seed(0)

    def neurons(n):
        # dt is 0.001: half of the current and a quarter of the potential go in a step
        syn, mem, threshold = torch.full((n,), 500.0), torch.full((n,), 250.0), torch.full((n,), 0.125)
        leak = torch.zeros(n)
        if kind == "iaf":
            return norse.IAFCell(norse.IAFParameters(v_th=threshold))
        if kind == "lif box":
            return norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=mem, v_th=threshold, v_leak=leak))
        return norse.LIFCell(
            norse.LIFParameters(tau_mem_inv=mem, tau_syn_inv=syn, v_th=threshold, v_leak=leak)
        )

    net = norse.SequentialState(torch.nn.Linear(6, 16), neurons(16), torch.nn.Linear(16, 5), neurons(5))
    on_grid(net)
    graph = norse_to_nir(net, torch.zeros(6), dt=1.0)  # it writes tau times dt
    x = samples((6,))
    theirs = np.stack([spikes_of(net, sample, initial="keep") for sample in x])
    assert_equal(simulate(from_nir(graph, semantics="norse", dt=1e-3), x).spikes, theirs)


@pytest.mark.parametrize("kind", ["iaf", "lif"])
def test_nets_of_sinabs(kind):
    layers = pytest.importorskip("sinabs.layers", reason=REASON)
    import sinabs.nir

    torch.manual_seed(0)

    def neurons(n):
        threshold = torch.full((n,), 0.5 if kind == "iaf" else 0.125)
        if kind == "iaf":
            return layers.IAFSqueeze(spike_threshold=threshold, batch_size=10)
        tau = torch.full((n,), float(-1 / np.log(0.75)))
        return layers.LIFSqueeze(tau_mem=tau, spike_threshold=threshold, batch_size=10)

    net = on_grid(
        torch.nn.Sequential(torch.nn.Linear(6, 16), neurons(16), torch.nn.Linear(16, 5), neurons(5))
    )
    x = samples((6,))
    frames = torch.tensor(np.moveaxis(x, -1, 1).reshape(-1, 6), dtype=torch.float32)
    with torch.no_grad():
        theirs = np.moveaxis(net(frames).numpy().reshape(10, -1, 5), 1, -1)
    graph = sinabs.nir.to_nir(net, frames)
    ours = simulate(from_nir(graph, semantics="sinabs"), x).spikes
    if kind == "iaf":
        assert_equal(ours, theirs)
    else:  # its float32 exponential is not 0.75
        assert theirs.max() > 0 and (ours == theirs).mean() > 0.98


# for libraries


def reader_of(semantics):
    if semantics == "snntorch":
        pytest.importorskip("snntorch", reason=REASON)
        from snntorch.import_nir import import_from_nir

        return import_from_nir
    if semantics == "norse":
        pytest.importorskip("norse", reason=REASON)
        from norse.torch.utils.import_nir import from_nir as import_nir

        return import_nir
    pytest.importorskip("spikingjelly", reason=REASON)
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return import_from_nir


@pytest.mark.parametrize("semantics", ["snntorch", "norse", "spikingjelly"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"voltage_decay": 1024},
        {"voltage_decay": 2048, "current_decay": 1024, "threshold": 30, "bias": 0},
        {"loop": True, "voltage_decay": 2048},
        {"exponent": 0, "threshold": np.array([900, 1000, 1100, 1200, 1300])},
    ],
    ids=["if", "lif", "cuba", "loop", "thresholds"],
)
def test_readers_compute_what_our_networks_compute(semantics, options):
    from netx_export import network

    rng = np.random.default_rng(0)
    options = dict(options)
    loop, exponent = options.pop("loop", False), options.get("exponent", 6)

    def layer(name, source, size, fan_in, last):
        dense = network.Dense(weight=rng.integers(-7, 12, (size, fan_in)))
        connections = [network.Connection(source=source, synapse=dense)]
        if loop:
            weights = network.Dense(weight=rng.integers(-5, 6, (size, size)))
            connections.append(network.Connection(source=name, synapse=weights))
        neuron = {"threshold": 12, "bias": rng.integers(-2, 3, size), **options}
        if last and exponent == 0:
            neuron["threshold"] = 1000
        if "bias" in options:
            neuron["bias"] = np.zeros(size, dtype=int)
        return network.Layer(
            name=name, connections=tuple(connections), neuron=network.LIF(**neuron), shape=(size,)
        )

    net = network.FixedPointNetwork(
        input=network.Input(shape=(7,)),
        layers=(layer("a", "input", 5, 7, False), layer("b", "a", 4, 5, True)),
        profile="stock" if exponent == 6 else "extended",
    )
    graph = to_nir(net, semantics=semantics)
    x = samples((7,))
    with contextlib.redirect_stdout(io.StringIO()):
        reader = reader_of(semantics)
        theirs = np.stack([spikes_of(reader(graph), sample, initial="keep") for sample in x])
    assert_equal(simulate(net, x).spikes, theirs)


@pytest.mark.parametrize("semantics", ["snntorch", "norse", "spikingjelly"])
def test_readers_take_convolutions(semantics):
    from netx_export import network

    rng = np.random.default_rng(0)
    conv = network.Conv(weight=rng.integers(-3, 6, (4, 2, 3, 2)), stride=(2, 1), padding=(1, 0))
    dense = network.Dense(weight=rng.integers(-5, 9, (5, 48)))
    layers = (
        network.Layer(
            name="conv",
            connections=(network.Connection(source="input", synapse=conv),),
            neuron=network.LIF(threshold=12, bias=rng.integers(-2, 3, 4), voltage_decay=2048),
            shape=(4, 3, 4),
        ),
        network.Layer(
            name="dense",
            connections=(network.Connection(source="conv", synapse=dense),),
            neuron=network.LIF(threshold=30, bias=rng.integers(-2, 3, 5)),
            shape=(5,),
        ),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(2, 5, 5)), layers=layers)
    graph = to_nir(net, semantics=semantics)
    x = samples(net.input.shape, count=3)
    batch = semantics == "spikingjelly"  # others flatten a batch, too
    with contextlib.redirect_stdout(io.StringIO()):
        reader = reader_of(semantics)
        theirs = [spikes_of(reader(graph), sample[None] if batch else sample, initial="keep") for sample in x]
    theirs = np.stack([spikes[0] if batch else spikes for spikes in theirs])
    assert_equal(simulate(net, x).spikes, theirs)
