"""Which driver stands behind an array of the topology, or behind an address given on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dr_provider.arrays.base import Array, Fabric
from dr_provider.arrays.embedded import EmbeddedArray
from dr_provider.model import addresses
from dr_provider.model.build import DEFAULTS
from dr_provider.model.errors import BadInput
from dr_provider.model.topology import ArraySpec

__all__ = ["DRIVERS", "open_array", "spec_at"]

_LATER = ("ceph", "ontap")
_POOL = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
_ADDRESSES = "embedded:PATH or zfs:ssh://[USER@]HOST[:PORT]/POOL"


def _embedded(spec: ArraySpec, timeout: float, fabric: Fabric) -> Array:
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
        vantage=fabric.vantage,
    )


def _zfs(spec: ArraySpec, timeout: float, fabric: Fabric) -> Array:
    from dr_provider.arrays.zfs import ZfsArray

    return ZfsArray(spec, timeout=timeout, fabric=fabric)


DRIVERS: dict[str, Callable[[ArraySpec, float, Fabric], Array]] = {"embedded": _embedded, "zfs": _zfs}


def open_array(spec: ArraySpec, *, timeout: float, fabric: Fabric | None = None) -> Array:
    """Open an array of the topology; nothing is asked of it yet. Each call may take `timeout` seconds. Raises BadInput."""
    driver = DRIVERS.get(spec.driver)
    if driver is None:
        raise BadInput(f"array {spec.name}: {_unknown(spec.driver)}")
    return driver(spec, timeout, fabric or Fabric())


def spec_at(address: str) -> ArraySpec:
    """The one array that is known only by its address, under the name `from`: embedded:PATH, or zfs:ssh://HOST/POOL (its dataset is
    dr; another one is the part after a colon: POOL:DATASET). Raises BadInput."""
    driver, colon, rest = address.partition(":")
    if not colon or not rest:
        raise BadInput(f"array address {address!r}: wanted {_ADDRESSES}; nothing was done")
    if driver == "embedded":
        return ArraySpec("from", "", driver, {"path": str(Path(rest).absolute())})
    if driver == "zfs":
        return ArraySpec("from", "", driver, {**DEFAULTS["zfs array"], **_zfs_options(address, rest)})
    raise BadInput(f"array address {address!r}: {_unknown(driver)}")


def _zfs_options(address: str, rest: str) -> dict[str, object]:
    scheme, _, place = rest.partition("://")
    host, slash, pool = place.partition("/")
    pool, _, dataset = pool.partition(":")
    endpoint = f"{scheme}://{host}"
    try:
        addresses.ssh(endpoint)
    except ValueError as error:
        raise BadInput(f"array address {address!r}: {error}, then /POOL; nothing was done") from error
    if not slash or not _POOL.fullmatch(pool) or (dataset and not _POOL.fullmatch(dataset)):
        raise BadInput(
            f"array address {address!r}: after the host it wants the pool, as in zfs:{endpoint}/tank; nothing was done"
        )
    return {"endpoints": [endpoint], "pool": pool, **({"dataset": dataset} if dataset else {})}


def _unknown(driver: str) -> str:
    if driver in _LATER:
        return f"driver {driver} is not built yet, wanted {' or '.join(DRIVERS)}; nothing was done"
    return f"there is no driver {driver!r}, wanted {_ADDRESSES}; nothing was done"
