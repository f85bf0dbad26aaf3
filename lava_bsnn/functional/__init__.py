"""Pure functions: weights, surrogate gradients, neuron dynamics, time layout."""

from .dynamics import leaky_integrate, lif
from .gate import agmm
from .membrane import quantize_membrane
from .multi_threshold import mixing_matrix, multi_threshold, qcfs
from .surrogate import SURROGATES, surrogate_derivative
from .time import direct_code, fold_time, unfold_time
from .weights import binarize, binary_scale, quantization_step, quantize_weights, standardize, weight_scale

__all__ = [
    "SURROGATES",
    "agmm",
    "binarize",
    "binary_scale",
    "direct_code",
    "fold_time",
    "leaky_integrate",
    "lif",
    "mixing_matrix",
    "multi_threshold",
    "qcfs",
    "quantization_step",
    "quantize_membrane",
    "quantize_weights",
    "standardize",
    "surrogate_derivative",
    "unfold_time",
    "weight_scale",
]
