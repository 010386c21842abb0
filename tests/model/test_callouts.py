"""Callouts and prompts in a topology: what is found wrong, what templates see, and a callout as it would be run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dr_provider.model import callout_records
from dr_provider.model.advice import advice
from dr_provider.model.callout_specs import Place
from dr_provider.model.callouts import Move, render_callout, render_prompt, shown
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import TopologyInvalid
from dr_provider.model.loader import load as load_file
from dr_provider.model.loader import parse
from dr_provider.model.records import Record
from dr_provider.model.templates import TemplateFault, render
from dr_provider.model.topology import Topology
from tests.support.topologies import write_topology

PLANNED = Move("planned", "east", "west", 2, "e1-s2-0102", {"db": "west-1"})


def document(callouts: dict[str, Any], prompts: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"callouts": callouts, **({"prompts": prompts} if prompts else {})}


def read(folder: Path, callouts: dict[str, Any], prompts: dict[str, Any] | None = None) -> Topology:
    return load_file(write_topology(folder, plan=document(callouts, prompts)))


def problems(folder: Path, callouts: dict[str, Any], prompts: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(TopologyInvalid) as raised:
        read(folder, callouts, prompts)
    return [f"{p.path}: {p.message}".replace("plans.shop.", "") for p in raised.value.problems]


def one(**keys: Any) -> dict[str, Any]:
    """One callout `a`, with what is wrong with it."""
    return {"a": {"command": ["true"], **({} if {"before", "after"} & set(keys) else {"after": "move"}), **keys}}


# fmt: off
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("form", one(before="commit", after="move"), "callouts.a: gives both before and after; wanted one of them, such as after: move"),
    ("form", {"a": {"command": ["true"]}}, "callouts.a: gives neither before nor after"),
    ("form", one(after={}), "callouts.a.after: gives neither tier nor vm; wanted one of them, such as tier: 1"),
    ("form", one(after={"tier": 1, "vm": "db"}), "callouts.a.after: gives both tier and vm"),
    ("form", one(after="comit"), "callouts.a.after: found comit; wanted move, stop, fence, transfer, break, scan, commit or start; did you mean commit?"),
    ("place", one(after={"tier": 4}), "callouts.a.after.tier: plan shop has no tier 4; its tiers are 1 to 3"),
    ("form", one(after="vm:web"), "callouts.a.after: found vm:web; wanted move, stop, fence, transfer, break, scan, commit or start; did you mean {vm: web}?"),
    ("form", one(before="tier 2"), 'callouts.a.before: found "tier 2"; wanted move, stop, fence, transfer, break, scan, commit or start; did you mean {tier: 2}?'),
    ("form", one(before="web"), "callouts.a.before: found web; wanted move, stop, fence, transfer, break, scan, commit or start; a tier is {tier: 1}, a VM {vm: NAME}"),
    ("form", one(after={"tier": 0}), "callouts.a.after.tier: found the number 0; wanted a whole number from 1 to 1000"),
    ("place", one(before={"vm": "bd"}), "callouts.a.before.vm: there is no VM bd; known: app, db and web"),
    ("form", one(command=[]), "callouts.a.command: is empty; wanted at least one entry"),
    ("form", one(command=[""]), "callouts.a.command[0]: found a text of 0 characters; wanted one of 1 to 4096"),
    ("form", one(command="rm -rf /"), 'callouts.a.command: found "rm -rf /"; wanted a list'),
    ("form", one(command=["dig", 53]), "callouts.a.command[1]: found the number 53; wanted text; put it in quotes"),
    ("form", one(kinds=["drills"]), "callouts.a.kinds[0]: found drills; wanted"),
    ("place", one(after="commit", kinds=["abort", "drill"]),
     "callouts.a.kinds: abort or drill has no phase commit, so it would never run; those that have it: planned, failback, disaster, rollback and resolve"),
    ("form", one(by="stack"), "callouts.a.by: found stack; wanted executor or pulumi"),
    ("place", one(remote={"host": "ns1", "hostKey": "ssh-ed25519 AAAA"}), "callouts.a.remote: only a callout with by: pulumi has this"),
    ("place", one(atFirst=True), "callouts.a.atFirst: only a callout with by: pulumi has this"),
    ("place", one(by="pulumi", after="start"), "callouts.a.after: with by: pulumi it runs when the move is over; wanted after: move, found after the start"),
    ("place", one(by="pulumi", before="move"), "callouts.a.before: with by: pulumi it runs when the move is over; wanted after: move, found before the move"),
    ("place", one(by="pulumi", kinds=["planned", "restart"]), "callouts.a.kinds: with by: pulumi it runs for a new epoch; those that have one: planned, failback"),
    ("place", one(by="pulumi", retries=2), "callouts.a.retries: with by: pulumi a failure ends the up red"),
    ("place", one(by="pulumi", onError="continue"), "callouts.a.onError: with by: pulumi a failure ends the up red"),
    ("place", one(by="pulumi", environment={"KEY": "env:KEY"}), "callouts.a.environment.KEY: with by: pulumi a credential's value would stand in the stack's state"),
    ("form", one(by="pulumi", remote={"host": "ns1"}), "callouts.a.remote: hostKey is missing"),
    ("form", one(by="pulumi", remote={"host": "-oProxyCommand=x", "hostKey": "ssh-ed25519 AAAA"}), "callouts.a.remote.host: found"),
    ("template", one(by="pulumi", command=["{{ to_sit }}"]), "callouts.a.command[0]: there is no to_sit; did you mean to_site?"),
    ("form", one(environment={"TOKEN": "hunter2"}), "callouts.a.environment.TOKEN: found what is no reference; wanted env:NAME or file:/PATH, which say "
     "where the secret is, never the secret itself; what is no secret is written {value: TEXT}"),
    ("form", one(environment={"TOKEN": {"env": "hunter2"}}), 'callouts.a.environment.TOKEN: a reference is one text, such as "env:NAME"; what is no secret is written {value: TEXT}'),
    ("form", one(environment={"TOKEN": {"file": "/hunter2"}}), 'callouts.a.environment.TOKEN: a reference is one text, such as "file:/PATH"; what is no secret'),
    ("form", one(environment={"A-B": "env:X"}), "callouts.a.environment.A-B: found A-B; wanted the name of an environment variable"),
    ("form", one(timeout="0s"), "callouts.a.timeout: found 0s; "),
    ("form", one(retries=11), "callouts.a.retries: found the number 11; wanted a whole number from 0 to 10"),
    ("form", one(onError="ignore"), "callouts.a.onError: found ignore; wanted stop or continue"),
    ("place", one(script="none.j2"), "callouts.a.script: none.j2 cannot be read as a script from the topology's folder"),
    ("form", one(script={"text": ""}), "callouts.a.script.text: found a text of 0 characters; wanted one of 1 to 65536"),
    ("form", one(comand=["x"]), "callouts.a.comand: there is no key comand in a callout; did you mean command?"),
    ("template", one(command=["{{ to_site"]), "callouts.a.command[0]: this is no template: "),
    ("template", one(command=["{{ to_sit }}"]), "callouts.a.command[0]: there is no to_sit; did you mean to_site?"),
    ("template", one(command=["{% if kind == 'drill' %}{{ nobody }}{% endif %}"]), "callouts.a.command[0]: there is no nobody; known: "),
    ("template", one(command=["{{ vms.bd.ip }}"]), "callouts.a.command[0]: 'dict object' has no attribute 'bd'"),
    ("template", one(command=["{{ vms.db.host.upper() }}"]), "callouts.a.command[0]: 'None' has no attribute 'upper'"),
    ("template", one(command=["{{ 1 / 0 }}"]), "callouts.a.command[0]: division by zero"),
    ("template", one(command=["{{ ''.__class__.__mro__ }}"]), "callouts.a.command[0]: access to attribute '__class__' of 'str' object is unsafe"),
    ("template", one(command=["{% include '/etc/passwd' %}"]), "callouts.a.command[0]: "),
    ("template", one(environment={"A": {"value": "{{ a }}"}}), "callouts.a.environment.A.value: there is no a; known: "),
    ("template", one(script={"text": "one\n{{ two }}\n"}), "callouts.a.script: the script of callout a, line 2: there is no two; known: "),
    ("template", one(script={"file": "dns.sh.j2", "text": "{% for vm in vms.values() %}\n{{ vm.addr }}\n{% endfor %}"}),
     "callouts.a.script: dns.sh.j2, line 2: 'dict object' has no attribute 'addr'"),
]
# fmt: on


@cache
def _found(stage: str) -> tuple[str, ...]:
    """All callouts of one stage in one topology, a name each: what is wrong with the form hides what is wrong beyond it."""
    named = {f"a{number}": callouts["a"] for number, (at, callouts, _) in enumerate(BAD) if at == stage}
    with TemporaryDirectory() as folder:
        return tuple(problems(Path(folder), named))


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_is_wrong_and_where(number: int) -> None:
    stage, _, wanted = BAD[number]
    here = re.compile(rf"\ba{number}\b")
    found = [here.sub("a", line) for line in _found(stage) if here.search(line)]
    assert len(found) == 1
    assert found[0].startswith(wanted)
    assert "hunter2" not in found[0]


def test_nothing_else_is_wrong() -> None:
    assert sum(len(_found(stage)) for stage in ("form", "place", "template")) == len(BAD)


def test_prompts_have_their_own_rules(tmp_path: Path) -> None:
    asked = {"after": "move", "text": "go?"}
    named = {"a": asked, "b": {**asked, "text": "{{ nobody }}\n"}, "c": {**asked, "text": "1\n{{ x\n"}}
    assert problems(tmp_path, one(), {"a": asked}) == [
        "prompts.a: a callout is called a too; give the prompt a name of its own"
    ]
    found = problems(tmp_path, {}, named)
    assert found[0].startswith("prompts.b.text: there is no nobody")
    assert found[1].startswith("prompts.c.text: line 2 of it: this is no template: ")
    assert problems(tmp_path, {}, {"a": {**asked, "kinds": ["drill"]}})[0].startswith("prompts.a.kinds[0]: found drill")


def test_a_vm_of_another_plan_is_said_to_be_one(tmp_path: Path) -> None:
    def second(doc: dict[str, Any]) -> None:
        del doc["plans"]["shop"]["tiers"][1:]
        doc["plans"]["shop"]["callouts"] = one(before={"vm": "app"})
        doc["plans"]["other"] = {
            **doc["plans"]["shop"],
            "tiers": [{"members": ["app", "web"]}],
            "callouts": one(after={"tier": 2}),
        }

    with pytest.raises(TopologyInvalid) as raised:
        load_file(write_topology(tmp_path, volumes=3, change=second))
    said = [str(problem) for problem in raised.value.problems]
    assert any("VM app is not in this plan; the VMs of plan shop: db" in line for line in said)
    assert any("plan other has no tier 2; its only tier is 1" in line for line in said)


def test_a_script_is_part_of_the_stored_topology(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    script = tmp_path / "templates" / "dns.sh.j2"
    script.write_text("echo {{ to_site }}\n", encoding="utf-8")
    made = read(tmp_path, one(command=["bash", "-eu"], script="templates/dns.sh.j2"))
    script.unlink()
    stored = parse(made.text, source="an array", base=Path("/elsewhere"))
    assert stored == made
    rendered = render_callout(stored, "shop", "a", PLANNED)
    assert (rendered.command, rendered.script) == (("bash", "-eu"), "echo west\n")
    assert shown(stored.plans["shop"].callouts["a"]) == "bash -eu templates/dns.sh.j2"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 65537], ids=["empty", "binary", "too long"])
def test_what_is_no_script(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.j2").write_bytes(content)
    assert "cannot be read as a script" in problems(tmp_path, one(script="a.j2"))[0]


def test_a_stored_topology_with_a_bad_template_is_read_all_the_same(tmp_path: Path) -> None:
    good = read(tmp_path, one(command=["{{ to_site }}"]))
    stored = good.text.replace("{{ to_site }}", "{{ of_another_version }}")
    assert parse(stored, source="an array", base=tmp_path).plans["shop"].callouts["a"].command == (
        "{{ of_another_version }}",
    )


def test_rendered_and_not_run(tmp_path: Path) -> None:
    callouts = one(
        command=["nsupdate", "{% for vm in vms.values() %}{{ vm.name }}={{ vm.from_ip }}>{{ vm.ip }};{% endfor %}", "{{ vm.host | quote }}"],
        before={"vm": "db"},
        environment={"KEY": "env:NS_KEY", "ZONE": {"value": "{{ plan }}.example.org"}},
    )  # fmt: skip
    rendered = render_callout(read(tmp_path, callouts), "shop", "a", PLANNED)
    assert rendered.command == (
        "nsupdate",
        "db=10.1.0.10>10.2.0.10;app=10.1.0.11>10.2.0.11;web=10.1.0.12>10.2.0.12;",
        "west-1",
    )
    assert rendered.credentials == {"KEY": "env:NS_KEY"}
    assert rendered.environment == {
        "DR_PLAN": "shop", "DR_KIND": "planned", "DR_FROM": "east", "DR_TO": "west", "DR_EPOCH": "2", "DR_POINT": "e1-s2-0102",
        "DR_CALLOUT": "a", "ZONE": "shop.example.org",
    }  # fmt: skip


# fmt: off
SEEN: list[tuple[str, Move, Any]] = [
    ("{{ [topology, plan, kind, from_site, to_site, epoch, point, name] }}", PLANNED,
     ["shop-test", "shop", "planned", "east", "west", 2, "e1-s2-0102", "a"]),
    ("{{ [place, tier.number, tier.vms, vm, sites] }}", PLANNED, ["after tier 2 has started", 2, ["app"], None, ["east", "west"]]),
    ("{{ vms.db.nics[0] }}", PLANNED, {"network": "prod", "bridge": "br-prod", "address": "10.2.0.10/16", "ip": "10.2.0.10"}),
    ("{{ vms.db.nics[0] }}", Move("drill", "east", "west", 2, drill="d"), {"bridge": "br-isolated", "ip": "10.2.0.10"}),
    ("{{ vms.db.nics[0].bridge }}", Move("drill", "east", "west", 2, drill="d", network=1), None),
    ("{{ names }}", PLANNED, []),
    ("{{ [vms.db.tier, vms.db.host, vms.web.host, drill] }}", PLANNED, [1, "west-1", None, None]),
    ("{{ [vms.db.from_ip, from_site] }}", Move("disaster", None, "west", 2), [None, None]),
]
# fmt: on


@pytest.mark.parametrize(("template", "move", "wanted"), SEEN)
def test_what_templates_see(tmp_path: Path, template: str, move: Move, wanted: Any) -> None:
    topology = read(tmp_path, one(after={"tier": 2}, command=[template.replace("}}", "| tojson }}")]))
    found = json.loads(render_callout(topology, "shop", "a", move).command[0])
    if isinstance(wanted, dict):
        assert wanted.items() <= found.items()
    else:
        assert found == wanted


def test_a_vm_without_a_card_has_no_address(tmp_path: Path) -> None:
    """A callout that fails on the day for it would be worse: `dr validate` warns."""
    topology = load_file(write_topology(tmp_path, nics=False, plan=document(one(command=["{{ vms.db.ip }}"]))))
    assert render_callout(topology, "shop", "a", PLANNED).command == ("None",)
    assert [said.path for said in advice(topology)] == ["plans.shop.callouts.a.command[0]"] * 2


LOOP = "{% for vm in vms.values() %}{{ vm.ip }} {% endfor %}"
WEST = (
    "VM web has no static address at west, so the word None would stand there; give it one, or ask for it: {% if ... %}"
)
BOTH = WEST.replace("VM web has", "VMs app and web have")


@pytest.mark.parametrize(
    ("template", "without", "said"),
    [
        ("{{ vms.db.ip }}", ["web"], []),
        ("{{ vms.web.ip }}", ["web"], [WEST]),
        ("{{ vms.web.ip | quote }} {{ vms.web.nics[0].address }}", ["web"], [WEST]),
        (LOOP, ["web"], [WEST]),
        (LOOP, ["app", "web"], [BOTH]),
        ("{{ vms.web.ip or 'nothing' }}{{ vms.web.host }}{{ point }}", ["web"], []),
        ("{{ vms.web.from_ip }}", ["web"], [WEST]),
        ("{{ vms.web.ip | tojson }}", ["web"], []),
        ("{% for each in names %}{{ each.ip }}{% endfor %}", ["web"], [WEST]),
        ("{% for each in names if each.ip %}{{ each.ip }}{% endfor %}", ["web"], []),
    ],
)  # fmt: skip
def test_where_a_template_would_say_none_for_an_address(
    tmp_path: Path, template: str, without: list[str], said: list[str]
) -> None:
    def lacking(doc: dict[str, Any]) -> None:
        doc["vms"]["web"]["nics"][0]["names"] = ["web.example.org"]
        for vm in without:
            del doc["vms"][vm]["nics"][0]["address"]["west"]
        doc["plans"]["shop"] |= document(one(command=["echo", template]), {"p": {"before": "commit", "text": template}})

    found = [
        line
        for line in advice(load_file(write_topology(tmp_path, change=lacking)))
        if "callouts" in line.path or "prompts" in line.path
    ]
    paths = ("plans.shop.callouts.a.command[1]", "plans.shop.prompts.p.text")
    assert [(line.path, line.message) for line in found] == [(path, line) for path in paths for line in said]


def test_a_prompt_is_asked_in_words(tmp_path: Path) -> None:
    topology = read(tmp_path, {}, {"go": {"before": "commit", "text": "  Is {{ to_site }} ready?\nReally?\n"}})
    assert render_prompt(topology, "shop", "go", PLANNED) == "Is west ready? Really?"


def test_a_template_that_fails_says_file_and_line() -> None:
    with pytest.raises(TemplateFault, match=r"^dns\.j2, line 3: 'nobody' is undefined$"):
        render("one\n\n{{ nobody }}", {}, "dns.j2")
    with pytest.raises(TemplateFault, match=r"^dns\.j2, line 2: this is no template: "):
        render("one\n{{ nobody", {}, "dns.j2")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place("before", "move"), "before the move"),
        (Place("after", "start", tier=2), "after tier 2 has started"),
        (Place("before", "start", vm="db"), "before VM db starts"),
        (Place("before", "stop", tier=1), "before tier 1 is stopped"),
        (Place("after", "stop", vm="db"), "after VM db was stopped"),
    ],
)
def test_a_place_in_words(place: Place, said: str) -> None:
    assert str(place) == said


def test_a_long_command_is_cut_for_people(tmp_path: Path) -> None:
    spec = read(tmp_path, one(command=["echo", "two words", "x" * 200])).plans["shop"].callouts["a"]
    assert shown(spec).startswith('echo "two words" xxx')
    assert len(shown(spec)) == 120


GOLDEN: dict[str, Record] = {
    '{"checksum":"%s","claim":"id-2","due":["b"],"ended":{"a":"done"},"failed":{"b":"why"},"kind":"planned","plan":"shop","asked":{"p":{"default":"stop","since":"s","text":"go?","until":"u"}}}': callout_records.Callouts(
        "shop",
        "id-2",
        "planned",
        {"a": "done"},
        ("b",),
        {"b": "why"},
        {"p": callout_records.Asked("go?", "s", "u", "stop")},
    ),
    '{"answer":"stop","asked":"s","by":"me","checksum":"%s","claim":"id-2","note":"not yet","plan":"shop","prompt":"p","time":"t"}': callout_records.Answer(
        "shop", "id-2", "p", "stop", "me", "t", "not yet", "s"
    ),
}


@pytest.mark.parametrize("text", GOLDEN)
def test_records_stay_readable(text: str) -> None:
    record = GOLDEN[text]
    written = json.loads(dump(record))
    assert {**json.loads(text), "checksum": written["checksum"]} == written
    assert load(type(record), json.dumps({k: v for k, v in written.items() if k != "checksum"}), "here") == record


def test_nobody_pays_for_templates_without_any(tmp_path: Path) -> None:
    path = write_topology(tmp_path)
    code = f"import sys; from pathlib import Path; from dr_provider.model.loader import load; load(Path({str(path)!r})); sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
