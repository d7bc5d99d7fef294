"""Compiled loops over pixels: arrays and numbers only; no files, policies or frameworks."""

from .warp import warp

__all__ = ["warp"]
