"""A VM as libvirt's domain XML: rendered from its definition and the host's facts, never from XML that was kept somewhere.

The format is libvirt's (https://libvirt.org/formatdomain.html); libvirt checks it against its own schema when it is defined.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase

from jinja2 import Environment, PackageLoader, StrictUndefined

from dr_provider.hypervisors.libvirt.facts import Facts
from dr_provider.hypervisors.libvirt.iscsi import IscsiTarget, parse_target
from dr_provider.hypervisors.libvirt.metadata import NAMESPACE, PREFIX, as_text
from dr_provider.model.errors import BadInput
from dr_provider.model.vm import DiskAttachment, VmDefinition

__all__ = ["Rendered", "disk_what", "render", "secret_name", "unmarked"]

_SERIAL = re.compile(r"[^A-Za-z0-9_.+-]")
_SERIAL_LENGTH = 20
"""What a virtio disk has room for."""


@dataclass(frozen=True)
class Rendered:
    """`digest` tells whether a domain was made from the same definition and facts, whoever owns it."""

    xml: str
    digest: str


@dataclass(frozen=True)
class _Disk:
    device: str
    order: int
    serial: str
    target: IscsiTarget
    secret: str


@cache
def _template() -> Environment:
    return Environment(
        loader=PackageLoader("dr_provider.hypervisors.libvirt"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(
    definition: VmDefinition, facts: Facts, options: Mapping[str, object], networks: Collection[str], *, log: bool
) -> Rendered:
    """The domain's XML. `networks`: names of the host's libvirt networks (other names are bridges); `log`: keep the serial console's words in
    the host's log folder. Raises BadInput for what no domain can be made of."""
    try:
        uuid.UUID(definition.uuid)
    except ValueError:
        raise BadInput(f"VM {definition.name}: its uuid {definition.uuid!r} is not one; nothing was done") from None
    values = {
        **_values(definition, facts, options, networks),
        "log": f"/var/log/libvirt/qemu/{definition.name}.console.log" if log else "",
        "marked": True,
    }
    template = _template().get_template("domain.xml.j2")
    digest = hashlib.sha256(template.render(values, record="", rendered="").encode()).hexdigest()[:32]
    return Rendered(template.render(values, record=as_text(definition), rendered=digest), digest)


def unmarked(
    definition: VmDefinition, facts: Facts, options: Mapping[str, object], networks: Collection[str] = ()
) -> str:
    """The same domain without the mark that it is ours: for `virsh define` by hand. The driver leaves it alone."""
    values = {**_values(definition, facts, options, networks), "log": "", "marked": False}
    return _template().get_template("domain.xml.j2").render(values)


def _values(
    definition: VmDefinition, facts: Facts, options: Mapping[str, object], networks: Collection[str]
) -> dict[str, object]:
    return {
        "vm": definition,
        "facts": facts,
        "disks": [_disk(definition, disk, number) for number, disk in enumerate(definition.disks)],
        "block": options.get("disks") == "block",
        "boot": options.get("boot"),
        "networks": frozenset(networks),
        "namespace": NAMESPACE,
        "prefix": PREFIX,
    }


def secret_name(vm: str, role: str) -> str:
    """Usage name of the libvirt secret that holds a disk's CHAP password while its VM is started."""
    return f"dr-provider:chap:{vm}:{role}"


def disk_what(definition: VmDefinition, disk: DiskAttachment) -> str:
    """A disk in sentences."""
    return f"VM {definition.name}, disk {disk.role} (LUN {disk.volume}/{disk.lun})"


def _disk(definition: VmDefinition, disk: DiskAttachment, number: int) -> _Disk:
    return _Disk(
        device=_device(number),
        order=number + 1,
        serial=_SERIAL.sub("-", disk.role)[:_SERIAL_LENGTH],
        target=parse_target(disk.target, disk_what(definition, disk)),
        secret=secret_name(definition.name, disk.role),
    )


def _device(number: int) -> str:
    """vda, vdb, ... vdz, vdaa, ..."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, len(ascii_lowercase))
        letters = ascii_lowercase[rest] + letters
    return f"vd{letters}"
