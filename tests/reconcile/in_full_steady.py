"""Situations of the steady state, and beside the move, of which the decision is written down in full (in_full.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Owner, Tombstone
from dr_provider.model.state import LunState
from dr_provider.reconcile.view import PlanView
from tests.reconcile.in_full_moves import AT_REST, CASCADE, NEW, RESOLVE, THREE, TWINS, TWO, WORD, restoring
from tests.reconcile.test_decide import NONE_RUN
from tests.reconcile.test_fencing import (
    DARK,
    PINS,
    WITNESS,
    alive,
    beat,
    grant,
    known,
    with_witness,
    witness,
)
from tests.reconcile.test_repair import BY_WORD, OURS
from tests.reconcile.test_restart import clustered
from tests.reconcile.test_window import OPEN, ROLLBACK, UNTOUCHED, WINDOW, left
from tests.support.situations import (
    ABSENT,
    ACTIVE,
    LEFT,
    NAME,
    NOW,
    P1,
    P2,
    PLAN,
    REPLICA,
    RETURNED,
    VMS,
    Point,
    Side,
    claim,
    drill,
    epoch,
    minute,
    moved,
    own_tag,
    reserved,
    shop,
    split,
    view,
)

TIGHT_AND_WINDOW = shop(memory="2GiB", host_memory="4GiB", plan={"commitWindow": "1h"})
STONE = Tombstone("vm", "gone", PLAN, minute(250), "0200")
REMOVED = {"west-a": {keys.tombstone_key(NAME, "vm", "gone"): dump(STONE)}}
ALL = split("west", "south", "east")
CALLED_OFF = epoch(2, "west", id="off", state="aborted")
OLD1, OLD2 = replace(P1, before=("vol-2",)), replace(P2, before=("vol-2",))
NOTHING_THERE = Side("replica", (OLD1, OLD2), at={"vol-2": "absent"})
"""Of vol-2, which came to the plan after the points."""


def forgotten(seen: PlanView) -> PlanView:
    """db is defined, and off, on a second host of its site too."""
    (db,) = [at for at in seen.places if at.vm == "db"]
    return replace(seen, places=(*seen.places, replace(db, host="east-2", state=replace(db.state, state="off"))))


def made(lun: str) -> dict[str, dict[str, str]]:
    """Somebody has made the LUN once."""
    return {"east-a": {keys.owner_key(NAME, "lun", lun): dump(Owner(NAME, "", "i1"))}}


def in_another(seen: PlanView) -> PlanView:
    """East has a LUN of db's in vol-2 too, which is not the volume of its disk."""
    array = seen.seen.array("east-a")
    assert array is not None
    vol = array.volumes["vol-2"]
    vol = replace(vol, luns={**vol.luns, "db.root": LunState("db.root", 4096, True, None)})
    arrays = {**seen.seen.arrays, "east-a": replace(array, volumes={**array.volumes, "vol-2": vol})}
    return replace(seen, seen=replace(seen.seen, arrays=arrays))


def without_db(point: Point) -> Point:
    return replace(point, definitions=("app", "web"))


def both_wait(document: dict[str, Any]) -> None:
    document["plans"]["shop"]["tiers"][2]["after"] = ["db"]


def untold(seen: PlanView) -> PlanView:
    """The hosts say which VMs run, and not with which disks."""
    bare = [replace(at.state, definition=replace(at.state.definition, disks=())) for at in seen.places]
    return replace(seen, places=tuple(replace(at, state=state) for at, state in zip(seen.places, bare, strict=True)))


