"""The claim and its end: who may write from now on. What cannot be taken back is on all reachable arrays before the commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.errors import ArrayFull, DeviceFault, DrError, MoveInProgress, NotReady, Unreachable
from dr_provider.model.records import Claim, Declared, Epoch, Split
from dr_provider.model.units import counted
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.actions import callouts, fencing
from dr_provider.reconcile.clocks import clocks_of
from dr_provider.reconcile.context import Run, listed
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.placement import reservation_tag
from dr_provider.reconcile.source import final_kind
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.word import parse_word

__all__ = [
    "aborting",
    "choose",
    "choose_anew",
    "claim",
    "commit",
    "declare",
    "end_window",
    "prove",
    "proven",
    "record",
    "scan",
    "split",
    "withdraw",
]


def point_hold(claim_id: str) -> str:
    """The hold on a point that a move has chosen."""
    return f"point.{claim_id}"


def claim(run: Run, action: Action) -> str:
    """Claim the next epoch on every array of the plan that answers, before anything is stopped."""
    view, target, origin = run.view, action.of["site"], action.of["origin"]
    epoch = run.epoch()
    running = view.running_at(origin)
    made = Claim(
        run.plan,
        epoch.number + 1,
        keys.new_id(),
        target,
        origin,
        action.of["kind"],
        keys.stamp(keys.now()),
        run.want.by,
        epoch.id,
        point=action.of["point"] or None,
        word=action.of.get("word") or None,
        stopped=tuple(sorted({place.vm for place in running})),
        placed={place.vm: place.host for place in running},
    )
    key = keys.claim_key(run.topology, run.plan)
    must = set(view.site_arrays(target))

    def put(name: str) -> None:
        try:
            if name in view.leftover_claims:
                run.array(name).delete_record(key, run.guard)
            if not run.array(name).create_record(key, dump(made), run.guard):
                raise MoveInProgress(
                    f"plan {run.plan}: array {name} holds a claim that was not there a moment ago; run again"
                )
        except (Unreachable, NotReady):
            if name in must:
                raise
        except (DeviceFault, ArrayFull) as error:
            if name in must:
                raise
            run.remark(f"the move goes on without its claim on array {name}: {error}")

    abreast(run.answering(), put)
    run.claim = made
    if made.point is not None:
        _hold_point(run, target, made.point, point_hold(made.id))
    declare(run, target)
    return f"epoch {made.number}, id {made.id}"


def declare(run: Run, site: str) -> None:
    """Write what this stack declares, so that the same declaration moves nothing twice."""
    stack = run.want.stack
    if stack is None:
        return
    number = run.claim.number if run.claim is not None else run.epoch().number
    record = Declared(run.plan, site, keys.stamp(keys.now()), number)
    run.write_all(keys.declared_key(run.topology, stack, run.plan), dump(record), must=())


def _hold_point(run: Run, site: str, point: str, tag: str) -> None:
    """Hold a point on each array of a site."""
    by_array: dict[str, dict[str, str]] = {}
    for name in run.view.volume_names:
        volume = run.view.volume(name, site)
        if volume is not None and volume.snapshot(point) is not None:
            by_array.setdefault(run.view.copy_array(name, site), {})[name] = point
    abreast(by_array, lambda array: run.array(array).hold(by_array[array], tag, run.guard))


# -- proof ------------------------------------------------------------------------------------------


def proven(view: PlanView, site: str) -> dict[str, str]:
    """VMs that are proved not to write at a site, with the proof: seen off by hypervisors, or LUNs unmapped on answering arrays."""
    silent = view.silent_hosts(site)
    running = {place.vm: place.host for place in view.running_at(site)}
    proof: dict[str, str] = {}
    for vm in view.vms:
        if not silent and vm.name not in running:
            proof[vm.name] = f"the hosts at {site} say that {vm.name} is off"
            continue
        unmapped = True
        for disk in vm.disks:
            volume = view.volume(disk.volume, site)
            lun = volume.luns.get(keys.lun_name(vm.name, disk.role)) if volume else None
            gone = view.array_state(disk.volume, site) is not None and (volume is None or lun is None)
            unmapped = unmapped and (gone or (lun is not None and lun.mapped_to is None))
        if unmapped:
            proof[vm.name] = f"the arrays at {site} say that the LUNs of {vm.name} are unmapped"
    return proof


def prove(run: Run, action: Action) -> str:
    """Read back that the source holds still; without proof of a VM only the operator's word lets the move go on, and only while nobody sees it run."""
    site = action.of["site"]
    view = run.fresh()
    proof = proven(view, site)
    made = run.open_claim()
    # What is on record was proved of the side that the claim leaves, and does not stand against what is seen now; a resolve of more than two
    # sides proves each of them.
    seen = {place.vm for place in view.running_at(site)}
    known = set(made.proof) - seen if site == made.from_site else set()
    open_vms = [vm.name for vm in view.vms if vm.name not in proof and vm.name not in known]
    word = parse_word(run.plan, run.want.word)
    said = made.word or (str(word) if word is not None and word.epoch == run.epoch().number else None)
    running = [f"{place.vm} runs on {place.host}" for place in view.running_at(site) if place.vm in open_vms]
    if running and said is not None:
        raise DrError(
            f"plan {run.plan}: {', '.join(running)} at {site} and could not be stopped; the operator's word stands for what is silent, not for what is seen running; nothing was broken; run again, or cut the power there"
        )
    if open_vms and said is None:
        silent = [*view.silent_hosts(site).values(), *view.silent_arrays(site).values()]
        raise DrError(
            f"plan {run.plan}: not proved to be stopped at {site}: {', '.join(open_vms)} ({'; '.join([*running, *silent]) or 'LUNs still mapped'}); nothing was broken"
        )
    proved = {"proof": tuple(sorted({*known, *proof}))} if site == made.from_site else {}
    run.change_claim(**proved, word=said)
    if open_vms:
        return f"by the operator's word ({said}) for {', '.join(open_vms)}"
    return "; ".join(
        sorted({why.replace(f"of {vm} ", "").replace(f"that {vm} is", "that they are") for vm, why in proof.items()})
    )


