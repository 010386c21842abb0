"""A move that was killed, and a topology or stack that has changed since: nothing is removed in its middle, and the next `up` converges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.run import run_plan
from tests.resources.local_engine import LocalStack
from tests.support.kills import killed_at

Document = dict[str, Any]


def no_web(document: Document) -> None:
    del document["vms"]["web"]
    document["plans"]["shop"]["tiers"].pop()


def no_volume(document: Document) -> None:
    """VM app goes, and its volume with it."""
    del document["vms"]["app"], document["volumes"]["vol-2"]
    document["plans"]["shop"]["tiers"].pop(1)


def destroying(document: Document) -> None:
    for volume in document["volumes"].values():
        volume["deleteData"] = True


@dataclass(frozen=True)
class Killed:
    """`at`: the action before (`when`) or after which the run was killed. Whether its claim is open then."""

    at: str
    when: Any
    lost: str | None = None
    claimed: bool = True


MOVES = {
    "claimed": Killed("claim", "after"),
    "sources stopped": Killed("prove", "after"),
    "one volume broken": Killed("break:vol-1", "after"),
    "before the commit": Killed("commit", "before"),
    "before the commit, the source lost": Killed("commit", "before", "site:east"),
    "after the commit": Killed("commit", "after", claimed=False),
    "after the commit, the source lost": Killed("commit", "after", "site:east", claimed=False),
}


@pytest.fixture(params=["kept", "deleteData"])
def base(request: pytest.FixtureRequest) -> Callable[[Document], None] | None:
    return destroying if request.param == "deleteData" else None


def killed(stack: Callable[..., LocalStack], base: Callable[[Document], None] | None, how: Killed) -> LocalStack:
    """A stack whose move to west has been killed, as its engine was: the state says east."""
    shop = stack(**({"change": base} if base else {}))
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    for vm in shop.topology.vms:
        shop.bench.write(vm, 8)
    shop.protect()
    if how.lost:
        shop.bench.lose(how.lost)
    shop.config = {"active_sites": {"shop": "west"}, "force": {"shop": "1: a test"}}
    assert killed_at(shop.up, how.at, how.when)
    assert (shop.world().view("shop").claim is not None) == how.claimed
    return shop


def data(shop: LocalStack) -> dict[str, Any]:
    """Volumes with their LUNs and snapshots, but for what is mapped."""
    found = {}
    for name, what in shop.production().items():
        if len(what) == 4:
            found[name] = (set(what[2]), what[3])
    return found


@pytest.mark.parametrize(
    "how", [how for how in MOVES.values() if how.claimed], ids=[n for n, m in MOVES.items() if m.claimed]
)
def test_destroy_in_mid_move_is_refused_and_removes_nothing(
    stack: Callable[..., LocalStack], base: Callable[[Document], None] | None, how: Killed
) -> None:
    shop = killed(stack, base, how)
    before, held = shop.production(), set(shop.held)
    for kind in ("vm", "mirror", "lun", "volume", "plan"):
        with pytest.raises(
            RuntimeError, match=r"a move to west is under way for plan shop .*nothing was removed: run again after it"
        ):
            shop.destroy(only=kind)
    assert shop.production() == before
    assert set(shop.held) == held
    shop.up()
    assert shop.outputs("plan")["activeSite"] == "west"
    if how.lost:
        shop.bench.heal(how.lost)
        shop.up()
    shop.up()
    assert shop.preview() == {}
    shop.destroy()
    assert bool([name for name in data(shop) if "safety" not in name]) == (base is None)


@pytest.mark.parametrize("change", [no_web, no_volume])
@pytest.mark.parametrize("how", MOVES.values(), ids=MOVES)
def test_what_was_removed_from_the_topology_in_mid_move_goes_after_it(
    stack: Callable[..., LocalStack],
    base: Callable[[Document], None] | None,
    how: Killed,
    change: Callable[[Document], None],
) -> None:
    shop = killed(stack, base, how)
    before = data(shop)

    def changed(document: Document) -> None:
        if base:
            base(document)
        change(document)

    shop.rewrite(changed)
    # `dr apply` and everything but the plan wait for the move.
    if how.claimed:
        world = shop.world()
        with pytest.raises(RuntimeError, match="is under way"):
            shop.up(only="vm", deletes=True)
        world.close()
        assert data(shop) == before
    shop.up()
    assert shop.outputs("plan")["activeSite"] == "west"
    if how.lost:
        shop.bench.heal(how.lost)
        shop.up()
    shop.up()
    assert shop.preview() == {}
    gone = "web" if change is no_web else "app"
    assert not [name for name in shop.production() if name.endswith(f"/{gone}")]
    for vm in shop.topology.vms:
        report = shop.bench.ledger(vm)
        assert (report.site, report.intact) == ("west", True)
    if base is None:
        assert set(before) <= set(data(shop)), "data is kept"


@pytest.mark.parametrize("change", [no_web, no_volume])
def test_called_off_instead(stack: Callable[..., LocalStack], change: Callable[[Document], None]) -> None:
    shop = killed(stack, None, MOVES["before the commit"])
    before = data(shop)
    shop.rewrite(change)
    run_plan(shop.world(), "shop", Want(goal="abort"))
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    shop.up()
    assert shop.preview() == {}
    assert set(before) <= set(data(shop))
    assert {shop.bench.ledger(vm).site for vm in shop.topology.vms} == {"east"}
    gone = "web" if change is no_web else "app"
    assert not [name for name in shop.production() if name.endswith(f"/{gone}")]


def test_apply_in_mid_move_finishes_the_move_and_makes_the_rest_after_it(stack: Callable[..., LocalStack]) -> None:
    shop = killed(stack, None, MOVES["before the commit"])
    shop.rewrite(no_web)
    results = apply_all(shop.world(), lambda _line: None)
    assert shop.world().view("shop").active == "west"
    assert not [one for one in results if getattr(one, "pending", None)]
