"""Waiting for a started VM to be well; a request to stop is heard while it lasts."""

from __future__ import annotations

import time
from collections.abc import Callable

from dr_provider.model.errors import DrError, Stopped
from dr_provider.model.topology import VmSpec
from dr_provider.protection.fleet import Fleet

__all__ = ["pause", "wait_until_well"]


def wait_until_well(fleet: Fleet, host: str, name: str, spec: VmSpec, stop: Callable[[], str | None]) -> str:
    """Look at the VM's health until it is well, `within` seconds at most."""
    if spec.health is None:
        return ""
    until = time.monotonic() + spec.health.within
    wait = 0.05
    while True:
        report = fleet.host(host).probe(name, spec.health)
        if report.well:
            return report.detail
        if time.monotonic() + wait > until:
            raise DrError(
                f"VM {spec.name}: it was started on {host} and is not well after {spec.health.within:g} s: {report.detail}"
            )
        pause(wait, stop)
        wait = min(wait * 2, 1.0)


def pause(seconds: float, stop: Callable[[], str | None]) -> None:
    """Wait in small steps, so that a request to stop is heard."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if (reason := stop()) is not None:
            raise Stopped(reason)
        time.sleep(min(left, 0.2))
