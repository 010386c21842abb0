"""The session with an array: deadlines, threads, replacement, and what OpenSSH's words mean; without a network."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dr_provider.arrays.zfs.bootstrap import BOOTSTRAP, sources_of_remote
from dr_provider.arrays.zfs.remote.pump import Stalled, pump
from dr_provider.arrays.zfs.session import Session
from dr_provider.arrays.zfs.ssh import SshOptions, parse_endpoint, ssh_words
from dr_provider.model.errors import (
    BadInput,
    Conflict,
    DeviceFault,
    DrError,
    NotReady,
    Stopped,
    Unreachable,
)

FAKE = Path(__file__).with_name("fake_ssh.py")

PROBE = """
import os, subprocess, time
from .core import Fault, op

@op("echo")
def echo(ctx, word):
    print("a word that must not stand between the answers")
    return {"word": word, "pid": os.getpid(), "config": ctx.config["pool"]}

@op("fail")
def fail(ctx, kind):
    raise Fault(kind, "volume shop is not as wanted")

@op("broken")
def broken(ctx):
    return {}["nothing"]

@op("steps")
def steps(ctx, count, pause, every=1):
    for number in range(count):
        if ctx.cancelled():
            raise Fault("Stopped", "cancelled")
        if number % every == 0:
            ctx.emit(number)
        time.sleep(pause)
    return ctx.deadline - time.monotonic()

@op("child")
def child(ctx):
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    return process.pid
"""


class Far:
    """Machines that are reached by the fake ssh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = SshOptions(program=(sys.executable, str(FAKE), str(folder)))
        self.sessions: list[Session] = []

    def session(self, *hosts: str, timeout: float = 10.0, width: int = 16) -> Session:
        session = Session(
            "array west-a",
            [parse_endpoint(f"ssh://root@{host}") for host in hosts or ("good",)],
            self.options,
            timeout=timeout,
            width=width,
            config={"name": "west-a", "site": "west", "pool": "tank", "dataset": "dr"},
            sources={**sources_of_remote(), "dr_remote.probe": PROBE},
        )
        self.sessions.append(session)
        return session

    def behave(self, host: str, **how: object) -> None:
        (self.folder / host).write_text(json.dumps(how))

    def starts(self) -> list[list[str]]:
        log = self.folder / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    # Not below tmp_path: a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="run") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        made = Far(tmp_path)
        yield made
        for session in made.sessions:
            session.close()


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def wait_until(true: object, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


def test_calls_go_over_one_connection_which_is_replaced_when_dead(far: Far) -> None:
    session = far.session()
    answers: list[dict[str, object]] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(session.call("echo", {"word": f"w{n}"}))) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(a["word"]) for a in answers) == sorted(f"w{n}" for n in range(20))
    assert {a["config"] for a in answers} == {"tank"}
    (pid,) = {a["pid"] for a in answers}
    assert isinstance(pid, int)
    assert len(far.starts()) == 1
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: session._connection is not None and session._connection.dead is not None)
    assert session.call("echo", {"word": "again"})["pid"] != pid
    session.close()
    assert session.call("echo", {"word": "again"})["word"] == "again"


@pytest.mark.parametrize(
    ("kind", "error"),
    [("Conflict", Conflict), ("NotReady:missing", NotReady), ("Sudden", DeviceFault), ("Refused", DeviceFault)],
)
def test_a_fault_is_the_error_of_its_name(far: Far, kind: str, error: type[DrError]) -> None:
    with pytest.raises(error, match="volume shop is not as wanted") as caught:
        far.session().call("fail", {"kind": kind})
    assert type(caught.value) is error
    assert getattr(caught.value, "missing", False) == (kind == "NotReady:missing")


def test_a_fault_of_the_program_itself_names_its_place(far: Far) -> None:
    with pytest.raises(DeviceFault, match=r"KeyError: 'nothing' \(<dr_remote.probe>, line"):
        far.session().call("broken", {})
    with pytest.raises(DeviceFault, match="knows no call 'gone'"):
        far.session().call("gone", {})


def test_a_slow_call_is_unreachable_in_time_and_leaves_the_connection(far: Far) -> None:
    session = far.session()
    first = session.call("echo", {"word": "x"})["pid"]
    began = time.monotonic()
    with pytest.raises(Unreachable, match="though the machine answers"):
        session.call("steps", {"count": 1000, "pause": 0.05, "every": 10**6}, timeout=0.5)
    assert time.monotonic() - began < 1.0
    assert session.call("echo", {"word": "x"})["pid"] == first


