"""The end of a replication step at its destination: what has arrived is taken up, and seen by everyone from then on."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from . import properties
from .arrivals import refuse_held
from .branches import collect, current
from .core import Context, Fault, zfs
from .datasets import Catalog, Lun, Volume, assign, save
from .listing import RECORDS, forget
from .meta import changing, turn
from .points import POINT, SEAL, Points, points
from .volumes import place_for

__all__ = ["finish"]


class _Arrival:
    """A step whose bytes have come: what is to be taken up. `alone`: not together with others. `fault`: why it was not."""

    def __init__(self, volume: str, stream: Mapping[str, Any], group: str, guard: Mapping[str, Any] | None) -> None:
        self.volume = volume
        self.stream = stream
        self.group = group
        self.guard = guard
        self.alone = stream["base"] is None
        self.done = False
        self.fault: Fault | None = None


class _Waiting:
    """Arrivals that wait for their turn. Whoever's turn it is takes up all that have come until then: one reading and few commands for all."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.arrivals: list[_Arrival] = []

    def take_up(self, ctx: Context, mine: _Arrival) -> None:
        self.arrivals.append(mine)
        try:
            with turn(ctx, self.turn):
                if not mine.done:
                    self._take_up(ctx, mine)
        finally:
            self.arrivals.remove(mine)
        if mine.fault is not None:
            raise mine.fault

    def _take_up(self, ctx: Context, mine: _Arrival) -> None:
        some = [each for each in list(self.arrivals) if not (each.done or each.alone) and each.guard == mine.guard]
        if not mine.alone and len(some) > 1:
            for each in some:
                each.alone = True  # should this fail, it is not known because of which: each call then hears what its own comes to
            try:
                _increments(ctx, some)
            except Fault:
                for each in some:
                    each.fault = None
            else:
                for each in some:
                    each.done = True
                return
        if mine.stream["base"] is None:
            _whole(ctx, mine)
        else:
            _increments(ctx, [mine])
        mine.done = True


_waiting = _Waiting()


def finish(ctx: Context, volume: str, stream: dict[str, Any], group: str, guard: dict[str, Any] | None) -> None:
    """Take up what has arrived: the snapshot is seen, whole, from the end of this on."""
    _waiting.take_up(ctx, _Arrival(volume, stream, group, guard))


def _increments(ctx: Context, arrivals: Sequence[_Arrival]) -> None:
    """Take up increments that have the same guard; why one cannot be is said in its `fault`."""
    with changing(ctx, arrivals[0].guard) as change:
        forget(ctx)  # others of them have waited for longer than this call, or not as long
        volumes = current(ctx, change).volumes
        takers = [v for each in arrivals if (v := volumes.get(each.volume)) is not None and _takes(v)]
        known = points(ctx, takers)
        good: list[tuple[_Arrival, Volume]] = []
        for each in arrivals:
            mine = volumes.get(each.volume)
            try:
                if mine is None or not _takes(mine):
                    raise _superseded(ctx, each.volume)
                _check_guid(ctx, each.volume, known[mine.dataset], mine.dataset, each.stream["snapshot"])
            except Fault as fault:
                each.fault = fault
            else:
                good.append((each, mine))
        if not good:
            return
        change.touch()
        # What makes the snapshots seen comes last: if this call is cut before, the next step finds them to be nobody's, and sets the volumes
        # back to what was seen before. A group says the same of all its volumes, so that all get it by one command.
        by_records: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for each, mine in good:
            records = each.stream["snapshot"]["records"]
            if records != mine.records:
                settings = properties.assignments(RECORDS, records, mine.records_head)
                by_records.setdefault(tuple(settings), []).append(mine.dataset)
        for settled, datasets in by_records.items():
            assign(ctx, settled, datasets)
        for each, mine in good:
            save(ctx, _after(mine, mine.dataset, each.stream))
        groups: dict[tuple[str, str, str | None], list[tuple[_Arrival, Volume]]] = {}
        for each, mine in good:
            point = each.stream["snapshot"]
            groups.setdefault((point["name"], point["time"], point["seal"]), []).append((each, mine))
        for (name, _, _), members in groups.items():
            assign(ctx, _told([each for each, _ in members]), [f"{mine.dataset}@{name}" for _, mine in members])


