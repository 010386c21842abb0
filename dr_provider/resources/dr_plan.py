"""The plan: a changed `declaredSite` is a failover or a failback, and this resource is the whole of it.

It depends on nothing that lives at a site. `declaredSite` is what the stack asks for; `activeSite`, `epoch`, `phase` and `degraded` are
what was observed, and `diff` compares them with what is observed now. Point, loss, time and lag are as of the last change, and are
never a difference. It succeeds once storage has moved and every VM was attempted: its outputs are true then, and `Readiness` ends the
`up` red with its `failures`.
"""

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
    from dr_provider.reconcile.decision import Decision, Want
    from dr_provider.reconcile.world import World

__all__ = ["DrPlan", "DrPlanProps", "DrPlanProvider"]

_OBSERVED = ("activeSite", "epoch", "phase", "degraded")


@dataclass(frozen=True)
class DrPlanProps:
    """`document`: the whole topology as canonical JSON. `stack` is "project/stack". `declared_site` None: wherever the plan is now.

    `force` is the operator's word, `point` a recovery point's id or time. `changes` and `pending_actions` are put in by `check`.
    """

    topology: str
    document: str
    plan: str
    stack: str
    declared_site: str | None = None
    force: str | None = None
    point: str | None = None
    adopt: bool = False
    changes: tuple[str, ...] = ()
    pending_actions: tuple[str, ...] = ()


class DrPlanProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        from dr_provider.model.errors import BadInput, DrError
        from dr_provider.reconcile.announce import announce
        from dr_provider.reconcile.remap import address_lines

        wanted = bag.read(DrPlanProps, news)
        if renamed := bag.renamed(wanted.plan, olds, news):
            return CheckResult(bag.plain(news), renamed)
        inputs = {k: v for k, v in bag.plain(news).items() if k not in ("changes", "pendingActions")}
        inputs["changes"] = _changes(olds.get("document"), wanted.document)
        try:
            world = session.of_document(wanted.document, wanted.stack)
            decision = _decide(world, wanted)
        except BadInput as error:
            return CheckResult(inputs, [CheckFailure("plan", str(error))])
        except DrError as error:
            session.say_once(wanted.plan, str(error))
            inputs["pendingActions"] = [f"refused: {error}"]
            return CheckResult(inputs, [])
        for line in (*announce(decision), *address_lines(world.topology, decision)):
            session.say_once(wanted.plan, line)
        inputs["pendingActions"] = [
            *(action.sentence for action in decision.actions),
            *(f"refused: {reason}" for reason in decision.refused),
        ]
        return CheckResult(inputs, [])

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        from dr_provider.model.errors import DrError

        wanted = bag.read(DrPlanProps, news)
        replaces = [name for name in ("topology", "plan", "stack") if olds.get(name) != news.get(name)]
        asked = wanted.document != olds.get("document") or wanted.declared_site != olds.get("declaredSite")
        if replaces or asked:
            return DiffResult(changes=True, replaces=replaces)
        try:
            world = session.of_document(wanted.document, wanted.stack, _pins(olds))
            if _blind(world, wanted.plan):
                return DiffResult(changes=False)
            decision = _decide(world, wanted)
            there = _observed(world, wanted.plan)
        except DrError:
            return DiffResult(changes=True)
        changed = any(there[name] != _same_type(there[name], olds.get(name)) for name in _OBSERVED)
        due = bool(decision.actions or decision.refused)
        return DiffResult(changes=changed or due or decision.exit_bad != bool(olds.get("differs", False)))

    def create(self, props: dict[str, Any]) -> CreateResult:
        from dr_provider.model import keys

        wanted = bag.read(DrPlanProps, props)
        incarnation = keys.new_incarnation()
        return CreateResult(f"{wanted.plan}@{incarnation}", _bring_about(wanted, incarnation, {}))

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_bring_about(bag.read(DrPlanProps, news), id_.rpartition("@")[2], olds))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from dr_provider.model.errors import DrError
        from dr_provider.resources.callouts import stack_hooks

        known = bag.read(DrPlanProps, props)
        outputs, inputs = bag.plain(props), bag.write(known)
        if known.declared_site is None:
            inputs.pop("declaredSite", None)
        try:
            world = session.of_document(known.document, known.stack, _pins(props))
            view = world.view(known.plan)
            if view.epoch is None:
                silent = [a for a in world.topology.plan_arrays(known.plan) if view.seen.array(a) is None]
                if silent:
                    session.say(f"plan {known.plan}: not refreshed, {', '.join(silent)} does not answer")
                    return ReadResult(id_, {**outputs, "reachable": False}, inputs)
                return ReadResult("", {})
            # With the epoch, so that the stack's callouts run for one that a refresh has come upon, too.
            found = {
                **_status_outputs(world, known.plan),
                **_moved(world, known.plan, props),
                **stack_hooks(world, known.plan, props),
            }
        except DrError as error:
            session.say(f"plan {known.plan}: not refreshed ({error})")
            return ReadResult(id_, {**outputs, "reachable": False}, inputs)
        return ReadResult(id_, {**outputs, **found, "reachable": True}, inputs)

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        from dr_provider.reconcile.provision_plans import release_plan

        old = bag.read(DrPlanProps, props)
        with session.sentence():
            world = session.settled(session.of_document(old.document, old.stack, _pins(props)))
            for line in release_plan(world, old.plan, _owner(old, id_.rpartition("@")[2])).notes:
                session.say(line)


