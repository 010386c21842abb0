"""Which store stands behind the topology's witness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dr_provider.arrays.base import Array
from dr_provider.arrays.embedded import EmbeddedArray
from dr_provider.arrays.witness.base import RecordStore
from dr_provider.arrays.witness.kept import ArrayRecords
from dr_provider.arrays.witness.s3 import S3Records
from dr_provider.model.errors import BadInput
from dr_provider.model.topology import WitnessSpec

__all__ = ["open_witness"]


def open_witness(spec: WitnessSpec, *, timeout: float, array: Callable[[str], Array], vantage: str = "") -> RecordStore:
    """Open the witness; nothing is asked of it yet. `array` opens an array of the topology; `vantage` as in `Fabric`. Raises BadInput."""
    options = spec.options
    if spec.driver == "embedded":
        path = Path(str(options["path"]))
        return ArrayRecords(EmbeddedArray("witness", "", path, timeout=timeout, vantage=vantage), own=True)
    if spec.driver == "array":
        return ArrayRecords(array(str(options["array"])), own=False)
    if spec.driver == "s3":
        keys = options["credentials"]
        assert isinstance(keys, dict)
        return S3Records(str(options["url"]), str(options["bucket"]), str(options["region"]), keys, timeout=timeout)
    raise BadInput(f"witness: there is no driver {spec.driver!r}; known are: array, embedded, s3")
