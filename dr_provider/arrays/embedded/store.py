"""The SQLite file of an embedded array: made atomically, opened only if it is one, shared by threads and processes.

A process that is killed leaves a whole file: WAL mode, and a transaction a step. `synchronous` is NORMAL, which is enough for
that (sqlite.org/pragma.html#pragma_synchronous); only a power cut of the machine itself may lose the newest transactions.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dr_provider.arrays.embedded import schema
from dr_provider.model.errors import ArrayFull, NotReady, Unreachable

__all__ = ["Store", "store_of"]

# How long a transaction waits for another process's. They are short; waiting longer than this means that one hangs.
_PATIENCE = 30.0


# A forked child must neither use nor close its parent's connections (sqlite.org/howtocorrupt.html, section 2.6); they are kept from
# the garbage collector, which would close them.
_inherited: list[sqlite3.Connection] = []


class Store:
    """One array's file. Opens nothing until it is used; every use can raise NotReady."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        # SQLite lets waiters poll with growing sleeps; threads of one process queue here instead and lose no time.
        self._writer = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._file: tuple[int, int, int] | None = None

    # -- transactions -----------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one thread's use, without a transaction."""
        db, file = self._take()
        try:
            with self._translated():
                # Each time: a newer version of dr may have taken the file over since it was opened.
                self._check_format(db)
                yield db
        finally:
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            self._give_back(db, file)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the file."""
        with self.connection() as db:
            db.execute("BEGIN")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One atomic change; any exception undoes it."""
        with self._writer, self.connection() as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            idle, self._idle, self._file = self._idle, [], None
        for db in idle:
            db.close()

    def _take(self) -> tuple[sqlite3.Connection, tuple[int, int, int]]:
        file = self._look()
        stale: list[sqlite3.Connection] = []
        try:
            with self._lock:
                if self._file != file:
                    # The file was replaced under us, or we are a forked child.
                    if self._file is not None and self._file[2] != file[2]:
                        _inherited.extend(self._idle)
                    else:
                        stale = self._idle
                    self._idle, self._file = [], file
                elif self._idle:
                    return self._idle.pop(), file
        finally:
            for db in stale:
                with contextlib.suppress(sqlite3.Error):
                    db.close()
        with self._translated():
            return self._open(), file

    def _give_back(self, db: sqlite3.Connection, file: tuple[int, int, int]) -> None:
        with self._lock:
            if self._file == file:
                self._idle.append(db)
                return
        db.close()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=_PATIENCE,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA cache_size = -16000")
        except BaseException:
            db.close()
            raise
        return db

    # -- what is there ------------------------------------------------------------------------------

    def _look(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            raise NotReady(
                f"array file {self.path} is missing; it is made at the first use of its array, or put it back",
                missing=True,
            ) from None
        except OSError as error:
            raise NotReady(
                f"array file {self.path} cannot be looked at ({error.strerror}); mend its folder or its permissions"
            ) from error
        if stat.S_ISDIR(found.st_mode):
            raise NotReady(f"array file {self.path} is a directory; wanted the SQLite file of an embedded array")
        if found.st_size == 0:
            raise NotReady(
                f"array file {self.path} is empty; put the array's own file back, or remove it if the array was never used"
            )
        return found.st_dev, found.st_ino, os.getpid()

    def _check_format(self, db: sqlite3.Connection) -> None:
        # Asked of SQLite and not read from the file: closing a file of our own would drop the locks that this process's other
        # connections hold on it (sqlite.org/howtocorrupt.html, section 2.2).
        application = db.execute("PRAGMA application_id").fetchone()[0]
        if application != schema.APPLICATION_ID:
            raise NotReady(
                f"array file {self.path} is a database, but not an embedded array's; put the array's own file back"
            )
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != schema.USER_VERSION:
            raise NotReady(
                f"array file {self.path} has format {version}, and this version of dr knows {schema.USER_VERSION}; use the version that wrote it"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                raise Unreachable(
                    f"array file {self.path} was in use by another process for {_PATIENCE:g} s; see which one hangs"
                ) from error
            if "full" in text:
                raise ArrayFull(f"array file {self.path}: the disk that it is on is full; make room there") from error
            raise NotReady(f"array file {self.path} cannot be used ({text}); put the array's own file back") from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise NotReady(f"array file {self.path} is damaged ({error}); put the array's own file back") from error

    # -- making one ---------------------------------------------------------------------------------

    def create(self, capacity: int) -> None:
        """Make the file if there is none; safe when several processes try at once."""
        if self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.parent):
            if self.path.exists():
                return
            # A log that outlived its file would be replayed into the new one.
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            draft = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
            try:
                _draft(draft, capacity)
                os.link(draft, self.path)
            finally:
                draft.unlink(missing_ok=True)


def _draft(path: Path, capacity: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN")
        for statement in schema.TABLES.split(";\n"):
            db.execute(statement)
        db.execute("INSERT INTO array VALUES (1, ?, 0, ?, 1)", (str(uuid.uuid4()), capacity))
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {schema.USER_VERSION}")
        db.execute("COMMIT")
        # Whole in the one file before it gets its name.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One maker at a time in a folder; the lock goes with the process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


_stores: dict[Path, Store] = {}
_stores_lock = threading.Lock()


def store_of(path: Path) -> Store:
    """The one store of a file in this process, so that all its users share connections and the writers' queue."""
    path = path.absolute()
    with _stores_lock:
        return _stores.setdefault(path, Store(path))
