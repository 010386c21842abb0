"""Replication between zfs arrays without arrays: the direct way with commands in the place of zfs, the choice of the way and of the error
with sessions that answer by script, and OpenZFS by transcripts of what it documents (2.1, 2.2)."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.base import Fabric, Stream
from dr_provider.arrays.zfs import ZfsArray
from dr_provider.arrays.zfs import transfer as ways
from dr_provider.arrays.zfs.remote import resume
from dr_provider.arrays.zfs.remote.core import Context, Done, Fault, Memory
from dr_provider.arrays.zfs.remote.hop import Shared, ended, hop_words, never_connected, sweep
from dr_provider.arrays.zfs.remote.transfer import direct, send_words
from dr_provider.model.errors import (
    ArrayFull,
    BadInput,
    Conflict,
    CorruptRecord,
    DeviceFault,
    DrError,
    LeaseLost,
    NotFound,
    NotReady,
    Stopped,
    Unreachable,
)
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import SnapshotState
from dr_provider.model.topology import ArraySpec

OWNER = Owner("shop", "dr/prod", "1")
CONFIG = {"name": "east-a", "site": "east", "pool": "tank", "dataset": "dr", "recordSize": 32 << 10}


def context(
    answers: Mapping[tuple[str, ...], Done] | None = None, asked: list[list[str]] | None = None, seconds: float = 30.0
) -> Context:
    """A call on an array whose commands answer by transcript; a command that is not in it fails as zfs-fuse's do."""

    def execute(words: Sequence[str], left: float) -> Done:
        if asked is not None:
            asked.append(list(words))
        return (answers or {}).get(tuple(words), Done(2, "", f"unrecognized command '{words[1]}' usage: ..."))

    return Context(deadline=time.monotonic() + seconds, config=CONFIG, memory=Memory(), execute=execute)


# -- the direct way -------------------------------------------------------------------------------------

TO = {"host": "10.0.2.10", "user": "root", "port": None}


