"""A host's file: one SQLite database, used by several processes at once, that a killed process leaves whole.

The write-ahead log makes each transaction all or nothing. `application_id` says that it is a host's file, `user_version` its format.
Whatever is in the file's place and cannot be used (nothing, an empty or damaged file, an array's, a newer one) is NotReady.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dr_provider.model import faults
from dr_provider.model.errors import NotReady, Unreachable

__all__ = ["APPLICATION_ID", "FORMAT", "HostFile"]

APPLICATION_ID = 0x64725648
FORMAT = 1

_SCHEMA = (
    """
CREATE TABLE host (initiator TEXT NOT NULL);
-- One row a VM. The guest's memory is `taken`: the last entry that its application has accepted; `durable` is the last on its disks.
-- What is between the two is lost when the VM ends. `chain`, `ends`, `headers` and `session`: see ledger.py. `refusal`: why the application is not up.
CREATE TABLE vm (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'off',
    cpus INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    session INTEGER NOT NULL DEFAULT 0,
    durable INTEGER NOT NULL DEFAULT 0,
    chain INTEGER NOT NULL DEFAULT 0,
    ends TEXT NOT NULL DEFAULT '[]',
    headers TEXT NOT NULL DEFAULT '[]',
    taken INTEGER NOT NULL DEFAULT 0,
    refusal TEXT NOT NULL DEFAULT '',
    thaw_boot TEXT,
    thaw_at REAL
) WITHOUT ROWID;
CREATE TABLE reservation (
    tag TEXT NOT NULL,
    vm TEXT NOT NULL,
    cpus INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    PRIMARY KEY (tag, vm)
) WITHOUT ROWID;
"""
    + faults.SCHEMA
)


class HostFile:
    """The file of one host; connections are kept and shared by the process's threads, one at a time each."""

    def __init__(self, path: Path, name: str, timeout: float) -> None:
        self.path = path
        self.name = name
        self._timeout = timeout
        self._lock = threading.Lock()
        self._writer = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._identity: tuple[int, int, int] | None = None

    def create(self) -> None:
        """Make the file, whole or not at all; one that is there is left as it is."""
        if self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _folder_locked(self.path.parent):
            if not self.path.exists():
                self._make()

    def _make(self) -> None:
        # The log of a file that was removed would be taken for the new one's.
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        try:
            with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                initiator = f"iqn.2024-01.embedded.dr:{self.name}-{uuid.uuid4().hex[:12]}"
                # One transaction, since each is synced to the disk, and a first run makes many hosts.
                connection.executescript(f"BEGIN;{_SCHEMA}")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                connection.execute("INSERT INTO host (initiator) VALUES (?)", (initiator,))
                connection.execute("COMMIT")
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view. Raises NotReady, and Unreachable where the file stays locked for the timeout."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def looking(self) -> Iterator[sqlite3.Connection]:
        """For one query: each is a transaction of its own."""
        with self._transaction(None) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One atomic change, alone among all processes; an exception inside takes it back."""
        # Threads queue here: SQLite itself would have them poll with growing sleeps.
        with self._writer, self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def close(self) -> None:
        with self._lock:
            self._drop()

    @contextmanager
    def _transaction(self, begin: str | None) -> Iterator[sqlite3.Connection]:
        connection = self._take()
        try:
            if begin is not None:
                connection.execute(begin)
            try:
                yield connection
                if begin is not None:
                    connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self._explain(error) from error
        except BaseException:
            self._give(connection)
            raise
        self._give(connection)

    def _take(self) -> sqlite3.Connection:
        identity = self._look()
        with self._lock:
            if identity != self._identity:
                # Another file stands here now, or this process is a fork, which must not use its parent's connections.
                self._drop()
                self._identity = identity
            if self._idle:
                return self._idle.pop()
        return self._open()

    def _give(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            self._idle.append(connection)

    def _drop(self) -> None:
        forked = self._identity is not None and self._identity[2] != os.getpid()
        while self._idle:
            connection = self._idle.pop()
            if not forked:
                connection.close()

    def _look(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError:
            raise NotReady(
                f"host {self.name}: its file {self.path} is not there; the first `up`, or dr apply, makes it. If it was there, bring it back, "
                "or correct the host's path in the topology.",
                missing=True,
            ) from None
        if found.st_size == 0:
            raise NotReady(
                f"host {self.name}: its file {self.path} is empty; bring it back, or remove it if nothing is lost with it."
            )
        return found.st_dev, found.st_ino, os.getpid()

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self._explain(error) from error
        try:
            connection.row_factory = sqlite3.Row
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if application != APPLICATION_ID:
                raise NotReady(
                    f"host {self.name}: the file {self.path} is not a host's file; correct the host's path in the topology."
                )
            if version != FORMAT:
                raise NotReady(
                    f"host {self.name}: its file {self.path} has format {version} and this program knows {FORMAT}; use the version that wrote it."
                )
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            connection.close()
            raise self._explain(error) from error
        except NotReady:
            connection.close()
            raise
        return connection

    def _explain(self, error: sqlite3.Error) -> NotReady | Unreachable:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unreachable(
                f"host {self.name}: no answer within {self._timeout:g} s (its file {self.path} stayed locked by another process)"
            )
        return NotReady(
            f"host {self.name}: its file {self.path} is damaged or cannot be used ({error}); bring it back from a copy."
        )


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
