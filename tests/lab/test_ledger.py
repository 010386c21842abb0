"""The guests' application, compiled for this machine: what it acknowledges is there, and what is wrong is found."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.image import compile_ledger
from lab.layout import LabError
from lab.ledger import judge

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None,
    reason="there is no gcc here, which compiles the guests' ledger: install gcc and libc6-dev",
)

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger"
    try:
        compile_ledger(path)
    except LabError as problem:
        pytest.skip(f"no static C library here, install libc6-dev: {problem}")
    return path


class Guest:
    """The program with files and sockets of its own, in place of a guest."""

    def __init__(self, program: Path, folder: Path, *, disks: int = 1) -> None:
        self.program, self.folder = program, folder
        self.files = [folder / f"ledger{number}" for number in range(disks)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.environment = os.environ | {"LEDGER_RUN": str(folder), "LEDGER_PORT": str(self.port)}
        self.process: subprocess.Popen[str] | None = None

    def boot(self, host: str, mode: str = "idle") -> str:
        """Start it; what it says on the console."""
        words = [str(self.program), "serve", mode, host, "a-uuid", *map(str, self.files)]
        (self.folder / "ledger.state").unlink(missing_ok=True)
        self.process = subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        end = time.monotonic() + 10
        while not (self.folder / "ledger.state").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        return said

    def ask(self, *words: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(self.program), *words], env=self.environment, capture_output=True, text=True, check=True
        )
        return dict(json.loads(done.stdout))

    def crash(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


@pytest.fixture
def guest(program: Path, tmp_path: Path) -> Iterator[Guest]:
    made = Guest(program, tmp_path, disks=2)
    yield made
    if made.process is not None:
        made.crash()


def test_entries_are_in_memory_until_every_fifth(guest: Guest) -> None:
    assert guest.boot("east-1") == "LEDGER last=0 intact=yes boots=east-1"
    state = guest.ask("add", "7")
    assert (state["last"], state["buffered"]) == (5, 2)
    found = judge(guest.files[0].read_text())
    assert (found.last, found.intact) == (5, True)
    assert f"{found.crc:08x}" == state["crc"]
    assert guest.files[0].read_bytes() == guest.files[1].read_bytes()


def test_a_crash_loses_what_was_in_memory_and_the_next_boot_goes_on(guest: Guest) -> None:
    guest.boot("east-1")
    guest.ask("add", "7")
    guest.crash()
    assert guest.boot("west-2") == "LEDGER last=5 intact=yes boots=east-1,west-2"
    assert guest.ask("add", "5")["last"] == 10
    assert judge(guest.files[1].read_text()).last == 10


def test_a_freeze_writes_out_and_holds_back_until_the_thaw(guest: Guest) -> None:
    guest.boot("east-1")
    guest.ask("add", "3")
    assert guest.ask("freeze")["last"] == 3
    assert guest.ask("add", "10")["last"] == 3
    assert judge(guest.files[0].read_text()).last == 3
    guest.ask("thaw")
    assert guest.ask("flush")["last"] == 13
    assert judge(guest.files[0].read_text()).last == 13


def test_a_running_ledger_adds_by_itself_and_answers_by_tcp(guest: Guest) -> None:
    guest.boot("east-1", "run")
    end = time.monotonic() + 20
    while True:
        with socket.create_connection(("127.0.0.1", guest.port), timeout=5) as connection:
            state = json.loads(connection.makefile().readline())
        if state["last"] >= 5:
            break
        assert time.monotonic() < end, state
        time.sleep(0.1)
    assert state["intact"] is True
    assert json.loads((guest.folder / "ledger.state").read_text())["last"] >= 5


def test_a_torn_write_out_is_taken_back_and_uneven_disks_are_made_even(guest: Guest) -> None:
    guest.boot("east-1")
    guest.ask("add", "10")
    guest.crash()
    whole = guest.files[0].read_bytes()
    guest.files[1].write_bytes(whole[: len(whole) // 2])
    guest.files[0].write_bytes(whole + b"11 0000")
    assert guest.boot("east-1").startswith("LEDGER last=10 intact=yes")
    assert guest.files[0].read_bytes() == guest.files[1].read_bytes() == whole


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (
            lambda text: text.replace("3 ", "4 ", 1) if text.startswith("3 ") else text.replace("\n3 ", "\n4 "),
            "entry 4 stands where 3 should",
        ),
        (lambda text: "\n".join(text.split("\n")[1:]), "entry 2 stands where 1 should"),
        (lambda text: text.replace(text.split()[1], "deadbeef", 1), "entry 1 has a wrong checksum"),
        (lambda text: "?" + text, "entry 1 is not readable"),
    ],
)
def test_harm_is_found_said_and_left_as_it_is(guest: Guest, harm: Callable[[str], str], problem: str) -> None:
    guest.boot("east-1")
    guest.ask("add", "10")
    guest.crash()
    harmed = harm(guest.files[0].read_text())
    for file in guest.files:
        file.write_text(harmed)
    said = guest.boot("west-1")
    assert "intact=no" in said
    assert problem in said
    assert judge(harmed).problem == problem
    assert guest.ask("add", "10")["intact"] is False
    assert guest.files[0].read_text() == harmed


def test_disks_of_two_guests_are_not_one_ledger(guest: Guest) -> None:
    guest.boot("east-1")
    guest.ask("add", "5")
    guest.crash()
    guest.files[1].write_text(guest.files[1].read_text()[:-2] + "x\n")
    assert "is another ledger" in guest.boot("east-1")