@pytest.fixture
def hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an `ssh` first in PATH that does what it is told in place of connecting; by itself it runs the far command here."""
    place = tmp_path / "bin"
    place.mkdir()

    def behave(text: str) -> None:
        script = place / "ssh"
        script.write_text(f'#!/bin/sh\nfor last; do :; done\n{text}\nexec sh -c "$last"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    behave("")
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    return behave


def sent(ctx: Context, send: str, receive: str, **more: Any) -> dict[str, Any]:
    given = {"idle": 5.0, "rate": None, "small": False, **more}
    told: dict[str, Any] = direct(ctx, send=["sh", "-c", send], receive=["sh", "-c", receive], to=TO, **given)
    return told


def test_the_bytes_go_straight_and_both_ends_are_told_of(hop: Callable[[str], None], tmp_path: Path) -> None:
    there = tmp_path / "there file"
    told = sent(context(), "head -c 3000000 /dev/zero", f"cat > '{there}'; echo mounted not >&2; exit 1")
    assert told == {"moved": 3_000_000, "send": (0, ""), "receive": (1, "mounted not")}
    assert there.stat().st_size == 3_000_000


def test_a_receiver_that_fails_ends_it_with_its_words(hop: Callable[[str], None]) -> None:
    began = time.monotonic()
    told = sent(context(), "cat /dev/zero", "head -c 100000 >/dev/null; echo out of space >&2; exit 1")
    assert told["receive"] == (1, "out of space")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("send", "receive"), [("sleep 600", "cat >/dev/null"), ("cat /dev/zero", "sleep 600")])
def test_a_way_on_which_nothing_moves_is_given_up(hop: Callable[[str], None], send: str, receive: str) -> None:
    began = time.monotonic()
    with pytest.raises(Fault, match=r"nothing more .*for 0.5 s") as caught:
        sent(context(), f"exec {send}", f"exec {receive}", idle=0.5)
    assert caught.value.kind == "Unreachable"
    assert time.monotonic() - began < 5


def test_a_slow_way_that_moves_is_not_given_up(hop: Callable[[str], None]) -> None:
    told = sent(context(), "for n in 1 2 3 4 5; do echo x; sleep 0.4; done", "cat >/dev/null", idle=1.5)
    assert told["moved"] == 10


def test_a_direct_transfer_ends_when_nobody_wants_it_any_more(hop: Callable[[str], None]) -> None:
    ctx = context()
    stop = threading.Event()
    ctx.cancelled = stop.is_set  # type: ignore[method-assign]
    ctx.emit = lambda count: stop.set() if count > 1_000_000 else None  # type: ignore[method-assign]
    with pytest.raises(Fault, match="stopped after") as caught:
        sent(ctx, "cat /dev/zero", "cat >/dev/null")
    assert caught.value.kind == "Stopped"


@pytest.mark.parametrize("small", [False, True])
def test_a_refused_way_is_told_from_one_that_broke(hop: Callable[[str], None], small: bool) -> None:
    hop("echo 'root@10.0.2.10: Permission denied (publickey).' >&2; exit 255")
    told = sent(context(), "head -c 1000 /dev/zero", "cat >/dev/null", small=small)
    assert never_connected(*told["receive"])
    hop("head -c 1000 >/dev/null; echo 'Timeout, server 10.0.2.10 not responding.' >&2; exit 255")
    told = sent(context(), "head -c 1000000 /dev/zero", "cat >/dev/null")
    assert told["receive"][0] == 255
    assert not never_connected(*told["receive"])


def test_the_hop_checks_host_keys_asks_nobody_and_quotes() -> None:
    words = hop_words({"host": "h", "user": "ann", "port": 2222}, ["zfs", "receive", "tank/a b@s"], 3.7)
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=3", "ControlPath=none"} <= set(words)
    assert words[-7:] == ["-p", "2222", "-l", "ann", "--", "h", "zfs receive 'tank/a b@s'"]


def test_sockets_of_connections_that_were_killed_are_removed(tmp_path: Path) -> None:
    dead, alive, coming = (socket.socket(socket.AF_UNIX) for _ in range(3))
    for name, each in (("dead", dead), ("alive", alive), ("new.x", coming)):
        each.bind(str(tmp_path / name))
    alive.listen()
    dead.close()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "new.x"]
    alive.close()
    coming.close()


# -- OpenZFS by transcripts ---------------------------------------------------------------------------------

TOKEN = "1-e604ea4bf-e0-789c63a28e0f"
FULL = "tank/dr/vols/p/shop@s2"
CONTENTS = """resume token contents:
nvlist version: 0
\tfromguid = 0x4be7d2ff3f2ed9d1
\tobject = 0x2
\toffset = 0x1c20000
\tbytes = 0x1c3b6b8
\ttoguid = 0x2c2ae7ad5d8c8cdd
\ttoname = tank/dr/vols/p/shop@s2
\tcompressok = 1
"""
VERSION: dict[tuple[str, ...], Done] = {("zfs", "version"): Done(0, "zfs-2.1.11-1\nzfs-kmod-2.1.11-1\n", "")}


@pytest.mark.parametrize(
    "done",
    [
        Done(0, f"{CONTENTS}incremental\ts1\t{FULL}\t1024\nsize\t1024\n", ""),
        Done(255, CONTENTS, "cannot resume send: 'tank/dr/vols/p/shop@s2' used in the initial send no longer exists"),
        Done(255, "", " ".join(CONTENTS.split()) + " cannot resume send: dataset no longer exists"),
    ],
)
def test_a_token_says_what_has_arrived(done: Done) -> None:
    ctx = context({("zfs", "send", "-nvt", TOKEN): done})
    assert resume.incoming(ctx, TOKEN) == {
        "snapshot": "s2",
        "guid": str(0x2C2AE7AD5D8C8CDD),
        "base": str(0x4BE7D2FF3F2ED9D1),
        "received": 0x1C3B6B8,
    }


def test_a_token_of_a_full_copy_has_no_base_and_a_broken_one_says_nothing() -> None:
    whole = CONTENTS.replace("\tfromguid = 0x4be7d2ff3f2ed9d1\n", "")
    told = resume.incoming(context({("zfs", "send", "-nvt", TOKEN): Done(0, whole, "")}), TOKEN)
    assert told is not None
    assert told["base"] is None
    corrupt = Done(255, "", "cannot resume send: resume token is corrupt (bad checksum)")
    assert resume.incoming(context({("zfs", "send", "-nvt", TOKEN): corrupt}), TOKEN) is None


def test_parts_are_asked_for_in_one_command_and_not_at_all_of_zfs_fuse() -> None:
    get = ("zfs", "get", "-H", "-o", "name,value", "receive_resume_token", "tank/a", "tank/b")
    answers = {
        **VERSION,
        get: Done(0, f"tank/a\t-\ntank/b\t{TOKEN}\n", ""),
        ("zfs", "send", "-nvt", TOKEN): Done(0, CONTENTS, ""),
    }
    assert list(resume.parts(context(answers), ["tank/a", "tank/b"])) == ["tank/b"]
    asked: list[list[str]] = []
    assert resume.parts(fuse := context(asked=asked), ["tank/a"]) == {}
    assert resume.token(fuse, "tank/a") is None
    assert asked == [["zfs", "version"]], "asked once"


def test_openzfs_says_how_large_a_send_will_be() -> None:
    words = send_words("tank/dr/vols/p/shop", "s1", "s2", compressed=True)
    assert words == ["zfs", "send", "-c", "-i", "@s1", FULL]
    said = Done(0, f"incremental\ts1\t{FULL}\t624\nsize\t624\n", "")
    assert resume.size(context({("zfs", "send", "-nP", *words[2:]): said}), words[2:]) == 624
    assert resume.size(context(), words[2:]) is None
    assert send_words("x", None, "s1", compressed=True, token=TOKEN) == ["zfs", "send", "-t", TOKEN]
    assert send_words("x", None, "s1", compressed=False) == ["zfs", "send", "x@s1"]


def test_what_arrived_is_dropped_where_another_step_comes() -> None:
    get = ("zfs", "get", "-H", "-o", "value", "receive_resume_token", "tank/a")
    asked: list[list[str]] = []
    abort = ("zfs", "receive", "-A", "tank/a")
    resume.abandon(context({**VERSION, get: Done(0, f"{TOKEN}\n", ""), abort: Done(0, "", "")}, asked), "tank/a")
    assert asked[-1] == list(abort)
    busy = {**VERSION, get: Done(0, f"{TOKEN}\n", ""), abort: Done(1, "", "cannot destroy 'tank/a': dataset is busy")}
    with pytest.raises(Fault, match="dataset is busy"):
        resume.abandon(context(busy), "tank/a")


# -- the operator's side --------------------------------------------------------------------------------------


class Script:
    """A session that answers by script: op -> a value, an error, or a function of the arguments."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("__", "."): answer for name, answer in answers.items()}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.bulk: Any = None

    def call(self, op: str, args: Mapping[str, Any], **more: Any) -> Any:
        self.asked.append((op, dict(args)))
        answer = self.answers.get(op)
        if isinstance(answer, Exception):
            raise answer
        return answer(dict(args), more) if callable(answer) else answer

    def ops(self) -> list[str]:
        """Without what goes on beside the step."""
        return [op.rpartition(".")[2] for op, _ in self.asked if op != "transfer.connect"]

    def args(self, op: str) -> dict[str, Any]:
        return next(args for asked, args in self.asked if asked == op)