def test_progress_moves_the_deadline_of_an_idle_call(far: Far) -> None:
    session = far.session()
    seen: list[int] = []
    session.call("echo", {"word": "x"})
    left = session.call("steps", {"count": 8, "pause": 0.2}, timeout=0.9, idle=True, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) >= 6
    assert left > 0
    with pytest.raises(Unreachable, match="no progress of steps"):
        session.call("steps", {"count": 8, "pause": 0.5, "every": 10**6}, timeout=0.6, idle=True)


def test_stop_ends_a_call_with_its_reason(far: Far) -> None:
    session = far.session()
    asked = iter([None, None, "Ctrl-C"])
    began = time.monotonic()
    with pytest.raises(Stopped, match=r"^Ctrl-C$"):
        session.call("steps", {"count": 1000, "pause": 0.05}, stop=lambda: next(asked))
    assert time.monotonic() - began < 5


def test_a_stopped_machine_is_unreachable_in_time_and_the_next_call_dials_anew(far: Far) -> None:
    session = far.session()
    pid = session.call("echo", {"word": "x"})["pid"]
    connection = session._connection
    assert connection is not None
    os.kill(pid, signal.SIGSTOP)
    connection.heard -= 60  # as if it had been silent all the time
    began = time.monotonic()
    assert session.call("echo", {"word": "x"})["pid"] != pid
    assert not alive(pid)
    os.kill(session.call("echo", {"word": "x"})["pid"], signal.SIGSTOP)
    with pytest.raises(Unreachable):
        session.call("echo", {"word": "x"}, timeout=1.0)
    assert time.monotonic() - began < 5


def test_threads_share_the_failure_of_a_dark_array(far: Far) -> None:
    far.behave("dark", hang=True)
    session = far.session("dark", timeout=1.0)
    failed: list[DrError] = []

    def ask() -> None:
        try:
            session.call("echo", {"word": "x"})
        except DrError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 1.9
    assert [type(error) for error in failed] == [Unreachable] * 8
    assert len(far.starts()) == 1


def test_endpoints_are_tried_in_order_within_one_deadline(far: Far) -> None:
    far.behave("dark", hang=True)
    far.behave("closed", say="ssh: connect to host closed port 22: Connection refused\n", status=255)
    session = far.session("closed", "dark", "good", timeout=8.0)
    began = time.monotonic()
    assert session.call("echo", {"word": "x"})["word"] == "x"
    assert time.monotonic() - began < 8.0
    session.close()
    far.folder.joinpath("log").unlink()
    session.call("echo", {"word": "x"})
    assert len(far.starts()) == 1, "the one that answered is tried first"


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["silent", "cut"])
def test_a_node_that_is_lost_under_a_call_is_not_the_array(far: Far, how: signal.Signals) -> None:
    session = far.session("one", "two", timeout=8.0)
    first = session.call("echo", {"word": "x"})["pid"]
    os.kill(first, how)
    answer = session.call("echo", {"word": "x"})
    assert (answer["word"], answer["pid"] != first) == ("x", True)
    assert [words[words.index("--") + 1] for words in far.starts()] == ["one", "two"]
    far.behave("two", hang=True)
    os.kill(answer["pid"], signal.SIGKILL)
    assert session.call("echo", {"word": "x"})["word"] == "x", "back to the first, which works again"


def test_all_nodes_lost_is_a_silent_array_within_one_deadline(far: Far) -> None:
    far.behave("one", hang=True)
    far.behave("two", hang=True)
    session = far.session("one", "two", timeout=2.0)
    with pytest.raises(Unreachable):
        session.call("echo", {"word": "x"})
    assert len(far.starts()) == 2


def test_a_call_with_progress_is_not_asked_twice(far: Far) -> None:
    session = far.session("one", "two", timeout=8.0)
    pid = session.call("echo", {"word": "x"})["pid"]

    def cut(count: int) -> None:
        if count == 2:
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(Unreachable):
        session.call("steps", {"count": 50, "pause": 0.1}, idle=True, progress=cut)
    assert len(far.starts()) == 1


def test_width_bounds_calls_at_once(far: Far) -> None:
    session = far.session(width=1)
    session.call("echo", {"word": "x"})
    thread = threading.Thread(target=lambda: session.call("steps", {"count": 10, "pause": 0.1}))
    thread.start()
    wait_until(lambda: session._slots._value == 0)
    with pytest.raises(Unreachable, match="too many calls"):
        session.call("echo", {"word": "x"}, timeout=0.2)
    thread.join()


