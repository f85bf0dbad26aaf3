"""Random torch models, and samples for them.

The device can repeat the evaluation of those with neurons in matched mode exactly: every number may be
real, torch computes on the device's grid.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import torch

from lava_bsnn import block, models
from lava_bsnn.axon import Delay
from lava_bsnn.encoding import Encoding
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, MultiThresholdLIF, TemporalMix
from lava_bsnn.norm import BatchNorm
from lava_bsnn.training.batches import as_input

ENTRIES = ("spikes", "input of spikes", "intensities", "intensities", "counts", "images", "images", "rails")
KINDS = ("conv", "conv", "pool", "sums", "identity", "shortcut", "pooled shortcut", "classic")


class ModelMaker:
    """Makes models for ``num_steps`` time steps; their neurons are ``matched`` to the device, or float."""

    def __init__(self, rng, num_steps, matched=True):
        self.rng, self.num_steps, self.matched = rng, num_steps, matched
        self.late = rng.spawn(1)[0]  # of delays, and of decays per channel
        self.counts = rng.random() < 0.5  # some neurons count up to L

    def pick(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def model(self, depth):
        """``depth`` blocks with neurons, most often a readout behind them."""
        rng = self.rng
        shape = (int(rng.integers(1, 4)), *rng.integers(2, 8, 2).tolist())
        in_shape = shape = shape if rng.random() < 0.85 else (int(rng.integers(1, 12)),)
        blocks = self.entry(shape[0])
        for made in blocks:
            shape = made.build(shape)
        for _ in range(depth):
            for made in self.layer(shape):
                shape = made.build(shape)
                blocks.append(made)
        if rng.random() < 0.7:
            blocks.append(block.Readout(None, math.prod(shape), int(rng.integers(1, 6))))
        model = models.SpikingNetwork(blocks, in_shape=in_shape, num_steps=self.num_steps)
        self.settle(model)
        return model.eval()

    def entry(self, channels):
        """What samples become integers with; most often a block."""
        rng, kind = self.rng, self.pick(*ENTRIES)
        if kind == "spikes":
            return []
        if kind == "input of spikes":
            return [block.Input()]
        if kind == "intensities":
            return [block.Input(bits=self.pick(1, 4, 8))]
        if kind == "counts":
            saturate = bool(rng.integers(2))
            return [block.Input(encoding=Encoding(kind="counts", bits=self.pick(1, 3, 8), saturate=saturate))]
        bits = self.pick(1, 4, 7) if kind == "rails" else self.pick(2, 5, 8)
        mean = rng.uniform(-0.2, 0.8, channels).tolist()
        std = rng.uniform(*((0.1, 1.0) if bits > 3 else (1.3, 2.0)), channels).tolist()
        coding = Encoding.images(mean, std, bits=bits + (kind == "rails"))
        if kind == "rails":
            coding = replace(coding, bits=bits, rails=True)
        return [block.Input(encoding=coding)]

    def layer(self, shape):
        """One block with a neuron, behind blocks that it needs."""
        rng = self.rng
        if shape[1:] == (1, 1):  # of a dense layer on an image
            return [block.Flatten(), *self.layer(shape[:1])]
        if len(shape) == 1:
            if self.late.random() < 0.2:
                return [self.recurrent(shape, int(self.late.integers(1, 9)))]
            if rng.random() < 0.3:
                return [block.Residual([self.dense(shape, shape[0])])]
            return [self.dense(shape, int(rng.integers(1, 9)))]
        if rng.random() < 0.15:
            return [self.dense(shape, int(rng.integers(2, 9)))]
        kind = KINDS[int(rng.integers(len(KINDS)))]
        mode = self.pick("average", "sum")
        if kind == "pool":
            size = (min(2, shape[1]), min(2, shape[2]))
            return [block.Pool(kernel_size=size, mode=mode, **self.neuron(shape[0], gates=False))]
        if kind == "sums":
            size = tuple(int(rng.integers(1, min(3, n) + 1)) for n in shape[1:])
            pool = block.Pool(None, size, mode=mode)
            return [pool, *self.layer(pool.build(shape))]
        return [self.conv(shape[0], shape) if kind == "conv" else self.residual(kind, shape)]

    def residual(self, kind, shape):
        channels = shape[0] if kind in ("identity", "classic") else int(self.rng.integers(1, 5))
        stride = 1 if kind in ("identity", "classic") else self.pick(1, (2, 1), 2)
        if kind == "pooled shortcut":
            stride = 1 if shape[1] % 2 or shape[2] % 2 else 2
        inner = [self.same(channels, shape, stride)]
        if kind == "classic":
            inner.insert(0, self.same(channels, shape, 1))
        shortcut = []
        if kind == "pooled shortcut" and stride == 2:
            shortcut, stride = [block.Pool(None, 2)], 1
        if "shortcut" in kind:
            shortcut.append(block.Conv(None, shape[0], channels, 1, stride=stride, **self.weights()))
        return block.Residual(inner, shortcut)

    def same(self, channels, shape, stride):
        """A 3x3 convolution that keeps height and width, up to its stride."""
        options = {**self.weights(), **self.neuron(channels)}
        return block.Conv(
            options.pop("neuron_params"), shape[0], channels, 3, stride=stride, padding=1, **options
        )

    def conv(self, features, shape):
        rng = self.rng
        groups = self.pick(*(g for g in (1, 2, 3) if features % g == 0))
        kernel, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
        padding = np.maximum(rng.integers(0, 3, 2), (dilation * (kernel - 1) + 1 - shape[1:] + 1) // 2)
        channels = groups * int(rng.integers(1, 4))
        options = {**self.weights(), **self.neuron(channels), "groups": groups}
        options |= {"padding": tuple(padding.clip(0).tolist()), "dilation": tuple(dilation.tolist())}
        options["stride"] = tuple(rng.integers(1, 3, 2).tolist())
        return block.Conv(options.pop("neuron_params"), features, channels, tuple(kernel.tolist()), **options)

    def dense(self, shape, channels):
        options = {**self.weights(), **self.neuron(channels, gates=len(shape) == 1)}
        return block.Dense(options.pop("neuron_params"), math.prod(shape), channels, **options)

    def recurrent(self, shape, channels):
        while (options := {**self.weights(), **self.neuron(channels)})["neuron"] is not LIF:
            pass
        return block.Recurrent(options.pop("neuron_params"), math.prod(shape), channels, **options)

    def weights(self):
        kinds = ({"binarize": "channel"}, {"binarize": "layer"}, {"binarize": None})
        return {
            **self.pick(*kinds),
            "weight_bits": self.pick(2, 4, 8, None),
            "norm": self.pick("batch", "batch", None),
        }

    def neuron(self, channels, *, gates=True):
        """``neuron_params``, ``neuron``, ``modulation``."""
        rng = self.rng
        if self.counts and rng.random() < 0.6:
            params = {
                "levels": int(rng.integers(1, 9)),
                "threshold": self.pick(0.5, 1.0, float(rng.uniform(0.1, 3))),
                "initial": self.pick(0.0, 0.5, float(rng.uniform(-1, 1))),
                "learn_lam": bool(rng.integers(2)),
                "scaled": bool(rng.random() < 0.3),
                "scale": self.pick(16, 64, 1024) if self.matched else None,
            }
            if rng.random() < 0.6:
                params |= {"num_steps": self.num_steps, "mix": self.pick("full", "causal", "identity")}
            return {"neuron_params": params, "neuron": MultiThresholdLIF, **self.delay()}
        scale = self.pick(16, 64, 256)
        params = {
            "threshold": int(rng.integers(2, 3 * scale)) / scale,
            "scale": scale,
            "voltage_decay": self.pick(0.0, 1.0, int(rng.integers(4097)) / 4096),
            "membrane_bits": self.pick(2, 24, int(rng.integers(2, 25))),
            "membrane_mode": "matched",
            "membrane_shift": self.pick(None, None, int(rng.integers(0, 18))),
        }
        if rng.random() < 0.4:  # potentials meet the threshold exactly
            params |= {"threshold": self.pick(0.5, 1.0, 2.0), "voltage_decay": self.pick(0.0, 1.0)}
        if not self.matched:
            params = {name: params[name] for name in ("threshold", "voltage_decay")}
            params["membrane_bits"] = self.pick(None, None, 8)
        if self.late.random() < 0.25:
            params |= {"shared_param": False, "voltage_decay": tuple(sorted(self.late.random(2).tolist()))}
        gate = None
        if gates and rng.random() < 0.4:
            per, alpha = self.pick("channel", "layer"), self.pick("step", "channel")
            gate = AGMM(self.num_steps, channels, per=per, alpha=alpha)
        return {"neuron_params": params, "neuron": LIF, "modulation": gate, **self.delay()}

    def delay(self):
        """Axonal delays, of some blocks."""
        return {"delay": bool(self.late.random() < 0.2)}

    @torch.no_grad()
    def settle(self, model):
        """Random numbers for what training would find; batch norm takes its statistics from them."""
        rng = self.rng
        for module in model.modules():
            if isinstance(module, Delay):
                steps = self.late.uniform(0, 1 + self.late.integers(self.num_steps + 1), len(module.delay))
                module.delay.copy_(torch.from_numpy(steps))
            if isinstance(module, AGMM):
                module.alpha.normal_(0, 2)
            if isinstance(module, MultiThresholdLIF) and module.lam_logit is not None:
                module.lam_logit.normal_()
            if isinstance(module, TemporalMix) and module.logits is not None:
                module.logits.normal_()
            if isinstance(module, BatchNorm):
                module.momentum = None
                module.weight.uniform_(-1, 1.5)
                module.bias.normal_(0, 0.5)
                if rng.random() < 0.2:  # dead or busy at every step
                    module.bias[torch.rand(len(module.bias)) < 0.5] = self.pick(-8.0, 8.0)
            if hasattr(module, "synapse") and not hasattr(module.synapse, "tap_weight"):
                weight = module.synapse.weight
                largest = max(module.incoming.high, -module.incoming.low)
                weight.normal_(0, 1 / math.sqrt(weight[0].numel()) / self.pick(1, largest))
                if isinstance(module, block.Recurrent):
                    module.recurrent_synapse.weight.normal_(0, 1 / math.sqrt(len(weight)))
                if rng.random() < 0.2:  # every weight at a limit
                    weight.copy_(torch.where(weight < 0, -weight.abs().max(), weight.abs().max()))
        model.train()
        model(as_input(model, torch.from_numpy(random_samples(model, 8, self.num_steps, rng))))
        for module in model.modules():
            if isinstance(module, block.Residual) and is_round(module.neuron):
                for one in (*module.shortcut, module.blocks[-1]):
                    round_numbers(one)
            elif is_round(getattr(module, "neuron", None)):
                round_numbers(module)


def random_samples(model, number, num_steps, rng):
    """Samples ``[N, *shape, T]`` that a model takes: still or moving, of several types."""
    coding, shape = model.encoding, (number, *model.in_shape, num_steps)
    if coding.kind == "spikes":
        return rng.integers(0, 2, shape).astype(np.float32)
    if coding.kind == "counts":
        most = coding.high + 1 + (5 if coding.saturate else 0)
        return rng.integers(0, most, shape).astype(np.float32 if rng.random() < 0.5 else np.int64)
    pixels = rng.integers(0, 256, shape)
    x = pixels.astype(np.uint8) if rng.random() < 0.3 else rng.random(shape)
    if rng.random() < 0.5:
        x[:] = x[..., :1].copy()
    return x if rng.random() < 0.5 or x.dtype == np.uint8 else x.astype(np.float32)


def is_round(neuron):
    """Whether the numbers of a neuron's block are multiples of a power of two: potentials meet thresholds."""
    return isinstance(neuron, (LIF, MultiThresholdLIF)) and neuron.threshold in (0.5, 1.0, 2.0)


