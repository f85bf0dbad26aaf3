"""Figures of epochs for loggers of Fabric's interface."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any

from ..errors import OptionError
from .history import Epoch


class Loggers:
    """Tells loggers the settings of a run, figures of each epoch, and its end.

    Args:
        loggers: objects with ``log_hyperparams``, ``log_metrics`` and ``finalize``, as
            ``lightning_fabric.loggers.Logger`` has them.

    Raises:
        OptionError: one is none.
    """

    def __init__(self, loggers: Sequence[Any], settings: Mapping[str, Any]) -> None:
        for logger in loggers:
            if not callable(getattr(logger, "log_metrics", None)):
                raise OptionError(
                    f"fit: loggers: a {type(logger).__name__} has no log_metrics; use loggers of Fabric's "
                    "interface, e.g. lightning_fabric.loggers.CSVLogger"
                )
        self._loggers = loggers
        for logger in loggers:
            with contextlib.suppress(NotImplementedError):  # CSVLogger has no place for them
                logger.log_hyperparams(dict(settings))

    def __enter__(self) -> Loggers:
        return self

    def epoch(self, record: Epoch) -> None:
        """Log all figures that an epoch has."""
        self._log({name: value for name, value in asdict(record).items() if name != "epoch"}, record.epoch)

    def tested(self, last: Epoch) -> None:
        """Log the test figures that come at the end, where each epoch was judged by a validation set."""
        if last.validation_loss is not None:
            self._log({"test_accuracy": last.test_accuracy, "test_loss": last.test_loss}, last.epoch)

    def _log(self, figures: Mapping[str, float | None], step: int) -> None:
        known = {name: value for name, value in figures.items() if value is not None}
        for logger in self._loggers:
            logger.log_metrics(known, step=step)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for logger in self._loggers:
            logger.finalize("success" if kind is None else "failed")
