"""`dr rehearse`: what `dr whatif` says, done for real on an embedded twin of the topology."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.paper import Paper, span
from dr_provider.model import keys
from dr_provider.model.errors import BadInput, DrError
from dr_provider.model.scratch import scratch

if TYPE_CHECKING:
    from dr_provider.model.state import Observation
    from dr_provider.reconcile.world import World

__all__ = ["add"]


def rehearse(
    session: Session,
    lose: Annotated[
        list[str] | None,
        typer.Option("--lose", metavar="WHAT", help="site:S, array:A, host:H or link:A/B; several are lost together."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FOLDER", help="Make the twin there (new or empty), and leave it.")
    ] = None,
) -> int:
    """Build an embedded twin of the topology in a temporary folder, lose something, bring the VMs back, and read what they hold.

    The real machines are only looked at, for their room and how long they take to answer; where they are silent, the topology's own
    figures serve. Exit status 1: some VM did not come back as dr whatif promises, or not with its data.

    \b
    dr rehearse --lose site:east
    dr rehearse --lose host:east-1 --lose array:west-a --json
    """
    if not lose:
        raise BadInput("dr rehearse: say what is lost, such as --lose site:east; nothing was done")
    from dr_provider.reconcile.losses import parse_loss
    from dr_provider.reconcile.reports.account import leave_rehearsal

    topology = session.topology()
    lost = [parse_loss(topology, word) for word in dict.fromkeys(lose)]
    with _folder(keep) as folder:
        world = session.world()
        session.progress(f"looking at the machines of topology {topology.name}")
        seen = world.look()
        latencies = _latencies(world, seen)
        from dr_provider.cli.rehearsal import rehearse as play

        began = keys.stamp(keys.now())
        rehearsal = play(topology, seen, lost, folder, latencies=latencies, progress=session.progress)
    document = rehearsal.document(topology.name)
    for plan, result in zip(document["plans"], rehearsal.plans, strict=True):
        plan["report"] = leave_rehearsal(
            world, plan, began, lost=document["lose"], notes=document["notes"], run=result.run
        )
    if rehearsal.wrong:
        document["error"] = "; ".join(rehearsal.wrong)
    session.emit(document, lambda paper: _show(paper, document))
    return 1 if rehearsal.wrong else 0


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with scratch("rehearsal") as folder:
            yield folder
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise BadInput(f"--keep {keep}: wanted a new or empty folder, found files in it; nothing was done")
    except OSError as error:
        raise BadInput(f"--keep {keep}: it cannot be used ({error.strerror}); nothing was done") from error
    yield keep.resolve()


def _latencies(world: World, seen: Observation) -> dict[str, float]:
    """Seconds of one call, of everything that answers."""
    fleet, found = world.fleet, {}
    calls: dict[str, Callable[[], object]] = {}
    for name in (name for name in seen.arrays if seen.array(name) is not None):
        calls[f"array {name}"] = fleet.array(name).state
    for name in (name for name in seen.hosts if seen.host(name) is not None):
        calls[f"host {name}"] = fleet.host(name).state
    for key, call in calls.items():
        begin = time.monotonic()
        try:
            call()
        except DrError:
            continue  # it has fallen silent since; its twin answers at once
        found[key] = time.monotonic() - begin
    return found


def _show(paper: Paper, document: Mapping[str, Any]) -> None:
    paper.line(f"On the twin of {document['topology']}, without {', '.join(document['lose'])}:", "bold")
    paper.bullets(document["notes"], "yellow")
    for plan in document["plans"]:
        took = f" in {span(plan['seconds'])}" if plan["seconds"] is not None else ""
        where = f" at {plan['site']}" if plan["site"] else ""
        paper.line(f"{plan['plan']}: {plan['outcome']}{where}{took}; {plan['loss']}", indent=2)
        paper.table(
            ("VM", "", "host", "entries promised", "found", ""),
            [
                (vm["vm"], vm["state"], vm["host"] or "-", str(vm["promised"]), str(vm["last"]), "well" if vm["well"] else "NOT WELL")
                for vm in plan["vms"]
            ],
            indent=4,
        )  # fmt: skip
        paper.bullets((vm["why"] for vm in plan["vms"] if not vm["well"]), "red", indent=4)
        if plan["report"]:
            paper.line(f"report: {plan['report']}", indent=4)
    count = sum(len(plan["vms"]) for plan in document["plans"])
    bad = sum(not vm["well"] for plan in document["plans"] for vm in plan["vms"])
    paper.line()
    if bad:
        paper.line(f"{bad} of {count} VMs did not come back as they should.", "bold red")
    else:
        paper.line(f"All {count} VMs run, each on the host and with the data that was promised.", "green")


def add(app: typer.Typer) -> None:
    command(app, panel="Look")(rehearse)
