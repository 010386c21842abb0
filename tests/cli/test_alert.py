"""`dr alert`, with a real receiver on loopback: what arrives, who could not be told, and what that holds up."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dr_provider.cli import alert, notify
from dr_provider.cli.alert_book import look_and_tell
from dr_provider.cli.common import Common, Session
from dr_provider.cli.notify import masked
from tests.cli.conftest import Dr
from tests.cli.fakes import Reconciler, plan_status
from tests.support.topologies import loaded, write_topology

SECRET = "pl4nted-s3cret"
LATE = {
    "check": "lag", "level": "problem", "subject": "west", "found": "west: it is behind.", "todo": "Run dr protect shop.",
}  # fmt: skip


@dataclass
class Receiver:
    """A webhook. `answer`: its HTTP status; `came` is set with each message."""

    answer: int = 200
    messages: list[dict[str, Any]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def address(self) -> str:
        return f"json://me:{SECRET}@127.0.0.1:{self.port}/{SECRET}"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    here = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            here.messages.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(here.answer)
            self.end_headers()
            here.came.set()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("DR_ALERT_URL", here.address)
    yield here
    server.shutdown()
    server.server_close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A receiver that takes everything, for what is not about sending: the titles that it got."""
    titles: list[str] = []

    def send(_address: str, title: str, _text: str, *, problem: bool, deadline: float) -> None:
        titles.append(title)

    monkeypatch.setenv("DR_ALERT_URL", "json://127.0.0.1")
    monkeypatch.setattr(notify, "send", send)
    return titles


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))
    return write_topology(tmp_path / "told", change=lambda doc: doc.update(alerts={"notify": ["env:DR_ALERT_URL"]}))


@pytest.fixture
def say(dr: Dr, file: Path, reconciler: Reconciler) -> Callable[..., Any]:
    def call(*words: str, **more: Any) -> Any:
        plan = {"claim": None, **plan_status("east", 1, **more)}
        reconciler.status = {"plans": {"shop": plan}, "silent": {}, "time": "2026-01-02T03:04:05.000Z"}
        return dr("--topology", str(file), "alert", *words)

    return call


def test_it_is_told_once(say: Any, receiver: Receiver) -> None:
    assert say().status == 0
    assert receiver.messages == []
    late = say("--json", readiness=[LATE])
    assert (late.status, late.json["told"], late.json["failures"]) == (1, {"env:DR_ALERT_URL": 1}, [])
    assert {key: late.json["alarms"][0][key] for key in ("key", "level", "plans", "found", "todo")} == {
        "key": "shop/lag/west", "level": "problem", "plans": ["shop"], "found": LATE["found"], "todo": LATE["todo"],
    }  # fmt: skip
    (message,) = receiver.messages
    assert (message["title"], message["type"]) == ("dr, topology shop-test: 1 new", "failure")
    assert message["message"].startswith("PROBLEM: Plan shop: west: it is behind.")
    again = say("--json", readiness=[LATE])
    assert (again.status, again.json["told"], len(receiver.messages)) == (1, {}, 1)
    assert again.json["alarms"][0]["since"] == late.json["alarms"][0]["since"]


def test_a_dry_run_tells_nobody(say: Any, sent: list[str]) -> None:
    said = say("--dry-run", readiness=[LATE])
    assert (said.status, sent) == (1, [])
    assert said.out.startswith("problem: shop: west: it is behind. First seen 0 s ago. Run dr protect shop.")
    assert say("--json", readiness=[LATE]).json["told"] == {"env:DR_ALERT_URL": 1}


def test_the_test(say: Any, receiver: Receiver) -> None:
    assert (said := say("--test")).status == 0, said
    assert receiver.messages[0]["title"] == "dr, topology shop-test: a test"
    receiver.answer = 500
    assert (said := say("--test")).status == 1
    assert "env:DR_ALERT_URL could not be told: Failed to send JSON POST notification" in said.out


def refused(receiver: Receiver, _: pytest.MonkeyPatch) -> None:
    receiver.answer = 403


