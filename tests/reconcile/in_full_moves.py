"""Situations of moves, and of what stands in their way, of which the decision is written down in full (in_full.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Corrupt, RestoreRecord
from dr_provider.reconcile.view import PlanView
from tests.reconcile.test_decide import FINAL, NONE_RUN
from tests.reconcile.test_fencing import (
    DARK,
    LEASE,
    LEASE_AND_WITNESS,
    PINS,
    WITNESS,
    alive,
    beat,
    grant,
    known,
    lost,
    witness,
)
from tests.reconcile.test_window import ROLLBACK, UNTOUCHED, WINDOW, left
from tests.reconcile.test_window import THREE as THREE_WITH_WINDOW
from tests.support.situations import (
    ABSENT,
    ACTIVE,
    GIB,
    LEFT,
    NAME,
    P1,
    P2,
    PLAN,
    REPLICA,
    RETURNED,
    VMS,
    Point,
    Side,
    claim,
    declared,
    drill,
    epoch,
    minute,
    moved,
    reserved,
    shop,
    split,
    view,
)

THREE = shop(sites=["east", "west", "south"])
CASCADE = shop(sites=["east", "west", "south"], via={"south-a": "west-a"})
WORD = "1: power lost at east"
BEHIND = replace(REPLICA, points=(P1,))
PARTLY = replace(REPLICA, points=(P1, replace(P2, lacking=("vol-2",))))
HALF_BROKEN = replace(PARTLY, at={"vol-1": "writable"})
TWINS = {"west-a": [epoch(2, "west", id="b")], "south-a": [epoch(2, "south", id="c")], "east-a": [epoch()]}
NEW = (P1, P2, Point(1, 2, "west"))
FORCED = (epoch(), epoch(2, "west", kind="disaster", word=WORD, point=P2.id))
HALF = {host: [reserved(1, 32 * GIB)] for host in ("west-1", "west-2")}
FULL = {host: [reserved(16, 1)] for host in ("west-1", "west-2")}
RESTORE = RestoreRecord(PLAN, "db", "r1", "east", 1, P1.id, "", "dr (operator)", minute(500))


def restoring(array: str = "east-a", **more: Any) -> dict[str, dict[str, str]]:
    record = replace(RESTORE, **more)
    return {array: {keys.restore_key(NAME, PLAN, record.vm): dump(record)}}


RESOLVE = claim("west", 3, kind="resolve")
AT_REST = replace(RETURNED, vms={"db": "off", "app": "off", "web": "running"}, mapped=("db",))
"""A side that came back with one VM that runs without its disk, and one that has its disk and is off: nothing of it can write."""


def two_arrays(document: dict[str, Any]) -> None:
    """vol-1 is on east-a and west-a, vol-2 on east-b and west-b."""
    for site in ("east", "west"):
        document["arrays"][f"{site}-b"] = {**document["arrays"][f"{site}-a"], "path": f".dr/{site}-b.db"}
    document["volumes"]["vol-2"] |= {"home": "east-b", "copies": ["west-b"]}


def corrupt(point: Point) -> dict[str, dict[str, str]]:
    mark = Corrupt(PLAN, point.id, "west", ("vol-1",), ("db.root differs",), minute(400))
    return {"west-a": {keys.corrupt_key(NAME, PLAN, point.id, "west"): dump(mark)}}


def large(document: dict[str, Any]) -> None:
    document["vms"]["db"]["memory"] = "48GiB"


def middle_alone(document: dict[str, Any]) -> None:
    """Nobody waits for app, which waits for db, which is large."""
    large(document)
    document["plans"]["shop"]["tiers"][1]["onFailure"] = "continue"


TWO = shop(two_arrays)

MOVES: dict[str, tuple[PlanView, dict[str, Any]]] = {
    "three: planned": (view(THREE), {"site": "west"}),
    "three: planned to the end of a cascade": (view(CASCADE), {"site": "south"}),
    "three: planned over a relay": (view(THREE, cut=["east-a/south-a"]), {"site": "south"}),
    "three: planned, the third dark": (view(THREE, silent=["south"]), {"site": "west"}),
    "three: disaster": (view(THREE, silent=["east"]), {"site": "west", "word": WORD}),
    "three: disaster, a part fetched": (view(THREE, silent=["east"], west=PARTLY), {"site": "west", "word": WORD}),
    "three: disaster, all fetched": (view(THREE, silent=["east"], west=ABSENT), {"site": "west", "word": WORD}),
    "three: disaster, a part not to be had": (view(THREE, silent=["east", "south"], west=PARTLY), {"site": "west", "word": WORD}),
    "three: a claimed point not to be had any more": (
        view(THREE, silent=["east", "south"], west=PARTLY, claim=claim(point=P2.id, word=WORD, proof=VMS)), {}),
    "three: a claimed point not to be had any more, broken in part": (
        view(THREE, silent=["east", "south"], west=HALF_BROKEN, claim=claim(point=P2.id, word=WORD, proof=VMS)), {}),
    "three: a claimed point, broken in part": (
        view(THREE, silent=["east"], west=HALF_BROKEN, claim=claim(point=P2.id, word=WORD, proof=VMS)), {}),
    "three: a claimed point whose part is gone from what is broken": (
        view(THREE, silent=["east", "south"], west=replace(HALF_BROKEN, at={"vol-2": "writable"}), claim=claim(point=P2.id, word=WORD, proof=VMS)), {}),
    "three: both survivors forced": (view(THREE, epochs_at=TWINS, west=ACTIVE, south=ACTIVE), {}),
    "three: resolved": (view(THREE, epochs_at=TWINS, split=split("west", "south"), west=ACTIVE, south=ACTIVE), {"site": "south", "goal": "resolve"}),
    "three: two copies out of line": (
        moved(THREE, east=RETURNED, south=replace(RETURNED, vms="none", mapped=False, last_write=None)), {}),
    "three: one out of line, a link cut": (moved(THREE, east=RETURNED, cut=["east-a/west-a", "east-a/south-a"]), {}),
    "three: a foreign copy": (moved(THREE, south=Side("foreign")), {}),
    "three: the new epoch's point not sent": (moved(CASCADE, points=(P1, P2)), {}),
    "returned": (moved(east=RETURNED), {}),
    "returned and running": (moved(east=replace(RETURNED, vms="running")), {}),
    "returned, no peer for the active side": (moved(east=RETURNED, silent=["west"]), {}),
    "stale side dark": (moved(silent=["east"]), {}),
    "VMs off": (view(east=replace(ACTIVE, vms="off")), {}),
    "VMs off, the other side dark": (view(east=replace(ACTIVE, vms="off"), silent=["west"]), {}),
    "VMs off, the other side dark, the word": (view(east=replace(ACTIVE, vms="off"), silent=["west"]), {"word": WORD}),
    "VMs off after a disaster": (view(epochs=FORCED, east=RETURNED, west=replace(ACTIVE, vms="off"), silent=["east"]), {}),
    "one VM off": (view(east=replace(ACTIVE, vms={"db": "running", "app": "off", "web": "running"})), {}),
    "LUNs not offered": (view(east=replace(ACTIVE, mapped=False)), {}),
    "a VM runs twice": (view(twice=["db"]), {"site": "west"}),
    "an epoch that one array lacks": (moved(epochs_at={"east-a": [epoch()], "west-a": [epoch(), epoch(2, "west")]}), {}),
    "a claim left over": (moved(claim_at={"east-a": claim()}), {}),
    "an array not pinned": (view(unpinned=["west-a"]), {}),
    "a volume lost where the plan is": (view(east=replace(ACTIVE, at={"vol-2": "absent"})), {}),
    "a stack that declares another site": (view(), {"site": "west", "stack": "dr/prod", "word": WORD}),
    "a stack that declares it anew": (view(declared={"dr/prod": declared("east")}), {"site": "west", "stack": "dr/prod"}),
    "a stack that declared it before": (moved(declared={"dr/prod": declared("east")}), {"site": "east", "stack": "dr/prod"}),
    "no room, planned": (view(reservations=FULL), {"site": "west"}),
    "no room, disaster": (view(silent=["east"], reservations=FULL), {"site": "west", "word": WORD}),
    "a drill in the way": (
        view(drills={"d1": drill("d1", *VMS)}, reservations={"west-1": [reserved(14, 1)], "west-2": [reserved(15, 1)]}), {"site": "west"}),
    "an older point": (view(), {"site": "west", "point": P1.id}),
    "a point while it stays": (view(), {"site": "east", "point": P1.id}),
    "a word that is not needed": (view(), {"site": "west", "word": WORD}),
    "a word of the past": (moved(), {"word": WORD}),
    "abort, the target dark": (view(claim=claim(), silent=["west"]), {"goal": "abort"}),
    "abort, the target dark, the word": (view(claim=claim(point=P2.id), silent=["west-a"]), {"goal": "abort", "word": WORD}),
    "abort of a resolve": (moved(split=split(), claim=claim("west", 3, kind="resolve"), east=LEFT), {"goal": "abort"}),
    "an array that is silent under the plan": (view(silent=["east-a"]), {}),
    "points with a VM less": (view(silent=["east"], west=replace(REPLICA, points=(replace(P2, definitions=("db",)),))), {"site": "west", "word": WORD}),
    "new points at the new side": (moved(points=NEW, east=replace(LEFT, points=(P1, P2))), {}),
    # what stands in the way
    "a word that is none": (view(), {"word": "because"}),
    "a stack that declares another site, and VMs are off": (
        view(east=NONE_RUN, declared={"dr/prod": declared("west")}), {"site": "west", "stack": "dr/prod"}),
    "a stack that declares another site, and a point": (
        view(declared={"dr/prod": declared("west")}), {"site": "west", "stack": "dr/prod", "point": P1.id}),
    "a damaged record": (view(damaged={"west-a": [keys.epoch_key(NAME, PLAN, 1, "id-1")]}), {}),
    "a damaged record, and a move": (view(damaged={"west-a": [keys.claim_key(NAME, PLAN)]}), {"site": "west"}),
    "the hosts here and the array there dark": (view(silent=["east-1", "east-2", "west-a"]), {"site": "west"}),
    "no point, no proof": (view(silent=["east"], west=replace(REPLICA, points=())), {"site": "west"}),
    "no point, no room": (
        view(east=replace(ACTIVE, at={"vol-2": "absent"}), west=replace(REPLICA, points=()), reservations=FULL), {"site": "west"}),
    "no point while the half of a copy is out of line": (
        moved(TWO, east=replace(RETURNED, mapped=False, points=()), silent=["west-b"]), {"site": "east", "word": "2: west-b is dead"}),
    "no point at a side to stop": (
        moved(east=replace(RETURNED, points=()), silent=["west-a"]), {"site": "east", "word": "2: west-a is dead"}),
    "a third side that was written": (
        moved(THREE, south=replace(RETURNED, vms="running")), {"site": "east"}),
    "a drill that leaves room": (view(drills={"d1": drill("d1", "db")}), {"site": "west"}),
    "a VM that fits nowhere and is waited for": (view(shop(large), silent=["east"], reservations=HALF), {"site": "west", "word": WORD}),
    "a VM that fits nowhere and holds nobody up": (
        view(shop(large, on_failure="continue"), silent=["east"], reservations=HALF), {"site": "west", "word": WORD}),
    "a VM that is held up and holds nobody up": (view(shop(middle_alone), silent=["east"], reservations=HALF), {"site": "west", "word": WORD}),
    "three: a part to be had of two": (view(THREE, west=BEHIND), {"site": "west", "point": P2.id}),
    "three: a part named": (view(THREE, silent=["east"], west=PARTLY), {"site": "west", "point": P2.id, "word": WORD}),
    "three: a first copy on its way": (view(THREE, silent=["east"], west=Side("empty", points=())), {"site": "west", "word": WORD}),
    "three: a copy that nothing was sent to, and that may be written": (
        view(THREE, silent=["east"], west=Side(points=())), {"site": "west", "word": WORD}),
    "three: a part missing of a copy that may be written": (
        view(THREE, silent=["east"], west=replace(PARTLY, copies="writable")), {"site": "west", "word": WORD}),
    "three: a part missing of a copy of another line": (
        view(THREE, silent=["east"], west=replace(PARTLY, at={"vol-2": "foreign"})), {"site": "west", "word": WORD}),
    "three: a point found corrupt": (view(THREE, silent=["east"], records=corrupt(P2)), {"site": "west", "word": WORD}),
    "three: a point found corrupt, named": (
        view(THREE, silent=["east"], records=corrupt(P2)), {"site": "west", "point": P2.id, "word": WORD}),
    "three: a point found corrupt, in parts": (
        view(THREE, silent=["east", "south"], records=corrupt(P2), west=PARTLY), {"site": "west", "word": WORD}),
    "a point that is none": (view(), {"site": "west", "point": "nonsense"}),
    "three: claimed, a third side that was written": (moved(THREE, claim=claim("east", 3), south=replace(RETURNED, vms="running")), {}),
    "three: claimed, a third side to stop": (moved(THREE, claim=claim("east", 3), south=AT_REST), {}),
    "three: claimed at a point, a third side that was written": (
        moved(THREE, claim=claim("east", 3, point=P2.id, word="2: gone"), silent=["west"], south=replace(RETURNED, vms="running")), {}),
    # a restore has not ended
    "a restore open": (view(records=restoring()), {}),
    "a restore open, planned": (view(records=restoring()), {"site": "west"}),
    "a restore open, disaster": (view(records=restoring(), silent=["east-1", "east-2"]), {"site": "west"}),
    "a restore open, claimed": (view(records=restoring(), claim=claim()), {}),
    "a move with a window, claimed in a disaster, and its source answers again": (
        view(WINDOW, claim=claim(kind="disaster", word=WORD, point=P2.id)), {"site": "west"}),
    "a restore that is void": (moved(records=restoring()), {}),
    "a restore of a side that was written since": (moved(east=replace(RETURNED, last_write=minute(250)), records=restoring()), {}),
    "a restore that is void, and a side that was written since": (
        moved(east=replace(RETURNED, last_write=minute(250)), epochs=(epoch(), epoch(2, "west", point=P2.id)), records=restoring("west-a", site="west")), {}),
    "a restore of a VM that left the topology": (view(records=restoring(vm="gone")), {}),
    "a restore on another host": (view(records=restoring(host="east-2")), {}),
    "a restore on a host that is silent": (view(east=replace(ACTIVE, vms="off"), records=restoring(host="east-2"), silent=["east-2"]), {}),
    "a restore whose VM may run unseen": (view(records=restoring(), silent=["east-1"]), {}),
    "a restore whose array is silent": (view(records=restoring("west-a"), silent=["east-a"]), {}),
    "a restore whose volume is lost": (view(records=restoring(), east=replace(ACTIVE, at={"vol-1": "absent"})), {}),
    "a restore whose point is gone": (view(records=restoring(point="e1-s9-0109")), {}),
    "a restore without room": (view(east=NONE_RUN, records=restoring(), reservations={h: [reserved(16, 1)] for h in ("east-1", "east-2")}), {}),
    # the point
    "a volume that came after the point": (
        view(silent=["east"], west=replace(REPLICA, points=(replace(P2, before=("vol-2",)),))), {"site": "west", "word": WORD}),
    "a volume that nobody has made yet": (
        view(unmade=["vol-2"], silent=["east"], west=replace(REPLICA, points=(replace(P2, before=("vol-2",)),), at={"vol-2": "absent"})), {"site": "west", "word": WORD}),
    "a point by a clock that is ahead": (
        view(silent=["east"], west=replace(REPLICA, points=(P1, Point(9, 9)))), {"site": "west", "word": WORD}),
    "a claimed older point": (view(silent=["east"], claim=claim(point=P1.id, word=WORD)), {}),
    "a claimed point, the source back": (view(claim=claim(point=P2.id, word=WORD)), {}),
    "a claimed point, another named": (view(claim=claim(), silent=["east"]), {"point": P1.id, "word": WORD}),
    "its own final snapshot claimed": (
        view(silent=["east"], claim=claim(point=FINAL.id, word=WORD), west=replace(REPLICA, points=(P1, FINAL))), {}),
    "a final snapshot of another move": (view(silent=["east"], west=replace(REPLICA, points=(P1, FINAL))), {"site": "west", "word": WORD}),
    "the final snapshot half-way down a cascade": (
        view(CASCADE, cut=["east-a/south-a"], claim=claim("south", from_site="east"), east=replace(NONE_RUN, points=(P1, P2, FINAL)),
             west=replace(REPLICA, points=(P1, P2, FINAL))), {}),
    "the final snapshot of one volume sent": (
        view(claim=claim(), east=replace(NONE_RUN, points=(P1, P2, FINAL)),
             west=replace(REPLICA, points=(P1, P2, replace(FINAL, lacking=("vol-2",))))), {}),
    "proved, and the source answers": (view(claim=claim(proof=VMS), east=NONE_RUN), {}),
    "a copy to level beside VMs without disks": (moved(east=AT_REST, points=(P1, P2), silent=["west-a"]), {"site": "east"}),
    "a copy to bring back beside VMs without disks": (moved(east=AT_REST), {"site": "east"}),
    # a claim is open
    **{f"claimed: {goal}": (view(claim=claim()), {"goal": goal}) for goal in ("restart", "restore", "commit", "rollback")},
    "claimed: a resolve": (moved(east=RETURNED, claim=RESOLVE), {}),
    "claimed: a resolve, to the other side": (moved(east=RETURNED, claim=RESOLVE), {"site": "east"}),
    "claimed: a resolve, rollback": (moved(east=RETURNED, claim=RESOLVE), {"goal": "rollback"}),
    "claimed: a resolve, restart": (moved(east=RETURNED, claim=RESOLVE), {"goal": "restart"}),
    "claimed: a resolve, restore": (moved(east=RETURNED, claim=RESOLVE), {"goal": "restore"}),
    "claimed: a rollback, commit": (left(claim=ROLLBACK), {"goal": "commit"}),
    "claimed: a resolve, called off": (moved(east=RETURNED, claim=replace(RESOLVE, aborting=True)), {}),
    "claimed: a rollback, there": (left(claim=ROLLBACK), {"site": "east"}),
    "claimed: a rollback, to the other side": (left(claim=ROLLBACK), {"site": "west"}),
    "claimed: a rollback, restore": (left(claim=ROLLBACK), {"goal": "restore"}),
    # a commit window
    "window: planned": (view(WINDOW), {"site": "west"}),
    "window: planned, three sites": (view(THREE_WITH_WINDOW), {"site": "west"}),
    "window: disaster": (view(WINDOW, silent=["east"]), {"site": "west", "word": WORD}),
    "window: disaster, the array answers": (view(WINDOW, silent=["east-1", "east-2"], east=replace(ACTIVE, mapped=True)), {"site": "west"}),
    "window: rollback, a word that is not needed": (left(), {"goal": "rollback", "word": "2: no need"}),
    "window: failback": (left(), {"site": "east"}),
    "window: failback beside VMs without disks": (left(east=replace(UNTOUCHED, vms=AT_REST.vms, mapped=("db",))), {"site": "east"}),
    "window: on to a third site": (left(topology=THREE_WITH_WINDOW), {"site": "south"}),
    # fencing
    "lease: waited for": (lost(LEASE, beat(alive())), {"site": "west"}),
    "lease: the word": (lost(LEASE, beat(alive())), {"site": "west", "word": WORD}),
    "lease: no guard": (lost(LEASE), {"site": "west"}),
    "lease: its record is damaged": (
        lost(LEASE, beat(alive()), damaged={"west-a": [keys.alive_key(NAME, PLAN, "east")]}), {"site": "west"}),
    "lease: claimed": (lost(LEASE, beat(alive()), claim=claim()), {}),
    "lease: claimed by the word": (lost(LEASE, beat(alive()), claim=claim(word=WORD, point=P2.id)), {}),
    "lease: claimed, proved": (lost(LEASE, beat(alive()), claim=claim(proof=VMS, point=P2.id)), {}),
    "both: planned": (view(LEASE_AND_WITNESS, witness=witness(known())), {"site": "west"}),
    "both: waited for": (lost(LEASE_AND_WITNESS, beat(alive()), witness(known())), {"site": "west"}),
    "witness: planned": (view(WITNESS, witness=witness(known())), {"site": "west"}),
    "witness: planned, it is dark": (view(WITNESS, witness=DARK), {"site": "west"}),
    "witness: waited for": (lost(WITNESS, {}, witness(beat(alive()))), {"site": "west"}),
    "witness: the word": (lost(WITNESS, {}, witness(beat(alive()))), {"site": "west", "word": WORD}),
    "witness: granted to another": (lost(WITNESS, {}, witness(beat(alive()), grant())), {"site": "west"}),
    "witness: granted to another, the word": (lost(WITNESS, {}, witness(beat(alive()), grant())), {"site": "west", "word": WORD}),
    "witness: granted already": (view(WITNESS, claim=claim(), witness=witness(known(), grant("west", of="id-2"))), {}),
    "witness: not told yet": (view(WITNESS, witness=witness(), records={"east-a": PINS, "west-a": PINS}), {}),
    "witness: it vouches": (view(WITNESS, silent=["west"], east=NONE_RUN, witness=witness(known()), records={"east-a": PINS}), {}),
    "witness: it knows of a later epoch": (
        view(WITNESS, silent=["west"], east=NONE_RUN, witness=witness(known(2, "west")), records={"east-a": PINS}), {}),
}  # fmt: skip
