"""What changes while a model trains: weights, optimizer, averages, figures, and their checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import distributed
from ..errors import LavaBsnnError
from ..waiting import LOOK_EVERY
from .averaging import MovingAverage
from .batches import as_input, loader, mixed_seed, share
from .checkpoint import check_settings, load_checkpoint, read_checkpoint, reason, save_checkpoint
from .diagnose import Watch, gradient_not_finite, is_finite, loss_not_finite
from .evaluation import Scores, check_batch, check_classes, right_per_sample, score_share
from .graphs import GraphedPasses
from .history import Epoch, Step, best_epoch
from .mixing import Mixing, soft_targets
from .rates import RateMeter, flip_recorder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from .schedule import MakeOptimizer


class Engine:
    """A run in progress: steps, epochs, and its checkpoint."""

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        train: Any,
        test: Any,
        optimizer: MakeOptimizer,
        fabric: Fabric,
        ema_decay: float | None,
        batch_size: int,
        seed: int,
        num_workers: int,
        settings: Mapping[str, Any],
        validation: Any = None,
        classes: bool = True,
    ) -> None:
        self.model, self.train, self.test, self.fabric = model, train, test, fabric
        self.validation, self.classes = validation, classes
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.world_size, self.rank = fabric.world_size, fabric.global_rank
        self.is_first = self.rank == 0
        self.wrapped, self.optimizer = fabric.setup(model, optimizer(model.parameters()))
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.average: Any = None if ema_decay is None else MovingAverage(model, ema_decay)
        self.settings = {
            "seed": seed,
            "batch_size": batch_size,
            "samples": len(train),
            "world_size": self.world_size,
            "optimizer": type(getattr(self.optimizer, "optimizer", self.optimizer)).__name__,
            "averaged": ema_decay is not None,
            **settings,
        }
        self.meter = RateMeter(model)
        self.passes: Any = self.wrapped
        if fabric.device.type == "cuda" and self.wrapped._forward_module is model:  # else DDP's
            ignored = self.meter.ignores
            self.passes = GraphedPasses(model, fabric.autocast, plain=self.wrapped, ignored=ignored)
        self.flips = flip_recorder(model)
        self.mixing: Mixing | None = None
        self.sharpness: float | None = None  # of the epoch
        self.epoch = self.step = 0
        self.history: list[Epoch] = []
        self.tested: Scores | None = None  # of the last epoch
        self._guesses = True  # targets are such that a prediction is right or wrong
        self.sums = torch.zeros(3, dtype=torch.float64, device=fabric.device)  # loss, correct, seen
        # a loss scaler waits for the device at each step by itself
        at_once = fabric.device.type == "cpu" or self._scales_loss
        self.watch = None if at_once else Watch(fabric.device)
        self._batches: dict[int, tuple[Tensor, Any]] = {}  # samples and loss of steps not looked at yet
        self._shown: Step | None = None
        self.seconds, self._since = 0.0, time.perf_counter()

    def epoch_loader(self, batches: list[Tensor]) -> Any:
        """Rest of the epoch, this process's share."""
        if hasattr(self.train, "set_epoch"):
            self.train.set_epoch(self.epoch)
        self.wrapped.train()
        rest = [share(batch, self.rank, self.world_size) for batch in batches[self.step :]]
        batch = loader(self.train, rest, self.num_workers, pin=self.fabric.device.type == "cuda")
        return zip(rest, batch, strict=True)

    def train_step(self, indices: Tensor, batch: Any, loss: Any, factor: float, clip: float | None) -> None:
        """Take one step on the samples ``indices`` of the training set."""
        inputs, labels = batch
        check_batch("train", indices, inputs, labels, self.classes)
        torch.manual_seed(mixed_seed(self.seed, self.epoch, self.step, self.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        given = labels
        inputs, labels = self.fabric.to_device((inputs, labels))
        inputs = as_input(self.model, inputs)
        mixed = None
        if self.mixing is not None:
            inputs, mixed = self.mixing(inputs, self.seed, self.epoch, self.step, self.rank)
        self.meter.enabled = self.step % RateMeter.EVERY == 0
        logits = self.passes(inputs)
        check_classes("train", indices, given, logits)
        targets = labels if mixed is None else soft_targets(labels, mixed, logits.shape[1])
        try:
            value = loss(logits, targets)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, LavaBsnnError | torch.cuda.OutOfMemoryError):
                raise
            raise LavaBsnnError(
                f"fit: the loss raised {type(error).__name__}: {' '.join(str(error).split())}; it gets "
                f"logits {list(logits.shape)}, one per class and step, and targets {list(targets.shape)}: a "
                "loss of one logit per class is lambda logits, targets: loss(logits.mean(-1), targets)"
            ) from error
        if not isinstance(value, Tensor) or value.dim():
            kind = f"{list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise LavaBsnnError(f"fit: the loss is {kind}; return a scalar tensor, the mean over the samples")
        if self.watch is None and not torch.isfinite(value):
            raise loss_not_finite(self.model, inputs, value.item(), self.epoch, self.step)
        self.optimizer.zero_grad()
        self.fabric.backward(value)
        bound = math.inf if clip is None else clip
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=bound, error_if_nonfinite=False
        )
        if self.watch is not None:
            self.watch.step(self.step, value.detach(), norm, self.model)
        elif (
            norm is not None and not torch.isfinite(norm) and not self._scales_loss
        ):  # which skips such a step
            raise gradient_not_finite(self.model, norm.item(), self.epoch, self.step)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        with torch.no_grad():
            self._guesses = not labels.is_floating_point()
            correct = right_per_sample(logits.detach(), labels)
            seen = torch.full_like(correct, len(labels))
            self.sums += torch.stack([value.detach() * len(labels), correct, seen])
        self.step += 1
        if self.watch is not None:
            self._batches[self.step - 1] = indices, loss
            if self.step % LOOK_EVERY == 0:
                self._look()

    def _look(self) -> None:
        """Raise for the first step that was not finite since the last look, if any; it is done once more."""
        found = None if self.watch is None else self.watch.look()
        if found is not None:
            step, value, norm = found
            indices, loss = self._batches[step]
            inputs, labels = self.fabric.to_device(next(loader(self.train, [indices], 0)))
            inputs = as_input(self.model, inputs)
            if not math.isfinite(value):
                raise loss_not_finite(self.model, inputs, value, self.epoch, step)
            self.optimizer.zero_grad()
            self.fabric.backward(loss(self.wrapped(inputs), labels))
            raise gradient_not_finite(self.model, norm, self.epoch, step)
        self._batches.clear()

    @property
    def _scales_loss(self) -> bool:
        return getattr(self.fabric._precision, "precision", "") == "16-mixed"

    def progress(self, num_steps: int) -> Step:
        """Figures up to this step; on a GPU up to the last one that was looked at."""
        if self.watch is not None and self._shown is not None and self.step % LOOK_EVERY:
            return replace(self._shown, step=self.step)
        loss, correct, seen = self.sums.tolist()
        self._shown = Step(
            epoch=self.epoch + 1,
            step=self.step,
            num_steps=num_steps,
            loss=loss / seen,
            accuracy=correct / seen if self._guesses else None,
            firing_rate=self.meter.mean(),
        )
        return self._shown

    def end_epoch(self, loss: Any) -> Epoch:
        self._look()
        self._shown = None
        total, correct, seen = distributed.total(self.sums).tolist()
        self.tested = None
        if self.validation is None:
            scores = self.tested = self.score("test", loss)
            figures = {"test_accuracy": scores.accuracy, "test_loss": scores.loss}
        else:
            scores = self.score("validation", loss)
            figures = {"validation_accuracy": scores.accuracy, "validation_loss": scores.loss}
        record = Epoch(
            epoch=self.epoch + 1,
            loss=total / seen,
            train_accuracy=None if scores.accuracy is None else correct / seen,
            **figures,
            firing_rate=self.meter.mean(reduce=True),
            flip_ratio=None if self.flips is None else self._record_flips(),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            sharpness=self.sharpness,
            seconds=round(self._elapsed(), 3),
        )
        self.history.append(record)
        self.epoch, self.step = self.epoch + 1, 0
        self.sums.zero_()
        self.meter.reset()
        self.seconds, self._since = 0.0, time.perf_counter()
        return record

    def score(self, split: str, loss: Any) -> Scores:
        """Scores of the weights, or of their average, on ``"test"`` or ``"validation"``."""
        return score_share(
            self.model if self.average is None else self.average.module,
            getattr(self, split),
            loss,
            split=split,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            rank=self.rank,
            world_size=self.world_size,
            classes=self.classes,
        )

    def finish(self, loss: Any, best: Path | None) -> Scores:
        """Scores of the last weights on the test set.

        With a validation set the history gets the test figures of the last epoch, and of the best one, whose
        weights are in ``best``.
        """
        if self.tested is None:
            self.tested = self.score("test", loss)
        if self.validation is not None:
            chosen = best_epoch(self.history).epoch
            if best is not None and chosen < self.epoch and self.history[chosen - 1].test_loss is None:
                model = self.model if self.average is None else self.average.module
                last = {name: value.clone() for name, value in model.state_dict().items()}
                load_checkpoint(best, model)
                self._note(chosen, self.score("test", loss))
                model.load_state_dict(last)
            self._note(self.epoch, self.tested)
        return self.tested

    def _note(self, epoch: int, scores: Scores) -> None:
        self.history[epoch - 1] = replace(
            self.history[epoch - 1], test_accuracy=scores.accuracy, test_loss=scores.loss
        )

    def _record_flips(self) -> float:
        self.flips.record()
        return self.flips.mean()[-1]

    def _elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self._since

    def save(self, path: Path) -> None:
        """Write all that :meth:`load` needs; weights are checked first."""
        self._look()
        for name, tensor in self.model.state_dict().items():
            if not is_finite(tensor):
                raise LavaBsnnError(
                    f"fit: {name} is not finite after epoch {self.epoch}, step {self.step}; use a smaller "
                    "learning rate or clip_norm; the last checkpoint is kept"
                )
        if self.is_first:
            save_checkpoint(
                path,
                self.model,
                average=None if self.average is None else self.average.module.state_dict(),
                averaged=None if self.average is None else self.average.n_averaged,
                optimizer=self.optimizer.state_dict(),
                flips=None if self.flips is None else self.flips.signs,
                run=self.settings,
                epoch=self.epoch,
                step=self.step,
                sums=self.sums,
                rates=self.meter.state(),
                seconds=self._elapsed(),
                history=[asdict(epoch) for epoch in self.history],
            )
        self.fabric.barrier()

    def save_weights(self, path: Path) -> None:
        if self.is_first:
            model = self.model if self.average is None else self.average.module
            last = self.history[-1]
            save_checkpoint(
                path,
                model,
                epoch=self.epoch,
                validation_accuracy=last.validation_accuracy,
                test_accuracy=last.test_accuracy,
            )

    def load(self, path: Path) -> None:
        content = read_checkpoint(path)
        theirs = content.get("run")
        if not isinstance(theirs, dict):
            raise LavaBsnnError(f"{path}: holds weights only, no run to continue; start a new one")
        check_settings(path, theirs, self.settings)
        try:
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.average is not None:
                self.average.module.load_state_dict(content["average"])
                self.average.n_averaged.copy_(content["averaged"])
            if self.flips is not None:
                self.flips.signs = content["flips"]
            self.sums.copy_(content["sums"])
            self.meter.load(content["rates"])
            self.history = [Epoch(**epoch) for epoch in content["history"]]
            self.epoch, self.step, self.seconds = content["epoch"], content["step"], content["seconds"]
        except (LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise LavaBsnnError(f"{path}: does not fit this run ({reason(error)})") from error
        self._since = time.perf_counter()
