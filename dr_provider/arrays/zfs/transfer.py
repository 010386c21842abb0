"""Replication between zfs arrays: `zfs send` at one, `zfs receive` at the other, straight between them or through this machine.

The destination makes ready under its lock and its guard, the bytes flow outside of it, and the end is one locked step again, with the
guard checked anew: what has arrived by then is judged by the snapshot's guid, whatever the two commands ended with.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dr_provider.arrays.base import NO_GUARD, Extent, Stream, check_name
from dr_provider.arrays.zfs.calls import Calls, owner_words
from dr_provider.arrays.zfs.contents import extents
from dr_provider.arrays.zfs.remote.hop import never_connected
from dr_provider.arrays.zfs.remote.pump import Stalled, pump
from dr_provider.arrays.zfs.remote.transfer import send_words
from dr_provider.arrays.zfs.ssh import Endpoint, SshOptions, explain, parse_endpoint
from dr_provider.model.errors import (
    BadInput,
    Conflict,
    CorruptRecord,
    DeviceFault,
    DrError,
    NotFound,
    Stopped,
    Unreachable,
)
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import LunState, SnapshotState

__all__ = ["TransferCalls", "ZfsStream"]

_LOG = logging.getLogger(__name__)
_TAIL = 60.0  # seconds that an end may take while the array is known to live: a pool that commits, a large dataset that goes
_SMALL = 256 << 20  # bytes; up to here a handshake of its own costs more than a connection that is shared
_REMEMBER = 300.0  # seconds for which a direct way that failed is not tried again
_no_way: dict[tuple[str, str], float] = {}


@dataclass
class ZfsStream(Stream):
    """A step of a zfs array. Its bytes do not come through here: `source` and what it says of the step (`step`) lead the destination to them."""

    source: TransferCalls | None = None
    step: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Extent]:
        """A full copy's bytes, for whoever wants them here. Raises Conflict for what cannot be read so (see contents.py)."""
        if self.source is None or self.base is not None:
            raise Conflict(
                f"volume {self.volume}: only a whole snapshot of a zfs array can be read here, not a step from another one"
            )
        return extents(self.source, self.volume, self.snapshot.name, self.luns)


@dataclass
class _Moved:
    """How the data went: bytes, and of each end's command its status (None: killed after the other had failed) and last words."""

    count: int
    send: tuple[int | None, str]
    receive: tuple[int | None, str]


