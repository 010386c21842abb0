"""What would become of each VM: answers in tables, and held against what happens when it is lost and done for real."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model.errors import BadInput
from dr_provider.reconcile.losses import Lost, every_loss, every_pair, parse_loss, without
from dr_provider.reconcile.whatif import PlanFate, whatif, whatif_document
from tests.reconcile.conftest import MakeLab
from tests.support.lab import Lab


def ask(lab: Lab, *words: str, plan: str = "shop") -> PlanFate:
    topology = lab.topology
    case = whatif(topology, lab.world().look(), [parse_loss(topology, word) for word in words])
    return next(fate for fate in case.plans if fate.plan == plan)


def where(fate: PlanFate) -> dict[str, tuple[str, str | None]]:
    return {vm.vm: (vm.state, vm.host) for vm in fate.vms}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Made, running at east on two hosts, protected at west. Only looked at."""
    lab = Lab(tmp_path_factory.mktemp("whatif"), vms=4, source_budget="300ms")
    lab.write()
    lab.protect()
    return lab


# -- what is lost ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("site:east", "site:east"),
        ("array:west-a", "array:west-a"),
        ("host:east-2", "host:east-2"),
        ("link:west/east", "link:east/west"),
        ("link:east-west", "link:east/west"),
        ("link:east-a/west-a", "link:east-a/west-a"),
        ("link:west-a-east-a", "link:east-a/west-a"),
    ],
)
def test_a_loss_is_named_as_people_say_it(shop: Lab, text: str, named: str) -> None:
    assert str(parse_loss(shop.topology, text)) == named


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("east", "wanted site:NAME"),
        ("sites:east", "did you mean site?"),
        ("site:eastt", "did you mean east?"),
        ("host:", "has no host ''"),
        ("array:west-1", "has no array 'west-1'"),
        ("link:east", "wanted two sites or two arrays"),
        ("link:east/wset", "did you mean west?"),
        ("link:east/east", "wanted two sites"),
        ("link:east/west-a", "wanted two sites or two arrays"),
    ],
)
def test_a_loss_of_something_unknown_is_one_sentence(shop: Lab, text: str, says: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_loss(shop.topology, text)
    assert says in str(error.value), error.value
    assert "nothing was looked at" in str(error.value)


def test_a_link_that_can_be_meant_in_two_ways_must_be_written_out(tmp_path: Any) -> None:
    topology = Lab(tmp_path, made=False, sites=("a", "b-c", "a-b", "c")).topology
    with pytest.raises(BadInput, match="several ways"):
        parse_loss(topology, "link:a-b-c")
    assert parse_loss(topology, "link:a-b/c").names == ("a-b", "c")


def test_every_loss_and_every_pair_is_gone_through(shop: Lab) -> None:
    singles = [str(lost) for (lost,) in every_loss(shop.topology)]
    assert singles == [
        "site:east", "site:west", "array:east-a", "array:west-a",
        "host:east-1", "host:east-2", "host:west-1", "host:west-2", "link:east/west",
    ]  # fmt: skip
    pairs = {(str(a), str(b)) for a, b in every_pair(shop.topology)}
    assert ("site:east", "array:west-a") in pairs
    assert ("array:east-a", "host:east-1") in pairs
    assert not [pair for pair in pairs if "site:east" in pair and ("east-" in pair[1] or "link" in pair[1])], (
        "what is part of a lost site is no second loss"
    )


def test_without_a_link_both_ends_answer_and_do_not_reach_each_other(shop: Lab) -> None:
    seen = shop.world().look()
    after = without(shop.topology, seen, [Lost("link", ("east", "west"))])
    for name, peer in (("east-a", "west-a"), ("west-a", "east-a")):
        before, now = seen.array(name), after.array(name)
        assert before is not None
        assert now is not None
        assert (before.peers[peer], now.peers[peer]) == (True, False)
        assert replace(now, peers=before.peers) == before


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "outcome", "site", "needs"),
    [
        (["site:east"], "failover", "west", "word"),
        (["array:east-a"], "failover", "west", "command"),
        (["host:east-1"], "restart", "east", "command"),
        (["host:east-1", "host:east-2"], "failover", "west", "command"),
        (["host:east-1", "site:west"], "restart", "east", "word"),
        (["site:east", "host:west-1"], "failover", "west", "word"),
        (["site:west"], "goes on", "east", ""),
        (["host:west-1"], "goes on", "east", ""),
        (["link:east/west"], "goes on", "east", ""),
        (["site:east", "site:west"], "lost", None, ""),
        (["site:east", "array:west-a"], "lost", None, ""),
        (["site:east", "host:west-1", "host:west-2"], "lost", None, ""),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_answers(shop: Lab, lost: list[str], outcome: str, site: str | None, needs: str) -> None:
    fate = ask(shop, *lost)
    assert (fate.outcome, fate.site, fate.needs) == (outcome, site, needs)
    assert [vm.vm for vm in fate.vms] == list(shop.topology.plans["shop"].members)
    assert bool(fate.lost) == (outcome == "lost")
    for vm in fate.vms:
        if vm.state == "lost":
            assert vm.why
        else:
            assert vm.host in shop.topology.hosts
            assert not set(lost) & {f"host:{vm.host}", f"site:{vm.site}"}, "it is put where nothing is left"


def test_it_says_what_the_loss_takes_and_what_has_no_copy_any_more(shop: Lab) -> None:
    fate = ask(shop, "host:east-1")
    before = {vm.vm: vm.host for vm in ask(shop, "host:west-1").vms}
    for vm in fate.vms:
        hit = before[vm.vm] == "east-1"
        assert (vm.state, vm.hit) == (("restarted", "it runs on east-1") if hit else ("runs", ""))
        assert vm.host == "east-2"
    assert "what is written from then on has no copy" in ask(shop, "array:west-a").notes[0]
    assert ask(shop, "host:west-2").notes == ()
    (gone, *_) = ask(shop, "site:east", "site:west").vms
    assert (gone.hit, gone.why) == (
        "its disks are on east-a",
        "no copy of plan shop's volumes is left: east-a and west-a are silent",
    )


def test_a_plan_without_a_recovery_point_elsewhere_has_no_way_back(make: MakeLab) -> None:
    fate = ask(make(), "site:east")
    assert fate.outcome == "lost"
    assert all("no recovery point is whole" in vm.why for vm in fate.vms)


def test_a_plan_that_was_never_made_loses_nothing(make: MakeLab) -> None:
    fate = ask(make(made=False), "site:east")
    assert (fate.outcome, fate.vms, len(fate.notes)) == ("not made", (), 1)


def test_what_is_dark_already_is_lost_in_every_answer(make: MakeLab) -> None:
    lab = make()
    lab.protect()
    lab.lose("site:west")
    assert ask(lab, "array:east-a").outcome == "lost"
    lab.heal("site:west")
    lab.lose("site:east")
    fate = ask(lab, "host:west-1")
    assert (fate.outcome, fate.site) == ("failover", "west")
    assert {vm.host for vm in fate.vms} == {"west-2"}


def test_a_host_without_room_for_all_says_for_whom(make: MakeLab) -> None:
    lab = make(vms=3, cpus=4, host_cpus=8, hosts_per_site=2)
    lab.protect()
    fate = ask(lab, "site:east", "host:west-1")
    assert (fate.outcome, fate.site) == ("failover", "west")
    states = sorted(vm.state for vm in fate.vms)
    assert states == ["lost", "restored", "restored"]
    (lost,) = fate.lost
    assert lost.why.startswith(f"VM {lost.vm}: wanted 4 CPUs")


def two_plans(document: dict[str, Any]) -> None:
    plan = document["plans"]["shop"]
    members = [vm for tier in plan["tiers"] for vm in tier["members"]]
    halves = {"shop": members[::2], "till": members[1::2]}
    document["plans"] = {name: {**plan, "tiers": [{"members": half}]} for name, half in halves.items()}


def test_plans_share_what_is_left(make: MakeLab) -> None:
    lab = make(vms=4, cpus=4, host_cpus=8, hosts_per_site=2, change=two_plans)
    for plan in lab.topology.plans:
        lab.plan = plan
        lab.protect()
    fates = [ask(lab, "site:east", plan=plan) for plan in ("shop", "till")]
    hosts = sorted(str(vm.host) for fate in fates for vm in fate.vms)
    assert hosts == ["west-1", "west-1", "west-2", "west-2"]
    first, second = (ask(lab, "site:east", "host:west-1", plan=plan) for plan in ("shop", "till"))
    assert [vm.state for vm in first.vms] == ["restored", "restored"]
    assert [vm.state for vm in second.vms] == ["lost", "lost"], "the first plan's VMs have taken the room"


def test_a_plan_that_restarts_by_itself_needs_nobody(make: MakeLab) -> None:
    lab = make(change=lambda document: document["plans"]["shop"].update(restart="in-site"))
    assert (ask(lab, "host:east-1").needs, ask(lab, "host:east-1").outcome) == ("", "restart")


def test_three_sites_take_the_fresher_one(make: MakeLab) -> None:
    lab = make(sites=("east", "west", "south"))
    lab.protect()
    for link in ("link:east/west", "link:south/west"):
        lab.lose(link)
    lab.write(5)
    lab.protect()
    for link in ("link:east/west", "link:south/west"):
        lab.heal(link)
    assert ask(lab, "site:east", "link:south/west").site == "south"
    assert ask(lab, "site:east").site == "west", "which can fetch it from there"
    assert ask(lab, "site:east", "site:south").site == "west"
    assert ask(lab, "site:east", "site:south").point != ask(lab, "site:east").point


def test_a_vm_that_is_down_already_is_not_lost_by_what_does_not_touch_it(make: MakeLab) -> None:
    lab = make()
    lab.protect()
    lab.bench.lose("host:east-1")
    fate = ask(lab, "host:west-1")
    down = [vm for vm in fate.vms if vm.state == "down"]
    assert fate.outcome == "goes on"
    assert down
    assert not fate.lost
    assert all("does not run now either" in vm.why for vm in down)


# -- the truth ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["site:east", "array:east-a", "host:east-1", "host:east-2"])
def test_what_it_says_is_what_happens(make: MakeLab, lost: str) -> None:
    lab = make(vms=4)
    lab.write()
    lab.protect()
    fate = ask(lab, lost)
    lab.lose(lost)
    word = "1: it is lost" if fate.needs == "word" else None
    if fate.outcome == "restart":
        lab.move(goal="restart", word=word)
    else:
        lab.move(fate.site, word=word)
    places = {p.vm: p.host for p in lab.view().places if p.running and p.site == fate.site}
    assert places == {vm.vm: vm.host for vm in fate.vms}
    epoch = lab.view().epoch
    assert epoch is not None
    assert epoch.point == fate.point


def test_it_changes_nothing_and_fits_into_json(shop: Lab) -> None:
    seen, serials = shop.world().look(), shop.serials()
    cases = [whatif(shop.topology, seen, lost) for lost in every_loss(shop.topology)]
    document = whatif_document(shop.topology, seen, cases)
    assert shop.serials() == serials
    assert shop.world().look().hosts == seen.hosts
    assert document["withoutAWayBack"] == []
    assert len(document["cases"]) == 9
    assert set(document["cases"][0]["plans"][0]["vms"][0]) == {"vm", "state", "site", "host", "hit", "why"}
