"""What stands in a domain's <metadata>: that it is ours, its definition, and while its guest is frozen, how that ends.

The persistent copy holds the definition. The running domain's own copy may hold a freeze beside it: it goes when the guest ends.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from dr_provider.hypervisors.libvirt import failures
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.model import codec
from dr_provider.model.vm import VmDefinition

__all__ = ["NAMESPACE", "PREFIX", "Freeze", "Note", "as_text", "read", "write"]

NAMESPACE = "urn:dr-provider:libvirt:1"
PREFIX = "dr"


@dataclass(frozen=True)
class Freeze:
    """A freeze of the guest that we made. `until`: time of day (seconds) at which it thaws by itself; `sleeper`: the process in the guest that
    does it (None: a process on the operator's machine does); `count`: file systems frozen (None: the freeze is not over yet)."""

    token: str
    until: float
    sleeper: int | None = None
    count: int | None = None


@dataclass(frozen=True)
class Note:
    """`rendered`: a digest of the domain's XML as it was made from the definition."""

    definition: VmDefinition
    rendered: str
    freeze: Freeze | None = None


def as_text(record: object) -> str:
    """A record as JSON in plain ASCII, so that any of its characters can stand in XML."""
    return json.dumps(json.loads(codec.dump(record)), sort_keys=True, separators=(",", ":"))


def read(work: Work, domain: Any, where: str) -> Note | None:
    """The note of the running domain, else of the defined one; None: the domain is not ours. Raises CorruptRecord."""
    libvirt = work.libvirt
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_CURRENT)
    except libvirt.libvirtError as error:
        if failures.code(error) == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return None
        raise
    what = f"{where}, VM {domain.name()}"
    element = ET.fromstring(text)
    freeze = element.get("freeze")
    definition = codec.load(VmDefinition, element.text or "", what)
    if definition.name != domain.name():
        # A copy that somebody made of one of ours (virt-clone keeps metadata) is theirs.
        return None
    return Note(
        definition,
        element.get("rendered", ""),
        codec.load(Freeze, freeze, what) if freeze else None,
    )


def write(work: Work, domain: Any, note: Note, *, live: bool, config: bool) -> None:
    """Put the note in the place of the one that is there."""
    libvirt = work.libvirt
    freeze = f" freeze={quoteattr(as_text(note.freeze))}" if note.freeze is not None else ""
    text = f"<vm rendered={quoteattr(note.rendered)}{freeze}>{escape(as_text(note.definition))}</vm>"
    flags = (libvirt.VIR_DOMAIN_AFFECT_LIVE if live else 0) | (libvirt.VIR_DOMAIN_AFFECT_CONFIG if config else 0)
    work.go_on()
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, PREFIX, NAMESPACE, flags)
