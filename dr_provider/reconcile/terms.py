"""What stands in the way of a move, and what it gives up: intent, the operator's word, silence at the target, point and loss. Pure.

Invariant: every "no" is a sentence that names the object, what was found, and the next thing to do.
"""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.errors import DrError, Refused, Unreachable
from dr_provider.model.records import Claim, Epoch
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.reconcile.decision import Decision, Loss, Want
from dr_provider.reconcile.fencing import fence_of, granted_elsewhere, unproved
from dr_provider.reconcile.points import best_point, fetches, lacking_at, named_point
from dr_provider.reconcile.source import Source, final_kind
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.word import Word, ask_for_word

__all__ = [
    "choose",
    "how_to_finish",
    "is_beyond",
    "is_broken",
    "loss_of",
    "needs_word",
    "not_known",
    "not_meant",
    "restorable",
    "split_refusal",
    "target_faults",
    "what_is_open",
    "word_notes",
]


def not_known(view: PlanView, so: str) -> DrError:
    """Why nothing is done with a plan of which no epoch is seen; `so`: what follows from that."""
    plan = view.spec.name
    if silent := view.may_know:
        return Unreachable(f"plan {plan}: nothing that answers knows it, so {so}; silent: {'; '.join(silent.values())}")
    return Refused((f"plan {plan} was never made, so {so}; make it first (pulumi up of its stack, or dr apply)",))


def split_refusal(view: PlanView) -> Decision:
    assert view.split is not None
    plan, sides = view.spec.name, " and ".join(view.split.sides)
    much, losers = ("both", "the other") if len(view.split.sides) == 2 else ("all", "every other")
    kept = f"({losers}'s data stays readable as a safety copy)"
    claim = view.claim
    if claim is not None and claim.kind == "resolve":
        by = f"(epoch {claim.number}, by {claim.by})"
        way = f"A resolve to {claim.site} is under way {by}: finish it with {how_to_finish(plan, claim)} {kept}, or call it off with dr abort {plan}"
    else:
        way = f"Say which side to keep: dr resolve {plan} --keep SITE {kept}"
    since = view.split.fork or "their fork"
    refusal = f"plan {plan} is split: {sides} have {much} written since {since}; nothing is moved or resynced. {way}"
    return Decision(plan, "none", authority=None, refused=(refusal,), warnings=view.split.evidence)


def not_meant(view: PlanView, want: Want, epoch: Epoch, word: Word | None) -> str | None:
    """Intent: a stack moves a plan only when its declared site differs from what that same stack last declared."""
    if want.stack is None:
        return None
    last = view.declared.get(want.stack)
    plan = view.spec.name
    if last is not None and last.site != want.site:
        return None
    if last is None and word is not None and word.epoch == epoch.number:
        return None
    said = f"plan {plan} is active at {epoch.site} since epoch {epoch.number} by {epoch.by}, and this stack declares {want.site}"
    if last is None:
        return f"{said} for the first time, which moves nothing without the operator's word; {ask_for_word(plan, epoch.number)}, or set dr:activeSites.{plan} to {epoch.site}"
    return f"{said} as before, which moves nothing; set dr:activeSites.{plan} to {epoch.site}"


def what_is_open(claim: Claim) -> str:
    """What people call an open claim: a move, a resolve or a rollback, to its site."""
    return f"a {claim.kind if claim.kind in ('resolve', 'rollback') else 'move'} to {claim.site}"


def how_to_finish(plan: str, claim: Claim) -> str:
    """The command that brings an open claim to its end."""
    own = {"resolve": f"dr resolve {plan} --keep {claim.site}", "rollback": f"dr rollback {plan}"}
    return own.get(claim.kind, f"dr failover {plan} --to {claim.site}")


def word_notes(plan: str, word: Word | None, epoch: Epoch, *, used: bool) -> tuple[str, ...]:
    if word is None or (used and word.epoch == epoch.number):
        return ()
    why = (
        "not needed"
        if word.epoch == epoch.number
        else f"for epoch {word.epoch}, and the plan is at epoch {epoch.number}"
    )
    return (f"plan {plan}: the operator's word is {why}, and is ignored",)


def target_faults(view: PlanView, target: str) -> list[str]:
    faults = []
    for array, reason in view.silent_arrays(target).items():
        faults.append(f"plan {view.spec.name} cannot move to {target}: its array {array} is silent ({reason})")
    hosts = view.topology.plan_hosts(view.spec.name, target)
    if not any(view.seen.host(host.name) for host in hosts):
        names = ", ".join(host.name for host in hosts) or "none"
        faults.append(f"plan {view.spec.name} cannot move to {target}: no host that it allows there answers ({names})")
    return faults


