"""The disks of `dr sim`, straight from the arrays' files."""

from __future__ import annotations

import uuid
from pathlib import Path

from dr_provider.arrays.embedded.rows import luns_of, need_volume
from dr_provider.arrays.embedded.sim import lun_size, read_lun
from dr_provider.arrays.embedded.store import store_of
from dr_provider.model.errors import BadInput, DrError, NotFound
from dr_provider.model.vm import DiskAttachment, VmDefinition

__all__ = ["attachment", "export_disk", "file_of", "has_disks", "read_disk", "writable"]

_CHUNK = 4 << 20


def file_of(disk: DiskAttachment) -> Path:
    path, mark, _ = disk.target.removeprefix("embedded:").rpartition("#")
    if not mark or not disk.target.startswith("embedded:"):
        raise BadInput(
            f"disk {disk.role} is not on an embedded array, and sim knows only embedded arrays; nothing was done"
        )
    return Path(path)


def read_disk(disk: DiskAttachment, offset: int, length: int) -> bytes:
    return read_lun(file_of(disk), disk.volume, disk.lun, offset, length)


def attachment(role: str, volume: str, lun: str, size: int, path: Path) -> DiskAttachment:
    """A disk by the topology; how much of it an image takes is known to the array only."""
    image = 0
    if path.is_file():
        with store_of(path).reading() as db:
            try:
                found = need_volume(db, volume, f"array file {path}")
            except NotFound:
                found = None
            rows = luns_of(db, found) if found else {}
            if lun in rows:
                image, size = rows[lun].image_bytes, rows[lun].size
    return DiskAttachment(role, volume, lun, size, f"embedded:{path}#{volume}/{lun}", image)


def has_disks(definition: VmDefinition, initiator: str) -> bool:
    """Whether every disk of the VM is mapped to the host with this initiator."""
    for disk in definition.disks:
        try:
            with store_of(file_of(disk)).reading() as db:
                luns = luns_of(db, need_volume(db, disk.volume, ""))
        except DrError:
            return False
        if disk.lun not in luns or luns[disk.lun].mapped_to != initiator:
            return False
    return True


def writable(definition: VmDefinition) -> bool:
    for disk in definition.disks:
        try:
            with store_of(file_of(disk)).reading() as db:
                if not need_volume(db, disk.volume, "").writable:
                    return False
        except DrError:
            return False
    return True


def export_disk(disk: DiskAttachment, file: Path) -> int:
    path = file_of(disk)
    size = lun_size(path, disk.volume, disk.lun)
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as out:
            for offset in range(0, size, _CHUNK):
                data = read_lun(path, disk.volume, disk.lun, offset, min(_CHUNK, size - offset))
                if data.strip(b"\0"):
                    out.seek(offset)
                    out.write(data)
            out.truncate(size)
        draft.replace(file)
    except OSError as error:
        raise BadInput(
            f"{file}: it cannot be written ({error.strerror}); give a file in a folder that is there"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return size
