"""What is given to the integer network's functions by mistake is refused in one line with its remedy."""

from __future__ import annotations

import pickle
import zipfile

import h5py
import numpy as np
import pytest
import torch

import netx_export
from lava_bsnn import block, models
from lava_bsnn.errors import ExportError, LavaBsnnWarning, NetXFormatError, OptionError, ShapeError
from netx_export import verify


@pytest.fixture(scope="module")
def model():
    """Maps [N, 2, 6, 5, T]."""
    params = {"threshold": 1.0}
    blocks = [block.Conv(params, 2, 3, 3, norm=None), block.Flatten(), block.Readout(None, 36, 4)]
    return models.SpikingNetwork(blocks, in_shape=(2, 6, 5), num_steps=7).eval()


@pytest.fixture(scope="module")
def net(model):
    return netx_export.convert(model, "extended")


X = (np.random.default_rng(0).random((9, 2, 6, 5, 7)) < 0.2).astype(int)
LABELS = np.arange(9) % 4


def loader():
    return torch.utils.data.DataLoader(dataset(), batch_size=4)


def dataset():
    return torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(LABELS))


WRONG = {
    "NTCHW": (lambda: X.transpose(0, 4, 1, 2, 3), "np.transpose(x, (0, 2, 3, 4, 1)) of [N, T, C, H, W]"),
    "TNCHW": (lambda: X.transpose(4, 0, 1, 2, 3), "np.transpose(x, (1, 2, 3, 4, 0)) of [T, N, C, H, W]"),
    "one sample": (lambda: X[0], "one sample is a batch, too: x[None]"),
    "loader": (loader, "a DataLoader is no array of samples; use np.concatenate("),
    "data set": (dataset, "a TensorDataset is no array of samples; use np.stack("),
    "pair": (
        lambda: (X, LABELS),
        "tuple holds shapes (9, 2, 6, 5, 7) and (9,); give samples of",
    ),
    "unequal T": (
        lambda: [X[0], X[1][..., :4]],
        "list holds shapes (2, 6, 5, 7) and (2, 6, 5, 4); give",
    ),
    "generator": (lambda: (x for x in X), "a generator is no array of samples; use an array [N, ...]"),
    "path": (lambda: "samples.npy", "a str is no array of samples"),
    "none": (lambda: None, "no array of samples"),
    "gradient": (lambda: torch.ones(9, 2, 6, 5, 7, requires_grad=True), "use .detach().cpu().numpy()"),
    "text": (lambda: np.array(["a", "b"]), "values are not allowed; use numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_samples_that_are_none_or_stand_in_another_order(case, model, net):
    make, message = WRONG[case]
    calls = [
        lambda: netx_export.simulate(net, make()),
        lambda: netx_export.run(net, make(), "lava-fused"),
        lambda: net.encode(make()),
        lambda: netx_export.agreement(model, net, make(), LABELS),
    ]
    if case not in ("pair", "none"):  # which calibration may be
        calls.append(lambda: netx_export.convert(model, "extended", calibration=make()))
    for call in calls:
        with pytest.raises((ShapeError, ExportError)) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_remedies_of_loaders_and_data_sets_give_the_samples():
    names = {"loader": loader(), "dataset": dataset(), "np": np}
    for name in ("loader", "dataset"):
        with pytest.raises(ShapeError) as caught:
            netx_export.network.samples.as_array("data", names[name])
        assert np.array_equal(eval(str(caught.value).partition("; use ")[2], names), X)


def test_frames_without_time_need_encode(net):
    with pytest.raises(ShapeError, match=r"use \[N, 2, 6, 5, T\]; net\.encode\(x, num_steps\)"):
        netx_export.simulate(net, X[..., 0])
    assert net.encode(X[..., 0]).shape == X.shape


def test_one_hot_labels(model, net):
    with pytest.raises(ShapeError, match=r"9 samples and labels of shape \(9, 4\) do not fit; give classes"):
        netx_export.agreement(model, net, X, np.eye(4)[LABELS])


def test_a_model_in_the_place_of_its_network(model, net):
    for name, call in {
        "simulate": lambda: netx_export.simulate(model, X),
        "run": lambda: netx_export.run(model, X),
        "verify": lambda: verify.verify(model),
        "write": lambda: netx_export.write(model, "a.net"),
        "to_nir": lambda: netx_export.to_nir(model),
        "place": lambda: netx_export.place(model),
        "cost": lambda: netx_export.cost(model, X),
        "report": lambda: netx_export.report(model, X),
        "agreement": lambda: netx_export.agreement(net, model, X),
    }.items():
        with pytest.raises(OptionError, match=f"{name}: net is a SpikingNetwork; use a FixedPointNetwork"):
            call()
    with pytest.raises(OptionError, match="read: path is a SpikingNetwork; use the path"):
        netx_export.read(model)
    with pytest.raises(OptionError, match="compare: a ndarray is no result"):
        netx_export.compare(X, X)


def test_files_of_other_kinds_are_named(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "a.pt")
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "a.npz", x=X)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "a.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    (tmp_path / "a.net").write_bytes(b"")
    (tmp_path / "a.yaml").write_text("model: cnn\n")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("readme", "x")
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:20])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["model_weights"] = np.zeros(3)
    with h5py.File(tmp_path / "none.h5", "w"):
        pass
    for name, what in {
        "a.pt": "a checkpoint of PyTorch",
        "a.npy": "an array of NumPy",
        "a.npz": "an archive",
        "a.pkl": "a pickle",
        "a.onnx": "a network of ONNX",
        "a.net": "empty",
        "a.yaml": "a text",
        "a.zip": "an archive",
        "cut.zip": "an archive",
        "a.h5": r"HDF5 of another program \(it holds model_weights\)",
        "none.h5": r"HDF5 of another program \(it holds nothing\)",
    }.items():
        with pytest.raises(NetXFormatError, match=rf"{name}: is {what}.*; use a file of netx_export\.write"):
            netx_export.read(tmp_path / name)


def test_a_damaged_file_is_still_called_that(tmp_path):
    (tmp_path / "a.net").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(NetXFormatError, match="not a readable NetX HDF5 file"):
        netx_export.read(tmp_path / "a.net")


def test_a_warning_of_convert_is_ours():
    dense = block.Dense({"threshold": 1.0}, 8, 4)
    block.build([dense], (8,))
    dense(torch.ones(2, 8, 3))
    torch.nn.init.zeros_(dense.norm.weight[:1].detach())
    with pytest.warns(LavaBsnnWarning, match=r"channels \[0\] have a batch norm gain of 0"):
        netx_export.convert([dense.eval()], "extended")
