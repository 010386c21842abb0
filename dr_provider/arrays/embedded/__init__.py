"""The embedded array: real bytes in one SQLite file, nothing installed."""

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.arrays.embedded.blocks import EmbeddedBlocks, connect

__all__ = ["EmbeddedArray", "EmbeddedBlocks", "connect"]
