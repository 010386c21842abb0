"""Volumes that came to the plan after the recovery point that it was moved at: they go on, nothing of them is lost, and it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import DrError
from dr_provider.reconcile.late import late_volumes
from dr_provider.reconcile.provision_mirrors import MirrorResult
from tests.support.lab import Lab
from tests.support.topologies import write_topology

WORD = "1: power lost at east"
Change = Callable[[dict[str, Any]], None]


def with_logs(document: dict[str, Any]) -> None:
    """VM log, on a volume of its own."""
    document["volumes"]["logs"] = {**document["volumes"]["vol-1"]}
    document["vms"]["log"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "logs", "size": "4MiB"}}}
    document["plans"]["shop"]["tiers"].append({"members": ["log"]})


def with_a_disk_there(document: dict[str, Any]) -> None:
    """VM web gets a disk on it, too."""
    with_logs(document)
    document["vms"]["web"]["disks"]["more"] = {"volume": "logs", "size": "4MiB"}


def declare(lab: Lab, change: Change, **topology: Any) -> None:
    write_topology(lab.path.parent, source_budget="300ms", change=change, **topology)


def wrong(applied: list[Any]) -> list[Any]:
    return [one for one in applied if isinstance(one, DrError) or (one.pending and not isinstance(one, MirrorResult))]


def protected(lab: Lab) -> bool:
    lab.protect()
    return bool(lab.status()["protected"]) and lab.decide().actions == ()


def lost_without_a_point(lab: Lab, *, copied: bool, change: Change = with_logs) -> None:
    """Log is made at east after the newest point, and its first copy has come to west, or the link was cut by then; then east is lost."""
    lab.protect()
    declare(lab, change)
    if not copied:
        lab.lose("link:east/west")
    lab.apply()
    lab.write(8, "log")
    lab.lose("site:east")
    if not copied:
        lab.heal("link:east/west")


@pytest.mark.parametrize("change", [with_logs, with_a_disk_there])
@pytest.mark.parametrize("copied", [True, False])
def test_it_goes_on_where_the_plan_is_moved_to(lab: Lab, copied: bool, change: Change) -> None:
    lost_without_a_point(lab, copied=copied, change=change)

    first = lab.move("west", word=WORD)
    then = lab.move()

    assert first.failures == ()
    assert any("log has a disk on logs, which recovery point" in line for line in first.warnings)
    said = "as of init-west-a, the newest of it there" if copied else "it is made anew, empty, on west-a"
    assert any(said in line for line in first.remarks)
    assert then.failures == ()
    assert set(lab.running().values()) == {"west"}
    assert lab.last("log") == {"log": 0}
    lab.write(3, "log")
    assert not wrong(lab.apply())
    assert lab.decide().actions == ()

    lab.heal("site:east")
    back = lab.move()

    assert back.failures == ()
    assert lab.decide().actions == ()
    assert 8 in lab.safety_ledgers()["east-a"], "what was written at home is kept"
    assert protected(lab)
    assert lab.move("east").failures == ()
    assert lab.last("log") == {"log": 3}


def test_all_of_it_is_brought_from_home_where_home_is_back_before_anybody_made_it_anew(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that moved the plan ended with its commit."""
    from dr_provider.reconcile import decide as deciding

    lost_without_a_point(lab, copied=False)
    with monkeypatch.context() as ended_before:
        ended_before.setattr(deciding, "late_after", lambda *_args, **_more: ())
        lab.move("west", word=WORD)
    lab.heal("site:east")

    outcome = lab.move()

    assert outcome.failures == ()
    assert "all of it is brought from east-a" in "; ".join(outcome.remarks)
    assert lab.decide().actions == ()
    assert lab.running()["log"] == "west"
    assert lab.last("log") == {"log": 8}
    assert protected(lab)


def test_a_split_is_resolved_for_the_side_that_had_only_a_first_copy_of_it(lab: Lab) -> None:
    """It was refused: the volume was not at west as one that can be written."""
    lab.protect()
    declare(lab, with_logs)
    lab.apply()
    lab.lose("site:east", running=True)
    lab.move("west", word="1: east is cut off")
    lab.write_at("east", 9)
    lab.heal("site:east")
    lab.move()
    assert lab.view().split is not None

    outcome = lab.move("west", goal="resolve")

    assert outcome.failures == ()
    assert set(lab.running().values()) == {"west"}
    assert lab.decide().actions == ()


def test_what_the_third_site_has_of_it_is_taken_before_anything_is_made_anew(tmp_path: Path) -> None:
    sites: dict[str, Any] = {"sites": ("east", "west", "south"), "hosts_per_site": 1}
    lab = Lab(tmp_path, source_budget="300ms", **sites)
    lab.protect()
    declare(lab, with_logs, **sites)
    lab.lose("link:east/west")
    lab.apply()
    lab.lose("site:east")

    outcome = lab.move("west", word=WORD)
    lab.move()

    assert outcome.failures == ()
    assert "all of it is brought from south-a" in "; ".join(outcome.remarks)
    assert set(lab.running().values()) == {"west"}
    assert lab.decide().actions == ()


@pytest.mark.parametrize("target", ["west", "east"])
def test_a_volume_that_is_only_declared_has_no_part_in_moves_and_repairs(lab: Lab, target: str) -> None:
    """Other copies were not restored, and a planned move lost what had not been sent, as long as nobody had made it."""
    lab.protect()
    if target == "east":
        lab.lose("site:east")
        lab.move("west", word=WORD)
        declare(lab, with_logs)
        lab.heal("site:east")
        assert lab.move().failures == ()
        assert lab.status()["protected"]
    else:
        declare(lab, with_logs)
    lab.write(9, "db")

    outcome = lab.move(target)

    assert (outcome.failures, outcome.loss.seconds) == ((), 0.0)
    assert lab.last("db")["db"] >= 9
    assert lab.decide().actions == ()
    assert not wrong(lab.apply())
    assert protected(lab)


def test_what_the_active_side_had_and_lacks_is_lost_and_not_made_anew(lab: Lab) -> None:
    """The point that the plan was moved at names it."""
    lab.protect()
    lab.lose("site:east")
    lab.move("west", word=WORD)
    view = lab.view()
    gone = view.volume("vol-2", "west")
    assert gone is not None
    array = view.seen.array("west-a")
    assert array is not None
    seen = replace(
        view.seen,
        arrays={
            **view.seen.arrays,
            "west-a": replace(array, volumes={n: v for n, v in array.volumes.items() if n != "vol-2"}),
        },
    )
    assert late_volumes(replace(view, seen=seen), "west") == ()


@pytest.mark.parametrize("via", [None, {"south-a": "west-a"}], ids=["fan-out", "cascade"])
@pytest.mark.parametrize("active", ["west", "south"])
def test_a_volume_that_is_added_away_from_home_comes_to_every_site_by_one_apply(
    tmp_path: Path, active: str, via: dict[str, str] | None
) -> None:
    """The mirror beyond home was asked for before home had the volume, and was left for the next run."""
    sites: dict[str, Any] = {"sites": ("east", "west", "south"), "hosts_per_site": 1, "via": via}
    lab = Lab(tmp_path, source_budget="300ms", **sites)
    lab.protect()
    lab.move(active)
    lab.protect()
    declare(lab, with_logs, **sites)
    applied = lab.apply()
    assert [one for one in applied if isinstance(one, DrError) or one.pending] == []
    assert lab.decide().actions == ()
    assert protected(lab)
