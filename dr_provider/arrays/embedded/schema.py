"""The file of an embedded array: its format, and the tables.

A volume's data is a *branch* and a *generation*: the rows of `block` on that branch written at or before that generation, the
newest of each block, and below them the same of the branch's parent at `parent_gen`. A snapshot is such a pair; taking one raises
the volume's generation by one and copies nothing. A clone or a rollback is a new branch, so it owes nothing to what its parent
does later. A LUN's blocks are known by its `key`, which is never used again, so that a LUN made anew under an old name is empty.
"""

from __future__ import annotations

from dr_provider.model import faults

__all__ = ["APPLICATION_ID", "BLOCK", "DEFAULT_CAPACITY", "TABLES", "USER_VERSION"]

APPLICATION_ID = 0x64724152
USER_VERSION = 1

BLOCK = 4096
"""Bytes of a block: what is stored, counted and transferred."""

DEFAULT_CAPACITY = 1 << 50

TABLES = (
    """
CREATE TABLE array (
    id INTEGER PRIMARY KEY CHECK (id = 1), own_id TEXT NOT NULL, serial INTEGER NOT NULL, capacity INTEGER NOT NULL, next_key INTEGER NOT NULL
);
CREATE TABLE record (key TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE branch (id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER, parent_gen INTEGER, stored INTEGER NOT NULL DEFAULT 0);
CREATE INDEX branch_by_parent ON branch (parent, parent_gen);
-- data NULL is a hole: a block that was written with zeros over older data
CREATE TABLE block (
    id INTEGER PRIMARY KEY, branch INTEGER NOT NULL, lun INTEGER NOT NULL, no INTEGER NOT NULL, gen INTEGER NOT NULL, sum INTEGER NOT NULL, data BLOB
);
CREATE UNIQUE INDEX block_by_place ON block (branch, lun, no, gen);
CREATE INDEX block_by_gen ON block (branch, gen, lun, no);

-- data, changed: blocks that hold data now, and blocks written since the newest snapshot
CREATE TABLE volume (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, kind TEXT NOT NULL, writable INTEGER NOT NULL,
    topology TEXT, stack TEXT, incarnation TEXT, branch INTEGER NOT NULL, gen INTEGER NOT NULL,
    data INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL DEFAULT 0, last_write TEXT,
    origin_volume TEXT, origin_snapshot TEXT, origin_id INTEGER, records TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX volume_by_branch ON volume (branch, gen);
CREATE TABLE lun (
    volume INTEGER NOT NULL, name TEXT NOT NULL, key INTEGER NOT NULL, size INTEGER NOT NULL, image_bytes INTEGER NOT NULL,
    online INTEGER NOT NULL, mapped_to TEXT, PRIMARY KEY (volume, name)
) WITHOUT ROWID;
CREATE INDEX lun_by_key ON lun (key);
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY AUTOINCREMENT, volume INTEGER NOT NULL, name TEXT NOT NULL, guid TEXT NOT NULL, time TEXT NOT NULL,
    branch INTEGER NOT NULL, gen INTEGER NOT NULL, data INTEGER NOT NULL, records TEXT NOT NULL, seal TEXT, UNIQUE (volume, name)
);
CREATE INDEX snapshot_by_branch ON snapshot (branch, gen);
CREATE TABLE snapshot_lun (
    snapshot INTEGER NOT NULL, name TEXT NOT NULL, key INTEGER NOT NULL, size INTEGER NOT NULL, image_bytes INTEGER NOT NULL,
    PRIMARY KEY (snapshot, name)
) WITHOUT ROWID;
CREATE INDEX snapshot_lun_by_key ON snapshot_lun (key);
CREATE TABLE hold (snapshot INTEGER NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (snapshot, tag)) WITHOUT ROWID;

-- a transfer under way or cut: its blocks stand at (branch, gen), which nothing else shows; `token` is the receiver that goes on with it
CREATE TABLE incoming (
    volume INTEGER PRIMARY KEY, token TEXT NOT NULL, snapshot TEXT NOT NULL, guid TEXT NOT NULL, base TEXT, base_guid TEXT,
    branch INTEGER NOT NULL, gen INTEGER NOT NULL, received INTEGER NOT NULL, data INTEGER NOT NULL
);
CREATE INDEX incoming_by_branch ON incoming (branch, gen);
CREATE TABLE incoming_lun (
    volume INTEGER NOT NULL, name TEXT NOT NULL, key INTEGER NOT NULL, size INTEGER NOT NULL, image_bytes INTEGER NOT NULL,
    PRIMARY KEY (volume, name)
) WITHOUT ROWID;
CREATE INDEX incoming_lun_by_key ON incoming_lun (key);
-- a LUN whose image is still being copied in
CREATE TABLE staged (key INTEGER PRIMARY KEY, volume INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (volume, name));
"""
    + faults.SCHEMA
)
