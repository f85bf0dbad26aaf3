"""Losses, the training engine, and recipes that start it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bso import BSO
    from .checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
    from .estimator import anneal
    from .evaluation import Scores, accuracy, evaluate, predict, score
    from .finetuning import finetune, match_device
    from .history import Epoch, Step
    from .loop import fit, seed_everything
    from .losses import (
        CrossEntropy,
        SopBudget,
        SpikeRegulation,
        TotalLoss,
        balanced_weights,
        mean_squared_error,
        multilabel_cross_entropy,
        rate_cross_entropy,
        spike_regulation,
        tet_cross_entropy,
    )
    from .mixing import Mixing
    from .recipe import Recipe, load_recipe
    from .recipe_files import recipe_names
    from .result import Result
    from .run import evaluate_run, load_run, train
    from .schedule import optimizer

_HOME = {
    "BSO": "bso",
    "CrossEntropy": "losses",
    "Epoch": "history",
    "Mixing": "mixing",
    "Recipe": "recipe",
    "Result": "result",
    "Scores": "evaluation",
    "SopBudget": "losses",
    "SpikeRegulation": "losses",
    "Step": "history",
    "TotalLoss": "losses",
    "accuracy": "evaluation",
    "anneal": "estimator",
    "balanced_weights": "losses",
    "evaluate": "evaluation",
    "evaluate_run": "run",
    "finetune": "finetuning",
    "fit": "loop",
    "load_checkpoint": "checkpoint",
    "load_recipe": "recipe",
    "load_run": "run",
    "match_device": "finetuning",
    "mean_squared_error": "losses",
    "multilabel_cross_entropy": "losses",
    "optimizer": "schedule",
    "predict": "evaluation",
    "rate_cross_entropy": "losses",
    "read_checkpoint": "checkpoint",
    "recipe_names": "recipe_files",
    "save_checkpoint": "checkpoint",
    "score": "evaluation",
    "seed_everything": "loop",
    "spike_regulation": "losses",
    "tet_cross_entropy": "losses",
    "train": "run",
}
__all__ = [
    "BSO",
    "CrossEntropy",
    "Epoch",
    "Mixing",
    "Recipe",
    "Result",
    "Scores",
    "SopBudget",
    "SpikeRegulation",
    "Step",
    "TotalLoss",
    "accuracy",
    "anneal",
    "balanced_weights",
    "evaluate",
    "evaluate_run",
    "finetune",
    "fit",
    "load_checkpoint",
    "load_recipe",
    "load_run",
    "match_device",
    "mean_squared_error",
    "multilabel_cross_entropy",
    "optimizer",
    "predict",
    "rate_cross_entropy",
    "read_checkpoint",
    "recipe_names",
    "save_checkpoint",
    "score",
    "seed_everything",
    "spike_regulation",
    "tet_cross_entropy",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOME)