STEADY: dict[str, tuple[PlanView, dict[str, Any]]] = {
    "arrays and hosts that are not there": (view(missing=["west"]), {}),
    "two arrays behind": (
        moved(THREE, epochs_at={"east-a": [epoch()], "south-a": [epoch()], "west-a": [epoch(), epoch(2, "west")]}), {}),
    "behind, and a side that was written": (
        moved(epochs_at={"east-a": [epoch()], "west-a": [epoch(), epoch(2, "west")]}, east=replace(RETURNED, vms="running")), {}),
    "two sides that were written": (
        moved(THREE, east=replace(RETURNED, vms="running"), south=replace(RETURNED, vms="running")), {}),
    "VMs to start beside a side that was written": (
        moved(twice=["db"], east=replace(RETURNED, vms="running"), west=replace(ACTIVE, vms={"db": "running", "app": "off"})), {}),
    "VMs to start, copies to bring back": (moved(east=replace(RETURNED, mapped=False), west=replace(NONE_RUN, points=(P1, P2, OURS))), {}),
    "a VM that runs twice": (view(twice=["db"]), {}),
    "a VM that another host has not forgotten": (forgotten(view()), {}),
    "a VM to start that waits for one that runs": (
        view(shop(health={"tcp": 5432}), east=replace(ACTIVE, vms={"db": "running", "app": "off", "web": "off"})), {}),
    "a silent host, others of its cluster": (view(shop(clustered), silent=["east-1"]), {}),
    "a disk that the points hold was lost, its VM off": (
        moved(west=replace(NONE_RUN, no_luns=("db.root",), points=(P1, P2, OURS)), records=made("db.root")), {}),
    "a disk that never came to this side, its VM off": (
        moved(west=replace(NONE_RUN, no_luns=("db.root",), points=(without_db(P1), without_db(OURS))), east=replace(LEFT, points=()), records=made("db.root")), {}),
    "a disk that was lost at home": (view(east=replace(NONE_RUN, no_luns=("db.root",)), records=made("db.root")), {}),
    "a disk whose name another volume has, its VM off": (in_another(view(east=replace(NONE_RUN, no_luns=("db.root",)), records=made("db.root"))), {}),
    "a disk that was lost and is being set back": (
        view(east=replace(NONE_RUN, no_luns=("db.root",)), records={"east-a": {**made("db.root")["east-a"], **restoring()["east-a"]}}), {}),
    "off after a disaster without a word": (
        moved(epochs=(epoch(), epoch(2, "west", kind="disaster")), west=replace(NONE_RUN, points=(P1, P2)), silent=["east"]), {}),
    "off after a move by the word": (
        moved(epochs=(epoch(), epoch(2, "west", word="1: go")), west=replace(NONE_RUN, points=(P1, P2)), silent=["east"]), {}),
    "off, and two sides dark": (view(THREE, east=NONE_RUN, silent=["west", "south"]), {}),
    "off, and a volume is lost": (view(east=replace(NONE_RUN, at={"vol-1": "absent"})), {}),
    "a volume is lost under a VM that runs": (
        view(east=replace(ACTIVE, vms={"db": "running", "app": "off", "web": "off"}, at={"vol-1": "absent"})), {}),
    "a volume is lost, and a VM may run unseen": (
        view(east=replace(ACTIVE, vms={"app": "off"}, at={"vol-1": "absent"}), silent=["east-1"]), {}),
    "a volume is lost, and a VM was never made": (
        view(east=replace(ACTIVE, vms={"app": "off", "web": "off"}, at={"vol-1": "absent"}), unmade=["db"]), {}),
    "a VM that was never made, others off": (view(east=replace(ACTIVE, vms={"app": "off", "web": "off"}), unmade=["db"]), {}),
    "LUNs not offered, an array behind": (
        moved(claim_at={"east-a": claim()}, west=replace(ACTIVE, mapped=("app",), points=NEW)), {}),
    "LUNs not offered, on a volume that may not be written": (view(east=replace(ACTIVE, mapped=False, at={"vol-1": "replica"})), {}),
    "VMs to start that wait for one that runs, an array behind": (
        moved(shop(both_wait, health={"tcp": 5432}), claim_at={"east-a": claim()},
              west=replace(ACTIVE, vms={"db": "running", "app": "off", "web": "off"}, points=NEW)), {}),
    "records damaged": (
        view(damaged={"west-a": [keys.drill_key(NAME, PLAN, "d1"), keys.lease_key(NAME, PLAN, 3)]}), {}),
    "both run, and one cannot be asked": (view(east=NONE_RUN, west=ACTIVE, silent=["west-a"]), {}),
    "a side that runs without its array": (moved(east=replace(RETURNED, vms="running"), silent=["east-a"], epochs=BY_WORD), {}),
    "a VM that left the topology runs at a stale side": (
        replace(moved(shop(vms=2), east=replace(RETURNED, vms="running")), places=moved(east=replace(RETURNED, vms="running")).places), {}),
    "the witness knows of a later epoch, and the other side answers": (
        view(WITNESS, west=Side(vms="off"), witness=witness(known(2, "west")), records={"east-a": PINS}), {}),
    "capacity is kept": (moved(reservations={h: [reserved(1, 1, tag=own_tag())] for h in ("east-1", "west-1")}), {}),
    "capacity is kept, and an array is behind": (
        moved(reservations={"east-1": [reserved(1, 1, tag=own_tag())]}, claim_at={"east-a": claim()}), {}),
    "capacity is kept where VMs are to start": (
        view(east=NONE_RUN, reservations={h: [reserved(1, 1, tag=own_tag())] for h in ("east-1", "west-1")}), {}),
    "holds are left": (view(east=replace(ACTIVE, holds=("fork.2", "drill.d1")), west=replace(REPLICA, holds=("point.2",))), {}),
    "a VM was removed": (moved(records=REMOVED), {}),
    "a VM was removed, and a side is dark": (moved(records=REMOVED, silent=["east-1"]), {}),
    "a VM was removed, and nobody can be asked": (moved(records=REMOVED, silent=["east"]), {}),
    "a VM was removed, and a window is open": (left(records=REMOVED), {}),
    "a VM was removed, a window is open, and a side is dark": (left(records=REMOVED, silent=["east-1"]), {}),
    "a copy that was never made": (view(west=ABSENT), {}),
    "an absent copy of what holds nothing yet": (moved(points=(), east=ABSENT), {}),
    "an absent copy, another out of line": (moved(east=replace(RETURNED, mapped=False, at={"vol-1": "absent"})), {}),
    "no point is whole yet": (
        view(east=replace(ACTIVE, points=(replace(P1, unsealed=("vol-1",)),)), west=replace(REPLICA, points=(replace(P1, unsealed=("vol-1",)),))), {}),
    "the first copy of a volume, beside a copy out of line": (
        moved(THREE, points=(OLD1, OLD2, replace(NEW[-1], before=("vol-2",))), east=replace(RETURNED, points=(OLD1, OLD2), mapped=False, at={"vol-2": "absent"}),
              south=NOTHING_THERE), {}),
    "the first copy of a volume in the first epoch, beside a copy out of line": (
        view(THREE, east=replace(ACTIVE, points=(OLD1, OLD2)), west=NOTHING_THERE, south=replace(NOTHING_THERE, copies="writable")), {}),
    "a cascade to catch up": (view(CASCADE, epochs=(epoch(), epoch(2, "west"), epoch(3))), {}),
    "two arrays a side, one silent": (moved(TWO, east=replace(RETURNED, mapped=False), silent=["east-b"]), {}),
    "two arrays a side, one silent, the word": (
        moved(TWO, east=replace(RETURNED, mapped=False), silent=["east-b"]), {"word": "2: east-b is broken"}),
    "a host that does not tell the disks of what it runs": (untold(moved(east=replace(RETURNED, vms="running"))), {}),
    "two arrays a side, one link cut": (
        moved(TWO, east=replace(RETURNED, mapped=False, at={"vol-2": "replica"}), cut=["east-b/west-b"]), {}),
    "two arrays a side: planned": (view(TWO), {"site": "west"}),
    "two arrays a side: one link cut": (view(TWO, cut=["east-b/west-b"]), {"site": "west"}),
    "an older point, copies brought back": (moved(east=replace(RETURNED, mapped=False)), {"site": "east", "point": P1.id}),
    "an older point, a foreign copy brought back": (moved(east=Side("foreign", vms="off")), {"site": "east", "point": P1.id}),
    "one copy to level": (
        moved(east=replace(RETURNED, mapped=False, at={"vol-1": "replica"}, changed=0, points=(P1, P2)), silent=["west-a"]), {"site": "east"}),
    "copies to level at an older point": (
        moved(east=replace(RETURNED, mapped=False, changed=0, points=(P1, P2, Point(3))), silent=["west-a"]), {"site": "east", "point": P2.id}),
}  # fmt: skip

