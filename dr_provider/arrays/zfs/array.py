"""The zfs array: each call is one request to the program on it (remote/), which does the work under the array's own lock."""

from __future__ import annotations

import base64
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dr_provider.arrays.base import NO_GUARD, Array, check_key, check_name
from dr_provider.arrays.zfs.calls import owner_words
from dr_provider.arrays.zfs.examine import examine, hops_of
from dr_provider.arrays.zfs.remote.names import iqn
from dr_provider.arrays.zfs.transfer import TransferCalls
from dr_provider.model.errors import BadInput, NotReady
from dr_provider.model.findings import ArrayUse, Examination
from dr_provider.model.inventory import FoundVolume
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import ArrayState, Incoming, LunState, SnapshotState, VolumeKind, VolumeState

__all__ = ["ZfsArray"]

_READ_BACK = 60.0
"""Seconds that a reading may stand still while the array is known to live: a clone is mounted before it, and destroyed after it."""
_PIECE = 4 << 20  # bytes of an image in one request


class ZfsArray(TransferCalls, Array):
    """Implements `Array` on a ZFS pool over SSH, with LUNs over iSCSI."""

    def create(self) -> str:
        return str(self._ask("create"))

    def state(self, *, records: str = "", peers: Sequence[str] = ()) -> ArrayState:
        if records:
            check_key(records)
        told = self._ask("state", records=records)
        return ArrayState(
            own_id=told["own_id"],
            serial=told["serial"],
            capacity=told["capacity"],
            used=told["used"],
            volumes={name: _volume(name, row, told["texts"]) for name, row in sorted(told["volumes"].items())},
            records=told["records"],
            peers=self._reach(peers) if peers else {},
            clock=told["clock"],
        )

    def examine(self, use: ArrayUse) -> Examination:
        hops = hops_of(self.spec, self.fabric.peers, use.peers)
        return examine(self.spec, self._session, self._endpoints, lambda endpoint: self._open([endpoint]), hops)

    def inventory(self) -> tuple[FoundVolume, ...]:
        """What dr has there, then every file system and zvol of the pool beside it."""
        try:
            mine = super().inventory()
        except NotReady as error:
            if not error.missing:
                raise
            mine = ()
        others = self._ask("inventory")
        return (*mine, *(FoundVolume(row["name"], row["kind"], row["used"], row["size"]) for row in others))

    # -- records of the array -----------------------------------------------------------------------

    def read_record(self, key: str) -> str | None:
        found: str | None = self._ask("read_record", key=check_key(key))
        return found

    def create_record(self, key: str, value: str, guard: Guard = NO_GUARD) -> bool:
        return bool(self._ask("create_record", guard, key=check_key(key), value=value))

    def put_record(self, key: str, value: str, guard: Guard = NO_GUARD) -> None:
        self._ask("put_record", guard, key=check_key(key), value=value)

    def delete_record(self, key: str, guard: Guard = NO_GUARD) -> None:
        self._ask("delete_record", guard, key=check_key(key))

    # -- volumes and LUNs ---------------------------------------------------------------------------

    def create_volume(
        self, volume: str, size: int, owner: Owner, *, writable: bool = True, guard: Guard = NO_GUARD
    ) -> None:
        self._ask(
            "create_volume",
            guard,
            volume=check_name("volume", volume),
            size=size,
            owner=owner_words(owner),
            group=self._group(volume),
            writable=writable,
        )

    def adopt_volume(self, volume: str, owner: Owner, guard: Guard = NO_GUARD) -> None:
        self._ask("adopt_volume", guard, volume=volume, owner=owner_words(owner))

    def delete_volume(self, volume: str, owner: Owner, guard: Guard = NO_GUARD) -> bool:
        return bool(self._ask("delete_volume", guard, volume=volume, owner=owner_words(owner)))

    def create_lun(
        self, volume: str, lun: str, size: int, *, image: str | None = None, guard: Guard = NO_GUARD
    ) -> None:
        at: dict[str, Any] = {"volume": volume, "lun": check_name("LUN", lun)}
        if self._ask("create_lun", guard, **at, size=size, image=image is not None) == "done" or image is None:
            return
        length = _image_length(image, lun, size)
        draft = uuid.uuid4().hex
        self._ask("begin_image", guard, **at, draft=draft, size=size)
        with Path(image).open("rb") as file:
            for offset in range(0, length, _PIECE):
                piece = file.read(min(_PIECE, length - offset))
                if piece.count(0) != len(piece):
                    data = base64.b64encode(zlib.compress(piece, 1)).decode()
                    self._ask("write_image", guard, **at, draft=draft, offset=offset, data=data)
        self._ask("finish_image", guard, **at, draft=draft, size=size, image=length)

    def delete_lun(self, volume: str, lun: str, guard: Guard = NO_GUARD) -> bool:
        return bool(self._ask("delete_lun", guard, volume=volume, lun=lun))

    def restore_lun(self, volume: str, lun: str, source: str, guard: Guard = NO_GUARD) -> int:
        # A piece a request: the array's lock is free for others in between, and the guard is checked each time.
        offset: int | None = 0
        written = 0
        while offset is not None:
            told = self._ask("restore_lun", guard, volume=volume, lun=lun, source=source, offset=offset)
            offset, written = told["next"], written + int(told["written"])
        return written

    def set_lun_online(self, volume: str, luns: Sequence[str], online: bool, guard: Guard = NO_GUARD) -> None:
        self._ask("set_lun_online", guard, volume=volume, luns=list(luns), online=online)

    def map_lun(self, volume: str, luns: Sequence[str], initiator: str, guard: Guard = NO_GUARD) -> None:
        self._ask("map_lun", guard, volume=volume, luns=list(luns), initiator=initiator)

    def unmap_luns(self, luns: Mapping[str, Sequence[str]], guard: Guard = NO_GUARD) -> None:
        self._ask("unmap_luns", guard, luns={volume: list(names) for volume, names in luns.items()})

    def lun_target(self, volume: str, lun: str) -> str:
        luns: Mapping[str, Any] = self._options["luns"]
        name = iqn(self.name, check_name("volume", volume), check_name("LUN", lun))
        chap = luns.get("chap")
        # A reference to the password, never the password: this stands in definitions, and with them in records.
        user, secret = (
            (f"{quote(str(chap['user']), safe='')}@", f"?secret={quote(str(chap['password']), safe=':/')}")
            if chap
            else ("", "")
        )
        return f"iscsi://{user}{luns['portal']}/{name}/1{secret}"

    def put_volume_records(self, volumes: Sequence[str], key: str, value: str, guard: Guard = NO_GUARD) -> None:
        self._ask("put_volume_records", guard, volumes=list(volumes), key=check_key(key), value=value)

    # -- snapshots ----------------------------------------------------------------------------------

    def snapshot(self, volumes: Sequence[str], snapshot: str, guard: Guard = NO_GUARD) -> None:
        self._ask("snapshot", guard, volumes=list(volumes), snapshot=check_name("snapshot", snapshot))

    def seal(self, volumes: Sequence[str], snapshot: str, seal: str, guard: Guard = NO_GUARD) -> None:
        self._ask("seal", guard, volumes=list(volumes), snapshot=snapshot, seal=seal)

    def digests(
        self,
        volume: str,
        snapshot: str,
        *,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], str | None] | None = None,
    ) -> Mapping[str, str]:
        args = {"volume": volume, "snapshot": snapshot}
        found: Mapping[str, str] = self._session.call(
            "digests", args, timeout=_READ_BACK, idle=True, progress=progress, stop=stop
        )
        return found

    def delete_snapshots(self, snapshots: Mapping[str, Sequence[str]], guard: Guard = NO_GUARD) -> None:
        self._ask("delete_snapshots", guard, snapshots={volume: list(names) for volume, names in snapshots.items()})

    def hold(self, snapshots: Mapping[str, str], tag: str, guard: Guard = NO_GUARD) -> None:
        self._ask("hold", guard, snapshots=dict(snapshots), tag=check_name("hold", tag))

    def release(self, volumes: Sequence[str], tag: str, guard: Guard = NO_GUARD) -> None:
        self._ask("release", guard, volumes=list(volumes), tag=tag)

    def clone(
        self, volume: str, snapshot: str | None, name: str, kind: VolumeKind, owner: Owner, *, guard: Guard = NO_GUARD
    ) -> None:
        self._ask(
            "clone",
            guard,
            volume=volume,
            snapshot=snapshot,
            name=check_name("volume", name),
            kind=kind,
            owner=owner_words(owner),
        )

    def promote(self, volume: str, snapshot: str, guard: Guard = NO_GUARD) -> None:
        self._ask("promote", guard, volume=volume, snapshot=snapshot)

    def demote(self, volume: str, snapshot: str, guard: Guard = NO_GUARD) -> None:
        self._ask("demote", guard, volume=volume, snapshot=snapshot)


