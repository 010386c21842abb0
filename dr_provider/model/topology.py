"""The topology as typed data: what the loader makes of the document. Sizes in bytes, durations in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from dr_provider.model.callout_specs import CalloutSpec, PromptSpec

__all__ = [
    "ELSEWHERE",
    "AlertSpec",
    "ArraySpec",
    "BackupSpec",
    "Contact",
    "CopySpec",
    "DiskSpec",
    "DrillSpec",
    "HealthSpec",
    "HostSpec",
    "Keep",
    "NetworkSpec",
    "NicSpec",
    "PlanSpec",
    "TierSpec",
    "Topology",
    "VmAt",
    "VmSpec",
    "VolumeSpec",
    "WitnessSpec",
]

ELSEWHERE = "elsewhere"
"""At none of the topology's sites."""

OnFailure = Literal["wait", "continue", "retry"]
Consistency = Literal["application", "crash"]


@dataclass(frozen=True)
class ArraySpec:
    """An array. `options` holds the driver's own keys as the schema names them, parsed: sizes in bytes, durations in seconds, paths absolute."""

    name: str
    site: str
    driver: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class HostSpec:
    """A host. `options` holds the driver's own keys as the schema names them, parsed; `cpus` and `memory` may be absent where the host itself says them."""

    name: str
    site: str
    driver: str
    cluster: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkSpec:
    """A network: its bridge or network name at each site, and the isolated one for drills.

    `gateway` and `dns` are by site name, or `drill`: what cards with a static address have there, unless they say so themselves.
    `more`: further isolated ones, for drills of one plan at a time.
    """

    name: str
    sites: Mapping[str, str]
    drill: str | None
    gateway: Mapping[str, str] = field(default_factory=dict)
    dns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    more: tuple[str, ...] = ()

    @property
    def isolated(self) -> tuple[str, ...]:
        """Every isolated bridge or network that drills may be on."""
        return (self.drill, *self.more) if self.drill is not None else ()


@dataclass(frozen=True)
class CopySpec:
    array: str
    via: str | None = None


@dataclass(frozen=True)
class VolumeSpec:
    name: str
    size: int
    home: str
    copies: tuple[CopySpec, ...]
    delete_data: bool = False

    @property
    def arrays(self) -> tuple[str, ...]:
        """Every array that holds a copy, home first."""
        return (self.home, *(copy.array for copy in self.copies))

    @property
    def feeders_first(self) -> tuple[CopySpec, ...]:
        """Its copies, each after the one that it is fed from."""
        left, done = list(self.copies), [self.home]
        while ready := [copy for copy in left if (copy.via or self.home) in done]:
            done += [copy.array for copy in ready]
            left = [copy for copy in left if copy.array not in done]
        by_array = {copy.array: copy for copy in self.copies}
        return tuple(by_array[array] for array in done[1:])


@dataclass(frozen=True)
class DiskSpec:
    """A disk: its role in the VM, its volume, its size in bytes, and the image (absolute path) that it starts from."""

    role: str
    volume: str
    size: int
    image: str | None = None


@dataclass(frozen=True)
class NicSpec:
    """A network card. `mac` is always set (derived from topology, VM and index where the document has none).

    `address`, `gateway`, `dns` and `names` are by site name, or `drill`; what is given as one value for all sites stands under the key "".
    `names` are the DNS names that point to the address. What counts at a place is `model.remap.card_at`.
    """

    network: str
    mac: str
    address: Mapping[str, str] = field(default_factory=dict)
    gateway: Mapping[str, str] = field(default_factory=dict)
    dns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class HealthSpec:
    """How a started VM is known to be well: a TCP port, or the guest agent; `within` seconds."""

    tcp: int | None
    agent: bool
    within: float


@dataclass(frozen=True)
class VmAt:
    """What a VM has otherwise at a site, or in a drill; None: as everywhere. `memory` in bytes, `start_delay` in seconds."""

    cpus: int | None = None
    memory: int | None = None
    start_delay: float | None = None


@dataclass(frozen=True)
class VmSpec:
    """A VM. `cpus`, `memory` (bytes) and `start_delay` (seconds) are what it has where `at` (by site name, or `drill`) says nothing else;
    what counts at a site is what `there` gives."""

    name: str
    cpus: int
    memory: int
    disks: tuple[DiskSpec, ...]
    nics: tuple[NicSpec, ...] = ()
    health: HealthSpec | None = None
    start_delay: float = 0.0
    at: Mapping[str, VmAt] = field(default_factory=dict)

    def there(self, site: str, *, drill: bool = False) -> VmSpec:
        """The VM as it is at a site, or in a drill there: what is said of drills counts first, then what is said of the site."""
        said = [self.at[place] for place in (("drill", site) if drill else (site,)) if place in self.at]
        if not said:
            return self
        return replace(
            self,
            cpus=next((each.cpus for each in said if each.cpus is not None), self.cpus),
            memory=next((each.memory for each in said if each.memory is not None), self.memory),
            start_delay=next((each.start_delay for each in said if each.start_delay is not None), self.start_delay),
        )

    def volumes(self) -> tuple[str, ...]:
        """The volumes that hold its disks, in order, each once."""
        return tuple(dict.fromkeys(disk.volume for disk in self.disks))


