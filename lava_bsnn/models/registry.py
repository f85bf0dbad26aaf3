"""Models by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

from .. import block
from ..code import is_code
from ..encoding import Encoding
from ..errors import OptionError, check_option
from .method import Layers, Method, method_of
from .network import SpikingNetwork
from .own import own
from .resnet import resnet
from .vgg import VGG13, VGG16, VGGSNN, check_plan, vgg

Body = Callable[..., list[torch.nn.Module]]


def _scaled(features: int | str, width: float) -> Any:
    return features if isinstance(features, str) else max(1, round(features * width))


def _checked_head(name: str, head: Any) -> Sequence[int]:
    if not isinstance(head, (list, tuple)) or any(type(one) is not int or one < 1 for one in head):
        raise OptionError(
            f"models.create({name!r}): head={head!r} is not allowed; use a list of whole numbers, 1 or more"
        )
    return head


def _resnet(stem_features: int, stages: Sequence[tuple[int, int]]) -> Body:
    def body(
        layers: Layers, in_shape: tuple[int, ...], width: float, stem: int = stem_features, **options: Any
    ) -> Any:
        if type(stem) is not int or stem < 1:
            raise OptionError(f"resnet: stem={stem!r} is not allowed; use a whole number, 1 or more")
        scaled = [(_scaled(features, width), count) for features, count in stages]
        return resnet(layers, in_shape[0], stem=_scaled(stem, width), stages=scaled, **options)

    return body


def _vgg(usual: Sequence[int | str]) -> Body:
    def body(
        layers: Layers,
        in_shape: tuple[int, ...],
        width: float,
        plan: Sequence[int | str] = usual,
        **options: Any,
    ) -> Any:
        check_plan(plan)  # before it is scaled
        return vgg(layers, in_shape[0], [_scaled(step, width) for step in plan], **options)

    return body


def _cnn(
    layers: Layers,
    in_shape: tuple[int, ...],
    width: float,
    channels: Sequence[int] = (32, 64),
    hidden: int = 128,
) -> list[torch.nn.Module]:
    blocks: list[torch.nn.Module] = []
    inputs = in_shape[0]
    for features in (_scaled(c, width) for c in channels):
        blocks.append(layers.conv(inputs, features, 3, 2 if blocks else 1, first=not blocks))
        inputs = features
    size = prod(block.build([block.Input(), *blocks], in_shape))
    return [*blocks, block.Flatten(), layers.dense(size, _scaled(hidden, width))]


def _row(kind: str) -> Body:
    """Layers of one kind of :class:`Layers` in a row."""

    def body(
        layers: Layers, in_shape: tuple[int, ...], width: float, hidden: Sequence[int] = (128,)
    ) -> list[torch.nn.Module]:
        blocks: list[torch.nn.Module] = [block.Flatten()]
        inputs = prod(in_shape)
        for features in (_scaled(h, width) for h in hidden):
            blocks.append(getattr(layers, kind)(inputs, features, first=len(blocks) == 1))
            inputs = features
        return blocks

    return body


MODELS: dict[str, Body] = {
    "resnet18": _resnet(64, ((64, 2), (128, 2), (256, 2), (512, 2))),
    "resnet19": _resnet(128, ((128, 3), (256, 3), (512, 2))),
    "resnet20": _resnet(16, ((16, 3), (32, 3), (64, 3))),
    "resnet34": _resnet(64, ((64, 3), (128, 4), (256, 6), (512, 3))),
    "vgg13": _vgg(VGG13),
    "vgg16": _vgg(VGG16),
    "vggsnn": _vgg(VGGSNN),
    "cnn": _cnn,
    "mlp": _row("dense"),
    "recurrent": _row("recurrent"),
}
"""Everything in front of the readout, by name."""
_GLOBAL_POOL = ("resnet18", "resnet19", "resnet20", "resnet34", "vgg13", "vgg16")


def create(
    name: str,
    *,
    num_classes: int,
    in_shape: tuple[int, ...],
    num_steps: int,
    method: str | Method = "agmm",
    width: float = 1.0,
    input_bits: int | None = 0,
    encoding: Encoding | None = None,
    global_pool: bool | None = None,
    method_options: dict[str, Any] | None = None,
    **options: Any,
) -> SpikingNetwork:
    """Build a model for one input shape.

    Args:
        name: one of ``models.MODELS``, or code of your own, ``"package.module:Net"``, which is called as
            :func:`lava_bsnn.models.own` says; ``global_pool`` is not for it.
        num_classes: classes C; the model maps ``NCHWT`` to logits per step ``[N, C, T]``.
        in_shape: ``(C, H, W)``, or ``(C,)`` for ``"mlp"`` and ``"recurrent"``.
        num_steps: time steps T; input with a time axis has ``mix_frames`` of them where the method has such.
        method: a name of ``models.METHODS``, or a :class:`Method`.
        width: factor on all hidden features.
        input_bits: 0 for spikes; k for intensities in [0, 1] or uint8 pixels, which become k-bit
            integers; None for real numbers, which no device takes.
        encoding: anything else that comes in, in place of ``input_bits``: counts, normalised images.
        global_pool: average over space before the readout; by default for ResNets, VGG-13
            and VGG-16. The others flatten.
        method_options: changes to the method's fields.
        options: of the architecture: ``skip``, ``stem``, ``imagenet_stem`` (ResNets), ``plan``, ``pool``
            (VGGs), ``channels``, ``hidden`` (cnn), ``hidden`` (mlp, recurrent); ``head`` (all): features of
            fully connected spiking layers between pooling and readout, with a bias and without batch norm.

    Raises:
        OptionError: an unknown name or option.
        ShapeError: the input is too small for the architecture.
    """
    preset = method_of(method, **(method_options or {}))
    if is_code(name):
        return own(
            name,
            num_classes=num_classes,
            in_shape=in_shape,
            num_steps=num_steps,
            method=preset,
            encoding=block.Input(bits=input_bits, encoding=encoding).encoding,
            width=width,
            options=options,
        )
    check_option("models.create", "name", name, (*MODELS, "package.module:Net"))
    layers = preset.layers(num_steps)
    head = _checked_head(name, options.pop("head", ()))
    try:
        first = block.Input(bits=input_bits, encoding=encoding)
        blocks: list[torch.nn.Module] = [first]
        blocks += MODELS[name](layers, first.build(in_shape), width, **options)
    except TypeError as error:
        raise OptionError(
            f"models.create({name!r}): {error}; options are skip, stem and imagenet_stem (ResNets), plan and "
            "pool (VGGs), channels and hidden (cnn), hidden (mlp, recurrent), head (all)"
        ) from error
    shape = block.build(blocks, in_shape)
    if (name in _GLOBAL_POOL if global_pool is None else global_pool) and shape[1:] != (1, 1):
        blocks.append(block.Pool(None, (shape[1], shape[2])))
        shape = (shape[0], 1, 1)
    if len(shape) == 3:
        blocks.append(block.Flatten())
    inputs = prod(shape)
    for features in (_scaled(h, width) for h in head):
        blocks.append(layers.dense(inputs, features, norm="bias"))
        inputs = features
    blocks.append(layers.readout(inputs, num_classes))
    return SpikingNetwork(blocks, in_shape=in_shape, num_steps=preset.mix_frames or num_steps)
