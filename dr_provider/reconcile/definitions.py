"""A VM of the topology as a hypervisor at one site is told of it, in service or in a drill. Pure but for an image file's length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dr_provider.model import keys
from dr_provider.model.addresses import derived_mac
from dr_provider.model.errors import BadInput
from dr_provider.model.records import Owner
from dr_provider.model.remap import card_at
from dr_provider.model.state import Observation
from dr_provider.model.topology import DiskSpec, NicSpec, Topology
from dr_provider.model.vm import DiskAttachment, NicDefinition, VmDefinition
from dr_provider.protection.fleet import Fleet

__all__ = ["vm_definition"]


def vm_definition(
    fleet: Fleet,
    topology: Topology,
    vm: str,
    site: str,
    owner: Owner,
    drill: str | None = None,
    *,
    own_cards: bool = False,
    network: int = 0,
    seen: Observation | None = None,
) -> VmDefinition:
    """The VM with the LUNs, bridges and addresses of `site`; with `drill` (its id) its twin on clones and the isolated network, `own_cards`: with MAC addresses of
    its own, for a twin that stays beside the VM, and `network`: on which of the isolated networks.

    `seen` tells how much of each LUN an image takes; without it, or where the LUN is not known yet, the image file does.
    Raises BadInput where the topology gives the VM no plan, no copy or no network there.
    """
    spec = topology.vms[vm].there(site, drill=drill is not None)
    plan = topology.plan_of_vm(vm)
    if plan is None:
        raise BadInput(f"vm {vm}: no plan of topology {topology.name} names it; add it to a tier of one")
    name = vm if drill is None else keys.drill_vm(vm, drill)
    return VmDefinition(
        name=name,
        vm=vm,
        plan=plan.name,
        uuid=keys.vm_uuid(topology.name, name),
        cpus=spec.cpus,
        memory=spec.memory,
        disks=tuple(_disk(fleet, topology, vm, disk, site, drill, seen) for disk in spec.disks),
        nics=tuple(
            replace(card, mac=derived_mac(topology.name, name, index)) if own_cards else card
            for index, card in enumerate(_nic(topology, vm, nic, site, drill, network) for nic in spec.nics)
        ),
        owner=owner,
    )


def _disk(
    fleet: Fleet, topology: Topology, vm: str, disk: DiskSpec, site: str, drill: str | None, seen: Observation | None
) -> DiskAttachment:
    array = topology.copy_at(disk.volume, site)
    if array is None:
        raise BadInput(f"vm {vm}: its disk {disk.role} is on volume {disk.volume}, which has no copy at {site}")
    volume = disk.volume if drill is None else keys.drill_volume(disk.volume, drill)
    lun = keys.lun_name(vm, disk.role)
    return DiskAttachment(
        role=disk.role,
        volume=volume,
        lun=lun,
        size=disk.size,
        target=fleet.array(array).lun_target(volume, lun),
        image_bytes=_image_bytes(disk, array, lun, seen),
    )


def _image_bytes(disk: DiskSpec, array: str, lun: str, seen: Observation | None) -> int:
    if disk.image is None:
        return 0
    state = seen.array(array) if seen else None
    volume = state.volumes.get(disk.volume) if state else None
    known = volume.luns.get(lun) if volume else None
    if known is not None:
        return known.image_bytes
    # At a recovery site the file may never have been: the LUN's own record, above, is then the only source.
    image = Path(disk.image)
    return image.stat().st_size if image.is_file() else 0


def _nic(topology: Topology, vm: str, nic: NicSpec, site: str, drill: str | None, number: int) -> NicDefinition:
    network = topology.networks[nic.network]
    card = card_at(network, nic, site, drill=drill is not None)
    if card is None:
        where = f"site {site}" if drill is None else "drills"
        raise BadInput(f"vm {vm}: its network {nic.network} names no bridge for {where}; add one to the network")
    bridge = card.bridge if drill is None else network.isolated[number]
    return NicDefinition(bridge=bridge, mac=nic.mac, address=card.address, gateway=card.gateway, dns=card.dns)