def _takes(volume: Volume) -> bool:
    return volume.kind == "data" and not volume.writable


def _told(arrivals: Sequence[_Arrival]) -> list[tuple[str, str]]:
    """What is set on snapshots of a group that have arrived: the seal they came with, then `dr:point`, as `captured` says it."""
    records: list[dict[str, str]] = []
    members: dict[str, Any] = {}
    for each in arrivals:
        point = each.stream["snapshot"]
        if point["records"] not in records:
            records.append(point["records"])
        members[each.volume] = {
            "size": each.stream["size"],
            "records": records.index(point["records"]),
            "luns": point["luns"],
        }
    first = arrivals[0].stream["snapshot"]
    seal = [] if first["seal"] is None else properties.assignments(SEAL, first["seal"])
    return [*seal, *properties.assignments(POINT, {"time": first["time"], "members": members, "records": records})]


def _after(mine: Volume, dataset: str, stream: Mapping[str, Any]) -> Volume:
    """The volume as it is with what has arrived."""
    luns = stream["snapshot"]["luns"]
    here = dataset == mine.dataset
    return Volume(
        dataset=dataset,
        name=mine.name,
        generation=mine.generation,
        kind="data",
        writable=False,
        size=max(mine.size, stream["size"]),
        owner=mine.owner,
        luns={
            lun: Lun(row["size"], row["image"], mine.luns[lun].online if lun in mine.luns else True)
            for lun, row in luns.items()
        },
        records=stream["snapshot"]["records"],
        head=mine.head if here else "",
        told=mine.told if here else None,
        records_head=mine.records_head if here else "",
    )


def _whole(ctx: Context, arrival: _Arrival) -> None:
    """Take up a full copy."""
    volume, snapshot = arrival.volume, arrival.stream["snapshot"]
    with changing(ctx, arrival.guard) as change:
        forget(ctx)
        found = current(ctx, change)
        mine = found.volumes.get(volume)
        if mine is None or not _takes(mine):
            raise _superseded(ctx, volume)
        arrived = f"{ctx.root}/incoming/{volume}"
        # One that was cut leaves no dataset; and no listing of it is to be asked for.
        there = [Volume(arrived, volume, 0, "data", False, 0, None, {})] if arrived in found.all else []
        known = points(ctx, there).get(arrived, Points())
        _check_guid(ctx, volume, known, arrived, snapshot)
        change.touch()
        refuse_held(ctx, mine, points(ctx, [mine])[mine.dataset])
        assign(ctx, _told([arrival]), [f"{arrived}@{snapshot['name']}"])
        _replace(ctx, found, mine, _after(mine, arrived, arrival.stream), arrival.group)


def _check_guid(ctx: Context, volume: str, known: Points, dataset: str, snapshot: Mapping[str, Any]) -> None:
    name, guid = f"{dataset}@{snapshot['name']}", snapshot["guid"]
    found = known.rows.get(name, {}).get("guid")
    if found != guid or known.all[-1] != name:
        raise Fault(
            "CorruptRecord",
            f"volume {volume} on {ctx.where}: wanted snapshot {name} with guid {guid}, found {found or 'none'}; send it anew",
        )


def _replace(ctx: Context, found: Catalog, mine: Volume, after: Volume, group: str) -> None:
    """A full copy takes the volume's place with one rename; what it replaces is kept only as long as clones stand on it."""
    dataset, after.generation = place_for(ctx, found, group, mine.name)
    assign(ctx, [("canmount", "noauto"), ("readonly", "on")], [after.dataset])
    assign(ctx, properties.assignments(RECORDS, after.records), [after.dataset])
    save(ctx, after)
    zfs(ctx, "rename", after.dataset, dataset)
    collect(ctx)


def _superseded(ctx: Context, volume: str) -> Fault:
    return Fault(
        "Conflict",
        f"volume {volume} on {ctx.where} is no longer taking this transfer: another took its place, or the volume was promoted",
    )
