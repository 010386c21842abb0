"""The SQLite database that one of the demo's disks starts from: made here, looked at again after it has been restored elsewhere.

`python -m demo.database FILE [ORDERS]` makes one; stacks/topology/images/orders.db is such a file.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Health", "look_into", "make"]

_GOODS = ("lamp", "chair", "kettle", "clock", "rug", "shelf", "mirror")


@dataclass(frozen=True)
class Health:
    """What `PRAGMA integrity_check` says ("ok" when all is well), and the orders with their total in cents."""

    integrity: str
    orders: int
    cents: int


def make(file: Path, orders: int = 100) -> Health:
    """Write the database, the same rows each time; a file that is there is replaced."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    rows = [(n, _GOODS[n * n % len(_GOODS)], 100 + n * 7919 % 9900) for n in range(1, orders + 1)]
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, cents INTEGER NOT NULL)")
        db.execute("CREATE INDEX orders_by_item ON orders (item, cents)")
        db.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    return look_into(file)


def look_into(file: Path) -> Health:
    """Check the database in a file, which may be longer than it (a disk is). Never raises for a damaged one: its health says so."""
    try:
        # Immutable: a copy of a disk is read as it is, without locks and without a journal of its own.
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as db:
            verdict = "; ".join(str(row[0]) for row in db.execute("PRAGMA integrity_check"))
            count, cents = db.execute("SELECT count(*), coalesce(sum(cents), 0) FROM orders").fetchone()
    except sqlite3.Error as error:
        return Health(f"not readable: {error}", 0, 0)
    return Health(verdict, int(count), int(cents))


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), *map(int, sys.argv[2:3])))