# -- asking and doing -----------------------------------------------------------------------------


def _want(props: DrPlanProps, by: str) -> Want:
    from dr_provider.reconcile.decision import Want

    return Want(
        site=props.declared_site, word=props.force, point=props.point, by=by, stack=props.stack, adopt=props.adopt
    )


def _decide(world: World, props: DrPlanProps) -> Decision:
    from dr_provider.reconcile.run import decide_plan

    return decide_plan(world, props.plan, _want(props, world.by))


def _owner(props: DrPlanProps, incarnation: str) -> Any:
    from dr_provider.model.records import Owner

    return Owner(props.topology, props.stack, incarnation)


def _bring_about(wanted: DrPlanProps, incarnation: str, olds: dict[str, Any]) -> dict[str, Any]:
    """Run what is decided and give the outputs; raises one sentence where it is refused or fails before the commit."""
    from dr_provider.reconcile.provision_plans import check_plan, take_plan
    from dr_provider.reconcile.run import run_plan
    from dr_provider.resources.callouts import stack_hooks

    owner = _owner(wanted, incarnation)
    with session.sentence():
        world = session.of_document(wanted.document, wanted.stack, _pins(olds))
        check_plan(world, wanted.plan, owner, adopt=wanted.adopt)
        session.touched(world)
        outcome = run_plan(world, wanted.plan, _want(wanted, world.by))
        take_plan(world, wanted.plan, owner)
        world.look(refresh=True)
        for line in (*outcome.failures, *outcome.warnings, *outcome.remarks):
            session.say_once(wanted.plan, line)
        if outcome.decision.kind != "create":  # what was only just made has no recovery point yet
            _say_readiness(world, wanted.plan)
        found = _status_outputs(world, wanted.plan)
        moved = _moved(world, wanted.plan, {**olds, "seconds": None if outcome.point else olds.get("seconds")})
        if outcome.decision.kind in ("planned", "disaster", "resolve", "rollback"):
            moved["seconds"] = round(outcome.seconds, 3)
        return {
            **bag.write(wanted),
            "incarnation": incarnation,
            "reachable": True,
            **found,
            **moved,
            "kind": outcome.decision.kind,
            "differs": outcome.decision.exit_bad,
            "failures": list(outcome.failures),
            "warnings": list(outcome.warnings),
            "safety": list(outcome.safety),
            **stack_hooks(world, wanted.plan, olds),
        }


def _say_readiness(world: World, plan: str) -> None:
    """What would keep the plan from being moved the next time: lines, never a difference or a failure (SPEC.md, Readiness)."""
    from dr_provider.reconcile.readiness import judge_plans

    for item in judge_plans([world.view(plan)])[plan]:
        if item.level == "problem" and item.check not in ("made", "standing"):
            session.say_once(plan, f"warning: not ready to be moved: {item.found} {item.todo}".rstrip())


# -- observed -------------------------------------------------------------------------------------


def _observed(world: World, plan: str) -> dict[str, Any]:
    from dr_provider.reconcile.status import plan_status

    return dict(plan_status(world.view(plan)))


