"""Compiled loops over pixels: arrays and numbers only; no files, policies or frameworks."""

from .warp import warp, warp_ragged

__all__ = ["warp", "warp_ragged"]
