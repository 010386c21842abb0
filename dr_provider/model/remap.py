"""What a move does to addresses: each network card as it is at a site or in a drill, before and after, and where each DNS name points. Pure.

A card's own words count before its network's; a gateway goes with the address that it belongs to. What a network says of gateway and name
servers is for cards with a static address: others have theirs by DHCP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dr_provider.model.topology import NetworkSpec, NicSpec, Topology

__all__ = ["CardAt", "CardMove", "NameMove", "address_key", "addresses_after", "card_at", "gateway_from", "names_after"]


@dataclass(frozen=True)
class CardAt:
    """A card at a place. `address` with its prefix length, None: by DHCP. `names`: the DNS names that point to it."""

    site: str
    bridge: str
    address: str | None = None
    gateway: str | None = None
    dns: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    drill: bool = False

    @property
    def ip(self) -> str | None:
        """The address alone."""
        return self.address.partition("/")[0] if self.address else None

    def document(self) -> dict[str, object]:
        return {
            "site": self.site,
            "bridge": self.bridge,
            "address": self.address,
            "gateway": self.gateway,
            "dns": list(self.dns),
            "names": list(self.names),
        }

    def sentence(self) -> str:
        parts = [f"{self.bridge}, {self.address or 'address by DHCP'}"]
        parts += [f"gateway {self.gateway}"] if self.gateway else []
        parts += [f"DNS {' '.join(self.dns)}"] if self.dns else []
        return ", ".join(parts)


@dataclass(frozen=True)
class CardMove:
    """A card of a VM before and after a move; `index` counts from 0, `before` is None where nothing is left behind (a drill, a first start)."""

    vm: str
    index: int
    network: str
    mac: str
    before: CardAt | None
    after: CardAt

    @property
    def changed(self) -> bool:
        """Whether anybody who talks to the VM must know: a new address, gateway, name server or name. A bridge is the hosts' affair."""
        return self.before is None or _outside(self.before) != _outside(self.after)

    def document(self) -> dict[str, object]:
        return {
            "vm": self.vm,
            "nic": self.index,
            "network": self.network,
            "mac": self.mac,
            "changed": self.changed,
            "before": self.before.document() if self.before else None,
            "after": self.after.document(),
        }

    def sentence(self) -> str:
        """One line for people: `db, nics[0] on prod: br-prod, 10.0.1.5/24 -> br-prod, 10.0.2.5/24, gateway 10.0.2.1`."""
        what = f"{self.vm}, nics[{self.index}] on {self.network}"
        after = self.after.sentence()
        if self.before is None:
            return f"{what}: {after}"
        before = self.before.sentence()
        return f"{what}: stays {after}" if before == after else f"{what}: {before} -> {after}"


def _outside(card: CardAt) -> tuple[object, ...]:
    return card.address, card.gateway, card.dns, card.names


@dataclass(frozen=True)
class NameMove:
    """A DNS name of a VM's card and the address that it points to before and after; None: it does not point there, or to what DHCP gives."""

    name: str
    vm: str
    before: str | None
    after: str | None
    by_dhcp: bool = False
    """The card has the name afterwards, and an address that only DHCP knows."""

    def document(self) -> dict[str, object]:
        return {
            "name": self.name,
            "vm": self.vm,
            "before": self.before,
            "after": self.after,
            "byDhcp": self.by_dhcp,
        }

    def sentence(self) -> str:
        after = "the address that DHCP gives it" if self.by_dhcp else self.after or "nothing any more"
        was = f", {self.before} before" if self.before and self.before != self.after else ""
        return f"{self.name} -> {after} ({self.vm}{was})"


def card_at(network: NetworkSpec, nic: NicSpec, site: str, *, drill: bool = False) -> CardAt | None:
    """The card as it is at the site, or in a drill there; None: the network has no bridge for it.

    A drill's network is isolated, so without an address of its own for drills the card keeps the one that it would have at the site. Names do
    not follow: a production name that points into a drill is an outage.
    """
    bridge = network.drill if drill else network.sites.get(site)
    if bridge is None:
        return None
    place = address_key(nic, site, drill=drill)
    said, key = gateway_from(network, nic, site, drill=drill)
    served = (nic.dns, network.dns) if place is not None else (nic.dns,)
    named = ("drill",) if drill else (site, "")
    return CardAt(
        site,
        bridge,
        None if place is None else nic.address[place],
        None if key is None else said[key],
        next((dns[at] for dns in served for at in _places(site, drill=drill) if at in dns), ()),
        next((nic.names[at] for at in named if at in nic.names), ()),
        drill,
    )


def address_key(nic: NicSpec, site: str, *, drill: bool = False) -> str | None:
    """Under which key of `nic.address` the card's address at the site, or in a drill there, stands; None: it has none."""
    return _first(nic.address, _places(site, drill=drill))


def gateway_from(
    network: NetworkSpec, nic: NicSpec, site: str, *, drill: bool = False
) -> tuple[Mapping[str, str], str | None]:
    """Where the card's gateway stands: the mapping (its own, or its network's), and the key in it; None: it has none."""
    place = address_key(nic, site, drill=drill)
    # The site's router is in another network than an address that was given for drills.
    key = _first(nic.gateway, ("drill", "") if place == "drill" else _places(site, drill=drill))
    if key is not None or place is None:
        return nic.gateway, key
    return network.gateway, place if place in network.gateway else None


def _places(site: str, *, drill: bool) -> tuple[str, ...]:
    return ("drill", site, "") if drill else (site, "")


def _first(given: Mapping[str, object], places: Iterable[str]) -> str | None:
    return next((place for place in places if place in given), None)


def addresses_after(
    topology: Topology, plan: str, target: str, source: str | None = None, *, drill: bool = False
) -> tuple[CardMove, ...]:
    """Every card of the plan's VMs, in tier order, as it is at `target` after a move from `source` (None: from nowhere), or in a drill there."""
    found = []
    for vm in topology.plans[plan].members:
        for index, nic in enumerate(topology.vms[vm].nics):
            network = topology.networks[nic.network]
            after = card_at(network, nic, target, drill=drill)
            before = card_at(network, nic, source) if source is not None and not drill else None
            if after is not None:
                found.append(CardMove(vm, index, nic.network, nic.mac, before, after))
    return tuple(found)


def names_after(moves: Iterable[CardMove]) -> tuple[NameMove, ...]:
    """Every DNS name of the cards, by name: what has to be written into DNS for clients to find the VMs again."""
    found = []
    for move in moves:
        before, after = move.before, move.after
        for name in dict.fromkeys((*(before.names if before else ()), *after.names)):
            was = before.ip if before and name in before.names else None
            stays = name in after.names
            found.append(NameMove(name, move.vm, was, after.ip if stays else None, stays and after.ip is None))
    return tuple(sorted(found, key=lambda each: (each.name, each.vm)))