def nobody_there(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("DR_ALERT_URL", receiver.address.replace(str(receiver.port), str(port)))


def no_address(_: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_ALERT_URL", f"nonsense://{SECRET}")


def not_set(_: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DR_ALERT_URL")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (refused, "could not be told: Failed to send JSON POST notification"),
        (nobody_there, "could not be told: A Connection error occurred"),
        (no_address, "is no address that apprise knows"),
        (not_set, "environment variable DR_ALERT_URL is not set"),
    ],
)
def test_who_cannot_be_told_is_said_without_the_secret_and_told_later(
    fault: Any, said: str, say: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fault(receiver, monkeypatch)
    found = say("--json", readiness=[LATE])
    assert (found.status, found.json["told"]) == (1, {})
    assert said in found.json["error"]
    kept = "".join(path.read_text() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert SECRET not in found.out + found.err + kept
    monkeypatch.setattr(notify, "send", lambda *_, **__: None)
    monkeypatch.setenv("DR_ALERT_URL", receiver.address)
    assert say("--json", readiness=[LATE]).json["told"] == {"env:DR_ALERT_URL": 1}


def test_whatever_a_plug_in_raises_is_said_without_the_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "apprise.py").write_text(f"raise RuntimeError('cannot log in with {SECRET}')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = notify.send(f"json://me:{SECRET}@127.0.0.1", "a title", "a text", problem=True)
    assert said == "the process that sends ended with status 1 (RuntimeError: cannot log in with ***)"


def test_a_receiver_that_is_silent_is_given_up(say: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "DEADLINE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("DR_ALERT_URL", f"json://127.0.0.1:{silent.getsockname()[1]}/{SECRET}?rto=60")
        found = say("--json", readiness=[LATE])
    assert found.json["failures"] == [
        "alerts: env:DR_ALERT_URL could not be told: it did not take the message within 1 s"
    ]


def test_a_book_that_cannot_be_kept_is_said(
    say: Any, sent: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "in the way").write_text("")
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "in the way"))
    found = say("--json", readiness=[LATE])
    assert (found.status, found.json["told"]) == (1, {"env:DR_ALERT_URL": 1})
    assert "set DR_STATE_HOME to a folder that can be written" in found.json["error"]


def test_a_book_that_is_damaged_is_begun_anew(say: Any, sent: list[str], tmp_path: Path) -> None:
    say(readiness=[LATE])
    (tmp_path / "state" / "shop-test" / "alerts.json").write_text("{")
    found = say("--json", readiness=[LATE])
    assert (found.json["told"], "so it is told again" in found.json["error"]) == ({"env:DR_ALERT_URL": 1}, True)
    assert "error" not in say("--json").json


@pytest.mark.parametrize(
    ("words", "said"), [(("--test", "--dry-run"), "exclude each other"), (("--test",), "the topology names nobody")]
)
def test_wrong_words(dr: Dr, topology: Path, words: tuple[str, ...], said: str) -> None:
    found = dr("--topology", str(topology), "alert", *words)
    assert (found.status, said in found.err) == (2, True)


def test_nobody_to_tell(dr: Dr, topology: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No stand-ins: a plan that was never made."""
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))
    found = dr("--topology", str(topology), "alert")
    assert (found.status, "problem: shop: It was never made." in found.out) == (1, True)
    assert "Nobody is told" in found.out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("failed at mail.example.org for a%40b", "failed at *** for ***"),
        ("json sent to p4ss/w", "json sent to ***"),
        ("an error, status=500", "an error, status=500"),
    ],
)
def test_what_is_masked(text: str, expected: str) -> None:
    assert masked(text, "mailtos://a%40b:p4ss%2Fw@mail.example.org?to=x@y.z") == expected


# -- beside dr protect --watch ----------------------------------------------------------------------------


def test_the_watch_tells_and_ends_when_asked(
    file: Path, receiver: Receiver, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert, "_SHORTEST", 0.01)
    monkeypatch.setattr(alert, "_LONGEST", 0.01)
    plan = {"claim": None, **plan_status("east", 1, readiness=[LATE])}
    reconciler.status = {"plans": {"shop": plan}, "silent": {}, "time": "2026-01-02T03:04:05.000Z"}
    stop = threading.Event()
    watch = threading.Thread(target=alert.keep_alerting, args=(Session(Common(topology=str(file))), stop))
    watch.start()
    assert receiver.came.wait(30)
    stop.set()
    watch.join(30)
    assert not watch.is_alive()
    assert len(receiver.messages) == 1


def test_two_processes_of_one_machine_do_not_tell_it_twice(file: Path, sent: list[str]) -> None:
    topology = loaded(file)
    plan = {"claim": None, **plan_status("east", 1, readiness=[LATE])}
    document = {"plans": {"shop": plan}, "silent": {}, "time": "2026-01-02T03:04:05.000Z"}
    threads = [threading.Thread(target=look_and_tell, args=(topology, document)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sent == ["dr, topology shop-test: 1 new"]
