"""The frozen network, integers only: what it is made of (:mod:`~netx_export.network.graph`), and checks."""

from __future__ import annotations

from lava_bsnn.encoding import Encoding

from ..neurons import LIF, Membrane, MultiThreshold, Neuron, Readout
from .front import Gate, Mix
from .graph import Connection, FixedPointNetwork, Input, Layer
from .synapses import INPUT, BiasInput, Conv, Dense, Identity, Shape, Synapse

__all__ = [
    "INPUT",
    "LIF",
    "BiasInput",
    "Connection",
    "Conv",
    "Dense",
    "Encoding",
    "FixedPointNetwork",
    "Gate",
    "Identity",
    "Input",
    "Layer",
    "Membrane",
    "Mix",
    "MultiThreshold",
    "Neuron",
    "Readout",
    "Shape",
    "Synapse",
]
