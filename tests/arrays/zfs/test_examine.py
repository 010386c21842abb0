"""What `dr doctor` says of a zfs array: facts from transcripts of real commands, and each judgement both ways."""

from __future__ import annotations

import copy
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.zfs.examine import Hop, examine, findings_of, hops_of
from dr_provider.arrays.zfs.remote import examine as remote
from dr_provider.arrays.zfs.remote import tgt
from dr_provider.arrays.zfs.remote.core import Context, Done
from dr_provider.arrays.zfs.session import Session
from dr_provider.arrays.zfs.ssh import Endpoint
from dr_provider.model.errors import Unreachable
from dr_provider.model.findings import Finding
from dr_provider.model.topology import ArraySpec

OPTIONS: dict[str, Any] = {"pool": "tank", "dataset": "dr", "luns": {"portal": "10.0.1.10:3260"}}

WELL: dict[str, Any] = {
    "began": 1000.0,
    "ended": 1000.2,
    "machine": {"name": "a1", "system": "Debian GNU/Linux 12", "python": "3.11.2", "user": "root", "ssh": True},
    "zfs": {"kind": "openzfs", "version": "2.1.11-1", "kernel": "2.1.11-1"},
    "pool": {"health": "ONLINE", "status": "", "used": 10, "free": 90},
    "place": {"there": True, "mountpoint": "/tank/dr", "mounted": True, "writable": True},
    "rights": {"root": True, "sudo": False, "refused": {}},
    "luns": {"version": "1.0.85", "targets": 3, "ours": 2},
    "portal": {"error": "", "refused": False},
    "boot": {"restores": [], "starts": True},
}


def found(changes: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Finding]:
    """Findings by check, after changes of some parts."""
    facts = copy.deepcopy(WELL)
    for part, values in (changes or {}).items():
        facts[part] = values if "fault" in values else {**facts[part], **values}
    findings = findings_of(ArraySpec("east-a", "east", "zfs", {**OPTIONS, **options}), facts)
    assert all(bool(f.todo) == (f.level != "ok") for f in findings)
    assert {f.subject for f in findings} == {"array east-a"}
    return {finding.check: finding for finding in findings}


def test_an_array_that_is_well() -> None:
    assert {f.level for f in found().values()} == {"ok"}


LIO = {"luns": {"portal": "10.0.1.10:3260", "service": "lio"}}

