"""The pages of reports: whole in one file, well formed, nothing of what others wrote taken as markup; small pictures and large ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from jsonschema import Draft202012Validator

from dr_provider.model import keys
from dr_provider.model.loader import parse
from dr_provider.reconcile.decision import Action, Decision
from dr_provider.reconcile.graph import Event
from dr_provider.reconcile.journal import Lines
from dr_provider.reconcile.reports import kept
from dr_provider.reconcile.reports.document import compose, summary
from dr_provider.reconcile.reports.drawing import Scale, clipped, safe
from dr_provider.reconcile.reports.facts import Facts
from dr_provider.reconcile.reports.gantt import gantt
from dr_provider.reconcile.reports.initiator import initiator
from dr_provider.reconcile.reports.page import history_page, report_page
from dr_provider.reconcile.reports.timeline import PHASES, phase_of, steps_of
from dr_provider.reconcile.reports.trends import trend_document
from tests.support.topologies import topology_document

SCHEMA = Draft202012Validator(
    json.loads(Path(kept.__file__).with_name("report.schema.json").read_text(encoding="utf-8"))
)
VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "</title></svg></style><h1>x",
    "{{ 7 * 7 }} {% raw %}",
    "javascript:alert(1)",
    "line\nbreak\x00\x1b[31m‮​ \udc80 ￿",
    "&lt;b&gt; &amp;",
    "x" * 3000,
]  # fmt: skip


@cache
def topology(vms: int = 3) -> Any:
    document = topology_document(vms=vms, volumes=10, health={"tcp": 5432, "within": "1m"})
    document["plans"]["shop"].update(rpo="10m", rto="1h")
    return parse(json.dumps(document), source="test", base=Path("/"))


def lines_of(members: tuple[str, ...], **failing: str) -> list[dict[str, object]]:
    """The journal of a planned move on a clock that goes a second a line."""
    lines = Lines(0.0)
    actions = [Action("claim", "claim", "claim epoch 2 for west")]
    actions += [
        Action(f"stop:{vm}", "stop", f"stop VM {vm} on east-1", of={"vm": vm, "host": "east-1"}) for vm in members
    ]
    actions += [
        Action(f"bring:vol-{n}", "bring", f"bring vol-{n} to west", group="transfer")
        for n in range(max(2, len(members)))
    ]
    actions += [Action("commit", "commit", "commit epoch 2")]
    actions += [
        Action(f"attach:{vm}", "attach", f"map the LUNs of VM {vm}", of={"vm": vm, "host": "west-1"}) for vm in members
    ]
    actions += [
        Action(f"start:{vm}", "start", f"start VM {vm} on west-1", of={"vm": vm, "host": "west-1"}) for vm in members
    ]
    actions += [Action(f"reverse:vol-{n}", "reverse", f"reverse vol-{n}") for n in range(2)]
    for action in actions:
        why = failing.get(action.id.replace(":", "_").replace("-", "_"), "")
        lines.event(Event("start", action))
        if action.verb == "start":
            lines.up(action)
        lines.event(
            Event("failed" if why else "done", action, 1.0, why or ("answers" if action.verb == "start" else ""))
        )
    for number, line in enumerate(lines.lines):
        line["at"] = float(number)
    return lines.lines


def facts(members: tuple[str, ...] = ("db", "app", "web"), **more: Any) -> Facts:
    known: dict[str, Any] = {
        "id": "20260302T080000-0a1b2c3d", "kind": "planned", "started": "2026-03-02T08:00:00.000Z", "ended": "2026-03-02T08:01:40.000Z",
        "seconds": 100.0, "by": "dr (alice@desk)", "from_site": "east", "to_site": "west", "point": "e1-s9-0a1b2c3d",
        "point_time": "2026-03-02T07:59:00.000Z", "loss_seconds": 0.0, "loss_statement": "nothing is lost", "moved": True,
        "lines": lines_of(members), "initiator": initiator({}),
        "status": {"activeSite": "west", "epoch": 2, "phase": "steady", "protected": True,
                   "vms": {vm: {"site": "west", "host": "west-1", "state": "running"} for vm in members}},
    }  # fmt: skip
    return Facts(**{**known, **more})


def document(vms: int = 3, **more: Any) -> dict[str, Any]:
    made = topology(vms)
    spec = made.plans["shop"]
    found = compose(made, spec, facts(spec.members, **more))
    SCHEMA.validate(found)
    return found


class Page(HTMLParser):
    """Reads a page strictly: every element is closed where it should be. `text`: what a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def whole(page: str) -> Page:
    """The page, which is one file: no script, nothing fetched, pictures that are XML, and a language."""
    found = Page(page)
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "audio", "video"}
    for _, attributes in found.tags:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("src", "srcset", "background", "action")
        ]
        assert attributes.get("href") is None or str(attributes["href"]).startswith("https://")
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style
    assert set(re.findall(r"url\(([^)]*)\)", style)) <= {"#hatch"}
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert ("html", {"lang": "en"}) in found.tags
    for picture in re.findall(r"<svg .*?</svg>", page, re.DOTALL):
        svg = Xml.fromstring(picture)
        if svg.get("role") == "img":
            ids = str(svg.get("aria-labelledby")).split()
            assert [str(element.get("id")) for element in svg[:2]] == ids
            assert all(element.text for element in svg[:2])
    return found


