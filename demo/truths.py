"""What must be true in a scenario: each fact of scenario.schema.json once, as sentences with a truth value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from demo.commands import CommandFailed
from demo.facts import Step, same
from demo.scene import Scene

__all__ = ["QUANTITIES", "TRUTHS", "Truth"]

Args = Mapping[str, Any]
Truth = Callable[[Scene, Step, Args], None]
TRUTHS: dict[str, Truth] = {}


def _fact(name: str) -> Callable[[Truth], Truth]:
    def keep(function: Truth) -> Truth:
        TRUTHS[name] = function
        return function

    return keep


# -- where the plan is ------------------------------------------------------------------------------


@_fact("run")
def _run(scene: Scene, step: Step, args: Args) -> None:
    status = scene.status()
    where = {vm: f"{at['state']} at {at['site']}" for vm, at in status["vms"].items()}
    hosts = sorted({str(at["host"]) for at in status["vms"].values()})
    sentence = f"all {len(scene.vms)} VMs run at {args['at']}, on {' and '.join(hosts)}"
    same(step, sentence, dict.fromkeys(scene.vms, f"running at {args['at']}"), where)


@_fact("active")
def _active(scene: Scene, step: Step, args: Args) -> None:
    wanted = (args["at"], args["epoch"])
    status, said = scene.status(), scene.operator.stands()
    found = {"dr status": (status["activeSite"], status["epoch"]), "the last up": (said.site, said.epoch)}
    step.check(f"active at {wanted[0]}, epoch {wanted[1]}", set(found.values()) == {wanted}, found)


@_fact("mirrored")
def _mirrored(scene: Scene, step: Step, args: Args) -> None:
    sites = {name: array.site for name, array in scene.topology.arrays.items()}
    mirrors = {m["volume"]: m for m in scene.status()["mirrors"]}
    volumes = {lun.volume for vm in scene.vms for lun in scene.topology.vms[vm].disks}
    found = {
        name: (sites.get(str(m["from"])), sites.get(str(m["to"])), m["state"] if args.get("synced") else "")
        for name, m in mirrors.items()
    }
    wanted = dict.fromkeys(volumes, (args["from"], args["to"], "synced" if args.get("synced") else ""))
    how = "synced" if args.get("synced") else "mirrored"
    same(step, f"{len(volumes)} volumes are {how} from {args['from']} to {args['to']}", wanted, found)


@_fact("protected")
def _protected(scene: Scene, step: Step, args: Args) -> None:
    status = scene.status()
    step.check("dr status says protected", status["protected"] is True, status["warnings"] or "not protected")


@_fact("unprotected")
def _unprotected(scene: Scene, step: Step, args: Args) -> None:
    sentence = "the plan is not called protected while no copy is"
    step.check(sentence, scene.status()["protected"] is False, "protected")


@_fact("silent")
def _silent(scene: Scene, step: Step, args: Args) -> None:
    wanted = sorted({*scene.parties(args.get("sites", ())), *args.get("hosts", ())})
    found = sorted(scene.seen()["silent"])
    step.check(f"silent: {', '.join(wanted) or 'nobody'}", found == wanted, found or "nobody")


@_fact("ended")
def _ended(scene: Scene, step: Step, args: Args) -> None:
    ended = sorted(scene.ended)
    step.check(f"{args['guests']} guests ended with their hosts", len(ended) == args["guests"], ended)


@_fact("unknown")
def _unknown(scene: Scene, step: Step, args: Args) -> None:
    found = {vm: scene.status()["vms"][vm]["state"] for vm in scene.ended}
    whose = "every VM's state is" if len(found) == len(scene.vms) else f"the state of {len(found)} VMs is"
    same(step, f"silence proves nothing: {whose} unknown", dict.fromkeys(scene.ended, "unknown"), found)


# -- a move -----------------------------------------------------------------------------------------


@_fact("refused")
def _refused(scene: Scene, step: Step, args: Args) -> None:
    said = scene.up
    if said is None:
        raise CommandFailed("nothing was brought up before this, so nothing can have been refused")
    moved_nothing = scene.status()["epoch"] == scene.epoch_before
    name = " ".join(said.argv[:2])
    step.check(f"{name} ends badly and moves nothing", said.status != 0 and moved_nothing, f"status {said.status}")
    line = scene.operator.word_line(said) if said.status != 0 else None
    step.check("the refusal prints the line to add, with the epoch to name", line is not None, said.last_line())
    if line is not None:
        step.says.append(line[0])


_ORDER = ("claim", "break", "commit", "start")


@_fact("foretold")
def _foretold(scene: Scene, step: Step, args: Args) -> None:
    shown = scene.foretold
    if shown is None:
        raise CommandFailed("nothing was previewed before this")
    word = ("--force", scene.word) if scene.word else ()
    decided = scene.run.dr("failover", scene.plan, "--to", _target(scene), *word, "--dry-run")
    wanted = [action["sentence"] for action in decided["actions"]]
    listed = list(shown.actions)
    sentence = f"it lists {len(listed)} pending actions, in order"
    step.check(sentence, bool(wanted) and listed == wanted, f"{listed} instead of {wanted}")
    order = [next((n for n, said in enumerate(listed) if said.startswith(verb)), -1) for verb in _ORDER]
    step.check(
        "claim before break, commit before the first start", -1 not in order and order == sorted(order), f"{order}"
    )
    point = str(decided["point"] or "")
    step.check(
        "it says recovery point, loss and time",
        any(point in line and "time" in line for line in shown.remarks),
        shown.remarks,
    )
    step.says += shown.remarks[:1]


def _target(scene: Scene) -> str:
    """The site to which the plan would move: the one where it is not."""
    active = scene.status()["activeSite"]
    return next(site for site in scene.topology.plans[scene.plan].sites if site != active)


@_fact("settled")
def _settled(scene: Scene, step: Step, args: Args) -> None:
    well, found = scene.operator.settled()
    step.check("a preview finds nothing to do", well, found)


# -- what the guests wrote ----------------------------------------------------------------------------


@_fact("taken")
def _taken(scene: Scene, step: Step, args: Args) -> None:
    where = f"{scene.buffered} of them still in the guests' memory" if scene.buffered else "all on the guests' disks"
    same(step, f"{sum(scene.asked.values())} entries taken, {where}", scene.asked, scene.taken)


@_fact("ahead")
def _ahead(scene: Scene, step: Step, args: Args) -> None:
    ends = scene.need_point().ends
    ahead = {vm: scene.on_disk.get(vm, 0) - ends[vm] for vm in scene.vms}
    sentence = f"{sum(ahead.values())} entries are on the disks and on no copy"
    step.check(sentence, all(n > 0 for n in ahead.values()), ahead)


@_fact("ledgers")
def _ledgers(scene: Scene, step: Step, args: Args) -> None:
    found = scene.ledgers()
    if args["end-at"] == "seal":
        point = scene.need_point()
        wanted, sentence = dict(point.ends), f"every ledger ends where {_seal(point.marks, point.name)}"
    else:
        wanted, sentence = dict(scene.taken), "nothing is lost: every entry that was taken is on the disks"
    last = {vm: ledger.last for vm, ledger in found.items()}
    same(step, sentence, wanted, last)
    torn = [f"{vm} {ledger.problem}".strip() for vm, ledger in found.items() if not ledger.intact]
    step.check("every ledger is intact: no entry is missing, torn or out of place", not torn, f"damaged: {torn}")
    scene.taken, scene.known = {vm: ledger.taken for vm, ledger in found.items()}, True


def _seal(marks: Mapping[str, int | None], point: str) -> str:
    """What says where a ledger ends in a recovery point."""
    if any(mark is not None for mark in marks.values()):
        return f"the seal of {point} says"
    return f"it stood when {point} was made"


@_fact("booted")
def _booted(scene: Scene, step: Step, args: Args) -> None:
    found = {vm: (ledger.boots or ("nowhere",))[-1] for vm, ledger in scene.ledgers().items()}
    sentence = f"each guest's own record says that it booted last at {args['at']}"
    same(step, sentence, dict.fromkeys(scene.vms, args["at"]), found)


@_fact("database")
def _database(scene: Scene, step: Step, args: Args) -> None:
    found, made = scene.stage.database_in(args["vm"], args["disk"])
    sentence = f"{args['vm']}'s second disk: PRAGMA integrity_check: {found.integrity}, {found.orders} orders"
    step.check(sentence, found == made, f"{found} instead of {made}")


# -- recovery points ----------------------------------------------------------------------------------


@_fact("whole")
def _whole(scene: Scene, step: Step, args: Args) -> None:
    point, newest = scene.need_point(), scene.points()["newest"]
    sentence = f"recovery point {point.name} is whole at {args['at']}"
    step.check(sentence, bool(point.name) and newest.get(args["at"]) == point.name, newest)


@_fact("level")
def _level(scene: Scene, step: Step, args: Args) -> None:
    level = scene.need_point().level
    why = "all guests were quiesced: " if args["is"] == "application" else ""
    step.check(f"{why}its level is {args['is']}", level == args["is"], level)


@_fact("sealed")
def _sealed(scene: Scene, step: Step, args: Args) -> None:
    point = scene.need_point()
    if any(mark is not None for mark in point.marks.values()):
        same(step, "the seal names each ledger's last entry, what was in memory included", scene.taken, point.marks)
    else:
        # The guests say nothing to a seal, but each entry was acknowledged on its disk, and none was asked for since.
        found = {vm: ledger.last for vm, ledger in scene.ledgers().items()}
        same(step, "each guest's ledger on its disk has every entry that was acknowledged", scene.taken, found)


@_fact("clean")
def _clean(scene: Scene, step: Step, args: Args) -> None:
    point = scene.need_point()
    unclean = scene.stage.unclean(args["at"], point.name)
    sentence = f"{len(scene.vms)} file systems in {point.name} at {args['at']} need no recovery (dumpe2fs)"
    same(step, sentence, dict.fromkeys(scene.vms, "clean"), {vm: unclean.get(vm, "clean") for vm in scene.vms})


@_fact("kept")
def _kept(scene: Scene, step: Step, args: Args) -> None:
    copies = {copy["volume"]: copy for copy in scene.run.dr("safety", "list")["copies"]}
    volumes = sorted({disk.volume for vm in scene.vms for disk in scene.topology.vms[vm].disks})
    sentence = f"{len(volumes)} safety copies keep what the lost side had alone"
    step.check(sentence, sorted(copies) == volumes, sorted(copies))
    found: dict[str, int] = {}
    for copy in copies.values():
        for lun in copy["luns"]:
            vm, _, role = str(lun).partition(".")
            if role == "root":
                file = scene.stage.folder.out / f"lost-{vm}.img"
                scene.run.dr("safety", "export", copy["name"], str(lun), str(file))
                ledger = scene.stage.ledger_in(file, vm)
                found[vm] = ledger.last if ledger.intact else -1
    lost = sum(last - scene.saved.get(vm, 0) for vm, last in scene.lost.items())
    same(step, f"the {lost} lost entries can be read there, all of them", scene.lost, found)


# -- drills ---------------------------------------------------------------------------------------------


@_fact("drilled")
def _drilled(scene: Scene, step: Step, args: Args) -> None:
    drill = scene.under_drill
    if drill is None:
        raise CommandFailed("no drill was started before this")
    out = drill.report
    well = len(out["vms"]) == len(scene.vms) and not out["failures"]
    step.check(f"{len(out['vms'])} VMs run at {args['at']} on clones of {out['recoveryPoint']}", well, out)
    names = {f"{vm}.drill.{out['drill']}": vm for vm in scene.vms}
    found = {names[name]: ledger.last for name, ledger in scene.stage.ledgers(names).items()}
    same(step, f"their ledgers end where {_seal(drill.marks, 'that point')}", drill.ends, found)


_OF_A_DRILL = ("drill volumes", "drill holds", "drill records", "reservations")


@_fact("traceless")
def _traceless(scene: Scene, step: Step, args: Args) -> None:
    drill = scene.under_drill
    if drill is None:
        raise CommandFailed("no drill was started before this")
    left, before = scene.inventory(), drill.before
    for what in _OF_A_DRILL:
        step.check(f"{what}: {left.get(what, 0)}", left.get(what, 0) == 0, left.get(what, 0))
    kinds = ["data volumes", "maps", "VMs", "VMs that run", *sorted(scene.stage.things())]
    same(
        step,
        "as before: " + ", ".join(f"{left.get(k, 0)} {k}" for k in kinds),
        {k: before.get(k, 0) for k in kinds},
        {k: left.get(k, 0) for k in kinds},
    )


# -- numbers for the end of the report --------------------------------------------------------------------


def _entries_lost(scene: Scene) -> str:
    found = scene.ledgers()
    return f"{sum(scene.at_stake.values()) - sum(ledger.last for ledger in found.values())} entries lost"


def _drill_number(key: str) -> Callable[[Scene], str]:
    def number(scene: Scene) -> str:
        return _seconds(scene.under_drill.report[key] if scene.under_drill else None)

    return number


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} s"


QUANTITIES: Mapping[str, Callable[[Scene], str]] = {
    "move-time": lambda scene: _seconds(scene.operator.stands().seconds),
    "entries-lost": _entries_lost,
    "loss-time": lambda scene: f"{scene.operator.stands().loss_seconds or 0:.0f} s of writes",
    "drill-rto": _drill_number("rtoSeconds"),
    "drill-rpo": _drill_number("rpoSeconds"),
}
