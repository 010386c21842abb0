"""`dr restore`: one VM from a recovery point, beside the running one or in its place.

Beside it: a drill of that VM alone, at the site where its plan is active. In its place: a record on the array of its first disk says what is
wanted, and the steady state does it (`restoring.py`), so that whatever run comes next finishes a restore that was cut.
"""

from __future__ import annotations

from dataclasses import replace

from dr_provider.model import keys, stopping
from dr_provider.model.codec import dump
from dr_provider.model.errors import BadInput, MoveInProgress, Refused, Unreachable
from dr_provider.model.problems import listed
from dr_provider.model.records import Owner, RestoreRecord
from dr_provider.protection.catalogue import RecoveryPoint, choose_point
from dr_provider.reconcile.actions.restoring import hold_tag
from dr_provider.reconcile.decide import decide
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.drills.end import Ended, end_drill
from dr_provider.reconcile.drills.outcome import DrillOutcome
from dr_provider.reconcile.lease import hold_lease
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.points import disks_since
from dr_provider.reconcile.restoring import kept_as, open_restores, record_array, unfinished
from dr_provider.reconcile.resumed import found_unfinished
from dr_provider.reconcile.run import run_plan
from dr_provider.reconcile.terms import how_to_finish, not_known, what_is_open
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["decide_restore", "remove_restored", "restore_beside", "restore_in_place"]


def _plan_of(world: World, vm: str) -> str:
    plan = world.topology.plan_of_vm(vm)
    if plan is None:
        known = f"the VMs of topology {world.topology.name}: {', '.join(sorted(world.topology.vms))}"
        raise BadInput(f"dr restore: there is no VM {vm!r}; {known}; nothing was done")
    return plan.name


def _site(view: PlanView) -> str:
    """Where the plan is active, if a VM may be restored there now. Raises Refused and MoveInProgress."""
    plan = view.spec.name
    if view.split is not None:
        raise Refused(
            (f"plan {plan} is split, so nobody knows whose data to restore; dr resolve {plan} --keep SITE first",)
        )
    if view.epoch is None:
        raise not_known(view, "nothing is restored")
    if (claim := view.claim) is not None:
        raise MoveInProgress(
            f"plan {plan}: {what_is_open(claim)} is under way (epoch {claim.number}), so nothing is restored; finish it with "
            f"{how_to_finish(plan, claim)}, or call it off with dr abort {plan}"
        )
    return view.epoch.site


def _point(view: PlanView, vm: str, wish: str) -> RecoveryPoint:
    """The point at the active site that an id or a time names, with every disk of the VM in it. Raises Refused and BadInput."""
    site, plan = _site(view), view.spec.name
    if silent := view.silent_arrays(site):
        raise Unreachable(f"VM {vm}: nothing is restored at {site} while {'; '.join(silent.values())}")
    holders = [s for p in view.points if p.id == wish for s in view.spec.sites if p.complete_at(s)]
    if holders and site not in holders:
        raise Refused(
            (
                f"VM {vm}: recovery point {wish} is whole at {', '.join(holders)} only, and plan {plan} is active at {site}; "
                f"choose one that is whole at {site} (dr points {plan})",
            )
        )
    point = choose_point(view.points, site, wish)
    late = [disk.role for disk in disks_since(point, view.topology.vms[vm])]
    if late:
        raise Refused(
            (
                f"VM {vm}: recovery point {point.id} is from before its {'disk' if len(late) == 1 else 'disks'} {listed(late)} came into use; "
                f"choose a newer one (dr points {view.spec.name})",
            )
        )
    return point


def _host(view: PlanView, vm: str, host: str | None) -> str:
    if host is None:
        return ""
    site = _site(view)
    allowed = [h.name for h in view.topology.plan_hosts(view.spec.name, site)]
    if host not in allowed:
        raise BadInput(
            f"dr restore {vm}: {host!r} is no host that plan {view.spec.name} allows at {site}: {', '.join(allowed)}; nothing was done"
        )
    if view.seen.host(host) is None:
        raise Refused((f"VM {vm}: host {host} is silent ({view.silent_hosts(site).get(host)}); say another, or none",))
    return host


