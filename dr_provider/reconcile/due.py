"""What of a plan's protection is due, and when the next thing is. Pure.

A backup is due when the newest one of the epoch in force is `backup.every` old; a replication, when what a mirror has in common is
`replicate.every` old. Ages are taken from the times in the records, which are one clock's; a record from the future counts as due,
since then that clock cannot be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dr_provider.model import keys
from dr_provider.protection.backup import is_cycle
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.protection.mirrors import MirrorState
from dr_provider.reconcile.drills.evidence import drill_due
from dr_provider.reconcile.drills.parts import drills_to_end
from dr_provider.reconcile.view import PlanView

__all__ = ["Due", "newest_at", "next_due", "what_is_due"]

_RETRY = 60.0


@dataclass(frozen=True)
class Due:
    """`cycle`: a replication is due and there is nothing new enough to send, so it takes a group of its own. `thaw`: a guest is frozen."""

    backup: bool = False
    replicate: bool = False
    cycle: bool = False
    thaw: bool = False

    @property
    def group(self) -> bool:
        """Whether a group is to be taken."""
        return self.backup or self.cycle

    def __bool__(self) -> bool:
        return self.backup or self.replicate or self.thaw


def newest_at(view: PlanView, site: str, *, backups: bool = False) -> RecoveryPoint | None:
    """The newest whole point of the epoch in force at a site; with `backups`, leaving out what replication cycles took."""
    epoch = view.epoch
    return max(
        (
            p
            for p in view.points
            if epoch is not None
            and p.intent.epoch_id == epoch.id
            and p.complete_at(site)
            and not (backups and is_cycle(p))
        ),
        key=lambda point: point.order,
        default=None,
    )


def _past(time: datetime, every: float, now: datetime) -> bool:
    return not 0 <= (now - time).total_seconds() < every


def what_is_due(view: PlanView, mirrors: tuple[MirrorState, ...], *, now: bool) -> Due:
    """`mirrors`: those that can be sent to. `now`: all of it, whatever the time."""
    active, time = view.active, keys.at(view.seen.time)
    assert active is not None
    every = view.spec.replicate_every
    saved, last = newest_at(view, active, backups=True), newest_at(view, active)
    thaw = any(place.state.frozen for place in view.places)
    backup = now or saved is None or _past(keys.at(saved.time), view.spec.backup.every, time)
    late = any(_late(view, mirror, every, time) for mirror in mirrors)
    replicate = bool(mirrors) and (backup or late)
    cycle = replicate and not backup and (last is None or _past(keys.at(last.time), every, time))
    return Due(backup, replicate, cycle, thaw)


def _late(view: PlanView, mirror: MirrorState, every: float, now: datetime) -> bool:
    time = _common_time(view, mirror)
    return time is None or _past(time, every, now)


def _common_time(view: PlanView, mirror: MirrorState) -> datetime | None:
    point = next((p for p in view.points if p.id == mirror.common), None)
    return keys.at(point.time) if point else None


def next_due(view: PlanView, mirrors: tuple[MirrorState, ...]) -> datetime:
    """When something is due next, after what could be done has been done; what is overdue is tried again after a while."""
    active, time = view.active, keys.at(view.seen.time)
    if active is None:
        return time + timedelta(seconds=_RETRY)
    every = view.spec.replicate_every
    saved = newest_at(view, active, backups=True)
    times = [keys.at(saved.time) + timedelta(seconds=view.spec.backup.every)] if saved else []
    times += [t + timedelta(seconds=every) for m in mirrors if (t := _common_time(view, m)) is not None]
    times += _of_drills(view, time)
    # Copies that cannot be sent to now have no time of their own; whether they are back is looked at once an interval.
    times.append(time + timedelta(seconds=every))
    again = time + timedelta(seconds=min(_RETRY, every, view.spec.backup.every))
    return min(t if t > time else again for t in times)


def _of_drills(view: PlanView, time: datetime) -> list[datetime]:
    """When drills expire, and when the next one of the plan's schedule is due."""
    times = [at for record in view.drills.values() if record.expires and (at := keys.at(record.expires)) > time]
    times += [time] if drills_to_end(view) else []
    due = drill_due(view)
    scheduled = any(record.kind == "scheduled" for record in view.drills.values())
    return times if due is None or scheduled else [*times, due]
