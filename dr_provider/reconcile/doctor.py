"""What `dr doctor` says of a topology's machines: one sweep, then a closer look by each driver, then what only shows side by side.

Nothing here or below changes anything. Who was silent in the sweep is not asked again, so a dark site costs the source budget once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from dr_provider.model import addresses
from dr_provider.model.errors import DrError
from dr_provider.model.findings import ArrayUse, Examination, Finding, HostUse, VmUse, ok, problem
from dr_provider.model.state import Observation, Silent
from dr_provider.model.topology import Topology
from dr_provider.reconcile.doctor_judge import judge
from dr_provider.reconcile.world import World

__all__ = ["Diagnosis", "array_use", "diagnose", "host_use"]

_GRACE = 10.0


@dataclass(frozen=True)
class Diagnosis:
    """Findings by site ("" for what is of no one site), worst first in each."""

    topology: str
    sites: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for findings in self.sites.values() for finding in findings)

    def count(self, level: str) -> int:
        return sum(1 for finding in self.findings if finding.level == level)

    def document(self) -> dict[str, Any]:
        """The shape of `dr doctor --json`."""
        return {
            "topology": self.topology,
            "findings": [
                {"level": f.level, "subject": f.subject, "check": f.check, "found": f.found, "todo": f.todo}
                for f in self.findings
            ],
            "problems": self.count("problem"),
            "warnings": self.count("warning"),
        }


def diagnose(world: World) -> Diagnosis:
    """Look at everything that the topology names. Raises BadInput (a driver that is not installed); all else is a finding."""
    seen = world.look()
    examined, failed = _examine(world, seen)
    return Diagnosis(world.topology.name, _grouped(world.topology, [*failed, *judge(world.topology, seen, examined)]))


_ORDER = ("problem", "warning", "ok")


def _grouped(topology: Topology, found: Iterable[tuple[str, Finding]]) -> dict[str, tuple[Finding, ...]]:
    sites: dict[str, list[Finding]] = {site: [] for site in ("", *topology.sites)}
    for site, finding in found:
        sites[site].append(finding)
    ordered = {site: sorted(of, key=lambda f: (_ORDER.index(f.level), f.subject)) for site, of in sites.items()}
    return {site: tuple(of) for site, of in ordered.items() if of}


# -- what the topology wants of each machine ----------------------------------------------------------


def array_use(topology: Topology, name: str) -> ArrayUse:
    volumes = [volume for volume in topology.volumes.values() if name in volume.arrays]
    peers = sorted({array for volume in volumes for array in volume.arrays} - {name})
    return ArrayUse({volume.name: volume.size for volume in volumes}, tuple(peers))


def host_use(topology: Topology, name: str) -> HostUse:
    """Only what plans that may run on the host bring with them: a host that no plan uses needs no bridge."""
    site = topology.hosts[name].site
    networks: dict[str, str] = {}
    drills: dict[str, str] = {}
    portals: dict[str, str] = {}
    quiet: set[str] = set()
    vms: dict[str, VmUse] = {}
    for plan in topology.plans.values():
        if site not in plan.sites or name not in [host.name for host in topology.plan_hosts(plan.name, site)]:
            continue
        for vm in (topology.vms[member] for member in plan.members):
            vms[vm.name] = VmUse(
                plan.backup.consistency == "application",
                vm.health is not None and vm.health.agent,
                any(site in nic.address for nic in vm.nics),
            )
            for network in (topology.networks[nic.network] for nic in vm.nics):
                if site in network.sites:
                    networks[network.name] = network.sites[site]
                for number, bridge in enumerate(network.isolated):
                    drills[f"{network.name} ({bridge})" if number else network.name] = bridge
        for volume in topology.plan_volumes(plan.name):
            array = topology.copy_at(volume.name, site)
            luns = topology.arrays[array].options.get("luns") if array is not None else None
            if array is not None and isinstance(luns, Mapping):
                portals[array] = _portal(str(luns["portal"]))
                if luns.get("service") == "lio":
                    quiet.add(array)
    return HostUse(networks, drills, portals, frozenset(quiet), vms)


def _portal(text: str) -> str:
    """With its port, which the topology may leave out."""
    host, port = addresses.portal(text)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# -- the closer look -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ask:
    key: str
    call: Callable[[], Examination]


def _examine(world: World, seen: Observation) -> tuple[dict[str, Examination], list[tuple[str, Finding]]]:
    """The drivers' examinations by key ("array NAME", "host NAME"), and what is to be said of those that gave none, or were not ready."""
    silent = _silent(seen)
    found, failed = _ask(world, _asks(world, seen))
    said = [_silence(key, why, found.get(key)) for key, why in silent.items()]
    # Of one that is not ready the reason stands there already.
    said += [problem(key, "reach", _sentence(why), _AGAIN) for key, why in failed.items() if key not in silent]
    return found, [(_site(world.topology, f.subject), f) for f in said if f is not None]


