"""Which driver stands behind an array of the topology, or behind an address given on the command line."""

from __future__ import annotations

from pathlib import Path

from dr_provider.arrays.base import Array
from dr_provider.arrays.embedded import EmbeddedArray
from dr_provider.model.errors import BadInput
from dr_provider.model.topology import ArraySpec

__all__ = ["open_address", "open_array"]

_PLANNED = ("zfs", "ceph", "ontap")


def open_array(spec: ArraySpec, *, timeout: float) -> Array:
    """Open an array of the topology; nothing is asked of it yet. Each call may take `timeout` seconds. Raises BadInput."""
    if spec.driver != "embedded":
        raise BadInput(f"array {spec.name}: {_unknown(spec.driver)}")
    options = spec.options
    capacity, latency, width = options.get("capacity"), options.get("latency"), options.get("width")
    return EmbeddedArray(
        spec.name,
        spec.site,
        Path(str(options["path"])),
        timeout=timeout,
        capacity=capacity if isinstance(capacity, int) else None,
        latency=float(latency) if isinstance(latency, int | float) else 0.0,
        width=width if isinstance(width, int) else None,
    )


def open_address(address: str, *, timeout: float) -> Array:
    """Open the one array that is known only by address (`--from embedded:PATH`). Raises BadInput."""
    driver, colon, rest = address.partition(":")
    if not colon or not rest:
        raise BadInput(f"array address {address!r}: wanted DRIVER:PLACE, as in embedded:PATH; nothing was done")
    if driver != "embedded":
        raise BadInput(f"array address {address!r}: {_unknown(driver)}")
    return EmbeddedArray(rest, "", Path(rest), timeout=timeout)


def _unknown(driver: str) -> str:
    if driver in _PLANNED:
        return f"driver {driver} is not built yet, wanted embedded; nothing was done"
    return f"there is no driver {driver!r}, wanted embedded; nothing was done"
