"""Which site is wrong about a recovery point: a table of what was read where, and what was read before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dr_provider.model.codec import dump
from dr_provider.model.records import Intent, Owner
from dr_provider.model.vm import DiskAttachment, VmDefinition
from dr_provider.protection.catalogue import RecoveryPoint, SitePoint
from dr_provider.reconcile.readback import Reading, digests_of, judge

SITES = ("east", "west", "south")
DB = VmDefinition(
    "db",
    "db",
    "shop",
    "u",
    1,
    1,
    (DiskAttachment("root", "v", "db.root", 1, "embedded:/a#v/db.root"),),
    (),
    Owner("t", "", "1"),
)
INTENT = Intent("aa", "t", "shop", 1, "id", 1, "east", ("v",), "2026-03-02T08:00:00Z", "backup", {"db": dump(DB)})
POINT = RecoveryPoint(
    "e1-s1-aa", 1, 1, "aa", INTENT.time, INTENT, None, {site: SitePoint({"v": f"{site}-a"}) for site in SITES}, ("v",)
)


def readings(**luns: str | None) -> list[Reading]:
    """Site -> digest of LUN db.root; None: the block's own checksum fails."""
    return [
        Reading(site, f"{site}-a", "v", {"db.root": digest} if digest else None, "" if digest else "block 2 fails")
        for site, digest in luns.items()
    ]


A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.mark.parametrize(
    ("found", "before", "wrong", "remembered"),
    [
        pytest.param({"east": A}, None, [], A, id="the only copy, for the first time"),
        pytest.param({"east": A}, A, [], A, id="the only copy, as it was"),
        pytest.param({"east": B}, A, ["east"], A, id="the only copy has rotted"),
        pytest.param({"east": A, "west": A}, None, [], A, id="two that agree"),
        pytest.param({"east": A, "west": B}, None, ["east", "west"], None, id="two that differ"),
        pytest.param({"east": A, "west": B}, B, ["east"], B, id="two that differ, and one is as it was"),
        pytest.param({"east": B, "west": B}, A, ["east", "west"], A, id="two that agree on what it never was"),
        pytest.param({"east": A, "west": A, "south": B}, None, ["south"], A, id="two against one"),
        pytest.param({"east": A, "west": B, "south": C}, None, ["east", "south", "west"], None, id="three that differ"),
        pytest.param({"east": None, "west": A}, None, ["east"], A, id="one that cannot be read"),
        pytest.param({"east": None}, A, ["east"], A, id="none that can be read"),
    ],
)
def test_which_site_is_wrong(
    found: dict[str, str | None], before: str | None, wrong: list[str], remembered: str | None
) -> None:
    known = {"v/db.root": before} if before else {}
    findings = judge(POINT, readings(**found), known)
    assert [finding.site for finding in findings] == wrong
    assert all(finding.volume == "v" and POINT.id in finding.sentence for finding in findings)
    assert digests_of(readings(**found), known).get("v/db.root") == remembered


def test_what_was_not_asked_is_not_wrong() -> None:
    silent = replace(readings(west=None)[0], unknown=True)
    assert judge(POINT, [*readings(east=A), silent], {}) == ()


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("{damaged", "the definition of VM db"),
        (dump(replace(DB, disks=(replace(DB.disks[0], lun="db.gone"),))), "which the point has not"),
    ],
)
def test_definitions_fit_what_was_read(definition: str, said: str) -> None:
    point = replace(POINT, intent=replace(INTENT, definitions={"db": definition}))
    (finding,) = judge(point, readings(east=A), {})
    assert said in finding.sentence
    assert "dr protect --now" in finding.sentence


def test_a_disk_of_a_volume_that_was_not_read_is_no_finding() -> None:
    other = replace(DB, disks=(replace(DB.disks[0], volume="elsewhere"),))
    point = replace(POINT, intent=replace(INTENT, definitions={"db": dump(other)}))
    assert judge(point, readings(east=A), {}) == ()


def test_the_advice_depends_on_who_else_has_it() -> None:
    alone = replace(POINT, sites={"east": POINT.sites["east"]})
    assert (
        "no other site that answers has this point whole"
        in judge(alone, readings(east=B), {"v/db.root": A})[0].sentence
    )
    assert "restore from south or west" in judge(POINT, readings(east=B), {"v/db.root": A})[0].sentence
