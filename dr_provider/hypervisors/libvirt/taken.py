"""Room on a host: taken by what runs, by what is being started, and by what is kept for moves under way."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dr_provider.hypervisors import room
from dr_provider.hypervisors.libvirt.book import Book, Page, Start
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.hypervisors.libvirt.running import running_sizes
from dr_provider.hypervisors.room import Size
from dr_provider.model.state import Reservation
from dr_provider.model.vm import VmDefinition

__all__ = ["Taken"]


@dataclass
class Taken:
    """`host`: its name. The lock only spares threads of one process the races with one another that the book settles anyway."""

    host: str
    book: Book
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def starting(self, work: Work, total: Size, definition: VmDefinition) -> Iterator[None]:
        """Hold the VM's room while it is started, and use up its reservation when it runs. Raises HostFull."""
        wanted = Size(definition.cpus, definition.memory)
        start = Start(definition.name, wanted.cpus, wanted.memory, uuid.uuid4().hex)

        def claim(page: Page) -> Page:
            running = running_sizes(work)
            running.pop(definition.name, None)
            others = _others(page, definition.name, running)
            room.check_room(
                self.host, total, definition.name, wanted, running=_sum(running.values()), reserved=_sum(others)
            )
            return Page(page.kept, (*(s for s in page.starts if s.vm != definition.name), start))

        def used(page: Page) -> Page:
            return Page(tuple(r for r in page.kept if r.vm != definition.name), _without(page, start))

        def failed(page: Page) -> Page:
            return Page(page.kept, _without(page, start))

        self._change(work, claim)
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the failure itself is what must be told
                self._change(work, failed)
            raise
        self._change(work, used)

    def reserve(self, work: Work, total: Size, tag: str, demands: Sequence[Reservation]) -> None:
        """Replace what is kept under the tag, all or none; nothing is kept for a VM that runs here. Raises HostFull."""

        def edit(page: Page) -> Page:
            running = running_sizes(work)
            wanted = {demand.vm: demand for demand in demands if demand.vm not in running}
            others = Page(tuple(r for r in page.kept if r.tag != tag), page.starts)
            if wanted:
                room.check_kept(
                    self.host,
                    total,
                    list(wanted),
                    _sum(Size(d.cpus, d.memory) for d in wanted.values()),
                    running=_sum(running.values()),
                    reserved=_sum(_others(others, "", running)),
                )
            kept = (*others.kept, *(Reservation(tag, d.vm, d.cpus, d.memory) for d in wanted.values()))
            return Page(tuple(sorted(kept, key=lambda r: (r.tag, r.vm))), page.starts)

        self._change(work, edit)

    def release(self, work: Work, tag: str) -> None:
        self._change(work, lambda page: Page(tuple(r for r in page.kept if r.tag != tag), page.starts))

    def _change(self, work: Work, edit: Callable[[Page], Page]) -> None:
        with self._turn:
            self.book.change(work, edit)


def _others(page: Page, vm: str, running: Iterable[str]) -> Iterator[Size]:
    """What is kept and being started for other VMs than this one; what runs by now has its room already."""
    there = {vm, *running}
    starts = {s.vm: Size(s.cpus, s.memory) for s in page.starts if s.vm not in there}
    yield from starts.values()
    yield from (Size(r.cpus, r.memory) for r in page.kept if r.vm not in there and r.vm not in starts)


def _without(page: Page, start: Start) -> tuple[Start, ...]:
    return tuple(s for s in page.starts if s.token != start.token)


def _sum(sizes: Iterable[Size]) -> Size:
    return sum(sizes, Size(0, 0))
