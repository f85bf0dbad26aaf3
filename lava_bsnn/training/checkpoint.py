"""Checkpoints that hold weights only, so that loading one runs no code of its author."""

from __future__ import annotations

import os
import pickle
from typing import Any

import torch

from ..errors import LavaBsnnError
from ..files import atomic_path


def save_checkpoint(path: str | os.PathLike[str], model: torch.nn.Module, **facts: Any) -> None:
    """Write ``{"model": state_dict, **facts}``; facts are numbers, strings, lists, or dicts."""
    with atomic_path(path) as temporary:
        torch.save({"model": model.state_dict(), **facts}, temporary)


def load_checkpoint(path: str | os.PathLike[str], model: torch.nn.Module) -> dict[str, Any]:
    """Load the weights into ``model`` and return the facts.

    Raises:
        LavaBsnnError: the file is missing, damaged, holds more than weights, or does not
            fit the model.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content.pop("model")
        model.load_state_dict(state)
    except FileNotFoundError as error:
        raise LavaBsnnError(f"{path}: no such checkpoint; train first") from error
    except pickle.UnpicklingError as error:  # torch advises to allow code here; we do not
        raise LavaBsnnError(f"{path}: not a checkpoint: damaged, or holds more than weights") from error
    except (RuntimeError, LookupError, AttributeError, EOFError, TypeError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LavaBsnnError(f"{path}: not a checkpoint of this model ({reason})") from error
    facts: dict[str, Any] = content
    return facts