BESIDE: dict[str, tuple[PlanView, dict[str, Any]]] = {
    "new, two arrays dark": (view(THREE, epochs=[], silent=["west-a", "south-a"]), {}),
    "new, volumes are another's": (view(epochs=[], east=replace(ACTIVE, owner=Owner("bar", "", "i1"))), {}),
    "new, volumes are taken over": (view(epochs=[], east=replace(ACTIVE, owner=Owner("bar", "", "i1"))), {"adopt": True}),
    "new, with a witness": (view(WITNESS, epochs=[], missing=["west-a", "east-a"], witness=replace(DARK, missing=True)), {}),
    "abort: nothing is under way, and VMs are off": (view(east=NONE_RUN), {"goal": "abort"}),
    "abort: never made": (view(epochs=()), {"goal": "abort"}),
    "abort: all is dark": (view(silent=("east", "west")), {"goal": "abort"}),
    "abort: called off already": (view(epochs=(epoch(), CALLED_OFF), east=NONE_RUN), {"goal": "abort", "site": "east", "point": P1.id}),
    "abort: called off already, a split": (view(epochs=(epoch(), CALLED_OFF), east=NONE_RUN, split=split()), {"goal": "abort"}),
    "abort: called off before the last move": (
        moved(epochs=(epoch(), CALLED_OFF, epoch(2, "west")), west=replace(NONE_RUN, points=(P1, P2, OURS))), {"goal": "abort"}),
    "abort: of a rollback": (left(claim=ROLLBACK), {"goal": "abort"}),
    "abort: copies are broken": (view(claim=claim(point=P2.id), west=Side()), {"goal": "abort"}),
    "abort: a VM cannot start": (view(claim=claim(), east=replace(NONE_RUN, no_luns=("db.root",))), {"goal": "abort"}),
    "abort: two arrays dark": (view(TWO, claim=claim(), silent=["west"]), {"goal": "abort"}),
    "resolve: a site that is none": (moved(split=split()), {"goal": "resolve", "site": "north"}),
    "resolve: no split": (view(THREE), {"goal": "resolve", "site": "west"}),
    "resolve: a side is silent, the word": (
        moved(THREE, split=ALL, silent=["east", "south"]), {"goal": "resolve", "site": "west", "word": "2: both are off"}),
    "resolve: a side is silent, a past word": (moved(split=split(), silent=["east"]), {"goal": "resolve", "site": "west", "word": "1: past"}),
    "resolve: a VM that runs without its disks at the side that is kept": (
        moved(split=split(), twice=["db"], west=replace(ACTIVE, vms={"db": "running", "app": "off"}), east=LEFT), {"goal": "resolve", "site": "west"}),
    "resolve: claimed by the other side": (moved(split=split(), claim=RESOLVE, east=RETURNED), {"goal": "resolve", "site": "east"}),
    "resolve: claimed, and a run that says nothing of it": (moved(split=split(), claim=RESOLVE, east=RETURNED), {}),
    "resolve: a restore open at the side that is kept": (
        moved(split=split(), east=RETURNED, records=restoring("west-a", site="west", epoch=2)), {"goal": "resolve", "site": "west"}),
    "resolve: a restore open at the other side": (
        moved(split=split(), east=RETURNED, records=restoring("west-a", site="west", epoch=2)), {"goal": "resolve", "site": "east"}),
    "resolve: a restore from before the side was left": (
        moved(split=split(), east=RETURNED, records=restoring(), epochs=(epoch(), epoch(2, "west", point=P2.id), epoch(3, point=P2.id))), {"goal": "resolve", "site": "east"}),
    "the record of a split that was ended meanwhile": (moved(split=replace(split(), epoch=1)), {}),
    "resolve: of three sides": (
        view(THREE, epochs_at=TWINS, split=ALL, west=ACTIVE, south=ACTIVE), {"site": "west", "goal": "resolve"}),
    "resolve: claimed, the record gone": (moved(THREE, claim=replace(RESOLVE, from_site="south"), south=RETURNED), {}),
    "resolve: resolved already": (
        moved(epochs=(epoch(), epoch(2, "west"), epoch(3, "west", kind="resolve")), east=RETURNED), {"goal": "resolve", "site": "west"}),
    "resolve: resolved before, split anew": (
        moved(epochs=(epoch(), epoch(2, "west"), epoch(3, "west", kind="resolve")), east=RETURNED, split=split()), {"goal": "resolve", "site": "west"}),
    "resolve: the other side is in line": (moved(split=split(), points=NEW), {"goal": "resolve", "site": "west"}),
    "resolve: VMs are off": (moved(split=split(), west=replace(NONE_RUN, points=NEW), east=RETURNED), {"goal": "resolve", "site": "west"}),
    "split: on record, both run": (moved(split=split(), east=replace(RETURNED, vms="running")), {}),
    "split: both forced, all off": (
        view(THREE, epochs_at=TWINS, west=replace(NONE_RUN, mapped=True), south=replace(NONE_RUN, mapped=True)), {}),
    "split: both forced, the second runs": (view(THREE, epochs_at=TWINS, west=replace(NONE_RUN, mapped=True), south=ACTIVE), {}),
}  # fmt: skip

