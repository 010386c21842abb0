"""A drill: the plan's VMs on clones of a recovery point, in an isolated network; destroying it leaves no trace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from dr_provider.resources import props as bag
from dr_provider.resources import session

if TYPE_CHECKING:
    from dr_provider.reconcile.world import World

__all__ = ["Drill", "DrillProps", "DrillProvider"]


@dataclass(frozen=True)
class DrillProps:
    """`site` None: the first recovery site. `point` None: the newest recovery point that is whole there. `expires`: how long it stays up, such
    as 4h; whoever holds the plan's lease next ends it then (None: it stays until it is destroyed)."""

    topology: str
    document: str
    plan: str
    stack: str
    site: str | None = None
    point: str | None = None
    expires: str | None = None


class DrillProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        from dr_provider.model.errors import BadInput, DrError
        from dr_provider.reconcile.drills.decide import decide_drill

        wanted, inputs = bag.read(DrillProps, news), bag.plain(news)
        if olds:
            return CheckResult(inputs, [])
        try:
            world = session.of_document(wanted.document, wanted.stack)
            place = decide_drill(world, wanted.plan, wanted.site, "preview", wanted.point)
        except BadInput as error:
            return CheckResult(inputs, [CheckFailure("plan", str(error))])
        except DrError as error:
            session.say(f"plan {wanted.plan}: {error}")
            return CheckResult(inputs, [])
        session.say(
            f"plan {wanted.plan}: a drill at {place.site} from recovery point {place.point.id} ({place.point.time})"
        )
        for vm, host in sorted(place.placement.hosts.items()):
            session.say(f"plan {wanted.plan}: drill VM {vm} goes to {host}")
        for line in place.placement.unplaced.values():
            session.say(f"plan {wanted.plan}: {line}")
        return CheckResult(inputs, [])

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        from dr_provider.model.errors import DrError

        before, after = bag.read(DrillProps, olds), bag.read(DrillProps, news)
        # What a drill runs on is fixed when it starts: another site, point or plan is another drill.
        replaces = [n for n in ("topology", "plan", "stack", "site", "point") if olds.get(n) != news.get(n)]
        if replaces:
            return DiffResult(changes=True, replaces=replaces, delete_before_replace=True)
        if before.document != after.document:
            session.say(f"plan {after.plan}: the drill goes on with the topology that it was started with")
        try:
            gone = _gone(session.of_document(after.document, after.stack), after.plan, _drill(id_))
        except DrError as error:
            session.say(f"plan {after.plan}: {error}")
            gone = False
        if gone:
            session.say_once(after.plan, f"{_ended(id_, olds)}; up makes it anew, from the point that is chosen then")
        elif after.expires != before.expires:
            until = f"expires {after.expires} after it began" if after.expires else "stays until it is destroyed"
            session.say_once(after.plan, f"drill {_drill(id_)} goes on, and {until}")
        return DiffResult(changes=gone or bool(olds.get("failures")) or after.expires != before.expires)

    def create(self, props: dict[str, Any]) -> CreateResult:
        from dr_provider.model import keys

        wanted = bag.read(DrillProps, props)
        drill = keys.new_id()
        return CreateResult(f"{wanted.plan}@{drill}", _run(wanted, drill))

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        from dr_provider.reconcile.drills.begin import let_stay

        wanted, drill = bag.read(DrillProps, news), _drill(id_)
        with session.sentence():
            world = session.of_document(wanted.document, wanted.stack)
            if olds.get("failures") or _gone(world, wanted.plan, drill):
                return UpdateResult(_run(wanted, drill))
            # What it has shown stays as it was measured.
            until = let_stay(world, wanted.plan, drill, _seconds(wanted))
        return UpdateResult({**bag.plain(olds), **bag.write(wanted), "expires": wanted.expires, "expiresAt": until})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from dr_provider.model.errors import DrError
        from dr_provider.reconcile.drills.parts import vm_states

        known, outputs = bag.read(DrillProps, props), bag.plain(props)
        inputs = bag.write(known)
        try:
            world = session.of_document(known.document, known.stack)
            if _gone(world, known.plan, _drill(id_)):
                session.say_once(known.plan, f"{_ended(id_, props)}; the next up makes a new one")
                return ReadResult("", {})
            state = vm_states(world.view(known.plan), _drill(id_))
        except DrError as error:
            session.say(f"drill of plan {known.plan}: not refreshed ({error})")
            return ReadResult(id_, {**outputs, "reachable": False}, inputs)
        before: dict[str, Any] = json.loads(outputs.get("vms") or "{}")
        now = {vm: {**before.get(vm, {}), **at} for vm, at in state.items()}
        return ReadResult(id_, {**outputs, "vms": json.dumps(now, sort_keys=True), "reachable": True}, inputs)

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        from dr_provider.reconcile.drills.end import end_drill

        old = bag.read(DrillProps, props)
        with session.sentence():
            world = session.of_document(old.document, old.stack)
            ended = end_drill(world, old.plan, _drill(id_))
        nothing = not any(ended.removed.values()) and not ended.left
        session.say(
            f"plan {old.plan}: {f'{_ended(id_, props)}; nothing was left of it' if nothing else ended.sentence}"
        )


