"""Plain data, checked against the schema, to the dataclasses of `model.topology`.

What is malformed is left out: its name is known with None for a value, so that the checks across the document still see
that it exists and say nothing more about it. What is a mapping in the document is in the order of its names here, so that the
stored text, whose keys are sorted, gives an equal topology.
"""

from __future__ import annotations

import copy
import os.path
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeVar

from dr_provider.model import units
from dr_provider.model.addresses import derived_mac, mac
from dr_provider.model.build_callouts import callouts, prompts, with_scripts
from dr_provider.model.problems import Path
from dr_provider.model.topology import (
    AlertSpec,
    ArraySpec,
    BackupSpec,
    Contact,
    CopySpec,
    DiskSpec,
    DrillSpec,
    HealthSpec,
    HostSpec,
    Keep,
    NetworkSpec,
    NicSpec,
    PlanSpec,
    TierSpec,
    VmAt,
    VmSpec,
    VolumeSpec,
    WitnessSpec,
)

__all__ = ["Draft", "absolute", "build"]

T = TypeVar("T")
Data = Mapping[str, Any]

DEFAULTS: Mapping[str, Data] = {
    "embedded array": {"capacity": 16 << 40, "latency": 0.0, "width": 16, "nodes": 1},
    "embedded host": {"latency": 0.0, "width": 8},
    "zfs array": {"dataset": "dr", "ssh": {}, "sudo": False, "transfer": "auto", "recordSize": 32 << 10, "width": 16},
    "s3 witness": {"bucket": "dr-witness", "region": "us-east-1"},
    "libvirt host": {"ssh": {}, "disks": "iscsi", "machine": "q35"},
}


_WHOLE = (("witness",), ("contacts",), ("state",), ("alerts",))
"""Sections that are one thing, not things by name: a fault anywhere in it leaves it out."""


