"""The program on a zfs array, without one: its properties, names and words; and what it says to OpenZFS.

OpenZFS needs a kernel module, so what only it can do is tested by transcripts: of the man pages of OpenZFS 2.1 and 2.2 (zfs-snapshot, zfs-set,
zfs-list, zfs-get) and lib/libzfs. What zfs-fuse does is tested on a lab (tests/lab_stack).
"""

from __future__ import annotations

import ast
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.zfs import remote
from dr_provider.arrays.zfs.remote import core, datasets, listing, meta, properties, snapshots, volumes
from dr_provider.arrays.zfs.remote.core import Context, Done, Fault, Memory
from dr_provider.arrays.zfs.remote.names import iqn

CONFIG = {"name": "a", "site": "east", "pool": "tank", "dataset": "dr", "recordSize": 32768, "luns": {"service": "tgt"}}
SOURCES = sorted(Path(remote.__file__).parent.glob("*.py"))


# -- it runs where it is sent -----------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_is_python_3_8_of_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


# -- properties ---------------------------------------------------------------------------------------


def _stored(held: dict[str, str], value: Any) -> list[tuple[str, str]]:
    return properties.assignments("dr:x", value, held.get("dr:x", ""))


def _read(held: dict[str, str]) -> Any:
    return properties.decode("dr:x", held["dr:x"], lambda more: {key: held[key] for key in more if key in held})