def _drill(id_: str) -> str:
    return id_.rpartition("@")[2]


def _seconds(wanted: DrillProps) -> float | None:
    from dr_provider.model.units import duration

    return None if wanted.expires is None else duration(wanted.expires)


def _ended(id_: str, outputs: dict[str, Any]) -> str:
    """What became of a drill that is not there any more."""
    from dr_provider.model import keys

    until = outputs.get("expiresAt")
    if until and keys.at(str(until)) <= keys.now():
        return f"drill {_drill(id_)} expired at {until} and was ended"
    return f"drill {_drill(id_)} was ended (by dr drill end, or a move that needed its room)"


def _gone(world: World, plan: str, drill: str) -> bool:
    """Whether the drill was positively ended by somebody else: no answering array of its plan knows it, and all answer."""
    view = world.view(plan)
    return drill not in view.drills and all(view.seen.array(a) for a in world.topology.plan_arrays(plan))


def _run(wanted: DrillProps, drill: str) -> dict[str, Any]:
    from dr_provider.model.records import Owner
    from dr_provider.reconcile.drills.begin import start_drill

    with session.sentence():
        world = session.of_document(wanted.document, wanted.stack)
        owner = Owner(wanted.topology, wanted.stack, drill)
        outcome = start_drill(world, wanted.plan, wanted.site, drill, owner, wanted.point, stay=_seconds(wanted))
    for line in outcome.failures:
        session.say(f"plan {wanted.plan}: {line}")
    return {
        **bag.write(wanted),
        "drill": drill,
        "ranAt": outcome.site,
        "recoveryPoint": outcome.point,
        "recoveryPointTime": outcome.point_time,
        "rpoSeconds": round(outcome.rpo_seconds, 3),
        "rtoSeconds": round(outcome.rto_seconds, 3),
        "vms": json.dumps({vm: at.document() for vm, at in outcome.vms.items()}, sort_keys=True),
        "expiresAt": outcome.expires,
        "failures": list(outcome.failures),
        "reachable": True,
    }


class Drill(Resource, module="dr", name="Drill"):
    """Measured: `rtoSeconds` from the order to the last health check, `rpoSeconds` the age of the point when the drill began."""

    drill: pulumi.Output[str | None]
    ranAt: pulumi.Output[str | None]
    recoveryPoint: pulumi.Output[str | None]
    rpoSeconds: pulumi.Output[float | None]
    rtoSeconds: pulumi.Output[float | None]
    vms: pulumi.Output[str | None]
    expiresAt: pulumi.Output[str | None]
    failures: pulumi.Output[list[str] | None]

    OUTPUTS = ("drill", "ranAt", "recoveryPoint", "rpoSeconds", "rtoSeconds", "vms", "expiresAt", "failures")

    def __init__(self, name: str, props: DrillProps, opts: pulumi.ResourceOptions | None = None) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hide_diffs=["document"]))
        super().__init__(DrillProvider(), name, {**bag.write(props), **dict.fromkeys(self.OUTPUTS)}, opts)
