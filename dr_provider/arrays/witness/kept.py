"""The records of an array as a witness: an array at a third site, or the file of an embedded one that holds nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from dr_provider.arrays.base import Array
from dr_provider.arrays.witness.base import RecordStore

__all__ = ["ArrayRecords"]


class ArrayRecords(RecordStore):
    """`own`: the array is there for these records alone, and may be made for them."""

    def __init__(self, array: Array, *, own: bool) -> None:
        self._array = array
        self._own = own

    def records(self, prefix: str) -> Mapping[str, str]:
        return self._array.state(records=prefix).records

    def read(self, key: str) -> str | None:
        return self._array.read_record(key)

    def create(self, key: str, value: str) -> bool:
        return self._array.create_record(key, value)

    def put(self, key: str, value: str) -> None:
        self._array.put_record(key, value)

    def delete(self, key: str) -> None:
        self._array.delete_record(key)

    def make(self) -> None:
        if self._own:
            self._array.create()

    def close(self) -> None:
        if self._own:
            self._array.close()