def test_the_program_ends_with_its_children_when_the_caller_is_gone(far: Far) -> None:
    session = far.session()
    pid, child = session.call("echo", {"word": "x"})["pid"], session.call("child", {})
    assert alive(child)
    assert session._connection is not None
    session._connection._out.put(None)  # its stdin ends, as when this process dies
    wait_until(lambda: not alive(pid) and not alive(child))


def test_words_of_a_login_shell_are_passed_over(far: Far) -> None:
    far.behave("good", greet='Welcome!\n{"motd": 1}\n')
    assert far.session().call("echo", {"word": "x"})["word"] == "x"


def test_an_old_python_says_so() -> None:
    old = f"import sys; sys.version_info = (3, 6, 9); exec({BOOTSTRAP!r})"
    done = subprocess.run([sys.executable, "-c", old], input=b"", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"dr: python 3.6 is too old\n")


def test_the_program_on_the_array_is_python_3_8_with_nothing_but_its_library() -> None:
    for name, text in sources_of_remote().items():
        tree = ast.parse(text, name, feature_version=(3, 8))
        late = {"removeprefix", "removesuffix", "bit_count", "pairwise", "batched"}
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in late], name
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {each.name.partition(".")[0] for each in node.names} <= sys.stdlib_module_names, name
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert str(node.module).partition(".")[0] in sys.stdlib_module_names, name
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
                assert not isinstance(node.right, ast.Dict), f"{name}: dictionaries are joined from 3.9 on"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
                assert not node.keywords, f"{name}: zip(strict=) came with 3.10"


CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Host key for bad has changed and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("say", "status", "error", "words"),
    [
        ("root@bad: Permission denied (publickey).\n", 255, NotReady, "key was refused.*authorized_keys"),
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\n", 255, NotReady, "refused"),
        (
            "No ED25519 host key is known for bad and you have requested strict checking.\nHost key verification failed.\n",
            255,
            NotReady,
            r"ssh-keyscan bad >> ~/.ssh/known_hosts",
        ),
        (CHANGED, 255, NotReady, r"not the one that is known.*ssh-keygen -R bad"),
        ("ssh: connect to host bad port 22: Connection refused\n", 255, Unreachable, "no SSH server"),
        ("ssh: connect to host bad port 22: No route to host\n", 255, Unreachable, "no route"),
        ("ssh: connect to host bad port 22: Connection timed out\n", 255, Unreachable, "no answer in time"),
        ("Connection timed out during banner exchange\n", 255, Unreachable, "no answer in time"),
        ("ssh: Could not resolve hostname bad: Name or service not known\n", 255, Unreachable, "name is not known"),
        ("kex_exchange_identification: Connection closed by remote host\n", 255, Unreachable, "cut"),
        ("Connection reset by 10.0.0.1 port 22\n", 255, Unreachable, "cut"),
        ("Timeout, server bad not responding.\n", 255, Unreachable, "no answer in time"),
        (
            "/c: line 3: Bad configuration option: hots\n/c: terminating, 1 bad configuration options\n",
            255,
            BadInput,
            "hots",
        ),
        ("Can't open user config file /none: No such file or directory\n", 255, BadInput, "/none"),
        ("sh: 1: python3: not found\n", 127, NotReady, "no python3"),
        ("bash: line 1: python3: command not found\n", 127, NotReady, "no python3"),
        ("dr: python 3.6 is too old\n", 1, NotReady, "3.6.*wanted python3 of version 3.8"),
        ("This account is currently not available.\n", 1, NotReady, "no shell"),
        ("", 255, Unreachable, "no answer in time"),
        ("Segmentation fault\n", 139, DeviceFault, "status 139.*Segmentation"),
    ],
)
def test_what_openssh_says_is_told_apart(far: Far, say: str, status: int, error: type[DrError], words: str) -> None:
    far.behave("bad", say=say, status=status)
    with pytest.raises(error, match=f"array west-a at ssh://root@bad: .*{words}") as caught:
        far.session("bad").call("echo", {"word": "x"})
    assert type(caught.value) is error


def test_a_missing_ssh_says_so(far: Far) -> None:
    far.options = SshOptions(program=("/nowhere/ssh",))
    with pytest.raises(BadInput, match="/nowhere/ssh cannot be started"):
        far.session().call("echo", {"word": "x"})