class TransferCalls(Calls):
    """The replication calls of `Array`."""

    def estimate(self, volume: str, base: str | None, snapshot: str | None) -> int:
        return int(self._ask("transfer.estimate", volume=volume, base=base, snapshot=snapshot))

    def send(self, volume: str, base: str | None, snapshot: str, *, start: int = 0) -> Stream:
        step = self._ask("transfer.describe", volume=volume, base=base, snapshot=snapshot)
        if start < 0 or (start and not step["openzfs"]):
            raise BadInput(
                f"volume {volume}: a step of {self._where} cannot start at byte {start}; start it at 0; nothing was done"
            )
        total = max(int(step["total"]), start)
        luns = {
            name: LunState(name, lun["size"], True, None, lun["image"])
            for name, lun in step["snapshot"]["luns"].items()
        }
        return ZfsStream(
            array=self.name,
            site=self.site,
            volume=volume,
            size=step["size"],
            snapshot=_snapshot(step["snapshot"]),
            base=_snapshot(step["base"]) if step["base"] is not None else None,
            luns=luns,
            total=total,
            start=start,
            source=self,
            step=step,
        )

    def receive(
        self,
        volume: str,
        stream: Stream,
        owner: Owner,
        *,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], str | None] | None = None,
        rate: int | None = None,
        guard: Guard = NO_GUARD,
    ) -> int:
        check_name("volume", volume)
        # The other array may be anybody's: what it calls things becomes names and paths on this one.
        check_name("snapshot", stream.snapshot.name)
        for lun in stream.luns:
            check_name("LUN", lun)
        if not isinstance(stream, ZfsStream) or stream.source is None:
            raise Conflict(
                f"volume {volume}: array {stream.array} is of another kind than {self._where}, and zfs takes only what zfs sends; "
                "mirror it to an array of its own kind"
            )
        about: dict[str, Any] = {
            "volume": volume,
            "stream": stream.step,
            "owner": owner_words(owner),
            "group": self._group(volume),
        }
        self._connect_ahead(stream)
        begun = self._ask("transfer.begin", guard, **about, start=stream.start)
        if begun["have"]:
            return 0
        done = False
        try:
            moved = self._move(stream, begun, _Watch(stream, self._where, volume, progress, stop, begun), rate)
            self._finish(stream, moved, guard, about, begun["begun"])
            done = True
            return moved.count
        finally:
            if not done:
                # An array that is silent now clears this up at the next transfer of the volume.
                with contextlib.suppress(DrError):
                    self._ask("transfer.drop", volume=volume, begun=begun["begun"], timeout=self.timeout)

    def _connect_ahead(self, stream: ZfsStream) -> None:
        """While this array makes ready, the source connects to it: a handshake takes as long as that, and a small step hardly longer."""
        source = stream.source
        assert source is not None
        if _way(source, self) == "relay" or not _small(stream) or time.monotonic() < self._no_way_from(source):
            return

        def connect() -> None:
            with contextlib.suppress(DrError):  # the step itself meets it, and says so
                source._ask("transfer.connect", to=_told(self._address))

        threading.Thread(target=connect, name=f"connect-{self.name}", daemon=True).start()

    def _no_way_from(self, source: TransferCalls) -> float:
        """Until when the direct way is not tried, on the monotonic clock."""
        return _no_way.get((source._where, str(self._address)), 0.0)

    def _finish(self, stream: ZfsStream, moved: _Moved, guard: Guard, about: Mapping[str, Any], begun: str) -> None:
        status, said = moved.receive
        known = {"status": status, "said": said} if status != 255 else {"status": None, "said": ""}
        try:
            self._ask("transfer.finish", guard, **about, begun=begun, **known, timeout=self.timeout + _TAIL)
        except (CorruptRecord, DeviceFault) as error:
            raise self._reason(stream, moved) or error from None

    def _reason(self, stream: ZfsStream, moved: _Moved) -> DrError | None:
        """Why nothing has arrived, where it is not for what the destination says of it itself."""
        assert stream.source is not None
        if moved.receive[0] == 255:
            said = moved.receive[1] or "or another transfer of the volume has ended this one"
            return self._way_failed(stream, said, started=True)
        status, said = moved.send
        if status in (0, None) or "roken pipe" in said or status in (-13, 141):
            return None
        where = stream.source._where
        if "does not exist" in said:
            return NotFound(
                f"snapshot {stream.snapshot.name} was deleted from {where} while it was being sent; send a newer one"
            )
        if status == 255:
            why = f" ({said})" if said else ""
            return Unreachable(f"{where}: the path from it was cut while volume {stream.volume} was being sent{why}")
        return DeviceFault(
            f"{where}: `zfs send` of volume {stream.volume} ended with status {status} ({said}); mend that, then send it again"
        )

    # -- the two ways ---------------------------------------------------------------------------------------

    def _move(self, stream: ZfsStream, begun: Mapping[str, Any], watch: _Watch, rate: int | None) -> _Moved:
        source = stream.source
        assert source is not None
        words = send_words(
            stream.step["dataset"],
            stream.base.name if stream.base else None,
            stream.snapshot.name,
            compressed=bool(stream.step["openzfs"] and begun["openzfs"]),
            token=begun["token"],
        )
        way = _way(source, self)
        if way == "relay" or (way == "auto" and time.monotonic() < self._no_way_from(source)):
            return self._relay(stream, source, words, begun["receive"], watch, rate)
        moved = self._direct(stream, source, words, begun["receive"], watch, rate)
        if not never_connected(*moved.receive):
            return moved
        error = self._way_failed(stream, moved.receive[1], started=False)
        if way == "direct":
            raise error
        _no_way[source._where, str(self._address)] = time.monotonic() + _REMEMBER
        _LOG.warning(
            "%s does not reach %s, so volume %s goes through this machine: %s",
            source._where,
            self._where,
            stream.volume,
            error,
        )
        return self._relay(stream, source, words, begun["receive"], watch, rate)

    def _direct(
        self,
        stream: ZfsStream,
        source: TransferCalls,
        words: Sequence[str],
        receive: Sequence[str],
        watch: _Watch,
        rate: int | None,
    ) -> _Moved:
        args = {
            "send": words,
            "receive": receive,
            "to": _told(self._address),
            "idle": self.timeout,
            "rate": rate,
            "small": _small(stream),
        }
        with watch.told():
            told = source._session.call(
                "transfer.direct", args, timeout=self.timeout + 10.0, idle=True, progress=watch.tell, stop=watch.stop
            )
        watch.tell(told["moved"])
        return _Moved(told["moved"], (*told["send"],), (*told["receive"],))

    def _relay(
        self,
        stream: ZfsStream,
        source: TransferCalls,
        words: Sequence[str],
        receive: Sequence[str],
        watch: _Watch,
        rate: int | None,
    ) -> _Moved:
        with contextlib.ExitStack() as stack:
            taker = self._session.bulk(receive)
            stack.callback(taker.kill)
            giver = source._session.bulk([*stream.step["before"], *words])
            stack.callback(giver.kill)
            moved = 0

            def tell(count: int) -> None:
                nonlocal moved
                moved = count
                watch.tell(count)

            try:
                with watch.told():
                    pump(
                        giver.output, taker.input, idle=self.timeout, rate=rate, tell=tell, stopped=watch.asked_to_stop
                    )
            except Stalled as stalled:
                silent = source._where if stalled.side == "source" else self._where
                raise Unreachable(
                    f"{silent}: no byte of volume {stream.volume} moved for {self.timeout:g} s, after {moved} bytes"
                ) from None
            except BrokenPipeError:
                pass  # the receiver has ended before all was sent: its words say why
            received = taker.finish(self.timeout + _TAIL)
            sent = giver.finish(2.0)
            return _Moved(moved, sent, received)

    # -- addresses ---------------------------------------------------------------------------------------------

    @property
    def _address(self) -> Endpoint:
        """By which other arrays reach this one."""
        return _address(self._options)

    def _way_failed(self, stream: ZfsStream, said: str, *, started: bool) -> DrError:
        assert stream.source is not None
        where = f"{self._where}, reached from {stream.source._where} with the keys and known_hosts there,"
        return explain(where, self._address, SshOptions(), said, 255, started=started)

    def _reach(self, peers: Sequence[str]) -> dict[str, bool]:
        """Which arrays this one reaches for a transfer. Where data may go through this machine, no path of their own is needed."""
        found = dict.fromkeys(peers, False)
        to = {}
        for name in peers:
            spec = self.fabric.peers.get(name)
            if spec is None or spec.driver != "zfs":
                continue
            if "direct" not in (spec.options.get("transfer"), self._options.get("transfer")):
                found[name] = True
                continue
            to[name] = _told(_address(spec.options))
        if to:
            found.update(self._ask("transfer.reach", to=to))
        return found