WRONG: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, str]] = {
    # name: (check, changed facts, options, level, words)
    "no ssh": ("ssh", {"machine": {"ssh": False}}, {}, "warning", "cannot send to other arrays"),
    "zfs-fuse": ("zfs", {"zfs": {"kind": "zfs-fuse", "version": "23", "kernel": ""}}, {}, "warning", "zfs-fuse"),
    "old OpenZFS": ("zfs", {"zfs": {"version": "0.8.3-1"}}, {}, "warning", "0.8.3"),
    "module of another version": ("zfs", {"zfs": {"kernel": "2.2.2-0"}}, {}, "warning", "2.2.2-0"),
    "degraded": (
        "pool",
        {"pool": {"health": "DEGRADED", "status": "status: One or more devices"}},
        {},
        "warning",
        "DEGRADED",
    ),
    "healthy with errors": ("pool", {"pool": {"status": "errors: 3 data errors"}}, {}, "warning", "3 data errors"),
    "suspended": ("pool", {"pool": {"health": "SUSPENDED"}}, {}, "problem", "SUSPENDED"),
    "not imported": (
        "pool",
        {"pool": {"fault": ["NotReady", "array east-a: pool tank is not imported; see `zpool import` there"]}},
        {},
        "problem",
        "not imported",
    ),
    "no mountpoint": ("dataset", {"place": {"mountpoint": "none"}}, {}, "problem", "mountpoint none"),
    "not ours to write": ("dataset", {"place": {"writable": False}}, {}, "problem", "cannot write"),
    "not root": ("rights", {"rights": {"root": False}}, {}, "problem", "only root may mount"),
    "sudo refused": (
        "rights",
        {"rights": {"root": False, "sudo": True, "refused": {"zfs": "sudo: a password is required"}}},
        {},
        "problem",
        "zfs: sudo: a password is required",
    ),
    "LUN service silent": (
        "luns",
        {"luns": {"fault": ["NotReady", "tgt does not answer; start tgtd there"]}},
        {},
        "problem",
        "does not answer",
    ),
    "portal": (
        "portal",
        {"portal": {"error": "Connection refused", "refused": True}},
        {},
        "problem",
        "Connection refused",
    ),
    "LIO offers some, and its portal refuses": (
        "portal",
        {"portal": {"error": "Connection refused", "refused": True}},
        LIO,
        "problem",
        "Connection refused",
    ),
    "exports at boot": (
        "exports",
        {"boot": {"restores": ["/etc/tgt/conf.d/dr.conf"]}},
        {},
        "warning",
        "/etc/tgt/conf.d/dr.conf",
    ),
    "tgt not at boot": ("service", {"boot": {"starts": False}}, {}, "warning", "does not start"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str) -> None:
    check, changes, options, level, words = WRONG[name]
    finding = found(changes, **options)[check]
    assert finding.level == level
    assert words in finding.found
    assert [f.check for f in found(changes, **options).values() if f.level != "ok"] == [check]


def test_what_is_no_fault() -> None:
    assert found({"place": {"there": False}})["dataset"].level == "ok"
    assert found({"rights": {"root": False, "sudo": True}})["rights"].level == "ok"
    quiet = {"portal": {"error": "Connection refused", "refused": True}, "luns": {"targets": 0}}
    assert found(quiet, **LIO)["portal"].level == "ok"
    assert "service" not in found({"boot": {"starts": False}}, **LIO)


def test_a_fault_is_split_into_what_was_found_and_what_to_do() -> None:
    finding = found({"luns": {"fault": ["NotReady", "tgt does not answer; start tgtd there"]}})["luns"]
    assert (finding.found, finding.todo) == ("tgt does not answer.", "Start tgtd there.")


# -- asking ---------------------------------------------------------------------------------------------------


class Answers(Session):
    """A session that gives the facts, or an error at an endpoint."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = False

    def call(self, op: str, args: Mapping[str, Any], **more: Any) -> Any:
        if self.error is not None:
            raise self.error
        now = time.time() + 100
        return {**WELL, "began": now, "ended": now}

    def close(self) -> None:
        self.closed = True


def test_each_endpoint_is_tried_by_itself() -> None:
    spec = ArraySpec("east-a", "east", "zfs", OPTIONS)
    ways = {Endpoint("a"): Answers(), Endpoint("b"): Answers(Unreachable("no route to b"))}
    examination = examine(spec, Answers(), list(ways), lambda endpoint: ways[endpoint])
    levels = {f.found: f.level for f in examination.findings if f.check == "endpoint"}
    assert levels == {
        "It answers at ssh://a.": "ok",
        "It is reached, but not at ssh://b: no route to b.": "warning",
    }
    assert all(session.closed for session in ways.values())
    assert examination.clock is not None
    assert abs(examination.clock.ahead - 100) < 1
    assert examination.room is not None
    assert (examination.room.size, examination.room.free) == (100, 90)


def test_one_endpoint_is_not_tried_twice() -> None:
    spec = ArraySpec("east-a", "east", "zfs", OPTIONS)
    examination = examine(spec, Answers(), [Endpoint("a")], lambda endpoint: Answers(Unreachable("never")))
    assert "endpoint" not in {f.check for f in examination.findings}


# -- from array to array ----------------------------------------------------------------------------------------


class Hops(Answers):
    """A session whose array logs in to another with this result."""

    def __init__(self, status: int | None, said: str = "") -> None:
        super().__init__()
        self.told = {"status": status, "said": said}

    def call(self, op: str, args: Mapping[str, Any], **more: Any) -> Any:
        return self.told if op == "examine.hop" else super().call(op, args)


def hop(way: str, status: int | None, said: str = "") -> Finding:
    spec = ArraySpec("east-a", "east", "zfs", OPTIONS)
    found = examine(
        spec, Hops(status, said), [Endpoint("a")], lambda endpoint: Answers(), [Hop("west-a", way, Endpoint("w"))]
    )
    return next(f for f in found.findings if f.check == "transfer")


DENIED = "root@w: Permission denied (publickey)."


def test_logging_in_to_another_array() -> None:
    assert hop("auto", 0).level == "ok"
    assert hop("auto", 255, DENIED).level == "warning"
    assert "key was refused" in hop("auto", 255, DENIED).found
    assert hop("direct", 255, DENIED).level == "problem"
    assert hop("direct", None).level == "problem"


def test_which_arrays_are_logged_in_to() -> None:
    def spec(name: str, **options: Any) -> ArraySpec:
        return ArraySpec(name, "west", "zfs", {**OPTIONS, "endpoints": ["ssh://root@front"], **options})

    mine = spec("east-a")
    peers = {
        "auto": spec("auto", replication="ssh://dr@back:2222"),
        "straight": spec("straight", transfer="direct"),
        "relayed": spec("relayed", transfer="relay"),
        "other": ArraySpec("other", "west", "embedded", {"path": "/x"}),
    }
    assert hops_of(mine, peers, [*peers, "gone"]) == [
        Hop("auto", "auto", Endpoint("back", "dr", 2222)),
        Hop("straight", "direct", Endpoint("front", "root")),
    ]
    assert hops_of(spec("east-a", transfer="relay"), peers, list(peers)) == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Done(0, "", ""), {"status": 0, "said": ""}),
        (Done(255, "", DENIED), {"status": 255, "said": DENIED}),
        (subprocess.TimeoutExpired("ssh", 5.0), {"status": None, "said": ""}),
        (FileNotFoundError(), {"status": 127, "said": "there is no ssh program on it"}),
    ],
)
def test_what_the_array_does_to_log_in(answer: Done | Exception, told: dict[str, Any]) -> None:
    ran: list[Sequence[str]] = []

    def execute(words: Sequence[str], seconds: float) -> Done:
        ran.append(words)
        if isinstance(answer, Exception):
            raise answer
        return answer

    config = {"name": "east-a", "pool": "tank", "dataset": "dr", "sudo": True}
    context = Context(deadline=time.monotonic() + 60, config=config, execute=execute)
    assert remote.hop(context, to={"host": "w", "user": "dr", "port": None}) == told
    assert (ran[0][0], ran[0][-1]) == ("ssh", "true"), "as the account itself, and nothing is done there"


# -- facts, from what the commands print ------------------------------------------------------------------------------

GET = ("zfs", "get", "-Hp", "-o", "property,value", "used,available", "tank")
PLACE = ("zfs", "get", "-H", "-o", "property,value", "mounted,mountpoint,recordsize", "tank/dr")
SHOW = ("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target")

PLACE_ABSENT = Done(1, "", "cannot open 'tank/dr': dataset does not exist")
Transcript = dict[tuple[str, ...], Done | Exception]

OPENZFS: Transcript = {
    ("zfs", "version"): Done(0, "zfs-2.1.11-1\nzfs-kmod-2.1.11-1\n", ""),
    ("zpool", "list", "-H", "-o", "health", "tank"): Done(0, "ONLINE\n", ""),
    ("zpool", "status", "-x", "tank"): Done(0, "pool 'tank' is healthy\n", ""),
    GET: Done(0, "used\t1000\navailable\t9000\n", ""),
    PLACE: PLACE_ABSENT,
    ("tgtadm", "--version"): Done(0, "1.0.85\n", ""),
    SHOW: Done(0, "Target 1: iqn.2026-11.io.dr:east-a:shop:db.root\nTarget 2: iqn.2001-04.com.example:other\n", ""),
    ("systemctl", "is-enabled", "tgt.service"): Done(0, "enabled\n", ""),
    ("systemctl", "is-enabled", "tgtd.service"): Done(1, "", "Failed to get unit file state for tgtd.service"),
}


@pytest.fixture(autouse=True)
def tgtd(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether tgtd runs; a test may say that it does not."""
    runs = [True]
    monkeypatch.setattr(tgt, "running", lambda program: program == "tgtd" and runs[0])
    return runs


def facts(
    transcript: Mapping[tuple[str, ...], Done | Exception], *, sudo: bool = False, pool: str = "tank"
) -> dict[str, Any]:
    """The remote program's facts, with a transcript in the place of commands; a word that is not in it fails the test."""
    said: list[tuple[str, ...]] = []

    def execute(words: Sequence[str], seconds: float) -> Done:
        said.append(tuple(words))
        answer = transcript[tuple(words)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    config = {"name": "east-a", "site": "east", "pool": pool, "dataset": "dr", "sudo": sudo}
    config["luns"] = {"service": "tgt", "portal": "127.0.0.1:1"}
    found: dict[str, Any] = remote.examine(Context(deadline=time.monotonic() + 60, config=config, execute=execute))
    changing = {"create", "destroy", "set", "mount", "new", "delete", "update", "bind", "snapshot", "import", "rename"}
    assert not changing & {word for words in said for word in words}, "it changes nothing"
    return found


def test_facts_of_openzfs() -> None:
    found = facts(OPENZFS)
    assert found["zfs"] == {"kind": "openzfs", "version": "2.1.11-1", "kernel": "2.1.11-1"}
    assert found["pool"] == {"health": "ONLINE", "status": "", "used": 1000, "free": 9000}
    assert found["place"] == {"there": False}
    assert found["luns"] == {"version": "1.0.85", "targets": 2, "ours": 1}
    assert found["portal"]["refused"] is True
    assert found["boot"]["starts"] is True


def test_facts_of_zfs_fuse() -> None:
    usage = Done(2, "", "unrecognized command 'version'")
    version = Done(0, "This system is currently running ZFS pool version 23.\n\nThe following\n", "")
    found = facts({**OPENZFS, ("zfs", "version"): usage, ("zpool", "upgrade", "-v"): version})
    assert found["zfs"] == {"kind": "zfs-fuse", "version": "23", "kernel": ""}


def test_a_pool_that_is_not_imported_hides_nothing_else() -> None:
    gone = Done(1, "", "cannot open 'tank': no such pool")
    found = facts({**OPENZFS, ("zpool", "list", "-H", "-o", "health", "tank"): gone})
    assert found["pool"]["fault"][0] == "NotReady"
    assert found["luns"]["targets"] == 2


def test_a_lun_service_that_has_ended_is_not_one_without_targets(tgtd: list[bool]) -> None:
    tgtd[0] = False
    unanswered = Done(107, "", "tgtadm: failed to send request hdr to tgt daemon, Transport endpoint is not connected")
    found = facts({**OPENZFS, SHOW: unanswered})
    assert found["luns"]["fault"][0] == "NotReady"
    assert "does not run" in found["luns"]["fault"][1]


def test_a_command_that_hangs_is_a_fault_of_its_part() -> None:
    found = facts({**OPENZFS, GET: subprocess.TimeoutExpired("zfs", 9.0)})
    assert found["pool"]["fault"][0] == "Unreachable"
    assert found["zfs"]["kind"] == "openzfs"


def test_a_pool_with_errors_brings_their_sentence() -> None:
    text = (
        "  pool: tank\n state: DEGRADED\nstatus: One or more devices could not be used.\nerrors: No known data errors\n"
    )
    degraded: Transcript = {("zpool", "list", "-H", "-o", "health", "tank"): Done(0, "DEGRADED\n", "")}
    found = facts({**OPENZFS, **degraded, ("zpool", "status", "-x", "tank"): Done(0, text, "")})
    assert found["pool"]["health"] == "DEGRADED"
    assert "could not be used" in found["pool"]["status"]


def test_a_part_of_a_pool_is_asked_for_its_own_room_and_its_pools_health() -> None:
    given = "tank/given"
    own: Transcript = {
        (*GET[:-1], given): Done(0, "used\t1\navailable\t2\n", ""),
        (*PLACE[:-1], f"{given}/dr"): OPENZFS[PLACE],
    }
    found = facts({**OPENZFS, **own}, pool=given)
    assert (found["pool"]["health"], found["pool"]["free"]) == ("ONLINE", 2)


def test_what_sudo_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getegid", lambda: 1000)
    through: Transcript = {("sudo", "-n", "--", *words): done for words, done in OPENZFS.items()}
    ask = ("sudo", "-n", "--", "zfs", "get", "-H", "-o", "value", "mountpoint")
    rights: Transcript = {
        ("sudo", "-n", "--", "zfs", "get", "-H", "-o", "value", "type", "tank"): Done(0, "filesystem\n", ""),
        ("sudo", "-n", "--", "zpool", "list", "-H", "-o", "name"): Done(1, "", "sudo: a password is required"),
        ("sudo", "-n", "--", "tgtadm", "--version"): Done(0, "1.0.85\n", ""),
        ("sudo", "-n", "-l", "--", "chown", "-R", "1000:1000", "/pools/tank/dr/vols"): Done(1, "", ""),
        (*ask, "tank/dr"): PLACE_ABSENT,
        (*ask, "tank"): Done(0, "/pools/tank\n", ""),
    }
    found = facts({**OPENZFS, **through, **rights}, sudo=True)
    assert found["rights"]["root"] is False
    assert found["rights"]["refused"] == {"zpool": "sudo: a password is required", "chown": "sudo does not allow it"}


@pytest.mark.parametrize(
    ("text", "restores"), [("<target iqn.2026-11.io.dr:a:b:c>", True), ("<target iqn.2001-04.com.example:x>", False)]
)
def test_exports_that_come_back_at_boot(
    text: str, restores: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf.d").mkdir()
    file = tmp_path / "conf.d" / "x.conf"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(remote, "_TGT_FILES", (str(tmp_path / "targets.conf"), str(tmp_path / "conf.d")))
    assert facts(OPENZFS)["boot"]["restores"] == ([str(file)] if restores else [])
