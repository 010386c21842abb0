"""`dr status` for people: one screen, what is wrong first; and its exit status for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dr_provider.cli.stack import backend_in_use, remote_of
from tests.cli.conftest import Dr
from tests.cli.fakes import Reconciler, plan_status
from tests.support.lab import Lab


def item(level: str, check: str = "lag", found: str = "west: it is behind.", todo: str = "Run dr protect shop.") -> Any:
    return {"check": check, "level": level, "found": found, "todo": todo}


LATE = plan_status("east", 1, ready=False, readiness=[item("problem")], lagSeconds=5400.0)
DARK = plan_status("east", 1, ready=None, readiness=[item("unknown", "points"), item("unknown", "room")])
NOTED = plan_status("east", 1, readiness=[item("warning", "spare", "west: one host.", ""), item("unknown", "backend")])
LAZY = plan_status("east", 1, readiness=[item("warning", f"w{n}", f"Warning {n}.", "") for n in range(6)])


@pytest.fixture
def status(dr: Dr, topology: Path, reconciler: Reconciler) -> Any:
    def call(*words: str, **plans: Any) -> Any:
        reconciler.status = {"plans": plans, "silent": {}}
        return dr("--topology", str(topology), "status", *words)

    return call


@pytest.mark.parametrize(
    ("plan", "said", "unsaid"),
    [
        (plan_status(), ["protected, ready\n", "lag             12 s (10 min allowed)"], ["is behind"]),
        (LATE, [", NOT READY\n", "  not ready: west: it is behind. Run dr protect shop.\n", "1 h 30 min"], []),
        (DARK, [", readiness not known\n", "  not known: points, room (silent)\n"], ["is behind"]),
        (NOTED, [", ready\n", "  note: west: one host.\n"], ["is behind"]),
        (LAZY, ["note: Warning 3.\n", "and 2 more; dr status shop -v lists every item"], ["Warning 4"]),
    ],
    ids=["well", "late", "dark", "noted", "many"],
)
def test_one_plan(status: Any, plan: Any, said: list[str], unsaid: list[str]) -> None:
    found = status(shop=plan)
    assert found.status == 0
    assert [part for part in said if part not in found.out] == []
    assert [part for part in unsaid if part in found.out] == []


def test_several_plans_are_a_line_each_and_the_worst_of_each_first(status: Any) -> None:
    web = plan_status("east", 1, degraded=["VM web is off on east-1", "VM api is off on east-1"], phase="degraded")
    found = status(shop=LATE, web=web)
    assert found.out.splitlines() == [
        "plan  runs at  epoch  phase     VMs  lag         drilled  ready",
        "shop  east     1      steady    2/2  1 h 30 min  never    NO",
        "web   east     1      degraded  2/2  12 s        never    yes",
        "",
        "  - shop: west: it is behind. Run dr protect shop.",
        "  - web: VM web is off on east-1",
        "  - web: VM api is off on east-1",
        "  dr status PLAN says all of one plan.",
    ]


MADE = item("problem", "made", "It was never made.", "Run pulumi up, or dr apply.")
UNMADE = plan_status(
    "", 0, activeSite=None, ready=False, readiness=[MADE], degraded=["plan shop was never made"], lagSeconds=None
)
HIDDEN = {
    **UNMADE,
    "readiness": [item("unknown", "made")],
    "ready": None,
    "degraded": ["nothing that answers knows it"],
}
NO_DRILL = plan_status(readiness=[item("unknown", "drill")])


@pytest.mark.parametrize(
    ("plan", "alone", "row"),
    [
        (UNMADE, "shop: never made\n", ["never made", "never"]),
        (HIDDEN, "shop: not known to what answers\n", ["not known", "not known"]),
        (NO_DRILL, "last drill      not known\n", ["west", "not known"]),
    ],
    ids=["never made", "dark", "its drills are dark"],
)
def test_what_was_never_made_is_told_from_what_nobody_says(status: Any, plan: Any, alone: str, row: list[str]) -> None:
    assert alone in status(shop=plan).out
    line = status(shop=plan, web=LATE).out.splitlines()[1]
    assert [line[6:].strip().startswith(row[0]), f"  {row[1]}  " in line[20:]] == [True, True], line


def test_before_the_first_apply_nothing_is_said_to_be_lost(tmp_path: Path, dr: Dr) -> None:
    lab = Lab(tmp_path / "project", made=False, source_budget="300ms")
    said = dr("status", "--topology", str(lab.path))
    assert said.out.splitlines() == [
        "shop: never made",
        "  - plan shop was never made as far as the arrays that answer know; make it with pulumi up, or dr apply",
    ]
    assert dr("status", "--json", "--topology", str(lab.path)).json["silent"] == {}


def test_every_item_of_all_plans(status: Any) -> None:
    found = status("-v", shop=LATE, web=NOTED)
    assert "unknown  backend" in found.out
    assert "problem  lag" in found.out


@pytest.mark.parametrize(
    ("words", "code"),
    [((), 0), (("--check",), 1), (("shop", "--check"), 0), (("web", "--check"), 1), (("dark", "--check"), 1)],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_the_check(dr: Dr, tmp_path: Path, reconciler: Reconciler, words: Any, code: int, as_json: bool) -> None:
    from tests.support.topologies import write_topology

    def plans(document: dict[str, Any]) -> None:
        plan = document["plans"]["shop"]
        for name, tier in zip(("shop", "web", "dark"), plan["tiers"], strict=True):
            document["plans"][name] = {**plan, "tiers": [tier]}

    file = write_topology(tmp_path / "three", change=plans, volumes=3)
    reconciler.status = {"plans": {"dark": DARK, "shop": plan_status(), "web": LATE}, "silent": {}}
    said = dr("--topology", str(file), "status", *words, *(("--json",) if as_json else ()))
    assert said.status == code
    if as_json:
        assert set(said.json["plans"]) == ({words[0]} if len(words) == 2 else {"dark", "shop", "web"})


def test_an_unknown_plan(dr: Dr, topology: Path) -> None:
    said = dr("--topology", str(topology), "status", "shpo")
    assert (said.status, "there is no plan 'shpo'" in said.err) == (2, True)


# -- what this machine knows ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("project", "variable", "login", "found"),
    [
        ("name: dr\n", None, None, None),
        ("name: dr\n", None, "https://api.pulumi.com", "https://api.pulumi.com"),
        ("name: dr\nbackend:\n  url: s3://states\n", None, "https://api.pulumi.com", "s3://states"),
        ("name: dr\nbackend:\n  url: s3://states\n", "file:///srv/state", None, "file:///srv/state"),
        (None, "file:///srv/state", None, None),
    ],
)
def test_the_backend_in_use(
    tmp_path: Path, project: str | None, variable: str | None, login: str | None, found: str | None
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if project is not None:
        (tmp_path / "Pulumi.yaml").write_text(project)
    if login is not None:
        (home / "credentials.json").write_text(f'{{"current": "{login}"}}')
    environment = {"PULUMI_HOME": str(home)} | ({"PULUMI_BACKEND_URL": variable} if variable else {})
    assert backend_in_use(tmp_path, environment) == found


CONFIG = '[core]\n\turl = no\n[remote "other"]\n\turl = git@a:b\n[remote "origin"]\n\turl = git@github.com:x/dr.git\n'


@pytest.mark.parametrize(("config", "found"), [(CONFIG, "git@github.com:x/dr.git"), ("[core]\n", None), (None, None)])
def test_the_remote_of_the_repository(tmp_path: Path, config: str | None, found: str | None) -> None:
    (tmp_path / ".git").mkdir()
    if config is not None:
        (tmp_path / ".git" / "config").write_text(config)
    below = tmp_path / "stacks" / "topology"
    below.mkdir(parents=True)
    assert remote_of(below) == found