@dataclass(frozen=True)
class TierSpec:
    """Some VMs of a plan that start together; `after` names VMs to wait for, and None waits for the tier before."""

    members: tuple[str, ...]
    after: tuple[str, ...] | None = None
    on_failure: OnFailure = "wait"


@dataclass(frozen=True)
class Keep:
    last: int = 8
    hourly: int = 0
    daily: int = 0
    weekly: int = 0


@dataclass(frozen=True)
class BackupSpec:
    every: float
    consistency: Consistency = "application"
    keep: Keep = field(default_factory=Keep)


@dataclass(frozen=True)
class Contact:
    """A person or a desk to call."""

    name: str
    role: str | None = None
    phone: str | None = None
    mail: str | None = None


@dataclass(frozen=True)
class DrillSpec:
    """Drills on a schedule: every so many seconds, at `site` (None: the first recovery site), from the newest or the oldest point there;
    it stays up for `stay` seconds after its checks (0: it is ended at once)."""

    every: float
    site: str | None = None
    stay: float = 0.0
    point: Literal["newest", "oldest"] = "newest"


@dataclass(frozen=True)
class PlanSpec:
    """A DR plan. `hosts` maps a site to the hosts allowed there; a site that is missing allows any."""

    name: str
    sites: tuple[str, ...]
    tiers: tuple[TierSpec, ...]
    backup: BackupSpec
    replicate_every: float
    rpo: float | None = None
    rto: float | None = None
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fencing: str = "operator"
    commit_window: float | None = None
    restart: str = "none"
    last_transfer: float = 1800.0
    contacts: tuple[Contact, ...] = ()
    drill: DrillSpec | None = None
    callouts: Mapping[str, CalloutSpec] = field(default_factory=dict)
    prompts: Mapping[str, PromptSpec] = field(default_factory=dict)

    @property
    def home(self) -> str:
        return self.sites[0]

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Its VMs in tier order."""
        return tuple(vm for tier in self.tiers for vm in tier.members)


@dataclass(frozen=True)
class WitnessSpec:
    """The record store on a third place. `options` holds the driver's own keys as the schema names them; credentials in it are references."""

    driver: str
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it is, in one line without a credential: another place is another witness."""
        if self.driver == "s3":
            return f"s3 {self.options['url']} {self.options['bucket']}"
        return f"{self.driver} {self.options['path' if self.driver == 'embedded' else 'array']}"


@dataclass(frozen=True)
class AlertSpec:
    """Who is told what is not well. `notify`: references to apprise's addresses; `remind` and `calm` in seconds."""

    notify: tuple[str, ...]
    remind: float = 86400.0
    calm: float = 600.0


@dataclass(frozen=True)
class Topology:
    """The whole document. `text` is the canonical JSON of the document, as it is stored on the arrays; it holds no credential."""

    name: str
    sites: tuple[str, ...]
    arrays: Mapping[str, ArraySpec]
    hosts: Mapping[str, HostSpec]
    networks: Mapping[str, NetworkSpec]
    volumes: Mapping[str, VolumeSpec]
    vms: Mapping[str, VmSpec]
    plans: Mapping[str, PlanSpec]
    source_budget: float = 10.0
    text: str = ""
    witness: WitnessSpec | None = None
    contacts: tuple[Contact, ...] = ()
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Where the stack's state (`backend`) and the `repository` are: sites, or `elsewhere`. What is not there is not said."""
    alerts: AlertSpec | None = None

    def plan_volumes(self, plan: str) -> tuple[VolumeSpec, ...]:
        """The volumes of a plan, by name."""
        names = {disk.volume for vm in self.plans[plan].members for disk in self.vms[vm].disks}
        return tuple(self.volumes[name] for name in sorted(names))

    def plan_of_vm(self, vm: str) -> PlanSpec | None:
        return next((plan for plan in self.plans.values() if vm in plan.members), None)

    def plan_of_volume(self, volume: str) -> PlanSpec | None:
        for plan in self.plans.values():
            if any(disk.volume == volume for vm in plan.members for disk in self.vms[vm].disks):
                return plan
        return None

    def copy_at(self, volume: str, site: str) -> str | None:
        """The array that holds the volume's copy at a site (one copy a site is built so far)."""
        return next((name for name in self.volumes[volume].arrays if self.arrays[name].site == site), None)

    def plan_arrays(self, plan: str) -> tuple[str, ...]:
        """Every array that holds a copy of a volume of the plan, in the fixed (sorted) order that leases are taken in."""
        return tuple(sorted({array for volume in self.plan_volumes(plan) for array in volume.arrays}))

    def hosts_at(self, site: str) -> tuple[HostSpec, ...]:
        return tuple(sorted((h for h in self.hosts.values() if h.site == site), key=lambda h: h.name))

    def plan_hosts(self, plan: str, site: str) -> tuple[HostSpec, ...]:
        """The hosts on which the plan may run its VMs at a site, in the plan's order, else by name."""
        named = self.plans[plan].hosts.get(site)
        if named is None:
            return self.hosts_at(site)
        return tuple(self.hosts[name] for name in named)
