"""A drill as a resource, in process: what a preview says, what stays in the state, what becomes of it when it has expired."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.drills.evidence import drill_results, last_drill
from dr_provider.reconcile.protect import protect_plan
from dr_provider.resources import props as bag
from dr_provider.resources import session
from dr_provider.resources.drill import DrillProps, DrillProvider
from tests.resources.local_engine import Held, LocalStack, crossed

PROVIDER = DrillProvider()


class DrillStack:
    """The one resource of a drill stack of plan `shop`, beside the plan's own stack."""

    def __init__(self, shop: LocalStack, **props: Any) -> None:
        self.shop = shop
        self.props = props
        self.held: Held | None = None

    @property
    def outputs(self) -> dict[str, Any]:
        assert self.held is not None
        return self.held.outputs

    def inputs(self) -> dict[str, Any]:
        topology = self.shop.topology
        props = DrillProps(topology=topology.name, document=topology.text, plan="shop", stack="dr/drill", **self.props)
        return dict(crossed(bag.write(props)))

    def changes(self) -> bool:
        """What a preview would show for it."""
        session.forget()
        assert self.held is not None
        found = PROVIDER.check(self.held.inputs, self.inputs())
        assert not found.failures
        return bool(PROVIDER.diff(self.held.id, self.held.outputs, dict(found.inputs)).changes)

    def up(self) -> None:
        session.forget()
        inputs = self.inputs()
        if self.held is None:
            made = PROVIDER.create(inputs)
            self.held = Held(str(made.id), inputs, crossed(made.outs))
        elif self.changes():
            outs = PROVIDER.update(self.held.id, self.held.outputs, inputs).outs
            self.held = Held(self.held.id, inputs, crossed(outs))

    def refresh(self) -> bool:
        """Whether it is still in the state."""
        session.forget()
        assert self.held is not None
        found = PROVIDER.read(self.held.id, self.held.outputs)
        if not found.id:
            self.held = None
            return False
        self.held.outputs = crossed(found.outs)
        return True

    def destroy(self) -> None:
        session.forget()
        assert self.held is not None
        PROVIDER.delete(self.held.id, self.held.outputs)
        self.held = None


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """How far everything's clock is ahead: one entry, to be changed."""
    ahead = [timedelta()]
    real = keys.now

    def moved() -> datetime:
        return real() + ahead[0]

    monkeypatch.setattr(keys, "now", moved)
    return ahead


def test_its_outputs_are_what_it_has_shown(shop: LocalStack) -> None:
    drill = DrillStack(shop, site="west", expires="4h")
    drill.up()
    assert drill.outputs["failures"] == []
    vms = json.loads(drill.outputs["vms"])
    assert {vm: (at["tier"], at["well"]) for vm, at in vms.items()} == {
        "db": (1, True),
        "app": (2, True),
        "web": (3, True),
    }
    last = last_drill(shop.world().view("shop"))
    assert last is not None
    assert (last.stack, last.ok, last.drill) == ("dr/drill", True, drill.outputs["drill"])
    until = keys.at(drill.outputs["expiresAt"]) - keys.at(last.time)
    assert until == timedelta(hours=4)
    assert not drill.changes()
    assert drill.refresh()
    assert json.loads(drill.outputs["vms"])["db"]["checks"] == vms["db"]["checks"], "a refresh keeps what was measured"


def test_another_expiry_is_an_update_that_measures_nothing_anew(
    shop: LocalStack, capfd: pytest.CaptureFixture[str]
) -> None:
    drill = DrillStack(shop, site="west", expires="4h")
    drill.up()
    measured = drill.outputs["rtoSeconds"], drill.outputs["drill"]
    drill.props["expires"] = "6h"
    assert drill.changes()
    assert "goes on, and expires 6h after it began" in capfd.readouterr().err
    drill.up()
    (record,) = shop.world().view("shop").drills.values()
    assert keys.at(str(record.expires)) - keys.at(record.time) == timedelta(hours=6)
    assert (drill.outputs["rtoSeconds"], drill.outputs["drill"]) == measured
    assert drill.outputs["expiresAt"] == record.expires
    assert len(drill_results(shop.world().view("shop"))) == 1
    del drill.props["expires"]
    drill.up()
    assert [record.expires for record in shop.world().view("shop").drills.values()] == [None]
    assert not drill.changes()


@pytest.mark.parametrize("then", ["up", "refresh", "destroy"])
def test_one_that_was_ended_by_its_expiry(
    shop: LocalStack, now: list[timedelta], capfd: pytest.CaptureFixture[str], then: str
) -> None:
    drill = DrillStack(shop, site="west", expires="4h")
    drill.up()
    first = drill.outputs
    now[0] = timedelta(hours=5)
    said = protect_plan(shop.world(), "shop")
    assert [line for line in said.drills if "since it expired" in line]
    capfd.readouterr()
    if then == "up":
        assert drill.changes()
        assert (
            f"drill {first['drill']} expired at {first['expiresAt']} and was ended; up makes it anew"
            in capfd.readouterr().err
        )
        drill.up()
        assert keys.at(drill.outputs["expiresAt"]) > keys.at(first["expiresAt"]) + timedelta(hours=4)
        assert not drill.changes()
        drill.destroy()
    elif then == "refresh":
        assert not drill.refresh()
        assert "and was ended; the next up makes a new one" in capfd.readouterr().err
    else:
        drill.destroy()
        assert "was ended; nothing was left of it" in capfd.readouterr().err
    view = shop.world().view("shop")
    assert view.drills == {}
    arrays = [state for name in view.topology.arrays if (state := view.seen.array(name)) is not None]
    assert {volume.kind for state in arrays for volume in state.volumes.values()} == {"data"}


def test_one_that_somebody_has_ended_is_told_from_one_that_expired(
    shop: LocalStack, capfd: pytest.CaptureFixture[str]
) -> None:
    drill = DrillStack(shop, site="west", expires="4h")
    drill.up()
    end_drill(shop.world(), "shop", drill.outputs["drill"])
    assert drill.changes()
    assert "was ended (by dr drill end, or a move that needed its room); up makes it anew" in capfd.readouterr().err


def test_destroyed_while_its_site_is_dark(shop: LocalStack, capfd: pytest.CaptureFixture[str]) -> None:
    drill = DrillStack(shop, site="west")
    drill.up()
    shop.bench.lose("site:west")
    drill.destroy()
    assert "is not ended whole" in capfd.readouterr().err
    shop.bench.heal("site:west")
    shop.protect()
    view = shop.world().view("shop")
    assert view.drills == {}
    hosts = [state for name in view.topology.hosts if (state := view.seen.host(name)) is not None]
    assert not [vm for state in hosts for vm in state.vms if ".drill." in vm]