def _blind(world: World, plan: str) -> bool:
    """Nobody who answers knows the plan, and somebody is silent: nothing can be compared."""
    view = world.view(plan)
    return view.epoch is None and any(view.seen.array(a) is None for a in world.topology.plan_arrays(plan))


def _status_outputs(world: World, plan: str) -> dict[str, Any]:
    """What is observed, as outputs; lists that can be long go as JSON text."""
    status = _observed(world, plan)
    seen = world.look()
    newest = status.get("recoveryPoint") or {}
    return {
        **{name: status[name] for name in _OBSERVED},
        "protected": status["protected"],
        "newestPoint": newest.get("id"),
        "newestPointTime": newest.get("time"),
        "vms": json.dumps(status["vms"], sort_keys=True, separators=(",", ":")),
        "mirrors": json.dumps(status["mirrors"], sort_keys=True, separators=(",", ":")),
        "pins": json.dumps(
            {name: state.own_id for name in sorted(seen.arrays) if (state := seen.array(name)) is not None}
        ),
    }


def _moved(world: World, plan: str, olds: dict[str, Any]) -> dict[str, Any]:
    """How the plan came to be where it is: from the record of its epoch, so that it is true whoever moved it."""
    epoch = world.view(plan).epoch
    if epoch is None:
        return {}
    same = olds.get("epochId") == epoch.id
    return {
        "epochId": epoch.id,
        "recoveryPoint": epoch.point,
        "lossSeconds": epoch.loss_seconds,
        "loss": epoch.loss_statement or "nothing is lost",
        "seconds": olds.get("seconds") if same else None,
    }


def _pins(props: dict[str, Any]) -> dict[str, str]:
    known = json.loads(props.get("pins") or "{}")
    return {str(name): str(own_id) for name, own_id in known.items()}


def _same_type(now: Any, old: Any) -> Any:
    """Numbers come back from the state as floats, tuples as lists."""
    if isinstance(now, int) and isinstance(old, float):
        return int(old)
    return list(old) if isinstance(old, tuple) else old


def _changes(old: Any, new: str) -> list[str]:
    """What of the topology changes, short; nothing at the first time."""
    from dr_provider.model.changes import describe_changes
    from dr_provider.model.errors import BadInput

    if not old or old == new:
        return []
    try:
        return list(describe_changes(session.topology_of(str(old)), session.topology_of(new)))
    except BadInput:
        return ["topology: changed from a form that this version does not read"]


class DrPlan(Resource, module="dr", name="DrPlan"):
    """Outputs are as of the plan's last change, or the last refresh. `vms` and `mirrors` are JSON, as in `dr status --json`.

    `callouts`: what those that the stack runs go by (resources/callouts.py), JSON.
    """

    activeSite: pulumi.Output[str | None]
    epoch: pulumi.Output[int | None]
    phase: pulumi.Output[str | None]
    degraded: pulumi.Output[list[str] | None]
    protected: pulumi.Output[bool | None]
    recoveryPoint: pulumi.Output[str | None]
    newestPoint: pulumi.Output[str | None]
    loss: pulumi.Output[str | None]
    lossSeconds: pulumi.Output[float | None]
    seconds: pulumi.Output[float | None]
    vms: pulumi.Output[str | None]
    mirrors: pulumi.Output[str | None]
    failures: pulumi.Output[list[str] | None]
    warnings: pulumi.Output[list[str] | None]
    callouts: pulumi.Output[str | None]

    OUTPUTS = (
        "activeSite", "epoch", "phase", "degraded", "protected", "recoveryPoint", "newestPoint", "loss", "lossSeconds",
        "seconds", "vms", "mirrors", "failures", "warnings", "callouts",
    )  # fmt: skip

    def __init__(self, name: str, props: DrPlanProps, opts: pulumi.ResourceOptions | None = None) -> None:
        inputs = {k: v for k, v in bag.write(props).items() if k not in ("changes", "pendingActions")}
        # The document is long and shown as `changes`; the engine would print it whole.
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hide_diffs=["document"]))
        super().__init__(DrPlanProvider(), name, {**inputs, **dict.fromkeys(self.OUTPUTS)}, opts)
