"""Layers of a model by name, and forward hooks that always come off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError, check_option

Observer = Callable[[str, torch.nn.Module, Tensor, Tensor], None]
WHICH = ("binary", "hidden", "all")


def _by_layer(model: torch.nn.Module, kinds: Any, last: str) -> dict[str, torch.nn.Module]:
    found: dict[str, torch.nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            owner, _, attribute = name.rpartition(".")
            if not attribute.endswith(last):
                owner = name
            own = getattr(model.get_submodule(owner), "name", None)  # of blocks that were given one
            key = own if isinstance(own, str) and own not in found else owner or "model"
            found[f"{key}.recurrent" if attribute == "recurrent_synapse" else key] = module
    return found


def synapses(model: torch.nn.Module) -> dict[str, Any]:
    """Synapses with weights, ours and SLAYER's, by layer name in the order of definition."""
    from .._slayer import synapse_layer

    found = _by_layer(model, synapse_layer.GenericLayer, "synapse")
    fixed = (synapse_layer.Pool, synapse_layer.Unpool)
    return {name: module for name, module in found.items() if not isinstance(module, fixed)}


def neurons(model: torch.nn.Module) -> dict[str, Any]:
    """Neurons, ours and SLAYER's, by layer name in the order of definition."""
    from .._slayer import neuron_base

    return _by_layer(model, neuron_base.Neuron, "neuron")


def layer_labels(model: torch.nn.Module) -> dict[str, str]:
    """Names of :func:`synapses` and :func:`neurons`, and what exports call these layers.

    A shortcut is its layer and ``skip``. What is in no chain of blocks keeps its name.
    """
    from netx_export.lowering.names import spiking_layers

    from .. import block

    chain = getattr(model, "blocks", model)
    exported = {}
    if isinstance(chain, (torch.nn.Sequential, torch.nn.ModuleList)):
        exported = {id(module): name for name, module in spiking_layers(chain)}
    for module in model.modules():
        if isinstance(module, block.Residual):
            owner = exported.get(id(module.blocks[-1]))
            exported |= {id(one): f"{owner} skip" for one in module.shortcut if owner}
    labels: dict[str, str] = {}
    for parts, attribute in ((synapses(model), "synapse"), (neurons(model), "neuron")):
        holders = {
            id(getattr(module, attribute, None)): exported.get(id(module)) for module in model.modules()
        }
        labels |= {name: label for name, part in parts.items() if (label := holders.get(id(part)))}
    return {name: labels.get(name, name) for name in (*synapses(model), *neurons(model))}


def weight_bits(synapse: Any) -> int:
    """Bits per weight: those of the weight hook, 32 without hook or where it does not say."""
    return int(getattr(synapse.pre_hook_fx, "bits", 32))


def latent_weight(synapse: Any) -> torch.nn.Parameter:
    """The parameter that a synapse's weights are made of: with weight norm, their direction."""
    parameters = dict(synapse.named_parameters(recurse=False))
    return parameters["weight_v"] if "weight_v" in parameters else parameters["weight"]


def select(model: torch.nn.Module, which: str, where: str) -> dict[str, Any]:
    """Synapses with 1-bit weights, those between first and last, or all.

    Raises:
        OptionError: ``which`` is unknown, or the model has no such layer.
    """
    check_option(where, "which", which, WHICH)
    found = synapses(model)
    if which == "binary":
        found = {name: synapse for name, synapse in found.items() if weight_bits(synapse) == 1}
    elif which == "hidden":
        found = {name: found[name] for name in list(found)[1:-1]}
    if not found:
        raise OptionError(f"{where}: which={which!r} selects no layer of this model; use one of {WHICH}")
    return found


@contextmanager
def observing(modules: Mapping[str, torch.nn.Module], observer: Observer) -> Iterator[None]:
    """Call ``observer(name, module, input, output)`` after each forward pass of each module."""

    def hook(name: str) -> Callable[..., None]:
        def after(module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
            observer(name, module, args[0], output[0] if isinstance(output, tuple) else output)

        return after

    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()
