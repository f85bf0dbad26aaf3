"""Trials of a recipe that Optuna chooses; machines share them through its storage."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import LavaBsnnError, OptionError, line_of
from .recipe import load_recipe
from .sweep import Ended, Job, run_jobs, values_of


def ranges_of(assignments: Iterable[str]) -> dict[str, list[str]]:
    """Values of each field: ``"lr=1e-4..1e-1"`` is a range, ``"width=0.5,1.0"`` a choice.

    Raises:
        OptionError: not of this form, or a field twice.
    """
    fields: dict[str, list[str]] = {}
    for text in assignments:
        key, values = values_of(text)
        if key in fields:
            raise OptionError(f"--set {text}: {key} is given twice; give all its values at once")
        fields[key] = values
    return fields


def _distribution(optuna: Any, key: str, values: Sequence[str]) -> Any:
    low, dots, high = values[0].partition("..")
    if not dots or len(values) > 1:
        return optuna.distributions.CategoricalDistribution(list(values))
    try:
        bounds = float(low), float(high)
    except ValueError:
        bounds = (0.0, 0.0)
    if not 0 < bounds[0] < bounds[1]:
        raise OptionError(f"--set {key}={values[0]}: is no range; use two numbers > 0, e.g. lr=1e-4..1e-1")
    return optuna.distributions.FloatDistribution(*bounds, log=True)


def run_trials(
    recipe: str,
    assignments: Iterable[str],
    out: Path,
    *,
    trials: int,
    storage: str,
    seed: int | None = None,
    before: Sequence[str] = (),
    on_look: Callable[[Sequence[Job]], None] = lambda running: None,
    on_end: Callable[[Ended], None] = lambda ended: None,
) -> list[Job]:
    """Run so many trials that Optuna chooses, one after the other; others may do the same at the same time.

    Optuna sees the accuracy on the validation set after the last epoch; on the test set where the data have
    no other. The study has the name of the folder, in the storage.

    Args:
        recipe: a name, or a YAML file.
        assignments: as :func:`ranges_of` takes them.
        out: folder of the runs' folders, ``trial-0`` and so on.
        trials: of this call.
        storage: URL of Optuna's storage, e.g. ``"sqlite:///sweep.db"``, or one that all machines reach.
        seed: of Optuna's choice; by default another one each time.
        before, on_look: as :func:`lava_bsnn.training.sweep.run_jobs` has them.
        on_end: called with each trial as it ends.

    Returns:
        The jobs of the trials.

    Raises:
        OptionError: Optuna is missing, or a field is not allowed.
        LavaBsnnError: the storage cannot be used.
    """
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise OptionError("sweep: trials need optuna; run pip install 'lava-bsnn[sweep]'") from error
    if trials < 1:
        raise OptionError(f"sweep: trials={trials} is not allowed; use 1 or more")
    fields, base = ranges_of(assignments), load_recipe(recipe)
    space = {key: _distribution(optuna, key, values) for key, values in fields.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            study_name=out.name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=seed),
        )
    except Exception as error:  # of the database, which may be of any kind
        raise LavaBsnnError(f"{storage}: cannot be used as storage ({line_of(error)}); give a URL") from error
    failed, jobs = optuna.trial.TrialState.FAIL, []
    for _ in range(trials):
        trial = study.ask(space)
        chosen = tuple(f"{key}={value}" for key, value in trial.params.items())
        with _told(study, trial, failed):
            name = f"trial-{trial.number}"
            job = Job(name=name, folder=out / name, recipe=base.replace(chosen), assignments=chosen)
            jobs.append(job)
            with closing(run_jobs(recipe, [job], before=before, on_look=on_look)) as results:
                (ended,) = results
        value = None if ended.problem else _score(job)
        study.tell(trial, value, state=failed if value is None else None)
        on_end(ended)
    return jobs


@contextlib.contextmanager
def _told(study: Any, trial: Any, failed: Any) -> Any:
    """A trial that is stopped, as by Ctrl-C, is told as failed, so that nobody waits for it."""
    try:
        yield
    except BaseException:
        study.tell(trial, state=failed)
        raise


def _score(job: Job) -> float | None:
    found = job.figures()
    if found is None:
        return None
    value = found.last("validation_accuracy")
    return found.last("test_accuracy") if value is None else value