@torch.no_grad()
def round_numbers(module):
    """Make weights and batch norm of a block multiples of a power of two."""
    if hasattr(module.synapse, "tap_weight") or module.synapse.pre_hook_fx is None:
        return
    weight, bits = module.synapse.weight, module.synapse.pre_hook_fx.bits
    signs = torch.where(weight < 0, -1.0, 1.0)
    if bits == 1:
        weight.copy_(signs / 2)
    else:
        top = 2 ** (bits - 1) - 1
        whole = (weight / weight.abs().amax() * top).round()
        whole[:, 0] = signs[:, 0] * top  # so that the step is 1 in every channel
        weight.copy_(whole / (top + 1))
    norm = module.norm
    if norm is not None:
        norm.eps = 0.0
        norm.running_mean.copy_((norm.running_mean * 4).round() / 4)
        norm.running_var.copy_(4.0 ** (norm.running_var.clamp(1 / 16, 16).log2() / 2).round())
        signs = torch.where(norm.weight < 0, -0.25, 0.25)
        norm.weight.copy_(torch.where(norm.weight.abs() < 0.2, signs, (norm.weight * 4).round() / 4))
        norm.bias.copy_((norm.bias * 8).round() / 8)


def random_model(seed, depth, num_steps, matched=True):
    """A built model in evaluation mode with ``depth`` blocks of neurons."""
    torch.manual_seed(seed % (1 << 31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # time constants without norm
        return ModelMaker(np.random.default_rng(seed), num_steps, matched).model(depth)