@dataclass
class Draft:
    """The parts of a topology that are well-formed. A name whose value is None is malformed; a section in `torn` is so as a whole."""

    name: str = ""
    sites: tuple[str, ...] = ()
    arrays: dict[str, ArraySpec | None] = field(default_factory=dict)
    hosts: dict[str, HostSpec | None] = field(default_factory=dict)
    networks: dict[str, NetworkSpec | None] = field(default_factory=dict)
    volumes: dict[str, VolumeSpec | None] = field(default_factory=dict)
    vms: dict[str, VmSpec | None] = field(default_factory=dict)
    plans: dict[str, PlanSpec | None] = field(default_factory=dict)
    source_budget: float = 10.0
    witness: WitnessSpec | None = None
    contacts: tuple[Contact, ...] = ()
    kept: dict[str, tuple[str, ...]] = field(default_factory=dict)
    alerts: AlertSpec | None = None
    host_sites: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By plan: the sites under `hosts`, those that allow any host too."""
    torn: frozenset[str] = frozenset()


def absolute(data: Data, base: FilePath) -> dict[str, Any]:
    """A copy of the document in which paths of embedded files, of SSH's files and of images are absolute, scripts are there with their text, and
    an empty site is `{}`."""
    result = copy.deepcopy(dict(data))

    def each(section: str) -> list[Any]:
        within = result.get(section)
        return [value for value in within.values() if isinstance(value, dict)] if isinstance(within, dict) else []

    def mend(owner: dict[str, Any], key: str) -> None:
        value = owner.get(key)
        if isinstance(value, str) and value:
            owner[key] = os.path.normpath(base / value)

    witness = result.get("witness")
    for owner in (*each("arrays"), *each("hosts"), *([witness] if isinstance(witness, dict) else [])):
        if owner.get("driver") == "embedded":
            mend(owner, "path")
        keys = owner.get("ssh")
        for key in ("identity", "knownHosts", "config") if isinstance(keys, dict) else ():
            mend(keys, key)
    for vm in each("vms"):
        disks = vm.get("disks")
        for disk in disks.values() if isinstance(disks, dict) else ():
            if isinstance(disk, dict):
                mend(disk, "image")
    for plan in each("plans"):
        with_scripts(plan, base)
    sites = result.get("sites")
    if isinstance(sites, dict):
        result["sites"] = {name: {} if value is None else value for name, value in sites.items()}
    return result


def build(data: Data, bad: tuple[Path, ...]) -> Draft:
    """Build what is well-formed. `bad` are the paths at which the schema found faults."""
    torn = {str(path[0]) for path in bad if len(path) == 1 or path[:1] in _WHOLE} | (
        {"sites", "arrays", "hosts"} - set(data)
    )
    broken = {path[:2] for path in bad if len(path) > 1}
    name = "" if "name" in torn else str(data.get("name", ""))

    def section(key: str, make: Callable[[str, Data], T]) -> dict[str, T | None]:
        within = data.get(key)
        if not isinstance(within, Mapping):
            return {}
        return {each: None if (key, each) in broken else make(each, value) for each, value in sorted(within.items())}

    sites = data.get("sites")
    plans = section("plans", _plan)
    return Draft(
        name=name,
        sites=tuple(sorted(sites)) if isinstance(sites, Mapping) else (),
        arrays=section("arrays", _array),
        hosts=section("hosts", _host),
        networks=section("networks", _network),
        volumes=section("volumes", _volume),
        vms=section("vms", lambda vm, value: _vm(name, vm, value)),
        plans=plans,
        host_sites={
            name: tuple(data["plans"][name].get("hosts", ())) for name, plan in plans.items() if plan is not None
        },
        source_budget=10.0 if "sourceBudget" in torn else units.duration(data.get("sourceBudget", "10s")),
        witness=None if "witness" in torn else _witness(data.get("witness")),
        contacts=() if "contacts" in torn else _contacts(data),
        kept={} if "state" in torn else _kept(data.get("state", {})),
        alerts=None if "alerts" in torn or "alerts" not in data else _alerts(data["alerts"]),
        torn=frozenset(torn),
    )


def _maybe(value: str | None, read: Callable[[str], T]) -> T | None:
    return None if value is None else read(value)


def _options(data: Data, kind: str) -> dict[str, object]:
    readers: dict[str, Callable[[str], object]] = {
        "capacity": units.size,
        "memory": units.size,
        "latency": units.delay,
        "rate": units.size,
        "recordSize": units.size,
    }
    defaults = DEFAULTS[f"{data['driver']} {kind}"]
    own = {key: value for key, value in data.items() if key not in ("site", "driver", "cluster")}
    return dict(defaults) | {key: readers[key](value) if key in readers else value for key, value in own.items()}


def _array(name: str, data: Data) -> ArraySpec:
    return ArraySpec(name, data["site"], data["driver"], _options(data, "array"))


def _host(name: str, data: Data) -> HostSpec:
    return HostSpec(name, data["site"], data["driver"], data.get("cluster"), _options(data, "host"))


def _witness(data: Data | None) -> WitnessSpec | None:
    if data is None:
        return None
    own = {key: value for key, value in data.items() if key != "driver"}
    return WitnessSpec(data["driver"], dict(DEFAULTS.get(f"{data['driver']} witness", {})) | own)


def _kept(data: Data) -> dict[str, tuple[str, ...]]:
    return {thing: (at,) if isinstance(at, str) else tuple(at) for thing, at in sorted(data.items())}


def _alerts(data: Data) -> AlertSpec:
    return AlertSpec(
        tuple(data["notify"]),
        units.duration(data.get("remind", "1d")),
        units.duration(data.get("calm", "10m")),
    )


def _network(name: str, data: Data) -> NetworkSpec:
    there: dict[str, Data] = {
        site: {"bridge": value} if isinstance(value, str) else value for site, value in data.items()
    }
    return NetworkSpec(
        name,
        {site: value["bridge"] for site, value in there.items() if site != "drill"},
        there["drill"]["bridge"] if "drill" in there else None,
        gateway={site: value["gateway"] for site, value in there.items() if "gateway" in value},
        dns={site: _some(value["dns"]) for site, value in there.items() if "dns" in value},
        more=tuple(there["drill"].get("more", ())) if "drill" in there else (),
    )


def _volume(name: str, data: Data) -> VolumeSpec:
    copies = (CopySpec(c) if isinstance(c, str) else CopySpec(c["array"], c.get("via")) for c in data.get("copies", ()))
    return VolumeSpec(name, units.block_size(data["size"]), data["home"], tuple(copies), data.get("deleteData", False))


def _vm(topology: str, name: str, data: Data) -> VmSpec:
    disks = (
        DiskSpec(role, disk["volume"], units.block_size(disk["size"]), disk.get("image"))
        for role, disk in sorted(data["disks"].items())
    )
    nics = (_nic(nic, derived_mac(topology, name, index)) for index, nic in enumerate(data.get("nics", ())))
    return VmSpec(
        name=name,
        cpus=data["cpus"],
        memory=units.size(data["memory"]),
        disks=tuple(disks),
        nics=tuple(nics),
        health=_health(data["health"]) if "health" in data else None,
        start_delay=units.delay(data.get("startDelay", "0s")),
        at={
            place: VmAt(
                there.get("cpus"), _maybe(there.get("memory"), units.size), _maybe(there.get("startDelay"), units.delay)
            )
            for place, there in sorted(data.get("at", {}).items())
        },
    )


def _nic(data: Data, derived: str) -> NicSpec:
    gateway = data.get("gateway", {})
    return NicSpec(
        network=data["network"],
        mac=mac(data["mac"]) if "mac" in data else derived,
        address=dict(data.get("address", {})),
        gateway={"": gateway} if isinstance(gateway, str) else dict(gateway),
        dns=_by_site(data.get("dns", {})),
        names={site: tuple(name.lower() for name in names) for site, names in _by_site(data.get("names", {})).items()},
    )


def _some(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _by_site(given: str | Sequence[str] | Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What is given for all sites stands under the key ""."""
    return {site: _some(each) for site, each in (given if isinstance(given, Mapping) else {"": given}).items()}


