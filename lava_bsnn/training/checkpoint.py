"""Checkpoints that hold weights and plain values only, so that loading one runs no code of its author."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import LavaBsnnError
from ..files import atomic_path


def save_checkpoint(path: str | os.PathLike[str], model: torch.nn.Module, **facts: Any) -> None:
    """Write ``{"model": state_dict, **facts}``; facts are tensors, numbers, strings, lists, or dicts."""
    with atomic_path(path) as temporary:
        try:
            torch.save({"model": model.state_dict(), **facts}, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise LavaBsnnError(f"{path}: cannot be written ({reason(error)}); is the disk full?") from error


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a checkpoint; its checksums are compared first.

    Raises:
        LavaBsnnError: the file is missing, damaged, or holds more than weights and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise LavaBsnnError(f"{path}: damaged: a checksum is wrong; use another checkpoint")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
            raise LavaBsnnError(f"{path}: not a checkpoint of this program")
    except FileNotFoundError as error:
        raise LavaBsnnError(f"{path}: no such checkpoint; train first") from error
    except pickle.UnpicklingError as error:  # torch advises to allow code here; we do not
        raise LavaBsnnError(f"{path}: not a checkpoint: damaged, or holds more than weights") from error
    except (RuntimeError, LookupError, ValueError, EOFError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise LavaBsnnError(
            f"{path}: not a checkpoint ({reason(error)}); use another or train again"
        ) from error
    return content


def load_checkpoint(path: str | os.PathLike[str], model: torch.nn.Module) -> dict[str, Any]:
    """Load the weights into ``model`` and return the facts.

    Of a run's ``last.pt`` with weight averaging the averaged weights are taken, which are
    those that the run's accuracies belong to.

    Raises:
        LavaBsnnError: as :func:`read_checkpoint`, or the weights do not fit the model.
    """
    facts = read_checkpoint(path)
    state = facts.pop("model")
    state = facts.get("average") or state
    try:
        model.load_state_dict(state)
    except (RuntimeError, LookupError, AttributeError, TypeError) as error:
        raise LavaBsnnError(f"{path}: not a checkpoint of this model ({reason(error)})") from error
    return facts


def check_settings(path: object, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to continue a checkpoint with other settings; settings that it does not have are new.

    Raises:
        LavaBsnnError: one differs, or there are fewer epochs.
    """
    for name, value in ours.items():
        before = theirs.get(name, value)
        if name == "epochs" and before > value:
            raise LavaBsnnError(
                f"{path}: was written with epochs={before}, not {value}; a run can only be made longer"
            )
        if name != "epochs" and before != value:
            raise LavaBsnnError(
                f"{path}: was written with {name}={before}, not {value}; a run is resumed with the settings "
                "that it was started with"
            )


def reason(error: Exception) -> str:
    """The message of an exception in one line, cut where it gets long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."