SNAPSHOT = {
    "name": "s2", "guid": "22", "time": "t", "records": {"intent": "x"}, "seal": None, "referenced": 9,
    "luns": {"db": {"size": 4096, "image": 0, "stamp": 1}},
}  # fmt: skip
STEP = {
    "dataset": "tank/dr/vols/p/shop", "array": "east-a", "site": "east", "volume": "shop", "size": 4096, "snapshot": SNAPSHOT,
    "base": {**SNAPSHOT, "name": "s1", "guid": "11"}, "total": 100, "openzfs": False, "before": ["env", "LC_ALL=C"],
}  # fmt: skip
BEGUN = {"have": False, "begun": "b1", "token": None, "openzfs": False, "receive": ["zfs", "receive", "x@s2"]}


def moved(count: int = 100, send: tuple[int | None, str] = (0, ""), receive: tuple[int | None, str] = (0, "")) -> Any:
    return {"moved": count, "send": list(send), "receive": list(receive)}


def arrays(source: Script, target: Script, **options: object) -> tuple[ZfsArray, ZfsArray]:
    specs = {
        name: ArraySpec(
            name,
            site,
            "zfs",
            {
                "endpoints": [f"ssh://root@{name}"],
                "pool": "tank",
                "luns": {"service": "tgt", "portal": "10.0.0.1:3260"},
                "replication": f"ssh://dr@{name}-data:2222",
                **options,
            },
        )
        for name, site in (("east-a", "east"), ("west-a", "west"))
    }
    made = [ZfsArray(spec, timeout=2.0, fabric=Fabric({"shop": "p"}, specs)) for spec in specs.values()]
    for array, script in zip(made, (source, target), strict=True):
        array._session = script  # type: ignore[assignment]
    return made[0], made[1]