def _health(data: Data) -> HealthSpec:
    return HealthSpec(data.get("tcp"), data.get("agent", False), units.duration(data.get("within", "2m")))


def _plan(name: str, data: Data) -> PlanSpec:
    tiers = (
        TierSpec(tuple(tier["members"]), _maybe(tier.get("after"), tuple), tier.get("onFailure", "wait"))
        for tier in data["tiers"]
    )
    backup = data["backup"]
    return PlanSpec(
        name=name,
        sites=tuple(data["sites"]),
        tiers=tuple(tiers),
        backup=BackupSpec(
            units.duration(backup["every"]), backup.get("consistency", "application"), Keep(**backup.get("keep", {}))
        ),
        replicate_every=units.duration(data["replicate"]["every"]),
        rpo=_maybe(data.get("rpo"), units.duration),
        rto=_maybe(data.get("rto"), units.duration),
        hosts={site: tuple(allowed) for site, allowed in data.get("hosts", {}).items() if allowed != "any"},
        fencing=data.get("fencing", "operator"),
        commit_window=_maybe(data.get("commitWindow"), units.duration),
        restart=data.get("restart", "none"),
        last_transfer=units.duration(data.get("lastTransfer", "30m")),
        contacts=_contacts(data),
        drill=_drill(data["drill"]) if "drill" in data else None,
        callouts=callouts(data.get("callouts", {})),
        prompts=prompts(data.get("prompts", {})),
    )


def _contacts(data: Data) -> tuple[Contact, ...]:
    return tuple(Contact(**contact) for contact in data.get("contacts", ()))


def _drill(data: Data) -> DrillSpec:
    stay = _maybe(data.get("for"), units.duration)
    return DrillSpec(units.duration(data["every"]), data.get("site"), stay or 0.0, data.get("point", "newest"))
