"""Networks built from :mod:`lava_bsnn.block`, by name."""

from .method import METHODS, Method
from .network import SpikingNetwork
from .own import own
from .registry import MODELS, create

__all__ = ["METHODS", "MODELS", "Method", "SpikingNetwork", "create", "own"]
