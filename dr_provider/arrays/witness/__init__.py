"""Record stores that can be a witness: a small file, the records of an array, or an S3-like object store."""

from dr_provider.arrays.witness.base import RecordStore
from dr_provider.arrays.witness.registry import open_witness

__all__ = ["RecordStore", "open_witness"]