def choose(
    view: PlanView, want: Want, claim: Claim | None, source: Source, target: str
) -> tuple[RecoveryPoint | None, bool, str]:
    """The point to break at, whether a final snapshot comes (then the point is known only after it), or the sentence why neither is to be had."""
    if claim is not None and claim.point is not None:
        fixed = next((p for p in view.points if p.id == claim.point), None)
        if fixed is None or fetches(view, fixed, target) is not None:
            return fixed, False, ""
        # Its missing parts were to come from a copy that is silent by now.
        broken = [name for name in view.volume_names if is_broken(view, claim, name, target)]
        if broken:
            return fixed, False, _half_broken(view, fixed, target, broken)
    elif want.point is not None:
        return named_point(view, target, want.point), False, ""
    elif source.final:
        return None, True, ""
    best = best_point(view, target)
    if best is None:
        # What would bring its copies back in line is refused with the move.
        said = f"plan {view.spec.name}: no recovery point is whole at {target}, and {view.active} cannot send one now"
        return None, False, said
    return best, False, ""


def _half_broken(view: PlanView, point: RecoveryPoint, target: str, broken: list[str]) -> str:
    """Why a move that has broken some volumes at its point cannot go on: the others cannot be broken at it. Empty: all that lack it are broken."""
    plan, lacking = view.spec.name, [name for name in lacking_at(point, target) if name not in broken]
    if not lacking:
        return ""
    return (
        f"plan {plan}: {', '.join(broken)} at {target} is broken at recovery point {point.id} already, and {target} lacks that point of "
        f"{', '.join(lacking)}, which cannot be fetched from any site that answers; bring back a site that has it and run this again, or call the move "
        f"off with dr abort {plan} and move at a point that is whole at {target}"
    )


def needs_word(
    view: PlanView, source: Source, claim: Claim | None, final: bool, target: str, *, given: bool = False
) -> list[str]:
    """Why this move cannot go on without the operator's word. `given`: it is there, and stands above a fence that could be waited for."""
    plan, origin = view.spec.name, source.site
    said = granted_elsewhere(view, claim)
    fence = fence_of(view, origin)
    if unproved(source, claim) and (given or not fence.holds):
        names = ", ".join(source.unproved)
        said.append(
            f"plan {plan}: nothing proves that {names} no longer run at {origin} ({'; '.join(source.silence)}); silence proves nothing"
            f"{f'; {fence.why}' if fence.why else ''}"
        )
    fixed = claim is not None and claim.point is not None
    if not final and not fixed and source.cut:
        said.append(
            f"plan {plan}: {origin} is well but {', '.join(source.cut)} cannot be sent to {target} (the link between the arrays is cut), so what has not been sent would be lost"
        )
    if not final and not fixed and claim is not None and claim.proof and not said:
        said.append(
            f"plan {plan}: the last transfer from {origin} did not end and {origin} is silent now, so what it had not sent would be lost"
        )
    return said


def restorable(view: PlanView, vm: str, point: RecoveryPoint | None, warnings: list[str]) -> bool:
    """What is in both record and topology is restored; anything in only one of them is listed."""
    if unmade := sorted(set(view.topology.vms[vm].volumes()) - set(view.volume_names)):
        warnings.append(
            f"VM {vm} has a disk on {', '.join(unmade)}, which nobody has made yet; it is not restored by this move: `up` or dr apply makes it"
        )
        return False
    if point is None:
        return True
    late = sorted(set(view.topology.vms[vm].volumes()) - set(point.intent.members))
    if late:
        warnings.append(
            f"VM {vm} has a disk on {', '.join(late)}, which recovery point {point.id} does not hold yet; it is not restored by this move: the volume goes on as the newest of it that is to be had, and the next run starts the VM"
        )
        return False
    if vm in point.intent.definitions:
        return True
    warnings.append(f"VM {vm} is in the topology but not in recovery point {point.id}; it is not restored by this move")
    return False


def loss_of(view: PlanView, source: Source, claim: Claim | None, point: RecoveryPoint | None, final: bool) -> Loss:
    if final:
        return Loss(0.0, f"nothing is lost: the last state of {source.site} is sent before the break")
    if point is None:
        return Loss(None, "not known")
    # The final snapshot of an earlier move, or of one that was called off, is a point like any other.
    if claim is not None and point.intent.kind == final_kind(claim.id):
        return Loss(0.0, f"nothing is lost: {point.id} is the last state of {source.site}")
    seconds: float | None = (keys.at(view.seen.time) - keys.at(point.time)).total_seconds()
    age = f"{seconds:.0f} s before now"
    if seconds is not None and seconds < 0:
        # Whoever took it has a clock that is ahead of this one. Zero would read as nothing.
        seconds, age = None, "by a clock that is ahead of this one, so how long ago is not known"
    return Loss(seconds, f"what was written at {source.site} after {point.id} ({point.time}, {age}) is lost")


def is_broken(view: PlanView, claim: Claim | None, volume: str, target: str) -> bool:
    """Under a claim that has its point a writable copy at its target is one that the move has broken: it was made only when all were destinations."""
    there = view.volume(volume, target)
    return claim is not None and claim.point is not None and there is not None and there.writable


def is_beyond(view: PlanView, volume: str, target: str, point: RecoveryPoint | None) -> bool:
    """Whether the destination holds snapshots newer than the point."""
    there = view.volume(volume, target)
    if there is None or point is None:
        return False
    names = [snapshot.name for snapshot in there.snapshots]
    return point.id in names and names[-1] != point.id
