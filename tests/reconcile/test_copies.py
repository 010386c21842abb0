"""How a copy stands to the one where the plan is active."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.reconcile.copies import standing, wrote_after
from tests.support.situations import ABSENT, ACTIVE, EMPTY, P1, P2, REPLICA, Point, Side, epoch, minute, view

OWN = Point(3)


@pytest.mark.parametrize(
    ("west", "how", "common", "newer"),
    [
        (REPLICA, "mirrored", P2.id, ()),
        (replace(REPLICA, points=(P1,)), "mirrored", P1.id, ()),
        (Side(), "clean", P2.id, ()),
        (Side(changed=512), "diverged", P2.id, ()),
        (Side(points=(P1, P2, OWN)), "diverged", P2.id, (OWN.id,)),
        (Side("replica", points=(P1, P2, OWN)), "diverged", P2.id, (OWN.id,)),
        (Side("foreign"), "foreign", None, (P1.id, P2.id)),
        (Side(points=()), "foreign", None, ()),
        (ABSENT, "absent", None, ()),
        (EMPTY, "absent", None, ()),
    ],
)
def test_the_other_copy_is_in_line_or_has_something_of_its_own(
    west: Side, how: str, common: str | None, newer: tuple[str, ...]
) -> None:
    copy = standing(view(west=west), "vol-1", "east", "west")
    assert (copy.standing, copy.common, copy.newer, copy.array) == (how, common, newer, "west-a")


@pytest.mark.parametrize(
    ("situation", "mapped"),
    [
        ({"silent": ["west-a"]}, ()),
        ({"silent": ["east-a"]}, ("db.root",)),
        ({"east": replace(ACTIVE, copies="absent")}, ("db.root",)),
    ],
)
def test_silence_is_never_absence_and_what_is_mapped_is_known_all_the_same(
    situation: dict[str, Any], mapped: tuple[str, ...]
) -> None:
    copy = standing(
        view(west=Side("absent", mapped=("db",), at={"vol-1": "writable"}), **situation), "vol-1", "east", "west"
    )
    assert copy.standing == ("unknown" if "silent" in situation else "alone")
    assert copy.mapped == mapped


def test_absent_where_the_array_answers_without_it() -> None:
    assert standing(view(west=ABSENT, silent=["west-1"]), "vol-1", "east", "west").standing == "absent"


@pytest.mark.parametrize(
    ("west", "late"),
    [
        (Side(changed=512, last_write=minute(201)), True),
        (Side(changed=512, last_write=minute(199)), False),
        (Side(changed=512), False),
        (Side("foreign", last_write=minute(201)), True),
        (Side(last_write=minute(201)), False),
        (Side("replica", last_write=minute(201)), False),
    ],
)
def test_only_a_copy_with_data_of_its_own_was_written_after_the_commit(west: Side, late: bool) -> None:
    seen = view(west=west)
    assert wrote_after(seen, standing(seen, "vol-1", "east", "west"), replace(epoch(), time=minute(200))) is late