def _image_length(image: str, lun: str, size: int) -> int:
    try:
        length = Path(image).stat().st_size
        with Path(image).open("rb"):
            pass
    except OSError as error:
        raise BadInput(f"image {image} of LUN {lun} cannot be read ({error.strerror}); nothing was done") from error
    if length > size:
        raise BadInput(
            f"image {image} has {length} bytes, and LUN {lun} only {size}; declare a larger disk; nothing was done"
        )
    return length


def _volume(name: str, row: Mapping[str, Any], texts: Sequence[str]) -> VolumeState:
    return VolumeState(
        name=name,
        size=row["size"],
        kind=row["kind"],
        writable=row["writable"],
        owner=Owner(*row["owner"]) if row["owner"] is not None else None,
        luns={
            lun: LunState(lun, told["size"], told["online"], told["mapped_to"], told["image"])
            for lun, told in row["luns"].items()
        },
        snapshots=tuple(_snapshot(told, texts) for told in row["snapshots"]),
        changed=row["changed"],
        last_write=row["last_write"],
        origin=(row["origin"][0], row["origin"][1]) if row["origin"] is not None else None,
        records=_records(row["records"], texts),
        incoming=Incoming(**row["incoming"]) if row.get("incoming") else None,
        used=row["used"],
    )


def _records(told: Mapping[str, int], texts: Sequence[str]) -> dict[str, str]:
    """Texts are sent once and named by their places."""
    return {key: texts[place] for key, place in told.items()}


def _snapshot(told: Mapping[str, Any], texts: Sequence[str]) -> SnapshotState:
    return SnapshotState(
        name=told["name"],
        guid=told["guid"],
        time=told["time"],
        holds=frozenset(told["holds"]),
        records=_records(told["records"], texts),
        seal=None if told["seal"] is None else texts[told["seal"]],
        referenced=told["referenced"],
    )
