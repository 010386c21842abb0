"""From a host's spec to an open driver: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable

from dr_provider.hypervisors.base import Hypervisor
from dr_provider.hypervisors.embedded import EmbeddedHost
from dr_provider.model.errors import BadInput
from dr_provider.model.topology import HostSpec
from dr_provider.model.vm import Connect

__all__ = ["DRIVERS", "open_host"]


def _embedded(spec: HostSpec, connect: Connect, timeout: float, vantage: str) -> Hypervisor:
    return EmbeddedHost(spec, connect=connect, timeout=timeout, vantage=vantage)


def _libvirt(spec: HostSpec, _connect: Connect, timeout: float, _vantage: str) -> Hypervisor:
    # Its own modules are not needed where no host is of this driver; libvirt-python comes in with the first call.
    from dr_provider.hypervisors.libvirt import LibvirtHost

    return LibvirtHost(spec, timeout=timeout)


DRIVERS: dict[str, Callable[[HostSpec, Connect, float, str], Hypervisor]] = {
    "embedded": _embedded,
    "libvirt": _libvirt,
}


def open_host(spec: HostSpec, *, connect: Connect, timeout: float, vantage: str = "") -> Hypervisor:
    """Open the driver of a host; no call is made yet. `timeout`: seconds until silence is Unreachable; `vantage`: the site that calls come
    from, where that decides what an embedded host answers. BadInput: no such driver."""
    driver = DRIVERS.get(spec.driver)
    if driver is None:
        known = ", ".join(sorted(DRIVERS))
        raise BadInput(f"host {spec.name}: there is no hypervisor driver {spec.driver!r}; known are: {known}")
    return driver(spec, connect, timeout, vantage)
