"""What drivers ask of a topology: one array stands behind one name, copies are of one kind, hosts reach the LUNs of their site."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from dr_provider.model import addresses, credentials
from dr_provider.model.build import Draft
from dr_provider.model.errors import BadInput
from dr_provider.model.problems import Report
from dr_provider.model.references import machine_references
from dr_provider.model.topology import ArraySpec, HostSpec, VolumeSpec

__all__ = ["check", "check_credentials"]

_OFFERS = {"embedded": "embedded LUNs", "zfs": "iSCSI LUNs"}
_REACHES = {"embedded": "embedded LUNs", "libvirt": "iSCSI LUNs"}


def check(draft: Draft, report: Report) -> None:
    _one_place(draft, report)
    for volume in draft.volumes.values():
        if volume is not None:
            _alike(draft, volume, report)
    _reached(draft, report)


def check_credentials(draft: Draft, report: Report) -> None:
    """Every credential reference must lead to a secret on this machine."""
    for path, reference in machine_references(draft):
        try:
            credentials.resolve(reference, "its credential")
        except BadInput as error:
            report.add(path, str(error))


def _one_place(draft: Draft, report: Report) -> None:
    """Two arrays or hosts in one place would be one under two names."""
    owners: dict[tuple[object, ...], tuple[str, str]] = {}
    for key, section in (("arrays", draft.arrays), ("hosts", draft.hosts)):
        for name, thing in section.items():
            if thing is None:
                continue
            for field, what, place in _places(thing):
                other_key, other = owners.setdefault(place, (key, name))
                if (other_key, other) != (key, name):
                    report.add(
                        (key, name, field),
                        f"{other_key[:-1]} {other} has the same {what}; give each a {what} of its own",
                    )


def _places(thing: ArraySpec | HostSpec) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """(key, what it is called, the place) of each place that is an array's or a host's alone."""
    options = thing.options
    if thing.driver == "embedded":
        yield "path", "file", ("file", options["path"])
    elif thing.driver == "zfs":
        endpoints = options["endpoints"]
        assert isinstance(endpoints, list)
        for endpoint in endpoints:
            at = addresses.ssh(endpoint)
            yield "endpoints", "dataset", ("zfs", at.host, at.port or 22, options["pool"], options["dataset"])
    elif thing.driver == "libvirt":
        yield "uri", "libvirt daemon", ("libvirt", options["uri"])


def _alike(draft: Draft, volume: VolumeSpec, report: Report) -> None:
    home = draft.arrays.get(volume.home)
    for index, copy in enumerate(volume.copies):
        array = draft.arrays.get(copy.array)
        if home is not None and array is not None and array.driver != home.driver:
            report.add(
                ("volumes", volume.name, "copies", index),
                f"{array.name} is a {array.driver} array and the volume's home {home.name} a {home.driver} one; "
                f"a mirror stands between two arrays of one driver: name a {home.driver} array",
            )


def _reached(draft: Draft, report: Report) -> None:
    """Every host on which a plan may run its VMs at a site reaches the LUNs of the arrays that hold its volumes there."""
    for plan in draft.plans.values():
        if plan is None:
            continue
        disks = chain.from_iterable(vm.disks for name in plan.members if (vm := draft.vms.get(name)) is not None)
        volumes = [v for name in dict.fromkeys(d.volume for d in disks) if (v := draft.volumes.get(name)) is not None]
        arrays = [draft.arrays.get(name) for volume in volumes for name in volume.arrays]
        for site in dict.fromkeys(plan.sites):
            offered = {array.driver: array.name for array in arrays if array is not None and array.site == site}
            named = plan.hosts.get(site)
            for host in draft.hosts.values():
                if host is None or host.site != site or (named is not None and host.name not in named):
                    continue
                for driver, array_name in offered.items():
                    if _OFFERS[driver] != _REACHES[host.driver]:
                        report.add(
                            ("plans", plan.name, "hosts", site)
                            if named is not None
                            else ("hosts", host.name, "driver"),
                            f"{host.name} is a {host.driver} host, which reaches {_REACHES[host.driver]}, and array {array_name}, which "
                            f"holds plan {plan.name}'s volumes at {site}, offers {_OFFERS[driver]}; wanted hosts and arrays that belong together: "
                            "libvirt with zfs, embedded with embedded",
                        )
