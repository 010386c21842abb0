"""What a command resource of the stack is told: nothing for the epoch that a callout was declared in, and quoted words for the next."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import BadInput
from dr_provider.model.topology import Topology
from dr_provider.resources.callouts import check_callouts, command_of
from tests.support.topologies import loaded, write_topology

WORD = 'it\'s "$HOME"; `id` > x'


def topology(folder: Path, **callout: Any) -> Topology:
    hook = {"after": "move", "by": "pulumi", "command": ["printf", "[%s]", WORD, "{{ to_site }}"], **callout}
    return loaded(write_topology(folder, plan={"callouts": {"dns": hook}}))


def told(since: str | None, *, kind: str = "planned") -> str:
    epoch = {
        "id": "e-2",
        "number": 2.0,
        "kind": kind,
        "from": "east",
        "to": "west",
        "point": None,
        "hosts": {"db": "w"},
    }
    return json.dumps({"epoch": epoch, "since": {} if since is None else {"dns": since}})


def ran(create: str, stdin: str | None) -> str:
    done = subprocess.run(["/bin/sh", "-c", create], input=stdin or "", capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("output", "kinds", "runs"),
    [
        (told("e-1"), None, True),
        (told(""), None, True),
        (told("e-2"), None, False),
        (told(None), None, False),
        (None, None, False),
        (told("e-1"), ["disaster"], False),
        (told("e-1", kind="disaster"), ["disaster"], True),
        (told("e-1", kind="create"), None, False),
    ],
)
def test_which_epoch_it_is_for(tmp_path: Path, output: str | None, kinds: list[str] | None, runs: bool) -> None:
    shop = topology(tmp_path, **({"kinds": kinds} if kinds else {}))
    found = command_of(shop, "shop", shop.plans["shop"].callouts["dns"], output)
    assert found.trigger == ("e-2" if output else "")
    assert (found.create != ":") == runs
    assert ran(found.create, found.stdin) == (f"[{WORD}][west]" if runs else "")


def test_words_and_scripts_come_as_they_are(tmp_path: Path) -> None:
    text = f'printf \'%s|\' "$0" "$DR_EPOCH" "$NOTE" >/dev/null\nprintf \'%s\' "$NOTE {{{{ vms.db.host }}}}" # {WORD}\n'
    shop = topology(tmp_path, command=["sh", "-eu"], script={"text": text}, environment={"NOTE": {"value": WORD}})
    found = command_of(shop, "shop", shop.plans["shop"].callouts["dns"], told("e-1"))
    assert found.stdin is not None
    assert ran(found.create, found.stdin) == f"{WORD} w"
    assert WORD not in found.create.replace("NOTE=", ""), "a shell would read it"


def test_the_package_is_asked_for_only_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_callouts(loaded(write_topology(tmp_path / "none")))
    with pytest.raises(BadInput, match=r"shop\.dns\) need the package pulumi-command"):
        check_callouts(topology(tmp_path / "some"))