class _Watch:
    """What the caller of a transfer wants to hear, and to be asked."""

    def __init__(
        self,
        stream: ZfsStream,
        where: str,
        volume: str,
        progress: Callable[[int], None] | None,
        stop: Callable[[], str | None] | None,
        begun: Mapping[str, Any],
    ) -> None:
        self._start = stream.start
        self._progress = progress
        self._kept = "what arrived is kept" if begun["openzfs"] else "it starts over next time"
        self._what = f"transfer of {volume} to {where}"
        self._reason: str | None = None
        self.stop = stop

    def tell(self, count: int) -> None:
        if self._progress is not None:
            self._progress(self._start + count)

    def asked_to_stop(self) -> bool:
        self._reason = self.stop() if self.stop is not None else None
        return self._reason is not None

    @contextlib.contextmanager
    def told(self) -> Any:
        """Makes the word that stopped it a sentence."""
        try:
            yield
        except Stopped as stopped:
            self._reason = str(stopped)
        if self._reason is not None:
            raise Stopped(f"{self._what} stopped: {self._reason}; {self._kept}")


def _told(address: Endpoint) -> dict[str, Any]:
    return {"host": address.host, "user": address.user, "port": address.port}


def _small(stream: Stream) -> bool:
    """Whether the handshake of a connection of its own would cost more than a cipher of its own gains."""
    return stream.total - stream.start < _SMALL


def _address(options: Mapping[str, Any]) -> Endpoint:
    return parse_endpoint(str(options.get("replication") or options["endpoints"][0]))


def _way(source: TransferCalls, target: TransferCalls) -> str:
    """direct, relay or auto: where the two are set up in two ways, the one that is not auto, and relay before direct."""
    ways = {str(array._options.get("transfer") or "auto") for array in (source, target)}
    return next((way for way in ("relay", "direct") if way in ways), "auto")


def _snapshot(told: Mapping[str, Any]) -> SnapshotState:
    return SnapshotState(
        name=told["name"],
        guid=told["guid"],
        time=told["time"],
        records=told["records"],
        seal=told["seal"],
        referenced=told["referenced"],
    )
