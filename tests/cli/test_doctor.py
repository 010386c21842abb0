"""`dr doctor`: its words, its exit status, its two outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dr_provider.model.findings import Finding, ok, problem, warning
from dr_provider.reconcile import doctor
from dr_provider.reconcile.doctor import Diagnosis
from dr_provider.reconcile.world import World
from tests.cli.conftest import Dr

WELL = ok("array east-a", "pool", "Pool tank is ONLINE.")
SLOW = warning("host east-1", "clock", "Its clock is 4.0 s behind this machine's.", "Install chrony.")
FULL = problem("array west-a", "room", "1.0 GiB of 100.0 GiB are free (1%).", "Make the pool larger.")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Finding, ...]]:
    """What the diagnosis says, by site; a test fills it."""
    sites: dict[str, tuple[Finding, ...]] = {}

    def diagnose(world: World) -> Diagnosis:
        return Diagnosis(world.topology.name, sites)

    monkeypatch.setattr(doctor, "diagnose", diagnose)
    return sites


def test_all_is_well(dr: Dr, topology: Path, found: dict[str, tuple[Finding, ...]]) -> None:
    found["east"] = (WELL,)
    said = dr("doctor", str(topology))
    assert (said.status, said.out, said.err) == (0, "topology shop-test: 1 check, all is well.\n", "")


def test_warnings_end_with_0(dr: Dr, topology: Path, found: dict[str, tuple[Finding, ...]]) -> None:
    found["east"] = (SLOW, WELL)
    said = dr("--topology", str(topology), "doctor")
    assert said.status == 0
    assert "At site east:" in said.out
    assert "host east-1" in said.out
    assert "4.0 s behind this machine's. Install chrony." in said.out
    assert "ONLINE" not in said.out
    assert said.out.endswith(
        "topology shop-test: 2 checks, no problem and 1 warning. It works; look at the warnings on a quiet day.\n"
    )


def test_problems_end_with_1(dr: Dr, topology: Path, found: dict[str, tuple[Finding, ...]]) -> None:
    found.update({"": (SLOW,), "east": (WELL,), "west": (FULL,)})
    said = dr("doctor", str(topology))
    assert said.status == 1
    assert [line for line in said.out.splitlines() if line.endswith(":")] == ["In all:", "At site west:"]
    assert "1 problem and 1 warning. Mend the problems" in said.out


def test_verbose_shows_what_is_well(dr: Dr, topology: Path, found: dict[str, tuple[Finding, ...]]) -> None:
    found["east"] = (WELL,)
    assert "Pool tank is ONLINE." in dr("doctor", str(topology), "-v").out


def test_json(dr: Dr, topology: Path, found: dict[str, tuple[Finding, ...]]) -> None:
    found.update({"east": (WELL,), "west": (FULL, SLOW)})
    said = dr("doctor", str(topology), "--json")
    assert said.status == 1
    assert said.json == {
        "topology": "shop-test",
        "findings": [
            {"level": f.level, "subject": f.subject, "check": f.check, "found": f.found, "todo": f.todo}
            for f in (WELL, FULL, SLOW)
        ],
        "problems": 1,
        "warnings": 1,
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("doctor", "no-such.yaml"), "there is no such file"),
        (("doctor", "a.yaml", "--topology", "b.yaml"), "one of them"),
        (("doctor", "a.yaml", "--from", "embedded:b"), "one of them"),
        (("doctor", "--from", "west-a"), "wanted embedded:PATH"),
    ],
)
def test_wrong_words(words: tuple[str, ...], sentence: str, dr: Dr, tmp_path: Path) -> None:
    said = dr(*words)
    assert (said.status, said.out) == (2, "")
    assert sentence in said.err


def test_a_wrong_topology(dr: Dr, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nname: shop\n", encoding="utf-8")
    assert dr("doctor", str(bad)).status == 2


def test_the_whole_way(dr: Dr, topology: Path) -> None:
    """No stand-ins: nothing is made yet, and it stays so."""
    said = dr("doctor", str(topology), "--json")
    assert said.status == 0, said
    assert {f["level"] for f in said.json["findings"]} == {"ok"}
    assert [path.name for path in topology.parent.iterdir()] == [topology.name]
