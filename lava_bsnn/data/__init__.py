"""Datasets."""

from .digits import Split, digits

__all__ = ["Split", "digits"]