# -- point and scan -----------------------------------------------------------------------------------


def choose(run: Run, action: Action) -> str:
    """Fix the final snapshot as the point, now that it is whole at the target."""
    site = action.of["site"]
    view, made = run.fresh(), run.open_claim()
    wanted = final_kind(made.id)
    final = next((p for p in reversed(view.points) if p.intent.kind == wanted and p.complete_at(site)), None)
    if final is None:
        raise DrError(
            f"plan {run.plan}: the final snapshot is not whole at {site} after its transfer; nothing was broken; run again"
        )
    run.change_claim(point=final.id)
    _hold_point(run, site, final.id, point_hold(made.id))
    return final.id


def choose_anew(run: Run, point: str) -> None:
    """Fix another point than the claim names; what was held for the one before is let go."""
    made = run.open_claim()
    _hold_point(run, made.site, point, point_hold(made.id))
    run.change_claim(point=point)
    if made.point is not None:
        _release(run, made.site, point_hold(made.id))
        _hold_point(run, made.site, point, point_hold(made.id))
        run.remark(f"recovery point {made.point} is not to be had any more; the move goes on with {point}")


def scan(run: Run, action: Action) -> str:
    """Find the backups on the broken volumes: every VM's record, and whether its disks are there. The host names in them play no part."""
    site = action.of["site"]
    view, made = run.fresh(), run.open_claim()
    point = run.point(str(made.point))
    if not point.complete_at(site):
        raise DrError(
            f"plan {run.plan}: recovery point {point.id} is not whole at {site} any more; nothing was committed"
        )
    for name in point.members:
        volume = view.volume(name, site)
        if volume is None or not volume.writable:
            raise DrError(
                f"plan {run.plan}: volume {name} at {site} is not writable after its break; nothing was committed"
            )
    found, wanted = set(point.intent.definitions), set(view.spec.members)
    for vm in sorted(found - wanted):
        run.remark(
            f"VM {vm} is in recovery point {point.id} but not in the topology; it is not restored (its disks are kept)"
        )
    for vm in sorted(wanted - found):
        run.remark(f"VM {vm} is in the topology but not in recovery point {point.id}; it is made by `up` or dr apply")
    for vm in sorted(found & wanted):
        recorded = run.recorded(vm)
        spec = view.topology.vms[vm].there(site)
        if recorded is not None and (recorded.cpus, recorded.memory) != (spec.cpus, spec.memory):
            run.remark(
                f"VM {vm} ran with {counted(recorded.cpus, 'CPU')} and {recorded.memory >> 20} MiB and is restored with {spec.cpus} and {spec.memory >> 20} MiB, as the topology says of {site}"
            )
    return f"{counted(len(found & wanted), 'VM')} found in {point.id}"


# -- the end of a claim ---------------------------------------------------------------------------------


def commit(run: Run, action: Action) -> str:
    """Commit the epoch: from here on the other side is stale."""
    site, made = action.of["site"], run.open_claim()
    loss = run.decision.loss
    epoch = Epoch(
        run.plan,
        made.number,
        made.id,
        site,
        "committed",
        keys.stamp(keys.now()),
        made.kind,
        made.by,
        made.previous,
        made.from_site,
        made.point,
        made.word,
        made.proof,
        loss.seconds,
        loss.statement,
        window_until=_window(action),
        clocks=clocks_of(run.view.seen, run.answering()),
    )
    callouts.at_end(run, made.id, aborted=False)
    # At the target first: where it cannot be written there, no other array may say that it was.
    key, there = keys.epoch_key(run.topology, run.plan, epoch.number, epoch.id), run.view.site_arrays(site)
    abreast(there, lambda name: run.array(name).put_record(key, dump(epoch), run.guard))
    run.committed = epoch
    run.claim = None
    run.write_all(key, dump(epoch), must=(), but=there)
    run.meanwhile(lambda: fencing.tell_witness(run, epoch))
    if made.kind == "resolve":
        run.write_all(keys.split_key(run.topology, run.plan), None, must=())
    # A claim whose epoch is committed counts no more, and every hold stands: VMs need not wait for the tidying.
    run.meanwhile(lambda: _tidy(run, made, site))
    return ""


