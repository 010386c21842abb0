"""The array interface (`base`), the choice of driver (`registry`), and one sub-package a driver."""

from dr_provider.arrays.registry import open_array, spec_at

__all__ = ["open_array", "spec_at"]
