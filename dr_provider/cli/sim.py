"""`dr sim`: disasters and guests of the embedded drivers, for tests, demonstrations and rehearsals. Words and printing only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dr_provider.cli.common import Session, command
from dr_provider.model.errors import BadInput
from dr_provider.model.units import delay, format_duration

if TYPE_CHECKING:
    from dr_provider.cli.simulation import Bench, FaultLine

__all__ = ["app"]

app = typer.Typer(
    name="sim",
    help="The lab bench: disasters and guests of embedded arrays and hosts. It stands outside all faults.",
    no_args_is_help=True,
)

_LOSABLE = (
    "site:S, host:H, array:A, array:A/N (node N of it), witness (an embedded one) or link:A/B (two sites, two arrays, or a site and "
    "operator or witness)"
)
Vm = Annotated[str, typer.Argument(metavar="VM", help="The host's name for it: drill VMs have names of their own.")]
At = Annotated[str | None, typer.Option("--at", metavar="SITE", help="On the hosts and copies of this site.")]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="site:S, host:H or array:A")]
AnyTarget = Annotated[str, typer.Argument(metavar="TARGET", help=_LOSABLE)]


@contextmanager
def _bench(session: Session) -> Iterator[Bench]:
    from dr_provider.cli.simulation import Bench

    bench = Bench(session.topology())
    try:
        yield bench
    finally:
        bench.close()


@command(app)
def write(
    session: Session,
    vm: Vm,
    count: Annotated[int, typer.Option("--count", metavar="N", help="How many entries.")] = 1,
    at: At = None,
) -> None:
    """The guest's application adds entries to its ledger: in memory first, written out eight at a time and at a freeze."""
    with _bench(session) as bench:
        written = bench.write(vm, count, at)
    if written.stuck:
        session.progress(f"VM {vm}: {written.buffered} entries wait in memory: {written.stuck}")
    session.emit(
        {"vm": vm, "last": written.last, "buffered": written.buffered},
        lambda out: out.line(
            f"VM {vm}: entry {written.last} is the last on its disks, {written.buffered} more in memory"
        ),
    )


@command(app)
def ledger(session: Session, vm: Vm, at: At = None) -> None:
    """What the VM's disks hold: the last entry, those still in memory, and whether all is intact. Works on a stopped VM too."""
    with _bench(session) as bench:
        found = bench.ledger(vm, at)
    if found.problem:
        session.progress(f"VM {vm} at {found.site}: {found.problem}")
    shape = asdict(found)
    del shape["problem"]
    where = f"{found.site}, host {found.host}" if found.host else found.site
    state = "intact" if found.intact else "NOT intact"
    session.emit(
        shape, lambda out: out.line(f"VM {vm} at {where}: last entry {found.last}, {found.buffered} in memory, {state}")
    )


@command(app)
def export(
    session: Session,
    vm: Vm,
    disk: Annotated[str, typer.Argument(metavar="DISK", help="The disk's role in the VM.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; a file that is there is replaced.")],
    at: At = None,
) -> None:
    """Write a disk to a file, as the guest sees it."""
    with _bench(session) as bench:
        size = bench.export(vm, disk, file, at)
    session.emit(
        {"vm": vm, "disk": disk, "file": str(file), "bytes": size},
        lambda out: out.line(f"VM {vm}: disk {disk}, {size} bytes, is in {file}"),
    )


@command(app)
def lose(
    session: Session,
    target: AnyTarget,
    running: Annotated[bool, typer.Option("--running", help="Only reach is lost: guests run on.")] = False,
) -> None:
    """Lose a site or host (power and reach), an array or a link (reach)."""
    with _bench(session) as bench:
        lost = bench.lose(target, running=running)
    ended = ", ".join(f"{vm} on {host}" for vm, host in lost.ended) or "none"
    session.emit(
        {"target": target, "files": lost.files, "ended": [{"vm": vm, "host": host} for vm, host in lost.ended]},
        lambda out: out.line(f"{target} is lost; guests that ended: {ended}"),
    )


@command(app)
def slow(
    session: Session,
    target: Target,
    duration: Annotated[str, typer.Argument(metavar="DURATION", help="Such as 200ms or 2s.")],
) -> None:
    """Make every call to the target wait."""
    try:
        seconds = delay(duration)
    except ValueError as error:
        raise BadInput(f"sim slow {target} {duration!r}: {error}; nothing was done") from error
    with _bench(session) as bench:
        files = bench.slow(target, seconds)
    session.emit(
        {"target": target, "files": files, "seconds": seconds},
        lambda out: out.line(f"{target}: every call takes {format_duration(seconds)} longer"),
    )


@command(app)
def fail(
    session: Session,
    target: Target,
    call: Annotated[int, typer.Option("--call", metavar="N", help="The Nth call from now on, over all processes.")],
) -> None:
    """Make one call to the target fail."""
    with _bench(session) as bench:
        files = bench.fail(target, call)
    session.emit(
        {"target": target, "files": files, "call": call},
        lambda out: out.line(f"{target}: call {call} from now on fails"),
    )


@command(app)
def garble(
    session: Session,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="site:S or array:A")],
    extent: Annotated[
        int, typer.Option("--extent", metavar="N", help="The Nth extent from now on, counted for each array.")
    ] = 1,
) -> None:
    """Flip a bit of one extent on its way from the target to another array."""
    with _bench(session) as bench:
        files = bench.garble(target, extent)
    session.emit(
        {"target": target, "files": files, "extent": extent},
        lambda out: out.line(f"{target}: extent {extent} that is sent from now on arrives with a bit flipped"),
    )


@command(app)
def corrupt(
    session: Session,
    vm: Vm,
    disk: Annotated[str, typer.Argument(metavar="DISK", help="The disk's role in the VM.")],
    at: At = None,
    point: Annotated[
        str | None, typer.Option("--point", metavar="ID", help="As of this recovery point (else now).")
    ] = None,
    unnoticed: Annotated[
        bool, typer.Option("--unnoticed", help="The array's own checksum is made to fit: only a comparison finds it.")
    ] = False,
) -> None:
    """Flip a bit of a disk at rest. It stays so: nothing heals it but other data."""
    with _bench(session) as bench:
        site, offset = bench.corrupt(vm, disk, at, point, unnoticed=unnoticed)
    session.emit(
        {"vm": vm, "disk": disk, "site": site, "point": point, "offset": offset},
        lambda out: out.line(f"VM {vm} at {site}: a bit at byte {offset} of disk {disk} was flipped"),
    )


@command(app)
def heal(session: Session, target: AnyTarget) -> None:
    """Clear every fault of the target. Guests that ended with it stay off."""
    with _bench(session) as bench:
        bench.heal(target)
    session.emit({"target": target}, lambda out: out.line(f"{target}: no fault"))


@command(app, "faults")
def list_faults(session: Session) -> None:
    """List the faults that are in force."""
    with _bench(session) as bench:
        found = bench.in_force()
    session.emit(
        {"faults": [asdict(line) for line in found]},
        lambda out: out.bullets([_sentence(line) for line in found] or ["no faults"], indent=0),
    )


def _sentence(line: FaultLine) -> str:
    peers = f" from {', '.join(line.peers)}" if line.peers else ""
    value = {
        "slow": f" by {format_duration(line.value)}",
        "fail": f" at call {line.value:.0f}",
        "garble": f" extent {line.value:.0f}",
    }.get(line.kind, "")
    return f"{line.target}: {line.device} {line.kind}{value}{peers}"
