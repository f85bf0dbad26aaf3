"""Files that SLAYER's own blocks write, with random parameters that let every layer fire."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import h5py
import numpy as np
import torch
from lava.lib.dl import slayer

cuba = slayer.block.cuba
NORMS = (None, None, slayer.neuron.norm.MeanOnlyBatchNorm, slayer.neuron.norm.WgtScaleBatchNorm)


def parameters(rng, *, norm=True):
    """Parameters of a CUBA neuron."""
    return {
        "threshold": float(rng.uniform(0.5, 2)),
        "current_decay": float(rng.choice([1.0, rng.uniform(0.05, 1)])),
        "voltage_decay": float(rng.choice([0.0, 1.0, rng.uniform(0.01, 1)])),
        "norm": rng.choice(NORMS) if norm else None,
    }


def driving(fan_in):
    """Mean and deviation of weights with which most random layers fire."""
    return 1 / np.sqrt(fan_in), 3 / np.sqrt(fan_in)


def write_blocks(blocks, shape, path, rng, weights=driving):
    """Give blocks random weights, delays and norms; export them as SLAYER's tutorials do."""
    x = torch.from_numpy((rng.random((2, *shape, 6)) < 0.5).astype(np.float32))
    for block in blocks:
        for name in ("synapse", "input_synapse", "recurrent_synapse"):
            synapse = getattr(block, name, None)
            if synapse is not None:
                weight = synapse.weight_v if synapse.weight_norm_enabled else synapse.weight
                mean, deviation = weights(weight[0].numel())
                values = rng.normal(mean, deviation, tuple(weight.shape))
                weight.data = torch.from_numpy(values.astype(np.float32))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            x = block.train()(x)  # makes delays and running means
        delay = getattr(block, "delay", None)
        if delay is not None:
            values = rng.uniform(0, 12, tuple(delay.delay.shape))
            delay.delay.data = torch.from_numpy(values.astype(np.float32))
    with h5py.File(path, "w") as file:
        for index, block in enumerate(blocks):
            block.export_hdf5(file.create_group(f"layer/{index}"))


@dataclass(frozen=True)
class Case:
    """A random file.

    Attributes:
        kinds: names of the blocks, with their options.
        shape: of the input.
        declared: whether the file says the shape.
    """

    kinds: tuple[str, ...]
    shape: tuple[int, ...]
    declared: bool


def random_file(path, seed, *, delays=True):
    """Write a random file of convolutions, dense and recurrent layers and an affine one; return its Case."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    image = rng.random() < 0.6
    shape = (
        (int(rng.integers(1, 4)), *rng.integers(7, 11, 2).tolist()) if image else (int(rng.integers(3, 12)),)
    )
    blocks, kinds, now = [], [], shape
    declared = rng.random() < 0.5
    if declared:
        neurons = rng.random() < 0.3
        options = {"weight": 2.0, "bias": -0.5} if neurons else {"delay_shift": False}
        blocks.append(cuba.Input(parameters(rng, norm=False) if neurons else None, **options))
        kinds.append("Input" + "+neurons" * neurons)

    def add(kind, block, text=""):
        blocks.append(block)
        kinds.append(kind + text)

    if image:
        for _ in range(int(rng.integers(1, 3))):
            kernel, stride = rng.integers(1, 4, 2).tolist(), rng.integers(1, 3, 2).tolist()
            padding, dilation = rng.integers(0, 2, 2).tolist(), rng.integers(1, 3, 2).tolist()
            groups = int(rng.choice([g for g in (1, 2, 3) if now[0] % g == 0]))
            out = groups * int(rng.integers(1, 4))
            size = [
                (n + 2 * p - d * (k - 1) - 1) // s + 1
                for n, k, s, p, d in zip(now[1:], kernel, stride, padding, dilation, strict=True)
            ]
            if min(size) < 1:
                break
            options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
            options["weight_norm"] = bool(rng.random() < 0.3)
            add("Conv", cuba.Conv(parameters(rng), now[0], out, kernel, **options))
            now = (out, *size)
        add("Flatten", cuba.Flatten())
        now = (int(np.prod(now)),)
    for _ in range(int(rng.integers(1, 3))):
        out, recurrent = int(rng.integers(4, 12)), rng.random() < 0.3
        if recurrent:
            add("Recurrent", cuba.Recurrent(parameters(rng), now[0], out))
        else:
            delay = bool(delays and rng.random() < 0.5)
            options = {"delay": delay, "weight_norm": bool(rng.random() < 0.3)}
            add("Dense", cuba.Dense(parameters(rng), now[0], out, **options), "+delay" * delay)
        now = (out,)
    last = rng.integers(0, 3)
    if last:
        add(
            "Affine",
            cuba.Affine(parameters(rng, norm=False), now[0], 5, dynamics=bool(last == 1)),
            "+dynamics" * int(last == 1),
        )
    write_blocks(blocks, shape, path, rng)
    return Case(tuple(kinds), shape, bool(declared))


def edit(path, **values):
    """Replace datasets, or delete them if None; names are ``layer__key`` or ``layer__neuron__key``."""
    with h5py.File(path, "r+") as file:
        for name, value in values.items():
            key = f"layer/{name[1:].replace('__', '/')}"
            if key in file:
                del file[key]
            if value is not None:
                file[key] = value


def widen(path, rng):
    """Give a file numbers that SLAYER does not write and lava-dl computes, up to where sums leave 32 bits.

    Weights of up to 24 bits in convolutions, whose currents may wrap, biases of up to 17 bits, biases and
    thresholds per neuron, and decays per channel; returns the kinds of changes.
    """
    done = []
    with h5py.File(path, "r+") as file:
        for handle in (file[f"layer/{index}"] for index in range(len(file["layer"]))):
            kind, shape = handle["type"][0].decode(), handle["shape"][()]
            if kind not in ("conv", "dense", "dense_rec") or "neuron" not in handle:
                continue
            neuron = handle["neuron"]

            def put(group, key, values):
                if key in group:
                    del group[key]
                group[key] = values

            if rng.random() < 0.4:
                for key in ("iDecay", "vDecay"):
                    put(neuron, key, rng.integers(1, 4097, shape[0]))
                done.append("decays")
            if kind == "conv":
                if rng.random() < 0.6:
                    weight = handle["weight"][()].astype(int)
                    total = np.abs(weight).reshape(len(weight), -1).sum(1).max()
                    most = min((1 << 23) - 1, (1 << 18) + (int(neuron["iDecay"][()].min()) << 12))
                    factor = int(most // total * rng.choice([0.01, 0.1, 1]))
                    put(handle, "weight", weight * max(1, factor))
                    put(neuron, "vThMant", min(131_071, int(neuron["vThMant"][()]) * max(1, factor)))
                    done.append("weight")
                if rng.random() < 0.3:
                    low, high = int(neuron["vThMant"][()]) // 2, int(neuron["vThMant"][()]) + 1
                    put(neuron, "vThMant", rng.integers(low, high, shape[::-1]))
                    done.append("threshold")
            if rng.random() < 0.6:
                most = int(rng.choice([90, 5000, 30_000, 60_000]))
                every = kind == "conv" and rng.random() < 0.6
                values = rng.integers(-most, most, shape[::-1] if every else shape[0])
                put(handle, "bias", values * (rng.random(values.shape) < 0.5))
                done.append(f"bias {most}" + " per neuron" * every)
    return done
