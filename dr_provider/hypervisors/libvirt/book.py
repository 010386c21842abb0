"""What is kept on a host for VMs about to start, without a file of ours there: the book, in libvirt's own store of secrets.

A page is a libvirt secret (one without a value): its usage name carries the page's number, its description what is kept. libvirt
refuses a second secret of the same usage name, and that is the atomic step: who makes page n + 1 first has made it.

Invariants:
1. The highest page counts, whole; its number never falls. A killed process leaves the page before its change or the one after it.
2. A change reads the highest page, then what runs, and makes the next page from both. Whoever finds that number taken, or a higher
   page beside its own afterwards (it had read one that was removed meanwhile), starts over: its change never counted.
3. What runs is read after the page: a VM is taken off the page only when it runs, so it is never missed in both.
"""

from __future__ import annotations

import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from dr_provider.hypervisors.libvirt import failures
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.hypervisors.libvirt.metadata import as_text
from dr_provider.model import codec
from dr_provider.model.errors import Unreachable
from dr_provider.model.state import Reservation

__all__ = ["Book", "Page", "Start"]

_USAGE = "dr-provider:room:"
_STALE = 120.0
"""Seconds after which a start that was noted down, and never came to an end, was a killed process's."""


@dataclass(frozen=True)
class Start:
    """Room of a VM between the look at what is free and its running. `token` tells one try from the next."""

    vm: str
    cpus: int
    memory: int
    token: str


@dataclass(frozen=True)
class Page:
    kept: tuple[Reservation, ...] = ()
    starts: tuple[Start, ...] = ()


@dataclass
class Book:
    """`where` names the host in sentences; `clock`: seconds. Safe from several threads and processes."""

    where: str
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, float] = field(default_factory=dict)

    def read(self, work: Work) -> Page:
        """What is kept now, in two calls."""
        return self._read(work)[1]

    def change(self, work: Work, edit: Callable[[Page], Page]) -> None:
        """Make the next page. `edit` is called again after each race that was lost, so it looks at what runs itself; what it raises ends the change."""
        while True:
            number, page = self._read(work)
            wanted = edit(self._tidy(page))
            if wanted == page:
                return
            work.go_on()
            if self._write(work, number + 1, wanted):
                return

    # -- pages -----------------------------------------------------------------------------------

    def _read(self, work: Work) -> tuple[int, Page]:
        while True:
            pages = _pages(work)
            if not pages:
                return 0, Page()
            number = max(pages)
            try:
                text = ET.fromstring(pages[number].XMLDesc(0)).findtext("description") or ""
            except work.libvirt.libvirtError as error:
                if failures.code(error) != work.libvirt.VIR_ERR_NO_SECRET:
                    raise
                self._in_time(work)
                continue
            return number, codec.load(Page, text, f"{self.where}, its reservations")

    def _write(self, work: Work, number: int, page: Page) -> bool:
        """Whether the page counts: False where another was faster."""
        libvirt = work.libvirt
        name = f"{_USAGE}{number}"
        xml = (
            f"<secret ephemeral='no' private='no'><uuid>{uuid.uuid4()}</uuid><description>{escape(as_text(page))}</description>"
            f"<usage type='tls'><name>{name}</name></usage></secret>"
        )
        try:
            made = work.conn.secretDefineXML(xml, 0)
        except libvirt.libvirtError:
            # Not told by words or numbers: libvirt calls this an internal error, in the language of the host.
            if max(_pages(work), default=0) >= number:
                self._in_time(work)
                return False
            raise
        pages = _pages(work)
        if max(pages, default=0) > number:
            _remove(work, made)
            self._in_time(work)
            return False
        for other, secret in pages.items():
            if other < number:
                _remove(work, secret)
        return True

    def _in_time(self, work: Work) -> None:
        if work.remaining <= 0:
            raise Unreachable(f"{self.where} gave no answer in time: others change its reservations all the while")

    def _tidy(self, page: Page) -> Page:
        """Without starts that stood still for long: their processes are gone."""
        now = self.clock()
        seen = {start.token: self._seen.get(start.token, now) for start in page.starts}
        self._seen = seen
        return Page(page.kept, tuple(start for start in page.starts if now - seen[start.token] < _STALE))


def _pages(work: Work) -> dict[int, Any]:
    found = dict[int, Any]()
    for secret in work.conn.listAllSecrets(0):
        name = secret.usageID()
        if secret.usageType() == work.libvirt.VIR_SECRET_USAGE_TYPE_TLS and name.startswith(_USAGE):
            number = name.removeprefix(_USAGE)
            if number.isdecimal():
                found[int(number)] = secret
    return found


def _remove(work: Work, secret: Any) -> None:
    try:
        secret.undefine()
    except work.libvirt.libvirtError as error:
        if failures.code(error) != work.libvirt.VIR_ERR_NO_SECRET:
            raise
