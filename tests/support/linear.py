"""The smallest model that ``fit`` trains, and data for it."""

from __future__ import annotations

import numpy as np
import torch


class Linear(torch.nn.Module):
    """Logits ``[N, classes, T]`` of vectors, the same at each step but for a factor."""

    def __init__(self, features=6, classes=3, steps=2):
        super().__init__()
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(classes, features) / 10)
        self.steps = steps

    def forward(self, x):
        return (x @ self.weight.T)[..., None] * torch.arange(1, self.steps + 1)


class Counted(torch.utils.data.Dataset):
    """A dataset that notes its reads in a list which several share."""

    def __init__(self, name, inputs, targets, reads):
        self.name, self.inputs, self.targets, self.reads = name, inputs, targets, reads

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        self.reads.append(self.name)
        return torch.as_tensor(self.inputs[index]), torch.as_tensor(self.targets[index])


def clusters(size=24, seed=0, features=6, classes=3):
    """Vectors around one centre per class, and the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % classes
    centres = 2 * np.random.default_rng(9).standard_normal((classes, features))
    return (centres[labels] + rng.standard_normal((size, features))).astype(np.float32), labels
