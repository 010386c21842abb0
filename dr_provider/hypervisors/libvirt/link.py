"""The connection to a host: opened when it is needed, shared by threads, and thrown away as soon as it is silent.

Invariant: no call lasts longer than its deadline. libvirt's C calls cannot be interrupted, so each piece of work runs in a thread of
its own that is left behind at the deadline; it learns of that before it changes anything more (`Work.go_on`). Silence of an open
connection is told by libvirt's keepalive, which also ends the threads that were left behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dr_provider.hypervisors.libvirt import binding, failures
from dr_provider.hypervisors.libvirt.binding import Load, Modules
from dr_provider.hypervisors.libvirt.ssh import Ssh, over_ssh, through
from dr_provider.model.errors import Unreachable

__all__ = ["Link", "Work"]

KEEPALIVE = (2, 3)
"""Seconds between looks at an idle connection, and how many may stay unanswered."""

T = TypeVar("T")


@dataclass
class Work:
    """One piece of work on an open connection: the connection, libvirt-python, and whether anybody still waits for it."""

    conn: Any
    libvirt: Any
    qemu: Any
    where: str
    until: float
    left: bool = field(default=False)

    def go_on(self) -> None:
        """To be called before each change. Raises Unreachable when whoever asked has been told already that there was no answer."""
        if self.left:
            raise Unreachable(f"{self.where}: given up before it was done")

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self.until - time.monotonic())


class Link:
    """`where` names the host in sentences; `timeout`: seconds until silence is Unreachable."""

    def __init__(
        self, uri: str, ssh: Mapping[str, object], *, where: str, timeout: float, load: Load = binding.load
    ) -> None:
        self.where = where
        self.timeout = timeout
        self.uri = uri
        self.ssh = Ssh(uri, ssh, timeout)
        self._load = load
        self._modules: Modules | None = None
        self._lock = threading.Lock()
        self._open: Future[Any] | None = None
        self._address = ""

    def call(self, work: Callable[[Work], T], *, wanted: str, seconds: float | None = None) -> T:
        """Do a piece of work; `wanted` says in an error what was wanted of the host. Raises what the work raises, and Unreachable."""
        until = time.monotonic() + max(self.timeout, seconds or 0.0)
        modules = self._modules = self._modules or self._load(self.where)
        libvirt = modules.libvirt
        conn = self._connected(libvirt, time.monotonic() + self.timeout)
        token = Work(conn, libvirt, modules.qemu, self.where, until)

        def attempt() -> T:
            try:
                return work(token)
            except libvirt.libvirtError as error:
                if not _alive(conn):
                    self._throw_away(conn)
                    raise failures.lost(error, self.where) from error
                raise failures.other(libvirt, error, self.where, wanted) from error

        try:
            return _apart(attempt).result(token.remaining)
        except Late:
            token.left = True
            self._throw_away(conn)
            raise Unreachable(f"{self.where} gave no answer within {max(self.timeout, seconds or 0.0):g} s") from None

    def close(self) -> None:
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None and opened.done() and opened.exception() is None:
            _close(opened.result())

    # -- opening ---------------------------------------------------------------------------------

    def _connected(self, libvirt: Any, until: float) -> Any:
        """The connection: the one that is open and alive, or a new one. Raises Unreachable, NotReady and BadInput."""
        with self._lock:
            if self._open is not None and self._open.done():
                if self._open.exception() is not None:
                    self._open = None
                elif not _alive(self._open.result()):
                    _close(self._open.result())
                    self._open = None
            if self._open is None:
                self._open = _apart(lambda: self._connect(libvirt))
            opened = self._open
        try:
            return opened.result(max(0.0, until - time.monotonic()))
        except Late:
            # Whatever comes of it later is closed; the next call tries anew.
            opened.add_done_callback(_close_late)
            with self._lock:
                if self._open is opened:
                    self._open = None
            raise Unreachable(f"{self.where} gave no answer within {self.timeout:g} s") from None

    def _connect(self, libvirt: Any) -> Any:
        if not self._address:
            self._address = through(self.uri, self.ssh.program()) if over_ssh(self.uri) else self.uri
        try:
            conn = libvirt.open(self._address)
        except libvirt.libvirtError as error:
            raise failures.connecting(libvirt, error, self.where) from error
        try:
            conn.setKeepAlive(*KEEPALIVE)
        except libvirt.libvirtError as error:
            # A driver inside this process (test:///) has no wire to watch.
            if failures.code(error) != libvirt.VIR_ERR_NO_SUPPORT:
                raise failures.connecting(libvirt, error, self.where) from error
        return conn

    def _throw_away(self, conn: Any) -> None:
        with self._lock:
            opened = self._open
            if opened is not None and opened.done() and opened.exception() is None and opened.result() is conn:
                self._open = None
        _close(conn)


def _apart(work: Callable[[], T]) -> Future[T]:
    """Run in a thread that does not hold up the end of the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  (raised again by whoever waits)
            future.set_exception(error)

    threading.Thread(target=run, name="libvirt-call", daemon=True).start()
    return future


def _alive(conn: Any) -> bool:
    try:
        return bool(conn.isAlive())
    except Exception:  # noqa: BLE001  (a connection that cannot even say so is of no use)
        return False


def _close_late(opened: Future[Any]) -> None:
    if opened.exception() is None:
        _close(opened.result())


def _close(conn: Any) -> None:
    """Closing asks the other side, so it may be silent too."""

    def close() -> None:
        try:
            conn.close()
        except Exception:  # noqa: BLE001  (nothing depends on a goodbye)
            return

    threading.Thread(target=close, name="libvirt-close", daemon=True).start()