ONLY = Point(3, lacking=("vol-1",))
"""vol-2 came to the plan after the point that it was moved at; all that is known of it is a snapshot of its own."""
AT_OLD2 = (epoch(), epoch(2, "west", kind="disaster", word="1: power lost at east", point=OLD2.id))
HOLDS_IT = Point(4)
TWO_MOVES = {
    "west-a": [epoch(2, "west", id="b", point=OLD2.id)], "south-a": [epoch(2, "south", id="c", point=HOLDS_IT.id)], "east-a": [epoch()]}  # fmt: skip
HERE = Side(vms={"db": "running", "web": "running"}, points=(OLD1, OLD2, ONLY), at={"vol-2": "replica"})
NOT_HERE = Side(vms={"db": "running", "web": "running"}, points=(OLD1, OLD2), at={"vol-2": "absent"})
HAS_IT = Side("writable", (OLD1, OLD2, ONLY), "off")
LATE: dict[str, tuple[PlanView, dict[str, Any]]] = {
    "late: a destination": (moved(epochs=AT_OLD2, west=HERE, east=HAS_IT), {}),
    "late: a destination, a stale side to stop": (
        moved(epochs=AT_OLD2, west=HERE, east=replace(HAS_IT, vms=AT_REST.vms, mapped=("db",))), {}),
    "late: at the other site": (moved(epochs=AT_OLD2, west=NOT_HERE, east=HAS_IT), {}),
    "late: at the other site, which was written": (
        moved(epochs=AT_OLD2, west=NOT_HERE, east=replace(HAS_IT, vms="running", changed=512)), {}),
    "late: nowhere": (moved(epochs=AT_OLD2, west=NOT_HERE, east=replace(HAS_IT, points=(OLD1, OLD2), at={"vol-2": "absent"})), {}),
    "late: nowhere, the other site dark": (moved(epochs=AT_OLD2, west=NOT_HERE, east=HAS_IT, silent=["east"]), {}),
    "late: failback": (moved(epochs=AT_OLD2, west=HERE, east=HAS_IT), {"site": "east"}),
    "late: failback, a stale side to stop": (
        moved(epochs=AT_OLD2, west=HERE, east=replace(HAS_IT, vms=AT_REST.vms, mapped=("db",))), {"site": "east"}),
    "late: failback, at the other site": (moved(epochs=AT_OLD2, west=NOT_HERE, east=HAS_IT), {"site": "east"}),
    "late: a destination, beside a side that was written": (
        moved(epochs=AT_OLD2, west=HERE, east=replace(HAS_IT, vms="running", changed=512)), {}),
    "late: a destination, where nobody can be asked": (
        moved(epochs=(epoch(), epoch(2, "west", point=OLD2.id)), west=HERE, east=HAS_IT, silent=["east"]), {}),
    "late: at the side that a window leaves untouched": (
        left(replace(OPEN, point=OLD2.id), west=NOT_HERE, east=HAS_IT), {}),
    "late: after a move at a point before it": (
        view(east=replace(ACTIVE, points=(OLD1, OLD2, ONLY)), west=NOTHING_THERE), {"site": "west", "point": OLD1.id}),
    "late: after a move at a point before it, with a window": (
        view(WINDOW, east=replace(ACTIVE, points=(OLD1, OLD2, ONLY)), west=NOTHING_THERE), {"site": "west", "point": OLD1.id}),
    "late: after a move beside a third side that was written": (
        moved(THREE, epochs=AT_OLD2, claim=claim("east", 3, point=OLD1.id, word="2: gone"), silent=["west"],
              east=NOTHING_THERE, south=replace(HAS_IT, vms="running", changed=512)), {}),
    "late: after a disaster, a destination of it there": (
        view(silent=["east"], west=Side("replica", (OLD1, OLD2, ONLY))), {"site": "west", "word": WORD}),
    "late: a destination at one other site, written at the next": (
        moved(THREE, epochs=AT_OLD2, west=NOT_HERE, east=replace(HAS_IT, copies="replica"), south=replace(HAS_IT, vms="none")), {}),
    "late: written at one other site, a destination at the next": (
        moved(THREE, epochs=AT_OLD2, west=NOT_HERE, east=HAS_IT, south=replace(HAS_IT, copies="replica", vms="none")), {}),
    "late: in use since, and lost": (moved(epochs=AT_OLD2, west=replace(NOT_HERE, points=(OLD1, OLD2, NEW[-1])), east=HAS_IT), {}),
    "late: a destination, and a move called off since at a point that holds it": (
        moved(epochs=(*AT_OLD2, epoch(3, "east", id="off", state="aborted", point=HOLDS_IT.id)), west=HERE,
              east=replace(HAS_IT, points=(*HAS_IT.points, HOLDS_IT))), {}),
    "late: resolve of two moves of one number": (
        view(THREE, epochs_at=TWO_MOVES, west=HERE, east=NOTHING_THERE, south=Side(points=(OLD1, OLD2, HOLDS_IT))), {"goal": "resolve", "site": "west"}),
    "late: resolve of two moves of one number, for the other": (
        view(THREE, epochs_at=TWO_MOVES, west=HERE, east=NOTHING_THERE, south=Side(points=(OLD1, OLD2, HOLDS_IT))), {"goal": "resolve", "site": "south"}),
    "late: beyond reach": (
        moved(THREE, epochs=AT_OLD2, west=NOT_HERE, east=HAS_IT, cut=["east-a/west-a", "east-a/south-a"], south=NOTHING_THERE), {}),
    "late: resolve": (
        moved(epochs=AT_OLD2, split=split(), west=HERE, east=replace(HAS_IT, vms="running", changed=512)), {"goal": "resolve", "site": "west"}),
    "late: resolve, at the other site": (
        moved(epochs=AT_OLD2, split=split(), west=NOT_HERE, east=replace(HAS_IT, mapped=True, changed=512)), {"goal": "resolve", "site": "west"}),
}  # fmt: skip