# -- one report -----------------------------------------------------------------------------------------


def test_the_first_screen_answers() -> None:
    found = whole(report_page(document()))
    order = ["Did it work?", "Yes", "What was lost?", "nothing", "RPO met", "How long did it take?", "RTO met", "VMs up", "3 of 3", "Still to do: nothing", "Timeline"]  # fmt: skip
    screen = found.text[found.text.index(order[0]) :]
    places = [screen.index(words) for words in order]
    assert places == sorted(places)
    assert "All times are UTC" in found.text
    assert "2026-03-02 08:00:00" in found.text


SITUATIONS: dict[str, dict[str, Any]] = {
    "partial": {"result": "partial", "failures": ("start VM app: it is not well",), "lines": lines_of(("db", "app", "web"), start_app="it is not well")},
    "failed": {"result": "failed", "moved": False, "error": ("scan: no answer", "plan shop stands at: claimed for west")},
    "called off": {"result": "called off", "moved": False, "error": ("scan: no answer", "the move was called off")},
    "refused": {"result": "refused", "moved": False, "error": ("nothing proves it",), "lines": ()},
    "nothing begun": {"lines": ()},
    "resumed": {"since": "2026-03-02T07:58:00.000Z", "resumed_by": "dr (bob@laptop)"},
    "loss not known": {"loss_seconds": None, "loss_statement": "not known"},
    "loss over RPO": {"loss_seconds": 3600.0, "loss_statement": "an hour"},
    "no point": {"point": None, "point_time": None},
    "no status": {"status": {}},
    "drill": {"kind": "drill", "moved": False, "from_site": None, "extra": {"drill": "monday"}},
    "abort": {"kind": "abort", "moved": False},
    "word": {"word": "1: power lost", "wish": "e1-s9-0a1b2c3d", "safety": ("vol-1.safety.e2",), "stack": "project/prod"},
    "in CI": {"initiator": initiator({"CI_JOB_URL": "https://gitlab.example/job/7", "GITLAB_USER_LOGIN": "bob", "DR_APPROVER": "carla"})},
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_is_a_whole_page(name: str) -> None:
    made = document(**SITUATIONS[name])
    found = whole(report_page(made))
    assert made["headline"] in found.text
    for sentence in (*made["todo"], *made["failures"]):
        assert sentence in found.text


@pytest.mark.parametrize(
    ("name", "loss", "time"),
    [
        ("nothing begun", "met", "met"),
        ("partial", "met", "open"),
        ("failed", "open", "open"),
        ("called off", "none", "none"),
        ("loss not known", "not known", "met"),
        ("loss over RPO", "missed", "met"),
        ("abort", "none", "none"),
        ("drill", "met", "met"),
    ],
)
def test_verdicts(name: str, loss: str, time: str) -> None:
    made = document(**SITUATIONS[name])
    assert (made["loss"]["verdict"], made["time"]["verdict"]) == (loss, time)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_text_and_nothing_else(text: str) -> None:
    made = document(
        by=text, word=text, wish=text, loss_statement=text, failures=(text,), warnings=(text,), remarks=(text,), notes=(text,), safety=(text,),
        stack=text, resumed_by=text, since="2026-03-02T07:58:00.000Z", error=(text,), result="failed", journal=text,
        initiator={"forge": text, "actor": text, "approver": text, "approverFrom": "said", "run": text},
        lines=lines_of(("db", "app", "web"), start_app=text), extra={"drill": text},
    )  # fmt: skip
    for vm in made["vms"]:
        vm["host"] = vm["sentence"] = text
    page = report_page(made)
    found = whole(page)
    assert {tag for tag, _ in found.tags} == {tag for tag, _ in Page(report_page(document(**SITUATIONS["word"], result="failed", error=("x",), failures=("x",), warnings=("x",), remarks=("x",), notes=("x",)))).tags}  # fmt: skip
    assert safe(text)[:200] in found.text
    assert not re.search("[\x00-\x08\x0b-\x1f‮\udc80￿]", page)
    page.encode("utf-8")


def test_only_an_address_is_a_link() -> None:
    made = document(**SITUATIONS["in CI"])
    assert [a["href"] for tag, a in whole(report_page(made)).tags if tag == "a"] == ["https://gitlab.example/job/7"] * 2
    made["decisions"] = [
        {"what": "x", "who": "y", "said": said}
        for said in ("javascript:alert(1)", "https://x/' onclick='1", "data:text/html,x")
    ]
    assert [tag for tag, _ in whole(report_page(made)).tags if tag == "a"] == []


def test_forty_vms_and_two_hundred_steps_are_readable() -> None:
    made = document(40)
    assert len(made["steps"]) > 160
    svg = Xml.fromstring(gantt(made))
    _, _, width, height = (float(part) for part in str(svg.get("viewBox")).split())
    assert height < 1100
    names = [e for e in svg.iter() if e.tag.endswith("text") and e.get("class") == "name"]
    assert len([e for e in names if "-" in str(e.text)]) == 40
    places = sorted(float(str(e.get("y"))) for e in names)
    assert min(b - a for a, b in pairwise(places)) >= 16
    for rect in (e for e in svg.iter() if e.tag.endswith("rect") and str(e.get("class")).startswith("bar")):
        left, wide = float(str(rect.get("x"))), float(str(rect.get("width")))
        assert left >= 200
        assert left + wide <= width
        assert wide >= 2
    assert whole(report_page(made)).text.count("west-1") >= 40


@pytest.mark.parametrize(
    ("rto", "drawn", "said"),
    [
        (20.0, True, "RTO 20 s"),
        (50.0, True, "RTO 50 s"),
        (36000.0, False, "The RTO, 10 h, is outside of the picture."),
        (None, False, "no RTO declared"),
    ],
)
def test_the_line_of_the_rto(rto: float | None, drawn: bool, said: str) -> None:
    made = document()
    made["time"].update(target=rto, verdict="none" if rto is None else "met")
    page = report_page(made)
    assert ('class="line rto"' in page) == drawn
    assert said in whole(page).text
    assert 'class="line commit"' in page


def test_a_failed_bar_is_told_by_more_than_its_colour() -> None:
    made = document(**SITUATIONS["partial"])
    svg = gantt(made)
    assert 'class="bar broken"' in svg
    assert "✕" in svg
    assert "app: failed." in svg


def test_a_long_name_is_clipped_and_whole_in_its_title() -> None:
    name = "a-name-that-is-as-long-as-it-may"[:31]
    made = document()
    made["vms"][0]["vm"] = name
    svg = gantt(made)
    assert f">{clipped(name, 26)}<" in svg
    assert f"<title>{name} on west-1" in svg


# -- its parts ------------------------------------------------------------------------------------------


def test_a_start_is_two_bars_where_its_health_was_looked_at() -> None:
    (row, *_) = document()["vms"]
    assert [bar["phase"] for bar in row["bars"]] == ["stop", "attach", "start", "health"]
    assert (row["startSeconds"], row["healthSeconds"]) == (1.0, 1.0)


def test_steps_that_come_again_are_steps_of_their_own() -> None:
    lines = lines_of(("db",))
    again = [{**line, "at": float(str(line["at"])) + 100} for line in lines]
    assert len(steps_of([*lines, *again])) == 2 * len(steps_of(lines))


@pytest.mark.parametrize("output", ["done\nwith it", *HOSTILE])
def test_what_a_callout_wrote_is_shown(output: str) -> None:
    lines = Lines(0.0)
    action = Action("callout:dns", "callout", "callout dns: change the names")
    lines.event(Event("start", action))
    lines.event(Event("done", action, 1.0, "exit status 0"), output)
    made = document(lines=lines.lines)
    assert [step["output"] for step in made["callouts"]] == [output]
    found = whole(report_page(made))
    assert "Callouts and prompts" in found.text
    assert safe(output) in found.text


@pytest.mark.parametrize("verb", ["callout", "prompt", "a-verb-that-is-to-come"])
def test_a_verb_of_another_day_has_its_place(verb: str) -> None:
    assert phase_of(verb) in PHASES
    assert phase_of("new", "transfer") == "transfer"


def test_each_verb_of_the_program_has_a_phase() -> None:
    from dr_provider.reconcile.actions import VERBS

    late = {"remove-vm", "remove-volume", "remove-lun", "give-back", "forget-removed", "split", "end-drill"}
    assert {verb for verb in VERBS if phase_of(verb) == "other"} == late


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, (None, None, None, None, None)),
        ({"DR_APPROVER": " carla "}, (None, None, "carla", "said", None)),
        ({"DR_APPROVED_BY": "alice"}, (None, None, "alice", "said", None)),
        ({"DR_APPROVED_BY": "alice", "DR_APPROVER": "carla"}, (None, None, "carla", "said", None)),
        (
            {"GITHUB_ACTOR": "alice", "GITHUB_TRIGGERING_ACTOR": "bob", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"},
            ("github", "bob", "bob", "actor", "https://github.com/a/b/actions/runs/7"),
        ),
        ({"GITHUB_ACTOR": "alice"}, ("github", "alice", "alice", "actor", None)),
        ({"GITLAB_USER_LOGIN": "bob", "CI_JOB_URL": "https://u:secret@gitlab/x/7", "DR_APPROVER": "carla"}, ("gitlab", "bob", "carla", "said", "https://gitlab/x/7")),
        ({"BUILD_URL": "http://jenkins:8080/job/x/7/"}, ("jenkins", None, None, None, "http://jenkins:8080/job/x/7/")),
        ({"BUILD_URL": "javascript:alert(1)"}, ("jenkins", None, None, None, None)),
        ({"BUILD_URL": "http://[x"}, ("jenkins", None, None, None, None)),
    ],
)  # fmt: skip
def test_who_let_it_go(environ: dict[str, str], found: tuple[str | None, ...]) -> None:
    told = initiator(environ)
    assert tuple(told[name] for name in ("forge", "actor", "approver", "approverFrom", "run")) == found


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.03, 1.0, 59.0, 61.0, 3601.0, 90000.0, 1e8, 1e10])
def test_ticks_are_few_and_in_the_picture(seconds: float) -> None:
    scale = Scale.over(100, 900, seconds)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 9
    assert all(100 <= place <= 900 for place, _ in ticks)