def _ask(world: World, asks: list[_Ask]) -> tuple[dict[str, Examination], dict[str, str]]:
    """All at once: the examinations, and why there is none, by key."""
    found: dict[str, Examination] = {}
    failed: dict[str, str] = {}
    if not asks:
        return found, failed
    pool = ThreadPoolExecutor(max_workers=len(asks), thread_name_prefix="doctor")
    futures = {pool.submit(ask.call): ask.key for ask in asks}
    # The drivers keep the budget for silence themselves; guests whose agents hang may take some seconds more.
    limit = 2 * world.topology.source_budget + _GRACE
    done, late = wait(futures, timeout=limit)
    for future in done:
        try:
            found[futures[future]] = future.result()
        except DrError as error:
            failed[futures[future]] = str(error)
    for future in late:
        failed[futures[future]] = f"it gave no answer to a closer look within {limit:g} s"
    pool.shutdown(wait=False, cancel_futures=True)
    return found, failed


_AGAIN = "Mend this first, then run dr doctor again: the other checks of this machine were not made."


def _asks(world: World, seen: Observation) -> list[_Ask]:
    """Everybody who has answered, be it with "not ready": a pool that is not imported still has a clock."""
    topology, fleet = world.topology, world.fleet
    asks = []
    for name in topology.arrays:
        if _answered(seen.arrays[name]):
            fleet.forget_silence(f"array {name}")
            asks.append(
                _Ask(f"array {name}", lambda n=name: fleet.array(n).examine(array_use(topology, n)))  # type: ignore[misc]
            )
    for name in topology.hosts:
        if _answered(seen.hosts[name]):
            fleet.forget_silence(f"host {name}")
            asks.append(
                _Ask(f"host {name}", lambda n=name: fleet.host(n).examine(host_use(topology, n)))  # type: ignore[misc]
            )
    return asks


def _answered(state: object) -> bool:
    return not isinstance(state, Silent) or not state.ready


def _silent(seen: Observation) -> dict[str, Silent]:
    arrays = {f"array {name}": state for name, state in seen.arrays.items() if isinstance(state, Silent)}
    hosts = {f"host {name}": state for name, state in seen.hosts.items() if isinstance(state, Silent)}
    return arrays | hosts


def _silence(key: str, silent: Silent, examination: Examination | None) -> Finding | None:
    """What is to be said of one that gave no facts; None: its closer look says it already."""
    if silent.missing:
        return ok(key, "made", "Nothing of dr's is there yet; dr apply or pulumi up makes it.")
    if examination is None:
        return problem(key, "reach", _sentence(silent.reason), _AGAIN)
    if any(f.level == "problem" and f.found.rstrip(".") in silent.reason for f in examination.findings):
        return None
    return problem(
        key,
        "ready",
        _sentence(silent.reason),
        "Until then it is treated as silent: mend this before anything else of it.",
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('. ')}."


def _site(topology: Topology, key: str) -> str:
    kind, _, name = key.partition(" ")
    return topology.arrays[name].site if kind == "array" else topology.hosts[name].site