def _record(view: PlanView, vm: str, wish: str, host: str | None, by: str) -> RestoreRecord:
    """What is to be done; a restore that is under way is gone on with. Raises Refused and BadInput."""
    site, point, at = _site(view), _point(view, vm, wish), _host(view, vm, host)
    known = open_restores(view).get(vm)
    if known is not None and known.point != point.id:
        raise Refused((f"{unfinished(view)[0]}, before it is restored to {point.id}",))
    if known is not None:
        return known
    assert view.epoch is not None
    return RestoreRecord(
        view.spec.name, vm, keys.new_id(), site, view.epoch.number, point.id, at, by, keys.stamp(keys.now())
    )


def decide_restore(world: World, vm: str, point: str, host: str | None = None) -> Decision:
    """What a restore in its place would do. Raises as `restore_in_place`."""
    view = world.view(_plan_of(world, vm))
    record = _record(view, vm, point, host, world.by)
    decision = decide(replace(view, restores={**view.restores, vm: record}), Want(goal="restore", by=world.by))
    if not any(action.verb == "end-restore" and action.of["vm"] == vm for action in decision.actions):
        return decision.with_refusal(*(decision.degraded or decision.warnings))
    return decision


def restore_in_place(world: World, vm: str, point: str, host: str | None = None) -> Outcome:
    """Set a VM's disks back to a recovery point of the site where its plan is active, and start it again.

    Raises Refused, MoveInProgress, LeaseHeld, Unreachable, and BadInput for a VM, point or host that is wrong.
    """
    plan = _plan_of(world, vm)
    with stopping.busy():
        decision = decide_restore(world, vm, point, host)
        if decision.refused:
            raise Refused(decision.refused)
        with hold_lease(world, plan, f"restore of VM {vm}") as lease:
            view = world.view(plan)
            began = found_unfinished(view, lease)
            record = _record(view, vm, point, host, world.by)
            if vm not in open_restores(view):
                for volume in view.topology.vms[vm].volumes():
                    array = world.fleet.array(view.copy_array(volume, record.site))
                    array.hold({volume: record.point}, hold_tag(vm), lease.guard)
                array = world.fleet.array(record_array(view, vm, record.site))
                array.put_record(keys.restore_key(world.topology.name, plan, vm), dump(record), lease.guard)
        world.look(refresh=True)
        outcome = run_plan(world, plan, Want(goal="restore", by=world.by))
    # The run names what it kept; a run that only finishes one that was cut may have found the copy made.
    copies = (kept_as(record, volume) for volume in world.topology.vms[vm].volumes())
    outcome = replace(outcome, safety=tuple(dict.fromkeys((*outcome.safety, *copies))))
    if began is None or outcome.resumed is not None:
        return outcome
    return replace(outcome, resumed=began, remarks=(began.sentence, *outcome.remarks))


def restore_beside(world: World, vm: str, point: str, name: str, host: str | None = None) -> DrillOutcome:
    """Start a VM as it was at a recovery point beside the running one: on clones, on the drill network, with a name and cards of its own."""
    plan = _plan_of(world, vm)
    view = world.view(plan, refresh=True)
    chosen, at = _point(view, vm, point), _host(view, vm, host)
    taken = view.drills.get(name)
    if taken is not None and (taken.point != chosen.id or set(taken.vms) != {vm}):
        raise BadInput(f"dr restore {vm} --as {name}: there is another of that name; choose one, or remove it first")
    owner = Owner(world.topology.name, "", keys.new_incarnation())
    return start_drill(world, plan, _site(view), name, owner, chosen.id, only=vm, host=at or None)


def remove_restored(world: World, name: str) -> Ended:
    """Remove a VM that was restored beside the running one, with its clones. Raises BadInput for a name that is none."""
    world.look(refresh=True)
    views = {plan: world.view(plan) for plan in sorted(world.topology.plans)}
    drills = {plan: view.drills for plan, view in views.items()}
    found = [plan for plan, known in drills.items() if name in known and not known[name].stack]
    silent = {name: reason for view in views.values() for name, reason in view.unheard.items()}
    if not found and silent:
        raise Unreachable(
            f"dr restore --remove {name}: nothing that answers knows it; silent: {'; '.join(silent.values())}"
        )
    if not found:
        there = sorted({drill for known in drills.values() for drill, record in known.items() if not record.stack})
        raise BadInput(
            f"dr restore --remove {name}: there is none of that name; there are: {', '.join(there) or 'none'}; nothing was done"
        )
    return end_drill(world, found[0], name)
