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
    """`site` None: the first recovery site. `point` None: the newest recovery point that is whole there."""

    topology: str
    document: str
    plan: str
    stack: str
    site: str | None = None
    point: str | None = None


class DrillProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        from dr_provider.model.errors import BadInput, DrError
        from dr_provider.reconcile.drill import decide_drill

        wanted, inputs = bag.read(DrillProps, news), bag.plain(news)
        if olds:
            return CheckResult(inputs, [])
        try:
            world = session.of_document(wanted.document, wanted.stack)
            site, point, placement = decide_drill(world, wanted.plan, wanted.site, "preview", wanted.point)
        except BadInput as error:
            return CheckResult(inputs, [CheckFailure("plan", str(error))])
        except DrError as error:
            session.say(f"plan {wanted.plan}: {error}")
            return CheckResult(inputs, [])
        session.say(f"plan {wanted.plan}: a drill at {site} from recovery point {point.id} ({point.time})")
        for vm, host in sorted(placement.hosts.items()):
            session.say(f"plan {wanted.plan}: drill VM {vm} goes to {host}")
        for line in placement.unplaced.values():
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
        return DiffResult(changes=gone or bool(olds.get("failures")))

    def create(self, props: dict[str, Any]) -> CreateResult:
        from dr_provider.model import keys

        wanted = bag.read(DrillProps, props)
        drill = keys.new_id()
        return CreateResult(f"{wanted.plan}@{drill}", _run(wanted, drill))

    def update(self, id_: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_run(bag.read(DrillProps, news), _drill(id_)))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from dr_provider.model.errors import DrError
        from dr_provider.reconcile.drill import drill_state

        known, outputs = bag.read(DrillProps, props), bag.plain(props)
        inputs = bag.write(known)
        try:
            world = session.of_document(known.document, known.stack)
            if _gone(world, known.plan, _drill(id_)):
                return ReadResult("", {})
            state = drill_state(world, known.plan, _drill(id_))
        except DrError as error:
            session.say(f"drill of plan {known.plan}: not refreshed ({error})")
            return ReadResult(id_, {**outputs, "reachable": False}, inputs)
        return ReadResult(id_, {**outputs, "vms": json.dumps(state, sort_keys=True), "reachable": True}, inputs)

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        from dr_provider.reconcile.drill import end_drill

        old = bag.read(DrillProps, props)
        with session.sentence():
            world = session.of_document(old.document, old.stack)
            gone = end_drill(world, old.plan, _drill(id_))
        said = ", ".join(f"{count} {what}" for what, count in gone.items())
        session.say(f"plan {old.plan}: drill {_drill(id_)} ended; removed: {said}")


def _drill(id_: str) -> str:
    return id_.rpartition("@")[2]


def _gone(world: World, plan: str, drill: str) -> bool:
    """Whether the drill was positively ended by somebody else: no answering array of its plan knows it, and all answer."""
    view = world.view(plan)
    return drill not in view.drills and all(view.seen.array(a) for a in world.topology.plan_arrays(plan))


def _run(wanted: DrillProps, drill: str) -> dict[str, Any]:
    from dr_provider.model.records import Owner
    from dr_provider.reconcile.drill import start_drill

    with session.sentence():
        world = session.of_document(wanted.document, wanted.stack)
        owner = Owner(wanted.topology, wanted.stack, drill)
        outcome = start_drill(world, wanted.plan, wanted.site, drill, owner, wanted.point)
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
        "vms": json.dumps({vm: dict(at) for vm, at in outcome.vms.items()}, sort_keys=True),
        "failures": list(outcome.failures),
        "reachable": True,
    }


class Drill(Resource, module="dr", name="Drill"):
    """Measured: `rtoSeconds` from the order to the last health check, `rpoSeconds` the age of the point when the drill began."""

    drill: pulumi.Output[str | None]
    ranAt: pulumi.Output[str | None]  # noqa: N815
    recoveryPoint: pulumi.Output[str | None]  # noqa: N815
    rpoSeconds: pulumi.Output[float | None]  # noqa: N815
    rtoSeconds: pulumi.Output[float | None]  # noqa: N815
    vms: pulumi.Output[str | None]
    failures: pulumi.Output[list[str] | None]

    OUTPUTS = ("drill", "ranAt", "recoveryPoint", "rpoSeconds", "rtoSeconds", "vms", "failures")

    def __init__(self, name: str, props: DrillProps, opts: pulumi.ResourceOptions | None = None) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hide_diffs=["document"]))
        super().__init__(DrillProvider(), name, {**bag.write(props), **dict.fromkeys(self.OUTPUTS)}, opts)