LEASE_AND_WINDOW = shop(plan={"fencing": "lease", "commitWindow": "1h"})
WITNESS_AND_WINDOW = shop(with_witness, plan={"fencing": "witness", "commitWindow": "1h"})
AT_WEST = alive("west", epoch=2, epoch_id="id-2", counts=("east-a",))
ROLLBACKS: dict[str, tuple[PlanView, dict[str, Any]]] = {
    name: (seen, {"goal": "rollback", **want})
    for name, (seen, want) in {
        "an epoch that left another site": (left(replace(OPEN, from_site="south")), {}),
        "claimed, an epoch that does not say what it left": (left(replace(OPEN, from_site=None), claim=ROLLBACK), {}),
        "a restore open": (left(records=restoring("west-a", site="west", epoch=2)), {}),
        "a restore open, a host silent": (
            left(records=restoring("west-a", site="west", epoch=2), silent=["west-2"]), {}),
        "claimed and proved, then dark": (left(claim=replace(ROLLBACK, proof=VMS), silent=["west"]), {}),
        "a link cut": (left(cut=True), {}),
        "beside VMs without disks": (left(east=replace(UNTOUCHED, vms=AT_REST.vms, mapped=("db",))), {}),
        "lease: waited for": (left(topology=LEASE_AND_WINDOW, silent=["west"], records={"east-a": beat(AT_WEST)}), {}),
        "lease: the word": (
            left(topology=LEASE_AND_WINDOW, silent=["west"], records={"east-a": beat(AT_WEST)}), {"word": "2: west is gone"}),
        "lease: claimed by the word": (
            left(topology=LEASE_AND_WINDOW, silent=["west"], records={"east-a": beat(AT_WEST)}, claim=replace(ROLLBACK, word="2: gone")), {}),
        "witness: all answer": (left(topology=WITNESS_AND_WINDOW, witness=witness()), {}),
        "witness: granted already": (
            left(topology=WITNESS_AND_WINDOW, claim=ROLLBACK, witness=witness(grant("east", number=3, of="id-3"))), {}),
        "witness: waited for": (left(topology=WITNESS_AND_WINDOW, silent=["west"], witness=witness(beat(AT_WEST))), {}),
        "witness: the word": (
            left(topology=WITNESS_AND_WINDOW, silent=["west"], witness=witness(beat(AT_WEST))), {"word": "2: west is gone"}),
        "just committed": (left(replace(OPEN, time=NOW)), {}),
        "a clock that is ahead": (left(replace(OPEN, time=minute(650))), {}),
        "a drill has the room": (
            left(topology=TIGHT_AND_WINDOW, drills={"d1": drill("d1", "db", "app", site="east")}), {}),
    }.items()
}  # fmt: skip