def _window(action: Action) -> str | None:
    """Until when the side that is left stays untouched, by this machine's clock."""
    seconds = action.of.get("window")
    return keys.stamp(keys.now() + timedelta(seconds=float(seconds))) if seconds else None


def end_window(run: Run, action: Action) -> str:
    """Put on record that the commit window is over; what was the untouched side may be changed from here on."""
    epoch = replace(run.fresh().epoch or run.epoch(), window_closed=True)
    key = keys.epoch_key(run.topology, run.plan, epoch.number, epoch.id)
    run.write_all(key, dump(epoch), must=run.view.site_arrays(epoch.site))
    run.fresh()
    return ""


def _tidy(run: Run, made: Claim, site: str) -> None:
    """What a commit leaves to be cleared: the claim that has ended, and the hold on its point, which becomes the fork's."""
    run.write_all(keys.claim_key(run.topology, run.plan), None, must=())
    if made.point is not None:
        # The fork stays held until both sides stand beyond it.
        _hold_point(run, site, made.point, f"fork.e{made.number}")
        _release(run, site, point_hold(made.id))


def _release(run: Run, site: str, tag: str) -> None:
    by_array: dict[str, list[str]] = {}
    for name in run.view.volume_names:
        if run.view.volume(name, site) is not None:
            by_array.setdefault(run.view.copy_array(name, site), []).append(name)
    abreast(by_array, lambda array: run.array(array).release(by_array[array], tag, run.guard))


def aborting(run: Run, action: Action) -> str:
    run.change_claim(aborting=True)
    return ""


def withdraw(run: Run, action: Action) -> str:
    """The claim is on record as aborted, then gone; what it kept is given back."""
    made = run.open_claim()
    run.fresh()
    callouts.at_end(run, made.id, aborted=True)
    over = Epoch(
        run.plan, made.number, made.id, made.site, "aborted", keys.stamp(keys.now()), made.kind, run.want.by, made.previous,
        made.from_site, made.point, made.word, made.proof,
    )  # fmt: skip
    run.write_all(keys.epoch_key(run.topology, run.plan, over.number, over.id), dump(over), must=())
    _release(run, made.site, point_hold(made.id))
    fencing.return_grant(run, made)
    give_back(run, made.site)
    run.write_all(keys.claim_key(run.topology, run.plan), None, must=())
    run.claim = None
    return ""


def give_back(run: Run, site: str) -> None:
    """Release the capacity that the plan's move keeps at a site."""
    tag = reservation_tag(run.topology, run.plan)
    for host in run.world.topology.hosts_at(site):
        state = run.view.seen.host(host.name)
        if state is not None and any(kept.tag == tag for kept in state.reservations):
            try:
                run.world.fleet.host(host.name).release(tag)
            except (Unreachable, NotReady, DeviceFault):
                continue  # every later run of the plan gives it back


def record(run: Run, action: Action) -> str:
    """Bring arrays that were away up to the epoch in force, and clear claims and splits that have ended."""
    epoch = run.epoch()
    key = keys.epoch_key(run.topology, run.plan, epoch.number, epoch.id)
    for name in listed(action.of["arrays"]):
        run.array(name).put_record(key, dump(epoch), run.guard)
        if name in run.view.leftover_claims:
            run.array(name).delete_record(keys.claim_key(run.topology, run.plan), run.guard)
        if run.view.split is None:  # one that a resolve has ended while this array was away
            run.array(name).delete_record(keys.split_key(run.topology, run.plan), run.guard)
    return ""


def split(run: Run, action: Action) -> str:
    """Put on record that both sides have written, before anything of the evidence changes."""
    epoch = run.epoch()
    found = Split(
        run.plan,
        tuple(listed(action.of["sites"])),
        action.of["fork"] or None,
        tuple(action.of["evidence"].split("\n")),
        keys.stamp(keys.now()),
        epoch.number,
    )
    run.write_all(keys.split_key(run.topology, run.plan), dump(found), must=run.answering())
    sides = " and ".join(found.sides)
    much = "both" if len(found.sides) == 2 else "all"
    run.remark(f"{sides} have {much} been written: nothing is resynced until dr resolve {run.plan} --keep SITE")
    return ""
