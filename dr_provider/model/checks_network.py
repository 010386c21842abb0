"""Checks of networks and network cards: a mapping for every site and for drills, addresses, gateways, MACs."""

from __future__ import annotations

from collections.abc import Iterator

from dr_provider.model.addresses import Interface, interface, ip
from dr_provider.model.build import Draft
from dr_provider.model.problems import Path, Report, did_you_mean, listed
from dr_provider.model.topology import NicSpec

__all__ = ["check"]


def check(draft: Draft, report: Report) -> None:
    _networks(draft, report)
    _mappings(draft, report)
    _unique(draft, report)
    for path, nic in _nics(draft):
        _nic(draft, path, nic, report)


def _nics(draft: Draft) -> Iterator[tuple[Path, NicSpec]]:
    for vm in draft.vms.values():
        for index, nic in enumerate(vm.nics if vm is not None else ()):
            assert vm is not None
            yield ("vms", vm.name, "nics", index), nic


def _site_key(draft: Draft, path: Path, site: str, report: Report) -> None:
    if site and site != "drill" and "sites" not in draft.torn and site not in draft.sites:
        report.add((*path, site), f"there is no site {site}{did_you_mean(site, [*draft.sites, 'drill'])}")


def _networks(draft: Draft, report: Report) -> None:
    production: dict[str, tuple[str, str]] = {}
    for network in draft.networks.values():
        for site, bridge in network.sites.items() if network is not None else ():
            assert network is not None
            _site_key(draft, ("networks", network.name), site, report)
            production.setdefault(bridge, (network.name, site))
    for network in draft.networks.values():
        if network is not None and network.drill in production:
            name, site = production[network.drill]
            report.add(
                ("networks", network.name, "drill"),
                f"{network.drill} is network {name} at {site} too; wanted an isolated one, or a drill would reach production",
            )


def _mappings(draft: Draft, report: Report) -> None:
    """Each network of a plan's VMs has a bridge at each of the plan's sites, and one for drills."""
    for plan in draft.plans.values():
        for member in plan.members if plan is not None else ():
            assert plan is not None
            vm = draft.vms.get(member)
            for nic in vm.nics if vm is not None else ():
                network = draft.networks.get(nic.network)
                if network is None:
                    continue
                for number, site in enumerate(dict.fromkeys(plan.sites)):
                    if site not in network.sites and site in draft.sites:
                        kind = "a recovery site" if number else "the home"
                        report.add(
                            ("networks", network.name),
                            f"it has no mapping for {site}, {kind} of plan {plan.name}; add {site}: and the bridge's name there",
                        )
                if network.drill is None:
                    report.add(
                        ("networks", network.name),
                        f"it has no mapping for drill, so plan {plan.name} could not be drilled; "
                        "add drill: and the name of an isolated bridge",
                    )


def _unique(draft: Draft, report: Report) -> None:
    macs: dict[str, Path] = {}
    used: dict[tuple[str, str, object], Path] = {}
    for path, nic in _nics(draft):
        if nic.mac in macs:
            report.add((*path, "mac"), f"{nic.mac} is the MAC of {_card(macs[nic.mac])} too; wanted one of its own")
        macs.setdefault(nic.mac, path)
        for site, text in nic.address.items():
            key = (nic.network, site, interface(text).ip)
            if key in used:
                where = "in drills" if site == "drill" else f"at {site}"
                report.add(
                    (*path, "address", site),
                    f"{text.split('/')[0]} is the address of {_card(used[key])} too, on network {nic.network} {where}; "
                    "wanted one of its own",
                )
            used.setdefault(key, path)


def _card(path: Path) -> str:
    return f"VM {path[1]}, nics[{path[3]}]"


def _nic(draft: Draft, path: Path, nic: NicSpec, report: Report) -> None:
    if "networks" not in draft.torn and nic.network not in draft.networks:
        report.add((*path, "network"), f"there is no network {nic.network}{did_you_mean(nic.network, draft.networks)}")
    for key, by_site in (("address", nic.address), ("gateway", nic.gateway), ("dns", nic.dns)):
        for site in by_site:
            _site_key(draft, (*path, key), site, report)
    addresses = {site: interface(text) for site, text in nic.address.items()}
    families = {f"IPv{address.version}": site for site, address in reversed(addresses.items())}
    if len(families) > 1:
        what = listed(f"{family} at {site}" for family, site in sorted(families.items()))
        report.add((*path, "address"), f"mixes address families: {what}; wanted one family for a card at all sites")
    for site, text in nic.gateway.items():
        at: Path = (*path, "gateway", site) if site else (*path, "gateway")
        for where in (site,) if site else addresses:
            if where in addresses:
                _gateway(at, text, where, addresses[where], report)


def _gateway(path: Path, text: str, site: str, address: Interface, report: Report) -> None:
    gateway = ip(text)
    if gateway.version != address.version:
        report.add(
            path,
            f"{text} is an IPv{gateway.version} address, and the card's at {site}, {address}, is IPv{address.version}",
        )
    elif gateway == address.ip:
        report.add(path, f"{text} is the card's own address at {site}; wanted the router's")
    elif gateway not in address.network and not gateway.is_link_local:
        hint = (
            ""
            if isinstance(path[-1], str) and path[-1] != "gateway"
            else "; it may be given by site: gateway: {SITE: ...}"
        )
        report.add(path, f"{text} is outside of {address.network}, the card's network at {site}{hint}")
