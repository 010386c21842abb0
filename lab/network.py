"""What a lab has in the operator's network namespace: one bridge with one address, and a veth into each machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

from lab.layout import LabError, MachineSpec, Names
from lab.run import run

__all__ = ["claim_bridge", "plug_in", "remove_links"]

_NUMBERS = range(0, 100)


def _links() -> dict[str, str]:
    """Name and MAC of each link of this namespace."""
    said = run(["ip", "-json", "link", "show"], what="the links of this machine").out
    return {link["ifname"]: link.get("address", "") for link in json.loads(said or "[]")}


def _taken(subnet: str) -> bool:
    """Whether this machine already has a way to a part of the subnet, other than its default route."""
    wanted = ip_network(subnet)
    routes = json.loads(
        run(["ip", "-json", "-4", "route", "show", "table", "all"], what="the routes of this machine").out or "[]"
    )
    return any(
        ip_network(route["dst"], strict=False).overlaps(wanted)
        for route in routes
        if route["dst"][0].isdigit() and not route["dst"].startswith("0.0.0.0")
    )


def _candidates(folder: Path) -> Iterator[Names]:
    yield from (Names(folder, k) for k in _NUMBERS)


def claim_bridge(folder: Path) -> Names:
    """Make the lab's bridge with the lowest free number, and give it the operator's address; or find the one it has.

    The kernel lets one `ip link add` win: two labs that start at once get two numbers. Raises LabError where none is free.
    """
    links = _links()
    mine = [names for names in _candidates(folder) if links.get(names.bridge) == names.bridge_mac]
    names = mine[0] if mine else _make_bridge(folder)
    address = ["ip", "addr", "replace", f"{names.operator}/16", "dev", names.bridge]
    run(address, what=f"address of bridge {names.bridge}")
    run(["ip", "link", "set", names.bridge, "up"], what=f"bridge {names.bridge}")
    return names


def _make_bridge(folder: Path) -> Names:
    refused = ""
    for names in _candidates(folder):
        if _taken(names.subnet):
            continue
        words = ["ip", "link", "add", names.bridge, "address", names.bridge_mac, "type", "bridge", "forward_delay", "0"]
        made = run(words, what=f"bridge {names.bridge}", check=False)
        if made.rc == 0:
            return names
        refused = made.err.strip()
        if "File exists" not in refused:
            break
    raise LabError(
        f"no bridge for the lab in {folder}: {refused or 'all of 10.100.0.0/16 to 10.199.0.0/16 are in use here'}; "
        "take down a lab that is not needed: python -m lab down --name NAME"
    )


def plug_in(names: Names, spec: MachineSpec, pid: int) -> None:
    """A cable from the bridge to the machine whose PID 1 is `pid`; its end there is `eth0`, and goes with it."""
    what = f"network cable of {spec.name}"
    # The machine's namespace is destroyed in the background after a power failure; its old cable may still be there.
    run(["ip", "link", "del", names.veth(spec)], what=what, check=False)
    peer = ["peer", "name", "eth0", "address", names.mac(spec), "netns", str(pid)]
    run(["ip", "link", "add", names.veth(spec), "type", "veth", *peer], what=what)
    run(["ip", "link", "set", names.veth(spec), "master", names.bridge, "up"], what=what)


def remove_links(folder: Path) -> None:
    """Remove the lab's bridge and what hangs on it; nothing where there is none."""
    links = _links()
    for names in _candidates(folder):
        if links.get(names.bridge) != names.bridge_mac:
            continue
        for link in [name for name in links if name.startswith(f"{names.bridge}-")] + [names.bridge]:
            gone = run(["ip", "link", "del", link], what=f"link {link}", check=False)
            # The kernel takes a cable away with the machine at its other end, at a time of its own.
            if gone.rc and link in _links():
                raise LabError(f"link {link} does not go: {gone.err.strip()}")