def test_a_decision_is_told_apart_from_its_estimate() -> None:
    assert document(estimate=12.0)["estimateSeconds"] == 12.0
    assert Decision("shop", "none").estimate is None


# -- the history --------------------------------------------------------------------------------------


def epoch(number: int, kind: str = "planned", **more: Any) -> dict[str, Any]:
    return {"epoch": number, "state": "committed", "kind": kind, "from": "east", "to": "west", "time": f"2026-01-{number:02d}T08:00:00.000Z", "by": "dr",
            "word": None, "point": None, "loss": {"seconds": 0.0, "statement": "nothing"}, **more}  # fmt: skip


def history(epochs: list[dict[str, Any]], reports: list[dict[str, Any]]) -> dict[str, Any]:
    spec = topology().plans["shop"]
    return trend_document(
        spec,
        {"plan": "shop", "time": keys.stamp(keys.at("2026-03-02T09:00:00Z")), "activeSite": "west", "epochs": epochs},
        reports,
    )


def drill(day: int, **more: Any) -> dict[str, Any]:
    made = document(kind="drill", moved=False, id=f"202602{day:02d}T080000-0a1b2c3d", started=f"2026-02-{day:02d}T08:00:00.000Z", loss_seconds=60.0, extra={"drill": f"d{day}"}, **more)  # fmt: skip
    return summary(made)


