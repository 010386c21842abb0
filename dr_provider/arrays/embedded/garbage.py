"""Freeing blocks that nothing shows any more.

What refers to a branch: its volume's head, snapshots, clones (child branches) and a transfer that comes in. A row shows at a
reference if it is the newest of its block at or before it, so each row is kept by the references from its own generation up to that
of the row that follows it; the first of them decides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

__all__ = ["drop_keys", "references", "release"]


def references(db: sqlite3.Connection, branch: int) -> list[int]:
    """The generations of a branch that something refers to, in order."""
    rows = db.execute(
        "SELECT gen FROM snapshot WHERE branch = ?1 UNION SELECT parent_gen FROM branch WHERE parent = ?1"
        " UNION SELECT gen FROM volume WHERE branch = ?1 UNION SELECT gen FROM incoming WHERE branch = ?1 ORDER BY 1",
        (branch,),
    )
    return [gen for (gen,) in rows]


def _delete(db: sqlite3.Connection, branch: int, condition: str, values: tuple[int, ...]) -> None:
    (stored,) = db.execute(
        f"SELECT count(data) FROM block AS b WHERE branch = ? AND {condition}", (branch, *values)
    ).fetchone()
    db.execute(f"DELETE FROM block AS b WHERE branch = ? AND {condition}", (branch, *values))
    if stored:
        db.execute("UPDATE branch SET stored = stored - ? WHERE id = ?", (stored, branch))


def release(db: sqlite3.Connection, branch: int, gen: int) -> None:
    """Free what only the reference to this generation kept; the caller has removed it."""
    while True:
        kept = references(db, branch)
        if gen in kept:
            return
        below = max((g for g in kept if g < gen), default=0)
        above = min((g for g in kept if g > gen), default=None)
        if above is None:
            _delete(db, branch, "gen > ? AND gen <= ?", (below, gen))
        else:
            _delete(
                db,
                branch,
                "gen > ? AND gen <= ? AND EXISTS"
                " (SELECT 1 FROM block AS n WHERE n.branch = b.branch AND n.lun = b.lun AND n.no = b.no AND n.gen > ? AND n.gen <= ?)",
                (below, gen, gen, above),
            )
        if kept:
            return
        row = db.execute("DELETE FROM branch WHERE id = ? RETURNING parent, parent_gen", (branch,)).fetchall()
        if not row or row[0][0] is None:  # gone with an earlier reference of the same change, or a root
            return
        branch, gen = row[0]


def drop_keys(db: sqlite3.Connection, keys: Iterable[int]) -> None:
    """Free the blocks of LUNs (by key) that no volume, snapshot or transfer has any more."""
    branches: list[int] | None = None
    for key in sorted(set(keys)):
        known = db.execute(
            "SELECT 1 FROM lun WHERE key = ?1 UNION ALL SELECT 1 FROM snapshot_lun WHERE key = ?1"
            " UNION ALL SELECT 1 FROM incoming_lun WHERE key = ?1 UNION ALL SELECT 1 FROM staged WHERE key = ?1 LIMIT 1",
            (key,),
        ).fetchone()
        if known is not None:
            continue
        if branches is None:
            branches = [branch for (branch,) in db.execute("SELECT id FROM branch")]
        for branch in branches:
            _delete(db, branch, "lun = ?", (key,))