def test_the_command_line_checks_host_keys_asks_nobody_and_quotes() -> None:
    options = SshOptions(identity=Path("/k/a b"), known_hosts=Path("/k/known%h"), config=Path("/k/config"))
    words = ssh_words(parse_endpoint("ssh://ann@host:2222"), options, ["echo", "a b; c", "$x"], connect_timeout=2.9)
    for wanted in (
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ConnectTimeout=2",
        'IdentityFile="/k/a b"',
        'UserKnownHostsFile="/k/known%%h"',
        "ControlPath=none",
    ):
        assert wanted in words
    assert words[-1] == "echo 'a b; c' '$x'"
    assert words[-7:-1] == ["-p", "2222", "-l", "ann", "--", "host"]


@pytest.mark.parametrize(
    "text",
    ["host", "ssh://", "ssh://-oProxyCommand=x", "ssh://a@-x", "ssh://h/path", "ssh://u:p@h", "http://h", "ssh://h:x"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="wanted ssh://"):
        parse_endpoint(text)


def test_channels_for_data_share_a_connection_in_a_private_place(far: Far, tmp_path: Path) -> None:
    data = os.urandom(3 << 20) + bytes(1 << 20)
    (tmp_path / "here").write_bytes(data)
    session = far.session()
    giver, taker = session.bulk(["cat", str(tmp_path / "here")]), session.bulk(["dd", f"of={tmp_path / 'there'}"])
    seen: list[int] = []
    assert pump(giver.output, taker.input, idle=5.0, tell=seen.append) == len(data) == seen[-1]
    assert taker.finish(5.0)[0] == 0
    assert giver.finish(5.0) == (0, "")
    assert (tmp_path / "there").read_bytes() == data
    assert len([words for words in far.starts() if "ControlMaster=yes" in words]) == 1
    assert (Path(os.environ["XDG_RUNTIME_DIR"]) / f"dr-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_a_channel_that_breaks_says_why(far: Far) -> None:
    session = far.session()
    channel = session.bulk(["sh", "-c", "echo dd: out of paper >&2; exit 3"])
    status, words = channel.finish(5.0)
    assert (status, words) == (3, "dd: out of paper")
    stuck = session.bulk(["sleep", "600"])
    assert stuck.finish(0.3)[0] is None


def test_a_shared_connection_that_cannot_be_made_says_why(far: Far) -> None:
    session = far.session()
    session.call("echo", {"word": "x"})
    far.behave("good", say="ssh: connect to host good port 22: No route to host\n", status=255)
    with pytest.raises(Unreachable, match="no route"):
        session.bulk(["true"])


# -- the pump -----------------------------------------------------------------------------------------


@pytest.fixture(params=["splice", "copy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of moving bytes; Python before 3.10 knows no splice."""
    if request.param == "copy":
        monkeypatch.delattr(os, "splice")


@pytest.mark.usefixtures("way")
def test_a_pump_keeps_to_its_rate_and_stops_when_asked() -> None:
    source = subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE)
    assert source.stdout is not None
    counts: list[int] = []
    began = time.monotonic()
    with source, Path(os.devnull).open("wb") as target:
        moved = pump(
            source.stdout.fileno(),
            target.fileno(),
            idle=5.0,
            rate=1 << 20,
            tell=counts.append,
            stopped=lambda: time.monotonic() - began > 1.0,
        )
        source.kill()
    assert 0.7 * (1 << 20) < moved < 1.6 * (1 << 20)
    assert counts == sorted(counts)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_pump_gives_up_when_nothing_moves(side: str) -> None:
    words = {"source": ("sleep 60", "cat >/dev/null"), "target": ("cat /dev/zero", "sleep 60")}[side]
    giver = subprocess.Popen(["sh", "-c", f"exec {words[0]}"], stdout=subprocess.PIPE)
    taker = subprocess.Popen(["sh", "-c", f"exec {words[1]}"], stdin=subprocess.PIPE)
    assert giver.stdout is not None
    assert taker.stdin is not None
    began = time.monotonic()
    try:
        with pytest.raises(Stalled) as caught:
            pump(giver.stdout.fileno(), taker.stdin.fileno(), idle=0.5)
    finally:
        for process in (giver, taker):
            process.kill()
            process.wait()
    assert caught.value.side == side
    assert time.monotonic() - began < 3.0


@pytest.mark.usefixtures("way")
def test_a_pump_says_that_its_target_is_gone() -> None:
    giver = subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE)
    taker = subprocess.Popen(["head", "-c", "10"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert giver.stdout is not None
    assert taker.stdin is not None
    with pytest.raises(BrokenPipeError):
        pump(giver.stdout.fileno(), taker.stdin.fileno(), idle=5.0)
    giver.kill()
    giver.wait()
    taker.wait()
