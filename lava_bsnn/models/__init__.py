"""Networks built from :mod:`lava_bsnn.block`."""

from .cnn import cnn
from .network import SpikingNetwork

__all__ = ["SpikingNetwork", "cnn"]
