"""The project trains, and its network of integers gives the same classes: python -m pytest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import netx_export
from lava_bsnn import training
from lava_bsnn.training.run_data import load_data


def test_it_trains_and_exports(tmp_path: Path) -> None:
    """Two epochs of a narrower network, which is then compared with its integers on the test set."""
    recipe = training.load_recipe("recipe.yaml").replace(["epochs=2", "model_options.channels=4"])
    result = training.train(recipe, tmp_path / "run")
    recipe, model = training.load_run(tmp_path / "run")
    net = netx_export.convert(model, "extended")
    test = load_data(recipe).test
    inputs, labels = zip(*(test[index] for index in range(len(test))), strict=True)
    agreed = netx_export.agreement(model, net, np.stack(inputs), np.array(labels))
    assert net.classes == model.classes
    assert agreed.float_accuracy == result.test_accuracy
    assert agreed.same_class > 0.9
