"""`dr guard`: its words, what it would do, and its life as a service; and that no witness's credential is seen anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import stopping
from dr_provider.reconcile.guard import SiteGuard
from tests.cli.conftest import Dr
from tests.support.guards import Timeline, fenced_lab_options
from tests.support.lab import Lab
from tests.support.s3 import ACCESS, SECRET, serving

ROOT = Path(__file__).parents[2]
OPERATOR: dict[str, Any] = {"vms": 1, "volumes": 1, "hosts_per_site": 1, "source_budget": "300ms"}


@pytest.mark.parametrize(
    ("words", "fencing", "said"),
    [
        ((), "lease", "dr guard: say --site SITE; the sites of topology shop-test: east, west"),
        (("--site", "north"), "lease", "there is no site 'north'"),
        (
            ("shpo", "--site", "east"),
            "lease",
            "there is no plan 'shpo' (did you mean shop?); the plans of topology shop-test: shop",
        ),
        (("shop; reboot", "--site", "east"), "lease", "there is no plan"),
        (("shop", "--site", "east"), "operator", "plan shop has fencing: operator, so no guard is asked about it"),
        (("--site", "east"), "operator", "no plan at east has fencing: lease or witness"),
    ],
)
def test_wrong_words(words: tuple[str, ...], fencing: str, said: str, dr: Dr, tmp_path: Path) -> None:
    lab = Lab(tmp_path, made=False, **fenced_lab_options(fencing))
    found = dr("--topology", str(lab.path), "guard", *words)
    assert found.status == 2
    assert said in found.err
    assert "nothing was done" in found.err


def test_once_says_what_it_would_do(dr: Dr, tmp_path: Path) -> None:
    lab = Lab(tmp_path, **fenced_lab_options("witness"))
    words = ("--topology", str(lab.path), "guard", "--once", "--site")
    found = dr("--json", *words, "east")
    assert found.status == 0
    assert found.json["site"] == "east"
    plan = found.json["plans"]["shop"]
    assert (plan["state"], plan["would"], plan["runs"]) == ("active", "renew its run lease on witness", ["app", "db"])
    text = dr(*words, "west").out
    assert "Plan shop: it is active at east since epoch 1; the guard would do nothing." in " ".join(text.split())
    assert Timeline(lab).alive("witness") is None, "nothing was changed"


def test_as_a_service_it_renews_and_ends_in_order(tmp_path: Path) -> None:
    lab = Lab(tmp_path, **fenced_lab_options("lease", **OPERATOR))
    arguments = [sys.executable, "-m", "dr_provider.cli.main", "--topology", str(lab.path), "guard", "--site", "east"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    lines: list[str] = []
    for line in child.stderr:
        lines.append(line)
        if "its run lease is renewed on west-a" in line:
            break
    time = Timeline(lab)
    alive = time.alive("west-a")
    assert alive is not None
    assert not alive.ended
    child.send_signal(signal.SIGTERM)
    rest = child.stderr.read()
    assert child.wait(30) == 0, rest
    assert "dr guard: standing at east for shop" in lines[0]
    assert "dr guard: ended in order" in rest
    ended = time.alive("west-a")
    assert ended is not None
    assert ended.ended
    assert time.runs("east") == ["db"]


def test_a_round_that_hangs_does_not_hold_up_the_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path, **fenced_lab_options("lease", **OPERATOR))
    time = Timeline(lab)
    guard = time.guard()
    guard.round()
    stuck, stop = threading.Event(), threading.Event()

    def hang() -> None:
        time.now += 31.0  # beyond the ttl, with the call still under way
        stuck.wait(30)

    monkeypatch.setattr(guard, "round", hang)
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(guard.run(stop)))
    thread.start()
    for _ in range(300):
        if guard.watches["shop"].down:
            break
        stuck.wait(0.1)
    assert time.runs("east") == []
    stop.set()
    stuck.set()
    thread.join(30)
    assert ended == [True]


def test_a_fault_in_the_guard_ends_it_with_its_surety_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path, **fenced_lab_options("lease", **OPERATOR))
    time = Timeline(lab)
    guard = time.guard()
    guard.round()

    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(guard, "round", broken)
    with pytest.raises(ZeroDivisionError):
        guard.run(threading.Event())
    alive = time.alive("west-a")
    assert alive is not None
    assert alive.ended


def test_a_guard_that_can_neither_tell_nor_stop_ends_badly(
    dr: Dr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path, **fenced_lab_options("lease", **OPERATOR))

    def run(self: SiteGuard, stop: threading.Event) -> bool:
        stopping.request("a test")
        assert stop.wait(10)
        return False

    monkeypatch.setattr(SiteGuard, "run", run)
    found = dr("--topology", str(lab.path), "guard", "shop", "--site", "east")
    assert found.status == 1
    assert "could neither tell anybody nor stop every VM" in found.err


def test_a_witness_credential_is_seen_nowhere(dr: Dr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_TEST_ACCESS", ACCESS)
    monkeypatch.setenv("DR_TEST_SECRET", SECRET)
    said: list[str] = []

    def call(*words: str) -> int:
        found = dr("--topology", str(lab.path), *words)
        said.extend((found.out, found.err))
        return found.status

    with serving() as objects:
        keys = {"accessKey": "env:DR_TEST_ACCESS", "secretKey": "env:DR_TEST_SECRET"}

        def change(document: dict[str, Any]) -> None:
            fenced_lab_options("witness", witness=False)["change"](document)
            document["witness"] = {"driver": "s3", "url": objects.url, "credentials": keys}

        lab = Lab(tmp_path, **{**fenced_lab_options("witness", **OPERATOR), "change": change})
        time = Timeline(lab)
        time.guard().round()
        assert call("validate") == 0
        assert call("-v", "protect", "--now") == 0
        assert call("-v", "--json", "status") == 0
        assert call("-v", "guard", "--once", "--site", "east") == 0
        assert call("-v", "failover", "shop", "--to", "west", "--yes") == 0
        objects.fault = "503"
        assert call("-v", "guard", "--once", "--site", "west") == 0
        objects.fault = ""
        monkeypatch.setenv("DR_TEST_SECRET", "another-planted-secret")
        assert call("-v", "failover", "shop", "--to", "east", "--yes") == 0
        assert any("refuses the credential of env:DR_TEST_ACCESS" in text for text in said), "the witness was asked"
        stored = [text.decode("utf-8", "replace") for text in objects.objects.values()]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (SECRET, "another-planted-secret", ACCESS):
        assert not [text for text in (*said, *stored, *lab.lines) if secret in text]
        assert not [text for text in files if secret.encode() in text]
    assert "shop-test/known/shop" in objects.objects
