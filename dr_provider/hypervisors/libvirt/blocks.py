"""`disks: block`: LUNs as block devices of the host, logged in to by its open-iscsi through libvirt's iSCSI storage pools.

A pool a disk, named for its VM and role. It is there while the VM may run: made at the start, taken away with a stop or undefine.
"""

from __future__ import annotations

import uuid
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from dr_provider.hypervisors.libvirt import failures
from dr_provider.hypervisors.libvirt.domain import disk_what, secret_name
from dr_provider.hypervisors.libvirt.iscsi import IscsiTarget, parse_target
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.model.errors import Conflict
from dr_provider.model.vm import VmDefinition

__all__ = ["log_in", "log_out", "refresh"]

_PREFIX = "dr-provider:"


def log_in(work: Work, definition: VmDefinition, initiator: str) -> None:
    """Make the host see the VM's LUNs. Raises Conflict naming the LUN that the array does not offer it."""
    for disk in definition.disks:
        target = parse_target(disk.target, disk_what(definition, disk))
        name = _name(definition.name, disk.role)
        work.go_on()
        pool = work.conn.storagePoolDefineXML(_xml(name, target, initiator, secret_name(definition.name, disk.role)), 0)
        try:
            if pool.isActive():
                pool.refresh(0)
            else:
                pool.create(0)
            units = {str(path).rpartition("-lun-")[2] for path in (v.path() for v in pool.listAllVolumes(0))}
        except work.libvirt.libvirtError as error:
            if not work.conn.isAlive():
                raise
            raise Conflict(
                f"VM {definition.name} on {work.where}: LUN {disk.volume}/{disk.lun} cannot be reached at {target.portal}: {failures.text(error)}"
            ) from error
        if str(target.lun) not in units:
            raise Conflict(
                f"VM {definition.name} on {work.where}: LUN {disk.volume}/{disk.lun} is not offered to {initiator} at {target.portal}; map it first"
            )


def log_out(work: Work, definition: VmDefinition) -> None:
    """Log out of the VM's targets. One that is in use, or was not there, is left."""
    for disk in definition.disks:
        try:
            pool = work.conn.storagePoolLookupByName(_name(definition.name, disk.role))
        except work.libvirt.libvirtError as error:
            if failures.code(error) in (work.libvirt.VIR_ERR_NO_STORAGE_POOL, work.libvirt.VIR_ERR_NO_SUPPORT):
                continue
            raise
        work.go_on()
        if pool.isActive():
            pool.destroy()
        pool.undefine()


def refresh(work: Work) -> None:
    """Look again at what the targets offer."""
    for pool in work.conn.listAllStoragePools(work.libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        if str(pool.name()).startswith(_PREFIX):
            pool.refresh(0)


def _name(vm: str, role: str) -> str:
    return f"{_PREFIX}{vm}:{role}"


def _xml(name: str, target: IscsiTarget, initiator: str, secret: str) -> Any:
    auth = ""
    if target.user is not None:
        auth = f"<auth type='chap' username={quoteattr(target.user)}><secret usage={quoteattr(secret)}/></auth>"
    return (
        f"<pool type='iscsi'><name>{escape(name)}</name><uuid>{uuid.uuid5(uuid.NAMESPACE_URL, name)}</uuid><source>"
        f"<host name={quoteattr(target.host)} port='{target.port}'/><device path={quoteattr(target.iqn)}/>"
        f"<initiator><iqn name={quoteattr(initiator)}/></initiator>{auth}</source>"
        "<target><path>/dev/disk/by-path</path></target></pool>"
    )