def pair(*, finish: Any = None, begun: Any = BEGUN, way: Any = None, **options: object) -> Any:
    """Both ends with one step that goes well but for what is given."""
    source = Script(transfer__describe=dict(STEP), transfer__direct=moved() if way is None else way)
    target = Script(transfer__begin=begun, transfer__finish=finish, transfer__drop=None)
    a, b = arrays(source, target, **options)
    return a, b, source, target


@pytest.fixture(autouse=True)
def forget_ways() -> None:
    ways._no_way.clear()


def test_a_step_is_begun_moved_and_finished_under_its_guard() -> None:
    a, b, source, target = pair()
    stream = a.send("shop", "s1", "s2")
    assert (stream.total, stream.base and stream.base.name, stream.snapshot.guid) == (100, "s1", "22")
    guard = Guard("shop/lease/p/", 1)
    progress: list[int] = []
    assert b.receive("shop", stream, OWNER, guard=guard, progress=progress.append, rate=5) == 100
    assert progress == [100]
    assert target.ops() == ["begin", "finish"]
    for op in ("transfer.begin", "transfer.finish"):
        asked = target.args(op)
        assert asked["guard"]["lease"] == 1
        assert (asked["owner"], asked["group"], asked["stream"]["snapshot"]["guid"]) == (
            ["shop", "dr/prod", "1"],
            "p",
            "22",
        )
    sent = source.args("transfer.direct")
    assert sent["send"] == ["zfs", "send", "-i", "@s1", "tank/dr/vols/p/shop@s2"]
    assert sent["to"] == {"host": "west-a-data", "user": "dr", "port": 2222}
    assert (sent["receive"], sent["rate"]) == (["zfs", "receive", "x@s2"], 5)


def test_what_is_there_is_not_sent_again() -> None:
    a, b, source, target = pair(begun={"have": True})
    assert b.receive("shop", a.send("shop", "s1", "s2"), OWNER) == 0
    assert (source.ops(), target.ops()) == (["describe"], ["begin"])


def test_a_small_step_is_connected_for_while_the_destination_makes_ready() -> None:
    connected = threading.Event()
    a, b, source, target = pair()
    source.answers["transfer.connect"] = lambda _args, _more: connected.set()
    target.answers["transfer.begin"] = lambda _args, _more: BEGUN if connected.wait(10) else None
    assert b.receive("shop", a.send("shop", "s1", "s2"), OWNER) == 100
    assert source.args("transfer.connect")["to"] == source.args("transfer.direct")["to"]


@pytest.mark.parametrize(("total", "options"), [(1 << 30, {}), (100, {"transfer": "relay"})], ids=["large", "relay"])
def test_a_large_step_and_one_through_here_need_no_connection_ahead(total: int, options: dict[str, str]) -> None:
    a, b, source, target = pair(**options)
    source.answers["transfer.describe"] = {**STEP, "total": total}
    target.answers["transfer.begin"] = NotReady("enough is seen")
    with pytest.raises(NotReady):
        b.receive("shop", a.send("shop", "s1", "s2"), OWNER)
    assert [op for op, _ in source.asked] == ["transfer.describe"]


