"""Whose a volume, LUN, mirror or plan is: taken by a create, released by a delete, never another's without being told so.

Invariant: a delete acts only for the incarnation that it was made under. The engine creates the new one before it deletes the old
one (a replace, a changed parent), so by then what the old one names is the new one's, and nothing is done.

Owner records stand on every array of the thing. One that was silent may come back with an older record; incarnations sort by time, so
the latest counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dr_provider.model import keys
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import Conflict, MoveInProgress, NotReady, Unreachable
from dr_provider.model.records import Claim, Epoch, Guard, Owner, Tombstone
from dr_provider.model.state import Observation
from dr_provider.reconcile.clocks import clocks_of
from dr_provider.reconcile.terms import what_is_open
from dr_provider.reconcile.world import World

__all__ = [
    "bury",
    "check_taking",
    "claim_guard",
    "forget",
    "give_back",
    "open_claim",
    "owner_of",
    "silent_among",
    "take",
]


def owner_of(seen: Observation, topology: str, kind: str, name: str, arrays: Iterable[str]) -> Owner | None:
    """The latest owner that any answering array has on record; None: none answers with one."""
    key = keys.owner_key(topology, kind, name)
    found = [
        load(Owner, state.records[key], f"array {array}, {key}")
        for array in arrays
        if (state := seen.array(array)) is not None and key in state.records
    ]
    return max(found, key=lambda owner: (owner.incarnation, not owner.stack), default=None)


def check_taking(kind: str, name: str, there: Owner | None, owner: Owner, *, adopt: bool) -> None:
    """Raise Conflict where what is there is another stack's and `adopt` does not say to take it over."""
    if there is None or adopt:
        return
    if there.topology != owner.topology:
        raise Conflict(
            f"{kind} {name} belongs to topology {there.topology}, and {owner.topology} wanted it; nothing was done: use another name"
        )
    if there.stack in ("", owner.stack):
        return
    mine = f"stack {owner.stack}" if owner.stack else "`dr` without a stack"
    raise Conflict(
        f"{kind} {name} belongs to stack {there.stack}, and {mine} wanted it; nothing was done: "
        f"leave it to that stack, or add {name} to dr:adopt to take it over"
    )


@dataclass(frozen=True)
class _Change:
    key: str
    value: str


def take(world: World, kind: str, name: str, plan: str, arrays: Iterable[str], owner: Owner) -> None:
    """Write the owner on every answering array that has another, and take away a tombstone wherever there is one."""
    topology, seen = world.topology.name, world.look()
    wanted = _Change(keys.owner_key(topology, kind, name), dump(owner))
    tombstone = keys.tombstone_key(topology, kind, name)
    for array in arrays:
        state = seen.array(array)
        if state is None:
            continue
        if state.records.get(wanted.key) != wanted.value:
            _put(world, array, wanted, claim_guard(topology, plan))
    for array in seen.arrays:
        state = seen.array(array)
        if state is not None and tombstone in state.records:
            try:
                world.fleet.array(array).delete_record(tombstone)
            except (Unreachable, NotReady) as error:
                # What is in the topology again has no use for it, and `forget-removed` takes it away later.
                world.progress(f"{kind} {name}: that it was removed stays on record at {array} for now ({error})")


def give_back(world: World, kind: str, name: str, plan: str, arrays: Iterable[str], owner: Owner) -> None:
    """Released: the data stays, and whoever wants it may take it."""
    take(world, kind, name, plan, arrays, Owner(owner.topology, "", owner.incarnation))


def forget(world: World, kind: str, name: str, arrays: Iterable[str]) -> None:
    """No record is left on what answers: the thing is destroyed."""
    for array in arrays:
        if world.look().array(array) is not None:
            try:
                world.fleet.array(array).delete_record(keys.owner_key(world.topology.name, kind, name))
            except (Unreachable, NotReady):
                continue


def bury(
    world: World,
    kind: str,
    name: str,
    plan: str,
    arrays: Iterable[str],
    owner: Owner,
    *,
    delete_data: bool = False,
    volume: str = "",
) -> None:
    """Leave a tombstone on every array that answers: a side that is silent now must learn that the thing is gone (`tombstones.py`)."""
    topology, now = world.topology.name, keys.stamp(keys.now())
    clocks = clocks_of(world.look(), world.topology.arrays)
    record = dump(Tombstone(kind, name, plan, now, owner.incarnation, delete_data, tuple(arrays), volume, clocks))
    for array in world.topology.arrays:
        if world.look().array(array) is not None:
            _put(world, array, _Change(keys.tombstone_key(topology, kind, name), record), Guard())


def _put(world: World, array: str, change: _Change, guard: Guard) -> None:
    try:
        world.fleet.array(array).put_record(change.key, change.value, guard)
    except (Unreachable, NotReady) as error:
        # Its copy of the record is written when the thing is next changed; the latest incarnation counts until then.
        world.progress(f"{change.key}: not on record at {array} yet ({error})")


def silent_among(seen: Observation, arrays: Iterable[str]) -> dict[str, str]:
    """The arrays that do not answer, with the reason; one that is not in the topology any more does not."""
    return {
        array: str(getattr(seen.arrays.get(array), "reason", "it is not in the topology any more"))
        for array in arrays
        if seen.array(array) is None
    }


def claim_guard(topology: str, plan: str) -> Guard:
    """What every change here carries: the array refuses it while a move of the plan is under way."""
    return Guard(absent=(keys.claim_key(topology, plan),))


def open_claim(world: World, plan: str, arrays: Iterable[str]) -> Claim | None:
    """The plan's move under way, also for a plan that is not in the topology any more."""
    if plan in world.topology.plans:
        return world.view(plan).claim
    topology, seen = world.topology.name, world.look()
    claims: list[Claim] = []
    ended: set[str] = set()
    for array in arrays:
        state = seen.array(array)
        if state is None:
            continue
        if text := state.records.get(keys.claim_key(topology, plan)):
            claims.append(load(Claim, text, f"array {array}, claim of plan {plan}"))
        prefix = keys.epoch_prefix(topology, plan)
        ended |= {load(Epoch, t, f"array {array}, {k}").id for k, t in state.records.items() if k.startswith(prefix)}
    return next((claim for claim in claims if claim.id not in ended), None)


def refuse_in_move(world: World, plan: str, arrays: Iterable[str], what: str) -> None:
    """Raise MoveInProgress where the plan has a move under way."""
    claim = open_claim(world, plan, arrays)
    if claim is not None:
        raise MoveInProgress(
            f"{what}: {what_is_open(claim)} is under way for plan {plan} (by {claim.by}, since {claim.time}); nothing was removed: run again after it"
        )
