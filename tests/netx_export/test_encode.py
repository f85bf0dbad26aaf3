"""``net.encode`` gives exactly what the first synapse of the model got: every encoding, shape and type."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from lava_bsnn import block, data, models, training
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError
from lava_bsnn.neuron import MultiThresholdLIF
from lava_bsnn.training.batches import as_input
from lava_bsnn.training.hybrid import to_single_threshold
from netx_export import agreement, convert, read, simulate, write

STEPS = 4
MEAN, STD = (0.4914, 0.31, 0.6), (0.247, 0.2435, 0.5)
IMAGES = Encoding.images(MEAN, STD)
ENCODINGS = {
    "no input": None,
    "spikes": Encoding(),
    "counts": Encoding(kind="counts", bits=3),
    "saturating counts": Encoding(kind="counts", bits=2, saturate=True),
    "1-bit intensities": Encoding(kind="intensities", bits=1),
    "4-bit intensities": Encoding(kind="intensities", bits=4),
    "8-bit intensities": Encoding(kind="intensities", bits=8),
    "images": IMAGES,
    "5-bit images": Encoding.images(MEAN, STD, bits=5),
    "rails": replace(IMAGES, bits=7, rails=True),
}
DTYPES = (np.float32, np.float64, np.uint8, np.bool_, np.int64)


def network(coding, in_shape, *, neuron=None):
    torch.manual_seed(0)
    blocks = [] if coding is None else [block.Input(encoding=coding)]
    channels = in_shape[0] * (2 if coding is not None and coding.rails else 1)
    params, kind = ({"threshold": 1.0}, {}) if neuron is None else (neuron, {"neuron": MultiThresholdLIF})
    if len(in_shape) == 3:
        blocks += [block.Conv(params, channels, 2, 3, norm=None, **kind), block.Flatten()]
        blocks.append(block.Readout(None, 2 * (in_shape[1] - 2) * (in_shape[2] - 2), 2))
    else:
        blocks += [block.Dense(params, channels, 3, norm=None, **kind), block.Readout(None, 3, 2)]
    return models.SpikingNetwork(blocks, in_shape=in_shape, num_steps=STEPS).eval()


def samples(coding, dtype, shape, seed=0):
    """What an encoding takes, as ``dtype``; None where it takes no such type."""
    rng, coding = np.random.default_rng(seed), coding or Encoding()
    if dtype is np.bool_ or coding.kind == "spikes":
        return rng.integers(0, 2, shape).astype(dtype)
    if coding.kind == "counts":
        return rng.integers(0, coding.high + (4 if coding.saturate else 1), shape).astype(dtype)
    if dtype is np.uint8:
        return rng.integers(0, 256, shape).astype(dtype)
    if dtype is np.int64:
        return rng.integers(0, 2, shape)
    near = (rng.integers(0, 256, shape) + 0.5) / 255  # where rounding turns
    x = np.where(rng.random(shape) < 0.5, near.clip(0, 1), rng.random(shape))
    return (x + rng.choice([-1e-9, 0, 1e-9], shape)).clip(0, 1).astype(dtype)


def first_messages(model, x):
    """What a hook on the first synapse sees, as integers."""
    seen = []
    first = next(m for m in model.blocks if isinstance(m, block.SpikingBlock))
    hook = first.synapse.register_forward_pre_hook(lambda synapse, args: seen.append(args[0]))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(as_input(model, torch.as_tensor(x)))
    hook.remove()
    (sent,) = seen
    value = first.incoming.value
    whole = (sent.double() / value).round()
    assert (sent.double() / value - whole).abs().max() < 1e-4
    return whole.numpy().astype(int)


@pytest.mark.filterwarnings("ignore:.*counts were above")
@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("in_shape", [(3, 5, 6), (3,)], ids=str)
@pytest.mark.parametrize("kind", ENCODINGS)
def test_the_first_layer_gets_what_encode_gives(kind, in_shape, dtype, time):
    coding = ENCODINGS[kind]
    model = network(coding, in_shape)
    net = convert(model, "extended")
    assert net.input.encoding == replace(coding or Encoding(), steps=STEPS)
    x = samples(coding, dtype, (7, *in_shape, *([STEPS] if time else [])))
    found = net.encode(x)
    assert found.dtype == np.int32 and found.shape == (7, *net.input.shape, STEPS)
    np.testing.assert_array_equal(found, first_messages(model, x))
    np.testing.assert_array_equal(found, net.encode(torch.from_numpy(x)))
    np.testing.assert_array_equal(found, net.encode(x, STEPS))
    assert net.input.min_value <= found.min() and found.max() <= net.input.max_value
    assert len(np.unique(found)) > 1
    simulate(net, found)


@pytest.mark.filterwarnings("ignore:.*counts were above")
@pytest.mark.parametrize("profile", ["stock", "extended"])
@pytest.mark.parametrize("kind", [kind for kind in ENCODINGS if kind != "no input"])
def test_a_file_keeps_the_encoding(tmp_path, kind, profile):
    model = network(ENCODINGS[kind], (3, 5, 6))
    model.classes = ("cat", "Größe 2")
    net = convert(model, profile)
    write(net, tmp_path / "a.net")
    back = read(tmp_path / "a.net")
    assert back == net and back.input.encoding == replace(ENCODINGS[kind], steps=STEPS)
    assert back.classes == ("cat", "Größe 2")
    x = samples(ENCODINGS[kind], np.float64, (4, 3, 5, 6))
    np.testing.assert_array_equal(back.encode(x), first_messages(model, x))


@pytest.mark.filterwarnings("ignore:.*counts were above")
@pytest.mark.parametrize("kind", ENCODINGS)
def test_other_numbers_of_steps(kind):
    """Frames for any number of steps; samples with a time axis of as many as they have."""
    model = network(ENCODINGS[kind], (3,))
    net = convert(model, "extended")
    x = samples(ENCODINGS[kind], np.float32, (2, 3))
    np.testing.assert_array_equal(net.encode(x, 9), net.encode(x, 1).repeat(9, -1))
    moving = samples(ENCODINGS[kind], np.float32, (2, 3, 9))
    np.testing.assert_array_equal(net.encode(moving), first_messages(model, moving))
    with pytest.raises(ExportError, match=r"samples of 9 steps do not fit; use 5 \(num_steps\)"):
        net.encode(moving, 5)


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("kind", ["no input", "spikes", "counts", "8-bit intensities", "images", "rails"])
def test_single_threshold_networks_get_each_step_several_times(kind, levels):
    neuron = {"levels": levels, "threshold": 1.0, "num_steps": STEPS}
    coding = ENCODINGS[kind]
    model = network(coding, (3, 5, 6), neuron=neuron)
    net = convert(model, "extended", single_threshold=True)
    single = to_single_threshold(model)
    steps = levels * STEPS
    assert net.input.encoding == replace(coding or Encoding(), repeat=levels, steps=steps)
    still, moving = (samples(coding, np.float32, (3, 3, 5, 6, *time)) for time in ([], [STEPS]))
    for x in (still, moving):
        expected = first_messages(single, x)
        assert expected.shape[-1] == steps
        np.testing.assert_array_equal(net.encode(x), expected)
        np.testing.assert_array_equal(net.encode(x, steps), expected)
    assert not np.array_equal(net.encode(moving), net.encode(moving[..., :1].repeat(STEPS, -1)))
    np.testing.assert_array_equal(net.encode(moving.repeat(levels, -1)), net.encode(moving))
    convert_again = convert(single, "extended")  # a model that already is of single thresholds
    assert convert_again.input.encoding == net.input.encoding
    np.testing.assert_array_equal(convert_again.encode(moving), net.encode(moving))


@pytest.mark.parametrize(
    "kind", ["4-bit intensities", "8-bit intensities", "images", "5-bit images", "rails"]
)
def test_rounding_is_that_of_float32_whatever_the_samples_are(kind):
    """Values within an ulp of where the message changes: float64 samples are read as float32."""
    coding = ENCODINGS[kind]
    model = network(coding, (3,))
    net = convert(model, "extended")
    levels = (np.arange(-2 * coding.high, 2 * coding.high) + 0.5)[:, None]
    if coding.kind == "images":
        edges = levels / coding.gain * (np.array(coding.std) / 1e6) + np.array(coding.mean) / 1e6
    else:
        edges = np.repeat(levels / coding.high, 3, 1)
    edges = np.concatenate([edges + d for d in (-1e-7, -3e-8, -1e-9, 0, 1e-9, 3e-8, 1e-7)])
    x = edges[((edges >= 0) & (edges <= 1)).all(1)]
    assert len(x) > 40 and (x != x.astype(np.float32)).any()
    single = net.encode(x.astype(np.float32))
    np.testing.assert_array_equal(net.encode(x), single)
    np.testing.assert_array_equal(single, first_messages(model, x))
    with torch.no_grad():
        double = first_messages(network(coding, (3,)).double(), x)
    np.testing.assert_array_equal(single, double)


def test_all_256_pixels_mean_their_255th():
    for kind in ("1-bit intensities", "4-bit intensities", "8-bit intensities", "images", "rails"):
        model = network(ENCODINGS[kind], (3,))
        net = convert(model, "extended")
        pixels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
        found = net.encode(pixels)
        np.testing.assert_array_equal(found, net.encode(pixels.astype(np.float32) / np.float32(255)))
        np.testing.assert_array_equal(found, first_messages(model, pixels))


def test_rails_are_the_two_signs_of_an_image():
    coding = ENCODINGS["rails"]
    net = convert(network(coding, (3, 5, 6)), "extended")
    signed = convert(network(replace(coding, bits=8, rails=False), (3, 5, 6)), "extended")
    x = samples(coding, np.float32, (5, 3, 5, 6))
    both, one = net.encode(x), signed.encode(x)
    assert both.shape[1] == 6 and both.min() == 0
    np.testing.assert_array_equal(both[:, :3] - both[:, 3:], one)
    assert not (both[:, :3] * both[:, 3:]).any() and (one < 0).any()


def test_messages_are_what_the_formula_says():
    """Halves to even, in float64 for images, written out for single values."""
    x = np.array([[0.0, 0.25, 1.0]], np.float32)
    net = convert(network(ENCODINGS["4-bit intensities"], (3,)), "extended")
    assert net.encode(x)[0, :, 0].tolist() == [0, 4, 15]  # 3.75
    assert net.encode(np.array([[0.1, 0.5, 0.9]]))[0, :, 0].tolist() == [2, 8, 14]  # 1.5, 7.5, 13.5
    net = convert(network(IMAGES, (3,)), "extended")
    gain = np.floor(127 / max(max(m, 1 - m) / s for m, s in zip(MEAN, STD, strict=True)))
    assert gain == IMAGES.gain == 44
    expected = [round(float((v - m) / s * gain)) for v, m, s in zip(x[0], MEAN, STD, strict=True)]
    assert net.encode(x)[0, :, 0].tolist() == expected


def test_counts_above_the_largest_are_told():
    net = convert(network(ENCODINGS["saturating counts"], (3,)), "extended")
    with pytest.warns(UserWarning, match="input: 2 of 6 counts were above 3 and became that"):
        found = net.encode(np.array([[0, 3, 4], [1, 2, 9]]))
    assert found[..., 0].tolist() == [[0, 3, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    ("kind", "x", "message"),
    [
        ("spikes", [0.0, 0.5, 1.0], r"values in 0\.\.1 that are not whole are no spikes \(0 or 1\)"),
        ("spikes", [0, 1, 2], r"values in 0\.\.2 are no spikes \(0 or 1\)"),
        ("no input", [0, -1, 1], r"values in -1\.\.1 are no spikes \(0 or 1\)"),
        ("counts", [0, 1, 8], r"values in 0\.\.8 are no counts of 3 bits; use whole numbers 0\.\.7"),
        ("counts", [0, 1.5, 2], "that are not whole are no counts of 3 bits"),
        ("saturating counts", [-1, 0, 9], r"values in -1\.\.9 are no counts of 2 bits"),
        ("images", [0.0, 0.5, 1.01], r"values in 0\.\.1\.01 are not allowed; scale them to 0\.\.1"),
        ("8-bit intensities", [-0.01, 0.5, 1.0], r"scale them to 0\.\.1, or give uint8 pixels"),
        ("8-bit intensities", [0.0, float("nan"), 1.0], "scale them to 0..1"),
        ("images", [0.0, float("inf"), 1.0], "scale them to 0..1"),
        ("images", ["a", "b", "c"], "values are not allowed; use numbers"),
    ],
)
def test_other_values_are_refused(kind, x, message):
    net = convert(network(ENCODINGS[kind], (3,)), "extended")
    with pytest.raises(ExportError, match=f"^input: .*{message}"):
        net.encode(np.array([x]))


@pytest.mark.parametrize("profile", ["stock", "extended"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_a_readout_of_signed_images_lasts_for_the_models_steps(bits, profile):
    """The largest messages, all of the worst sign, at every step."""
    coding = Encoding(kind="images", bits=bits, mean=(500_000,), std=(500_000,), gain=(1 << (bits - 1)) - 1)
    blocks = [block.Input(encoding=coding), block.Flatten(), block.Readout(None, 16, 3)]
    net = convert(models.SpikingNetwork(blocks, in_shape=(1, 4, 4), num_steps=STEPS).eval(), profile)
    assert net.max_steps >= STEPS
    weight = net.layers[0].connections[0].synapse.weight[0].reshape(1, 1, 4, 4)
    for sign in (-1, 1):
        x = net.encode((sign * weight > 0).astype(np.float32))
        assert (abs(x) == coding.high).all()
        steps = simulate(net, x).readout[0, 0]
        assert (np.sign(steps) == sign).all() and len(set(np.diff(steps))) == 1


def test_samples_of_another_shape_are_refused():
    net = convert(network(ENCODINGS["rails"], (3, 5, 6)), "extended")
    for shape in ((2, 6, 5, 6), (2, 3, 6, 5), (3, 5, 6), (2, 3, 5, 6, 4, 1)):
        with pytest.raises(ExportError, match=r"does not fit; use \[N, 3, 5, 6\] or \[N, 3, 5, 6, T\]"):
            net.encode(np.zeros(shape, np.float32))


def test_frames_with_a_time_axis_keep_their_accuracy():
    """4-bit frames that change: of matched neurons every class is the same."""
    digits = data.digits()
    ramp = np.array([0.25, 0.5, 1.0], np.float32)  # the digits light up
    moving = {part: getattr(digits, f"{part}_images")[..., None] * ramp for part in ("train", "test")}
    torch.manual_seed(0)
    params = {"threshold": 1.0, "voltage_decay": 0.5, "membrane_bits": 16, "membrane_mode": "matched"}
    blocks = [block.Input(bits=4), block.Flatten(), block.Dense(params, 64, 48), block.Readout(None, 48, 10)]
    model = models.SpikingNetwork(blocks, in_shape=(1, 8, 8), num_steps=3)
    train, test = (moving["train"], digits.train_labels), (moving["test"], digits.test_labels)
    training.fit(model, train, test, epochs=4, batch_size=32)
    net = convert(model, "extended")
    result = agreement(model, net, *test)
    assert result.float_accuracy == result.integer_accuracy > 0.85
    assert result.same_class == 1 and all(layer.equal == 1 for layer in result.layers)
    x = net.encode(moving["test"])
    assert not np.array_equal(x[..., 0], x[..., 2])
    assert np.mean(simulate(net, x).prediction == digits.test_labels) == result.integer_accuracy
    still = agreement(model, net, digits.test_images, digits.test_labels)
    repeated = agreement(model, net, digits.test_images[..., None].repeat(3, -1), digits.test_labels)
    assert still == repeated
