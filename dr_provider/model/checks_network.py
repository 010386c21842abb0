"""Checks of networks and network cards: a mapping for every site and for drills, addresses, gateways, MACs."""

from __future__ import annotations

from collections.abc import Iterator

from dr_provider.model.addresses import Interface, interface, ip
from dr_provider.model.build import Draft
from dr_provider.model.problems import Path, Report, did_you_mean, listed
from dr_provider.model.remap import address_key, gateway_from
from dr_provider.model.topology import NetworkSpec, NicSpec, PlanSpec

__all__ = ["check"]


def check(draft: Draft, report: Report) -> None:
    _networks(draft, report)
    _mappings(draft, report)
    _unique(draft, report)
    for plan in draft.plans.values():
        if plan is not None:
            _unique_in_drills(draft, plan, report)
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
        for site in {**network.gateway, **network.dns} if network is not None else ():
            assert network is not None
            _site_key(draft, ("networks", network.name), site, report)
    for network in draft.networks.values():
        for number, bridge in enumerate(network.isolated if network is not None else ()):
            assert network is not None
            path: Path = ("networks", network.name, "drill", *(("more", number - 1) if number else ()))
            if bridge in production:
                name, site = production[bridge]
                said = f"{bridge} is network {name} at {site} too; wanted an isolated one, or a drill would reach production"
                report.add(path, said)
            elif bridge in network.isolated[:number]:
                report.add(path, f"{bridge} is listed twice; wanted one of its own for each drill")


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
            key = (_wire(draft, nic, site), site, interface(text).ip)
            if key in used:
                where = "in drills" if site == "drill" else f"at {site}"
                report.add(
                    (*path, "address", site),
                    f"{text.split('/')[0]} is the address of {_card(used[key])} too, on network {nic.network} {where}; "
                    "wanted one of its own",
                )
            used.setdefault(key, path)


def _unique_in_drills(draft: Draft, plan: PlanSpec, report: Report) -> None:
    """Cards without an address for drills keep the site's: another card's, given for drills or of another network, may be the same."""
    cards = [
        (("vms", name, "nics", index), nic)
        for name in dict.fromkeys(plan.members)
        if (vm := draft.vms.get(name)) is not None
        for index, nic in enumerate(vm.nics)
    ]
    for site in dict.fromkeys(plan.sites):
        used: dict[tuple[str, object], tuple[Path, str, str]] = {}
        for path, nic in cards:
            network, place = draft.networks.get(nic.network), address_key(nic, site, drill=True)
            if network is None or network.drill is None or place is None:
                continue
            text = nic.address[place]
            key = (network.drill, interface(text).ip)
            mine = (path, place, _wire(draft, nic, place))
            other, *compared = used.setdefault(key, mine)
            # Two that are given for the same place and wire have been compared already.
            if other != path and compared != [*mine[1:]]:
                report.add(
                    (*path, "address", place),
                    f"{text.split('/')[0]} is the address of {_card(other)} too in drills at {site}, where both are on {network.drill}; "
                    "give one of them another under drill",
                )


def _wire(draft: Draft, nic: NicSpec, place: str) -> str:
    """What the card is on at a site or in drills: two networks of one bridge are one to whoever is on it."""
    network = draft.networks.get(nic.network)
    bridge = (network.drill if place == "drill" else network.sites.get(place)) if network else None
    return bridge or f"network {nic.network}"


def _card(path: Path) -> str:
    return f"VM {path[1]}, nics[{path[3]}]"


def _nic(draft: Draft, path: Path, nic: NicSpec, report: Report) -> None:
    if "networks" not in draft.torn and nic.network not in draft.networks:
        report.add((*path, "network"), f"there is no network {nic.network}{did_you_mean(nic.network, draft.networks)}")
    for key, by_site in (("address", nic.address), ("gateway", nic.gateway), ("dns", nic.dns), ("names", nic.names)):
        for site in by_site:
            _site_key(draft, (*path, key), site, report)
    addresses = {site: interface(text) for site, text in nic.address.items()}
    families = {f"IPv{address.version}": site for site, address in reversed(addresses.items())}
    if len(families) > 1:
        what = listed(f"{family} at {site}" for family, site in sorted(families.items()))
        report.add((*path, "address"), f"mixes address families: {what}; wanted one family for a card at all sites")
    network = draft.networks.get(nic.network) or NetworkSpec(nic.network, {}, None)
    for at, drill in [(site, False) for site in addresses if site != "drill"] + [(site, True) for site in draft.sites]:
        place = address_key(nic, at, drill=drill)
        said, where = gateway_from(network, nic, at, drill=drill)
        if place is None or where is None:
            continue
        if said is network.gateway:
            _inherited(network.name, said[where], (*path, "address", place), addresses[place], report)
        else:
            own: Path = (*path, "gateway", where) if where else (*path, "gateway")
            _gateway(own, said[where], "the drill network" if place == "drill" else place, addresses[place], report)


def _inherited(network: str, text: str, path: Path, address: Interface, report: Report) -> None:
    """Of the two the address is the likelier fault: the gateway serves every card of the network."""
    gateway, place = ip(text), path[-1]
    whose = f"the gateway that network {network} has {'in drills' if place == 'drill' else f'at {place}'}"
    if gateway.version != address.version:
        report.add(path, f"is an IPv{address.version} address, and {text}, {whose}, is an IPv{gateway.version} one")
    elif gateway == address.ip:
        report.add(path, f"{text} is {whose}; wanted an address of the card's own")
    elif gateway not in address.network and not gateway.is_link_local:
        report.add(
            path,
            f"{text}, {whose}, is outside of {address.network}; wanted an address in one network with it, or the card's own gateway",
        )


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
