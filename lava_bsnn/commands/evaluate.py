"""The command that tests a trained run: in torch, or its integers on any backend."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import OptionError, check_option
from .output import Flag, JsonOutput, warnings_told
from .samples import of_recipe, test_batches

if TYPE_CHECKING:
    from netx_export import FixedPointNetwork

    from ..models import SpikingNetwork
    from ..training import Recipe

_TORCH, _SIMULATOR = "torch", "simulator"
_PROFILES = {"stock": "stock", "loihi2": "loihi"}
"""Profile that a backend needs; of others extended, which has all."""
_FEW = 10
"""Samples on Lava, unless told otherwise: minutes for a test set would be hours."""
_BATCH = {_SIMULATOR: 64}


@dataclass(frozen=True, kw_only=True)
class Eval(JsonOutput):
    """Test a trained run again, or its integers on any backend.

    With --backend the run is exported, and the test set runs there; told are accuracy and how
    many samples get the class that torch gives them.

    Example: lava-bsnn eval runs/events --backend simulator --json -
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The --out of lava-bsnn train."""
    best: Flag = False
    """Take the weights of the best epoch, not those of the last."""
    backend: Annotated[str, tyro.conf.arg(metavar="NAME")] = _TORCH
    """torch, simulator, lava, lava-fused, stock or loihi2."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Test samples, from the first; by default all, on Lava 10."""
    profile: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Of the export; by default extended, or what the backend needs."""
    calibration: int = 256
    """Training samples over which gates become constants where the profile has none."""
    net: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A .net file exported before, instead of an export now."""

    def __call__(self) -> None:
        from netx_export.backends import BACKENDS

        from ..training.recipe import run_recipe

        self.check_json()
        run_recipe(self.folder)  # raises before slow imports
        check_option("eval", "backend", self.backend, (_TORCH, *BACKENDS))
        for name, value in (("limit", self.limit), ("calibration", self.calibration)):
            if value is not None and value < 1:
                raise OptionError(f"eval: {name}={value} is not allowed; use 1 or more")
        if self.backend == _TORCH and (self.net is not None or self.profile is not None):
            raise OptionError("eval: net and profile are of integers; add backend=simulator, or leave out")
        if self.backend == _TORCH and self.limit is None:
            self._in_torch()
        else:
            self._on_backend()

    def _in_torch(self) -> None:
        from ..training.run import evaluate_run

        console = self.console()
        with console.status("testing"):
            result = evaluate_run(self.folder, self._checkpoint)
        console.print(f"{result.figure} ({result.checkpoint})")
        self.write(asdict(result))

    @property
    def _checkpoint(self) -> str:
        from ..training.run_folder import BEST, LAST

        return BEST if self.best else LAST

    def _on_backend(self) -> None:
        from ..training.run import load_run

        console = self.console()
        with console.status("reading the run") as status:
            recipe, model = load_run(self.folder, self._checkpoint)
            net = None
            if self.backend != _TORCH:
                status.update("converting")
                net = self._network(recipe, model)
            figures = self._test(recipe, model, net, status.update)
        samples, accuracy = figures["samples"], figures["test_accuracy"]
        console.print(f"test accuracy {accuracy:.2%} on {self.backend}, {samples} samples", soft_wrap=True)
        if net is not None:
            console.print(
                f"in torch {figures['torch_accuracy']:.2%}; {figures['same_class']:.2%} get the same class; "
                f"profile {net.profile}, {figures['seconds']:.1f} s on the backend",
                soft_wrap=True,
            )
        self.write(figures)

    def _network(self, recipe: Recipe, model: SpikingNetwork) -> FixedPointNetwork:
        import netx_export

        from ..training.gates import has_gates

        if self.net is not None:
            with warnings_told():
                return netx_export.read(self.net)
        profile = self.profile or _PROFILES.get(self.backend, "extended")
        gates = has_gates(model) and not netx_export.targets.target(profile).has_gates
        calibration = of_recipe(recipe, "train", self.calibration) if gates else None
        with warnings_told():
            return netx_export.convert(model, profile, calibration)

    def _test(
        self,
        recipe: Recipe,
        model: SpikingNetwork,
        net: FixedPointNetwork | None,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Run batches of test samples in torch and on the backend."""
        import numpy as np

        from netx_export import run

        from ..training.evaluation import predict

        limit = self.limit
        if limit is None and self.backend != _SIMULATOR:
            limit = _FEW
        labels: list[np.ndarray] = []
        theirs: list[np.ndarray] = []
        ours: list[np.ndarray] = []
        seconds = 0.0
        for inputs, targets, total in test_batches(recipe, limit, _BATCH.get(self.backend, _FEW)):
            done = sum(len(part) for part in labels)
            tell(f"testing on {self.backend}: {done} of {total} samples")
            labels.append(targets)
            theirs.append(predict(model, inputs))
            if net is not None:
                timed = inputs.ndim == len(net.input.shape) + 2
                data = net.encode(inputs, None if timed else net.num_steps or recipe.num_steps)
                start = time.perf_counter()
                ours.append(run(net, data, self.backend).prediction)
                seconds += time.perf_counter() - start
        right, in_torch = np.concatenate(labels), np.concatenate(theirs)
        predicted = in_torch if net is None else np.concatenate(ours)
        figures = {
            "backend": self.backend,
            "checkpoint": str(self.folder / self._checkpoint),
            "samples": len(right),
            "test_accuracy": float((predicted == right).mean()),
        }
        if net is None:
            return figures
        return {
            **figures,
            "torch_accuracy": float((in_torch == right).mean()),
            "same_class": float((in_torch == predicted).mean()),
            "profile": net.profile,
            "digest": net.digest(),
            "seconds": round(seconds, 3),
        }
