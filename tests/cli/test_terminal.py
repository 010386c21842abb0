"""What happens at a terminal: the question, Ctrl-C once and twice, colours, 80 columns, completion; and signals to a watch."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).parents[2]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def terminal(kind: str, *words: str, topology: Path, **environment: str) -> pexpect.spawn[str]:
    """`dr` over a stand-in of the kind, on a terminal of 80 columns."""
    return python("-m", "tests.cli.fakes", kind, "--topology", str(topology), *words, **environment)


def python(*words: str, **environment: str) -> pexpect.spawn[str]:
    return pexpect.spawn(
        sys.executable,
        list(words),
        cwd=str(ROOT),
        env={**os.environ, "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1", **environment},
        dimensions=(50, 80),
        encoding="utf-8",
        timeout=20,
        preexec_fn=_hear_ctrl_c,
        use_poll=True,  # a long run of tests has more files open than select() can count
    )


def _hear_ctrl_c() -> None:
    """A suite that was started in the background of a script ignores Ctrl-C, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, ESCAPES.sub("", child.before or "").replace("\r", "")


def test_the_decision_is_shown_and_the_name_asked_for(topology: Path) -> None:
    child = terminal("quick", "failover", "shop", "--to", "west", topology=topology)
    child.expect("claim epoch 2 for west")
    child.expect(re.escape("Type the name of the plan (shop) to go on: "))
    child.sendline("shop")
    status, said = ended(child)
    assert status == 0
    assert "Plan shop is active at west, epoch 2" in said


def test_json_at_a_terminal_asks_too_and_stdout_stays_clean(topology: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    # stdout goes to a file; stdin and stderr are the terminal.
    words = [sys.executable, "-m", "tests.cli.fakes", "quick", "--topology", str(topology), "--json"]
    command = " ".join(f"'{word}'" for word in [*words, "failover", "shop", "--to", "west"]) + f" > '{out}'"
    child = pexpect.spawn("/bin/sh", ["-c", command], use_poll=True, cwd=str(ROOT), encoding="utf-8", timeout=20)
    child.expect("Type the name of the plan")
    child.sendline("shop")
    assert ended(child)[0] == 0
    assert json.loads(out.read_text())["status"]["activeSite"] == "west"


@pytest.mark.parametrize("answer", ["west", "", "shop2", "SHOP"])
def test_any_other_answer_changes_nothing(answer: str, topology: Path) -> None:
    child = terminal("quick", "failover", "shop", "--to", "west", topology=topology)
    child.expect("to go on: ")
    child.sendline(answer)
    status, said = ended(child)
    assert status == 1
    assert "nothing was changed" in said
    assert "[1/3]" not in said


def test_ctrl_c_at_the_question(topology: Path) -> None:
    child = terminal("quick", "resolve", "shop", "--keep", "west", topology=topology)
    child.expect("to go on: ")
    child.sendintr()
    status, said = ended(child)
    assert status == 1
    assert "stopped by Ctrl-C; nothing was changed" in said
    assert "Traceback" not in said


def test_the_first_ctrl_c_ends_at_a_safe_action_and_says_what_stands(topology: Path) -> None:
    child = terminal("slow", "failover", "shop", "--to", "west", "--yes", topology=topology)
    child.expect("step 3: done")
    child.sendintr()
    child.expect("ending at the next safe action; once more ends at once")
    status, said = ended(child)
    assert status == 1
    assert "stopped at a safe action (Ctrl-C)" in said
    assert "Plan shop is active at west, epoch 2" in said
    assert "Traceback" not in said


def test_the_second_ctrl_c_ends_at_once(topology: Path) -> None:
    child = terminal("stuck", "failover", "shop", "--to", "west", "--yes", topology=topology)
    child.expect("under way")
    child.sendintr()
    child.expect("once more ends at once")
    started = time.monotonic()
    child.sendintr()
    status, said = ended(child)
    assert status == 1
    assert "ended at once" in said
    assert "Traceback" not in said
    assert time.monotonic() - started < 5


# A call into a library that no signal ends: a mutex that is locked twice.
DEAF = """
import ctypes
from dr_provider.cli.interrupts import careful
lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
lock(mutex)
with careful():
    print("deaf from now on", flush=True)
    lock(mutex)
"""


def test_ctrl_c_is_heard_while_the_main_thread_is_in_a_call_that_no_signal_ends() -> None:
    child = python("-c", DEAF)
    child.expect("deaf from now on")
    child.sendintr()
    child.expect("once more ends at once")
    child.sendintr()
    status, said = ended(child)
    assert status == 1
    assert "ended at once" in said


def test_sigterm_is_a_first_ctrl_c(topology: Path) -> None:
    child = terminal("slow", "failover", "shop", "--to", "west", "--yes", topology=topology)
    child.expect("step 2: done")
    child.kill(signal.SIGTERM)
    status, said = ended(child)
    assert status == 1
    assert "SIGTERM" in said


def test_what_is_asked_about_fits_a_terminal(topology: Path) -> None:
    child = terminal("quick", "failover", "shop", "--to", "west", "--dry-run", topology=topology)
    status, said = ended(child)
    assert status == 0
    assert max(len(line) for line in said.splitlines()) <= 80


def test_colours_only_on_a_terminal_and_not_with_no_color(topology: Path) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    child = terminal("quick", "status", topology=topology)
    child.expect(pexpect.EOF)
    assert coloured.search(child.before or "")
    child = terminal("quick", "status", topology=topology, NO_COLOR="1")
    child.expect(pexpect.EOF)
    assert not coloured.search(child.before or "")
    words = [sys.executable, "-m", "tests.cli.fakes", "quick", "--topology", str(topology), "status"]
    piped = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "FORCE_COLOR": "1"}
    )
    assert "\x1b" not in piped.stdout + piped.stderr


@pytest.mark.parametrize(
    ("line", "word"),
    [("dr fail", "failover"), ("dr failover ", "shop"), ("dr failover shop --to ", "west"), ("dr safety ", "list")],
)
def test_completion(line: str, word: str, topology: Path) -> None:
    environment = {
        **os.environ,
        "_DR_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "DR_TOPOLOGY": str(topology),
    }
    command = [sys.executable, "-c", "from dr_provider.cli.main import main; main()"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert word in said.stdout.split()


def test_looking_imports_no_engine_and_no_more_than_it_needs(topology: Path) -> None:
    script = (
        "import sys; sys.argv = ['dr', 'status', '--json', '--topology', sys.argv[1]]\n"
        "from dr_provider.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'pulumi', 'grpc', 'rich', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script, str(topology)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("place", ["dr_provider.cli.common.Session.world", "typer.main.get_command"])
def test_ctrl_c_outside_of_any_work_is_a_sentence(
    place: str, topology: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dr_provider.cli.main import main

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    monkeypatch.setattr(sys, "argv", ["dr", "status", "--json", "--topology", str(topology)])
    with pytest.raises(SystemExit) as ended_with:
        main()
    assert ended_with.value.code == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"].startswith("stopped by Ctrl-C")
    assert said.err.startswith("dr: stopped by Ctrl-C")
    assert "Traceback" not in said.err