@pytest.mark.parametrize("size", [0, 10, 5_000, 20_000, 60_000])
def test_a_value_is_whole_before_and_after_each_property_of_its_writing(size: int) -> None:
    values = [{"text": os.urandom(size // 2).hex(), "number": number} for number in range(4)]
    held: dict[str, str] = {}
    for before, value in zip([None, *values], values, strict=False):
        settings = _stored(held, value)
        for key, text in settings:
            assert len(text) <= 8191
            if before is not None:
                assert _read(held) == before
            held[key] = text
        assert _read(held) == value


def test_a_text_that_is_not_whole_is_told() -> None:
    held = dict(_stored({}, os.urandom(20_000).hex()))
    del held[next(key for key in held if key != "dr:x")]
    with pytest.raises(ValueError, match="not whole"):
        _read(held)
    for text in ("1a:notbase64!", "x", "1a:"):
        with pytest.raises(ValueError, match="dr:x"):
            properties.decode("dr:x", text, lambda more: {})


def test_iscsi_names_are_legal_and_differ() -> None:
    plain = iqn("east-a", "shop", "db.root")
    assert plain == "iqn.2026-11.io.dr:east-a:shop:db.root"
    others = [iqn("a", "x_y", "l"), iqn("a", "x-y", "l"), iqn("A", "x-y", "l"), iqn("a", "v" * 120, "l" * 120)]
    assert len({plain, *others}) == 5
    for name in others:
        assert len(name) <= 223
        assert name == name.lower()
        assert "_" not in name


# -- words of commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("cannot open 'tank/x': dataset does not exist", "NotFound"),
        ("cannot create 'tank/x': dataset already exists", "Conflict"),
        ("cannot create snapshot 'tank/x@s': out of space", "ArrayFull"),
        ("cannot destroy 'tank/x': dataset is busy", "Busy"),
        ("umount: /tank/x: target is busy.", "Busy"),
        ("cannot open 'tank': pool I/O is currently suspended", "NotReady"),
        ("connect: Connection refused Please make sure that the zfs-fuse daemon is running.", "NotReady"),
        ("The ZFS modules are not loaded. Try running '/sbin/modprobe zfs' as root to load them.", "NotReady"),
        ("cannot set property for 'tank/x': permission denied", "NotReady"),
        ("sudo: a password is required", "NotReady"),
        ("cannot receive: something of a later version", "DeviceFault"),
        # What zfs-fuse 0.7.0 said of streams with a flipped bit, cut short, and of other bytes.
        ("cannot receive new filesystem stream: invalid stream (checksum mismatch)", "CorruptRecord"),
        ("cannot receive incremental stream: invalid backup stream", "DeviceFault"),
        ("cannot receive: invalid stream (bad magic number)", "CorruptRecord"),
    ],
)
def test_each_failure_has_its_kind_and_names_the_array(said: str, kind: str) -> None:
    ctx = _context(lambda words: Done(1, "", said))
    with pytest.raises(Fault, match="array a at site east") as fault:
        core.run(ctx, ["zfs", "do"], patience=0)
    assert fault.value.kind == kind


def test_busy_is_tried_again_and_sudo_goes_before_every_command() -> None:
    asked: list[Sequence[str]] = []

    def answer(words: Sequence[str]) -> Done:
        asked.append(words)
        return Done(0, "done", "") if len(asked) > 2 else Done(1, "", "dataset is busy")

    ctx = _context(answer, sudo=True)
    assert core.zfs(ctx, "destroy", "tank/x") == "done"
    assert asked == [["sudo", "-n", "--", "zfs", "destroy", "tank/x"]] * 3


# -- OpenZFS by transcript ----------------------------------------------------------------------------


def _context(answer: Any, **config: Any) -> Context:
    return Context(
        deadline=time.monotonic() + 60,
        config={**CONFIG, **config},
        memory=Memory(),
        execute=lambda words, seconds: answer(words),
    )


class OpenZfs:
    """Answers as OpenZFS does, on file systems that are folders; what it was asked to change is kept."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, str]] = {}
        self.changes: list[list[str]] = []
        monkeypatch.setattr(meta, "mounts", self.mounts)
        monkeypatch.setattr(datasets, "mounts", self.mounts)
        (folder / "tank/dr/meta").mkdir(parents=True)
        for name in ("records", "taking", "written"):
            (folder / "tank/dr/meta" / name).mkdir()
        (folder / "tank/dr/meta/own-id").write_text("id\n")
        for name in ("dr", "dr/meta", "dr/vols", "dr/vols/plan", "dr/copies", "dr/incoming"):
            self.rows[f"tank/{name}"] = {}
        self.ctx = _context(self.answer)

    def mounts(self) -> dict[str, str]:
        return {name: str(self.folder / name) for name in self.rows}

    def volume(self, name: str) -> datasets.Volume:
        dataset = f"tank/dr/vols/plan/{name}"
        made = datasets.Volume(dataset, name, 1, "data", True, 1 << 20, ["t", "", "1"], {"db": datasets.Lun(1 << 20)})
        self.rows[dataset] = dict(properties.assignments(listing.VOLUME, made.text()))
        (self.folder / dataset / "luns").mkdir(parents=True)
        (self.folder / dataset / "luns/db.img").write_bytes(b"")
        return made

    def answer(self, words: Sequence[str]) -> Done:
        if words[1] == "version":
            return Done(0, "zfs-2.1.11-1\nzfs-kmod-2.1.11-1\n", "")
        if words[:2] == ["zfs", "list"]:
            columns = words[words.index("-o") + 1].split(",")
            systems = {name: row for name, row in self.rows.items() if "@" not in name}
            lines = [[{"name": name}.get(c, row.get(c, "-")) for c in columns] for name, row in systems.items()]
            return Done(0, "".join("\t".join(line) + "\n" for line in lines), "")
        if words[:2] == ["zfs", "get"]:
            keys, names = words[words.index("-o") + 2].split(","), words[words.index("-o") + 3 :]
            if keys == ["mountpoint"]:
                return Done(0, f"{self.folder}/tank/dr\n", "")
            if "-rHp" in words:
                names = [name for name in self.rows if name.startswith(tuple(names))]
            found = [
                f"{name}\t{key}\t{self.rows[name].get(key, '-')}\n"
                for name in names
                if name in self.rows
                for key in keys
            ]
            missing = [name for name in names if name not in self.rows]
            said = " ".join(f"cannot open '{name}': dataset does not exist" for name in missing)
            return Done(1 if missing else 0, "".join(found), said)
        self.changes.append(list(words))
        return Done(0, "", "")


@pytest.fixture
def openzfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenZfs:
    return OpenZfs(tmp_path, monkeypatch)


def test_openzfs_takes_a_group_by_its_names_and_nothing_more(openzfs: OpenZfs) -> None:
    for name in ("one", "two", "three"):
        openzfs.volume(name)
    snapshots.snapshot(openzfs.ctx, volumes=["one", "two"], snapshot="s1")
    ((*words, one, two),) = openzfs.changes
    assert words[:3] == ["zfs", "snapshot", "-o"]
    assert words[3].startswith("dr:point=1a:")
    assert len(words) == 4
    assert (one, two) == ("tank/dr/vols/plan/one@s1", "tank/dr/vols/plan/two@s1")


def test_openzfs_sets_several_properties_at_once(openzfs: OpenZfs) -> None:
    for name in ("one", "two"):
        openzfs.volume(name)
    volumes.put_volume_records(openzfs.ctx, volumes=["one", "two"], key="intent", value=os.urandom(9000).hex())
    ((zfs, verb, *pairs, one, two),) = openzfs.changes
    assert (zfs, verb, one, two) == ("zfs", "set", "tank/dr/vols/plan/one", "tank/dr/vols/plan/two")
    assert [pair.partition("=")[0] for pair in pairs] == ["dr:records.a1", "dr:records.a2", "dr:records"]


@pytest.mark.parametrize("how", ["undisturbed", "its disks are not read in time", "another looks meanwhile"])
def test_what_the_mount_replays_is_dated_back_whoever_mounts(
    how: str, openzfs: OpenZfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a site that returns from a power failure is called written since, and its plan split."""
    from dr_provider.arrays.zfs.remote import files

    volume = openzfs.volume("one")
    image, lost_at, mounted, seen = (
        openzfs.folder / volume.dataset / "luns/db.img",
        1_700_000_000,
        list[str](),
        list[str | None](),
    )
    os.utime(image, (lost_at - 60, lost_at - 60))

    def mounts() -> dict[str, str]:
        return {name: place for name, place in openzfs.mounts().items() if name != volume.dataset or mounted}

    def mount(_ctx: Context, dataset: str) -> None:
        mounted.append(dataset)
        os.utime(image)  # the intent log is replayed

    def last_sync(ctx: Context) -> int:
        if how == "another looks meanwhile" and not seen:
            seen.append(None)
            seen.append(files.last_write(ctx, files.opened(ctx, replace(volume))))
        if how == "its disks are not read in time" and not seen:
            seen.append(None)
            raise core.Fault("Unreachable", "zdb did not end in time")
        return lost_at

    for name, fake in {"mounts": mounts, "mount": mount, "last_sync": last_sync}.items():
        monkeypatch.setattr(files, name, fake)
    if how == "its disks are not read in time":
        with pytest.raises(core.Fault):
            files.opened(openzfs.ctx, replace(volume))
    said = files.last_write(openzfs.ctx, files.opened(openzfs.ctx, volume)) or ""
    assert said == "2023-11-14T22:13:20Z"
    assert [one for one in seen if one] == ([said] if how == "another looks meanwhile" else [])
    assert mounted == [volume.dataset]
    image.write_bytes(b"guest")
    assert (files.last_write(openzfs.ctx, files.opened(openzfs.ctx, volume)) or "") > said, "a guest's write stays one"


def test_a_write_after_the_stamp_is_a_change_and_one_before_it_is_not(openzfs: OpenZfs) -> None:
    from dr_provider.arrays.zfs.remote import files

    volume = openzfs.volume("one")
    volume.mounted = openzfs.mounts()[volume.dataset]
    image = volume.file("db")
    stamps = files.stamp(openzfs.ctx, volume)
    assert not files.changed(openzfs.ctx, volume, stamps)
    assert files.last_write(openzfs.ctx, volume) is not None
    image.write_bytes(b"guest")
    assert files.changed(openzfs.ctx, volume, stamps)
    files.restamp(openzfs.ctx, volume, stamps)
    assert not files.changed(openzfs.ctx, volume, stamps)
    later = files.stamp(openzfs.ctx, volume)
    assert later == stamps, "nothing was written, so the snapshot before is as good"
    image.write_bytes(b"again")
    assert files.stamp(openzfs.ctx, volume) != stamps
    assert files.changed(openzfs.ctx, volume, stamps), "the newest snapshot was deleted: the one before has other data"
