"""Changes of a volume's history: recounts, discarded transfers, dropped snapshots, rollback. All within the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from dr_provider.arrays.embedded.chain import Point, count_changed
from dr_provider.arrays.embedded.garbage import drop_keys, references, release
from dr_provider.arrays.embedded.rows import (
    LunRow,
    SnapshotRow,
    VolumeRow,
    luns_of,
    newest_snapshot,
    snapshot_luns,
    snapshots_of,
)

__all__ = ["discard_incoming", "drop_snapshots", "erase_volume", "new_branch", "recount", "replace_luns", "rollback"]


def new_branch(db: sqlite3.Connection, parent: Point | None) -> int:
    cursor = db.execute(
        "INSERT INTO branch (parent, parent_gen) VALUES (?, ?)", (parent and parent.branch, parent and parent.gen)
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def recount(db: sqlite3.Connection, volume: VolumeRow) -> None:
    """Count `changed` anew, after the newest snapshot went."""
    newest = newest_snapshot(db, volume)
    keys = frozenset(lun.key for lun in luns_of(db, volume).values())
    changed = count_changed(db, volume.head, newest.point if newest else None, keys)
    db.execute("UPDATE volume SET changed = ? WHERE id = ?", (changed, volume.id))


def replace_luns(db: sqlite3.Connection, volume: VolumeRow, luns: Iterable[LunRow]) -> None:
    """Make these the volume's LUNs. Whether a LUN is online and mapped is local: it stays where the name stays."""
    before = luns_of(db, volume)
    db.execute("DELETE FROM lun WHERE volume = ?", (volume.id,))
    for lun in luns:
        old = before.get(lun.name)
        online, mapped = (old.online, old.mapped_to) if old else (True, None)
        db.execute(
            "INSERT INTO lun (volume, name, key, size, image_bytes, online, mapped_to) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (volume.id, lun.name, lun.key, lun.size, lun.image_bytes, online, mapped),
        )


def discard_incoming(db: sqlite3.Connection, volume: VolumeRow) -> None:
    """Forget a transfer that was cut, and free what it brought."""
    row = db.execute("SELECT branch, gen FROM incoming WHERE volume = ?", (volume.id,)).fetchone()
    if row is None:
        return
    keys = [key for (key,) in db.execute("SELECT key FROM incoming_lun WHERE volume = ?", (volume.id,))]
    db.execute("DELETE FROM incoming WHERE volume = ?", (volume.id,))
    db.execute("DELETE FROM incoming_lun WHERE volume = ?", (volume.id,))
    release(db, *row)
    drop_keys(db, keys)


def drop_snapshots(db: sqlite3.Connection, snapshots: Sequence[SnapshotRow]) -> None:
    """Delete snapshots, held or not, and free what only they kept."""
    keys: set[int] = set()
    for snapshot in snapshots:
        keys.update(lun.key for lun in snapshot_luns(db, snapshot).values())
        db.execute("DELETE FROM snapshot WHERE id = ?", (snapshot.id,))
        db.execute("DELETE FROM snapshot_lun WHERE snapshot = ?", (snapshot.id,))
        db.execute("DELETE FROM hold WHERE snapshot = ?", (snapshot.id,))
        release(db, snapshot.point.branch, snapshot.point.gen)
    drop_keys(db, keys)


def erase_volume(db: sqlite3.Connection, volume: VolumeRow) -> None:
    """Destroy a volume, whatever holds it; clones of it keep their data."""
    discard_incoming(db, volume)
    drop_snapshots(db, snapshots_of(db, volume))
    keys = [lun.key for lun in luns_of(db, volume).values()]
    keys += [key for (key,) in db.execute("SELECT key FROM staged WHERE volume = ?", (volume.id,))]
    db.execute("DELETE FROM lun WHERE volume = ?", (volume.id,))
    db.execute("DELETE FROM staged WHERE volume = ?", (volume.id,))
    db.execute("DELETE FROM volume WHERE id = ?", (volume.id,))
    release(db, volume.head.branch, volume.head.gen)
    drop_keys(db, keys)


def rollback(db: sqlite3.Connection, volume: VolumeRow, snapshot: SnapshotRow) -> None:
    """Set a volume to one of its snapshots: newer snapshots (held ones too), newer data and a cut transfer go; clones keep theirs."""
    discard_incoming(db, volume)
    drop_snapshots(db, [s for s in snapshots_of(db, volume) if s.id > snapshot.id])
    point, head = snapshot.point, volume.head
    before = [lun.key for lun in luns_of(db, volume).values()]
    # An image that is being copied in would go on above a hole; its copier finds its place gone and starts over.
    before += [
        key for (key,) in db.execute("DELETE FROM staged WHERE volume = ? RETURNING key", (volume.id,)).fetchall()
    ]
    others = [
        gen
        for gen in references(db, point.branch)
        if gen > point.gen and not (point.branch == head.branch and gen == head.gen)
    ]
    cloned = (
        db.execute("SELECT 1 FROM branch WHERE parent = ? AND parent_gen = ?", (head.branch, head.gen)).fetchone()
        is not None
    )
    if point.branch == head.branch and not others and not cloned:
        # Nothing but the head sees what is newer: the branch is cut short, so that chains do not grow with each move.
        new_head = Point(point.branch, point.gen + 1)
        db.execute("UPDATE volume SET gen = ? WHERE id = ?", (point.gen, volume.id))
        if head.gen > point.gen:
            release(db, head.branch, head.gen)
    else:
        new_head = Point(new_branch(db, point), 1)
    db.execute(
        "UPDATE volume SET branch = ?, gen = ?, data = ?, changed = 0, records = ? WHERE id = ?",
        (new_head.branch, new_head.gen, snapshot.data, snapshot.records, volume.id),
    )
    if new_head.branch != head.branch:
        release(db, head.branch, head.gen)
    replace_luns(db, volume, snapshot_luns(db, snapshot).values())
    drop_keys(db, before)
