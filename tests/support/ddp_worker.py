"""Started by torchrun: runs the command, then trains a model of each method and saves the weights.

Each process trains on its share. Arguments: folder for the weights, then those of the command.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from lava_bsnn import models, training

METHODS = ("binary", "agmm", "qsnn", "lmht")
BALANCED = "agmm"
"""The method with a validation set, class weights and balanced batches, too."""


def train(method: str, fabric: Fabric) -> tuple[dict[str, torch.Tensor], list[training.Epoch]]:
    rng = np.random.default_rng(0)
    data = rng.random((24, 1, 8, 8)), rng.integers(0, 5, 24)
    training.seed_everything(0)
    model = models.create(
        "cnn",
        num_classes=5,
        in_shape=(1, 8, 8),
        num_steps=3,
        method=method,
        input_bits=None,
        channels=(4, 6),
        hidden=8,
    )
    options: dict[str, Any] = {}
    entropy: Any = training.tet_cross_entropy
    if method == BALANCED:
        options = {"validation": (data[0][:9], data[1][:9]), "sampler": "balanced"}
        entropy = training.CrossEntropy(class_weights=[1.0, 2.0, 0.5, 1.0, 3.0], label_smoothing=0.1)
    loss = training.TotalLoss({"tet": (1.0, entropy), "spikes": (0.1, training.SpikeRegulation(model))})
    history = training.fit(
        model,
        data,
        data,
        epochs=2,
        batch_size=8,
        loss=loss,
        optimizer=training.optimizer("sgd", lr=0.1),
        fabric=fabric,
        **options,
    )
    return model.state_dict(), history


if __name__ == "__main__":
    folder, sys.argv = sys.argv[1], ["lava_bsnn", *sys.argv[2:]]
    try:
        runpy.run_module("lava_bsnn", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert end.code == 0, end.code
    torch.set_num_threads(1)
    size = int(os.environ["WORLD_SIZE"])
    fabric = Fabric(accelerator="cpu", devices=size, strategy="ddp", precision="64-true")
    fabric.launch()
    for method in METHODS:
        state, history = train(method, fabric)
        if fabric.global_rank == 0:
            torch.save(
                {
                    "state": state,
                    "loss": [e.loss for e in history],
                    "test": [e.test_accuracy for e in history],
                    "held": [e.validation_accuracy for e in history],
                    "test loss": history[-1].test_loss,
                    "rate": [e.firing_rate for e in history],
                    "flips": [e.flip_ratio for e in history],
                },
                f"{folder}/{method}.pt",
            )