def test_moves_with_and_without_a_report_and_drills_are_one_history() -> None:
    move = summary(document())
    found = history(
        [
            epoch(2),
            epoch(1, "create", **{"from": None}),
            epoch(3, "disaster", loss={"seconds": 900.0, "statement": "x"}),
        ],
        [move, drill(1), drill(2)],
    )
    assert [(row["kind"], row["epoch"], row["report"] is not None) for row in found["events"]] == [
        ("planned", 2, True), ("drill", None, True), ("drill", None, True), ("disaster", 3, False),
    ]  # fmt: skip
    assert (found["moves"]["count"], found["moves"]["missed"], found["drills"]["count"]) == (2, 1, 2)
    assert found["lastDrill"]["drill"] == "d2"
    assert found["drills"]["time"]["worst"] >= found["drills"]["time"]["median"]


def test_what_was_not_committed_is_no_move_of_the_trend() -> None:
    off = summary(document(**SITUATIONS["called off"]))
    found = history([], [off])
    assert (found["moves"]["count"], found["events"][0]["result"], found["events"][0]["epoch"]) == (
        0,
        "called off",
        None,
    )


@pytest.mark.parametrize("count", [0, 1, 12, 80])
def test_the_history_is_a_whole_page(count: int) -> None:
    found = history([epoch(2)], [drill(1 + n % 28) for n in range(count)])
    page = whole(history_page(found))
    assert ("no drill on record" in page.text) == (count == 0)
    assert "Every move and drill" in page.text


def test_a_hostile_history_is_text() -> None:
    for text in HOSTILE:
        found = history(
            [epoch(2, kind=text, by=text, **{"from": text, "to": text})],
            [{**drill(1), "drill": text, "by": text, "to": text}],
        )
        whole(history_page(found))


# -- as a browser shows it ------------------------------------------------------------------------------

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to look at the page with: install chromium")
def test_chromium_shows_it_and_prints_it(tmp_path: Path) -> None:
    made = document(40)
    page = tmp_path / "report.html"
    page.write_text(report_page(made), encoding="utf-8")
    flags = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]

    def run(*words: str) -> None:
        subprocess.run([*flags, *words, page.as_uri()], capture_output=True, timeout=120, check=True)

    run("--window-size=1280,900", f"--screenshot={tmp_path / 'page.png'}")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    run("--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