class Waiting:
    """A lock that says when somebody waits for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waited = threading.Event()

    def acquire(self, timeout: float) -> bool:
        if self.lock.locked():
            self.waited.set()
        return self.lock.acquire(timeout=timeout)

    def release(self) -> None:
        self.lock.release()


def test_who_waits_for_a_connection_hears_why_there_is_none_without_trying_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared, lock, tried = Shared(), Waiting(), []

    def start(*_args: object) -> str:
        tried.append(1)
        assert lock.waited.wait(10)
        return "connect to host west-a: No route to host"

    monkeypatch.setattr(shared, "_lock", lock)
    monkeypatch.setattr(shared, "_start", start)
    monkeypatch.setattr("dr_provider.arrays.zfs.remote.hop.private_folder", lambda: tmp_path)
    to = {"host": "west-a", "user": None, "port": None}
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: shared.master(to, {}, 5.0), range(2)))
    assert said == [(None, "connect to host west-a: No route to host")] * 2
    assert tried == [1]
    shared.master(to, {}, 5.0)
    assert tried == [1, 1], "whoever comes later tries anew"


def holding(shared: Shared) -> subprocess.Popen[bytes]:
    (standing,) = shared._standing.values()
    return standing._holder


def test_a_connection_is_held_until_it_is_found_dead_and_its_name_is_never_used_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_ssh.py")} {tmp_path} "$@"\n')
    ssh.chmod(0o755)
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    monkeypatch.setattr("dr_provider.arrays.zfs.remote.hop.private_folder", lambda: sockets)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    to = {"host": "west-a", "user": None, "port": None}
    shared = Shared()
    first, said = shared.master(to, environment, 5.0)
    assert first is not None, said
    assert shared.master(to, environment, 5.0) == (first, "")
    holder = holding(shared)
    assert ended(holder, 0.2) is None
    assert holder.args == hop_words(to, ["cat"], 5.0, master=first)
    shared.lost(first)
    assert (holder.poll(), first.exists()) == (-signal.SIGKILL, False)
    shared.lost(first)
    second, _ = shared.master(to, environment, 5.0)
    assert second not in (None, first)
    assert [json.loads(line)[-1] for line in log.read_text().splitlines()].count("west-a") == 2
    holder = holding(shared)
    assert holder.stdin is not None
    holder.stdin.close()  # as it does at this program's end
    assert ended(holder, 10.0) == 0


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_process_that_ends_is_heard_of(pidfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    with subprocess.Popen(["sh", "-c", "read word; exit 7"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert ended(process, 0.05) is None
        process.stdin.close()
        assert ended(process, 10.0) == 7
        assert ended(process, 0.0) == 7


def test_openzfs_sends_compressed_and_goes_on_from_its_token() -> None:
    a, b, source, target = pair(begun={**BEGUN, "openzfs": True, "token": TOKEN})
    source.answers["transfer.describe"] = {**STEP, "openzfs": True}
    progress: list[int] = []
    assert b.receive("shop", a.send("shop", "s1", "s2", start=40), OWNER, progress=progress.append) == 100
    assert (target.args("transfer.begin")["start"], progress) == (40, [140])
    assert source.args("transfer.direct")["send"] == ["zfs", "send", "-t", TOKEN]


def test_zfs_fuse_cannot_start_in_the_middle() -> None:
    a, *_ = pair()
    with pytest.raises(BadInput, match="start it at 0"):
        a.send("shop", "s1", "s2", start=40)


def test_a_stream_of_another_kind_is_refused() -> None:
    _, b, _, target = pair()
    stream = Stream("old-a", "east", "shop", 1, SnapshotState("s1", "1", "t"), None, {}, 1, 0)
    with pytest.raises(Conflict, match="zfs takes only what zfs sends"):
        b.receive("shop", stream, OWNER)
    assert target.asked == []


INCOMPLETE = "cannot receive incremental stream: invalid backup stream"


@pytest.mark.parametrize(
    ("finish", "way", "error", "words"),
    [
        (None, Unreachable("array east-a: no byte moved"), Unreachable, "no byte moved"),
        (LeaseLost("lease is lost"), None, LeaseLost, "lost"),
        (ArrayFull("west-a: out of space"), moved(50, (-13, ""), (1, "out of space")), ArrayFull, "out of space"),
        (CorruptRecord("no such guid"), moved(50), CorruptRecord, "no such guid"),
        (
            DeviceFault(INCOMPLETE),
            moved(50, (1, "cannot open: dataset does not exist"), (1, INCOMPLETE)),
            NotFound,
            "deleted",
        ),
        (
            DeviceFault(INCOMPLETE),
            moved(50, (1, "pool I/O is suspended"), (1, INCOMPLETE)),
            DeviceFault,
            "zfs send.*suspended",
        ),
        (
            CorruptRecord("no such guid"),
            moved(50, (None, ""), (255, "Timeout, server w not responding.")),
            Unreachable,
            "no answer in time",
        ),
        (CorruptRecord("no such guid"), moved(50, (None, ""), (255, "")), Unreachable, "another transfer"),
        (
            None,
            moved(0, (None, ""), (255, "root@west-a-data: Permission denied (publickey).")),
            NotReady,
            "reached from array east-a .*key was refused",
        ),
    ],
)
def test_why_a_step_failed_is_told_and_what_it_left_is_dropped(
    finish: Any, way: Any, error: type[DrError], words: str
) -> None:
    a, b, _, target = pair(finish=finish, way=way, transfer="direct")
    with pytest.raises(error, match=words) as caught:
        b.receive("shop", a.send("shop", "s1", "s2"), OWNER)
    assert type(caught.value) is error
    assert target.ops()[-1] == "drop"
    assert target.args("transfer.drop") == {"volume": "shop", "begun": "b1"}


def test_what_the_guid_says_counts_not_what_the_commands_ended_with() -> None:
    a, b, _, target = pair(way=moved(70, (0, ""), (1, "cannot mount '/tank/x': failed to create mountpoint")))
    assert b.receive("shop", a.send("shop", "s1", "s2"), OWNER) == 70
    assert target.args("transfer.finish")["status"] == 1


def test_a_stop_ends_it_with_a_sentence() -> None:
    def stopped(args: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        raise Stopped(more["stop"]())

    a, b, _, target = pair(way=stopped)
    with pytest.raises(Stopped, match="transfer of shop to array west-a at site west stopped: Ctrl-C; it starts over"):
        b.receive("shop", a.send("shop", "s1", "s2"), OWNER, stop=lambda: "Ctrl-C")
    assert target.ops()[-1] == "drop"


class Channel:
    """A channel for data to or from a local command."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._process = subprocess.Popen(
            ["sh", "-c", "head -c 70000 /dev/zero" if "send" in words else "cat >/dev/null"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.input, self.output = self._process.stdin.fileno(), self._process.stdout.fileno()

    def finish(self, timeout: float) -> tuple[int | None, str]:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(timeout), ""

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def test_where_the_direct_way_is_refused_data_goes_through_this_machine_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = moved(0, (None, ""), (255, "ssh: connect to host west-a-data port 2222: No route to host"))
    a, b, source, target = pair(way=refused)
    opened: list[Channel] = []

    def bulk(words: Sequence[str]) -> Channel:
        opened.append(Channel(words))
        return opened[-1]

    source.bulk = target.bulk = bulk
    progress: list[int] = []
    assert b.receive("shop", a.send("shop", "s1", "s2"), OWNER, progress=progress.append) == 70000
    assert progress[-1] == 70000
    assert [channel.words[:3] for channel in opened] == [["zfs", "receive", "x@s2"], ["env", "LC_ALL=C", "zfs"]]
    assert "does not reach array west-a" in caplog.text
    assert "no route" in caplog.text
    caplog.clear()
    b.receive("shop", a.send("shop", "s1", "s2"), OWNER)
    assert source.ops().count("direct") == 1, "it is not tried again at once"
    assert caplog.text == ""


def test_relay_where_it_is_set_up_asks_for_no_path_between_the_arrays() -> None:
    a, b, source, target = pair(transfer="relay")
    source.bulk = target.bulk = Channel
    assert b.receive("shop", a.send("shop", "s1", "s2"), OWNER) == 70000
    assert "direct" not in source.ops()
    assert a._reach(["west-a", "unknown"]) == {"west-a": True, "unknown": False}


def test_whether_a_peer_is_reached_is_asked_of_the_array_where_the_path_must_be_direct() -> None:
    a, _, source, _ = pair(transfer="direct")
    source.answers["transfer.reach"] = {"west-a": False}
    assert a._reach(["west-a"]) == {"west-a": False}
    assert source.args("transfer.reach") == {"to": {"west-a": {"host": "west-a-data", "user": "dr", "port": 2222}}}
