"""`dr status --json` and `dr points --json`: phases, what is degraded, what is only a warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Claim, Declared, Epoch, Owner, Split
from dr_provider.model.state import ArrayState, HostState, Observation, Silent, VmRun, VmState, VolumeState
from dr_provider.model.topology import Topology
from dr_provider.model.vm import VmDefinition
from dr_provider.reconcile.status import plan_status, point_listing
from dr_provider.reconcile.view import PlanView, plan_view
from tests.protection.samples import array, point_snapshot, time_at, volume
from tests.reconcile.conftest import MakeLab
from tests.support.lab import Lab

VMS = ("db", "app", "web")
VOLUMES = ("vol-1", "vol-2")
EPOCH = Epoch("shop", 1, "epoch1", "east", "committed", time_at(0), "create", "test")
CLAIM = Claim("shop", 2, "c2", "west", "east", "planned", time_at(9), "someone", "epoch1", stopped=VMS)


@dataclass(frozen=True)
class Situation:
    """A plan that runs well at east, with one point at both sites; a test changes what it is about."""

    epoch: Epoch | None = EPOCH
    claim: Claim | None = None
    split: Split | None = None
    running: Mapping[str, str] | None = None
    state: VmRun = "running"
    east: bool = True
    west: bool = True
    east_hosts: bool = True
    sent: bool = True
    west_writable: bool = False
    east_writable: bool = True
    declared: str | None = None

    made: bool = True

    def records(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for kind, names in (("vm", VMS), ("volume", VOLUMES)) if self.made else ():
            found |= {keys.owner_key("shop-test", kind, name): dump(Owner("shop-test", "", "1")) for name in names}
        if self.epoch is not None:
            found[keys.epoch_key("shop-test", "shop", self.epoch.number, self.epoch.id)] = dump(self.epoch)
        if self.claim is not None:
            found[keys.claim_key("shop-test", "shop")] = dump(self.claim)
        if self.split is not None:
            found[keys.split_key("shop-test", "shop")] = dump(self.split)
        if self.declared is not None:
            key = keys.declared_key("shop-test", "dr/prod", "shop")
            found[key] = dump(Declared("shop", self.declared, time_at(0)))
        return found

    def volumes(self, *, writable: bool, sent: bool) -> list[VolumeState]:
        return [
            volume(
                [point_snapshot(1, members=VOLUMES, minutes=8, volume=name)] if sent else [],
                name=name,
                writable=writable,
            )
            for name in VOLUMES
        ]

    def array(self, answers: bool, *, writable: bool, sent: bool) -> ArrayState | Silent:
        if not answers:
            return Silent("gives no answer")
        found = array(*self.volumes(writable=writable, sent=sent), peers={"east-a": True, "west-a": True})
        return replace(found, records=self.records())

    def host(self, name: str) -> HostState | Silent:
        if name.startswith("east") and not self.east_hosts:
            return Silent(f"host {name} gives no answer")
        where = self.running if self.running is not None else dict.fromkeys(VMS, "east-1")
        vms = {vm: VmState(vm, self.state, definition(vm)) for vm, host in where.items() if host == name}
        return HostState("iqn", 16, 1 << 36, vms)

    def view(self, topology: Topology) -> PlanView:
        arrays = {
            "east-a": self.array(self.east, writable=self.east_writable, sent=True),
            "west-a": self.array(self.west, writable=self.west_writable, sent=self.sent),
        }
        hosts = {name: self.host(name) for name in topology.hosts}
        return plan_view(topology, "shop", Observation(arrays, hosts, time_at(10)))


def definition(vm: str) -> VmDefinition:
    return VmDefinition(vm, vm, "shop", f"uuid-{vm}", 1, 1 << 20, (), (), Owner("shop-test", "", "1"))


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Topology:
    return Lab(tmp_path_factory.mktemp("status"), made=False).topology


@pytest.fixture
def told(topology: Topology) -> Callable[..., dict[str, Any]]:
    return lambda **changes: plan_status(Situation(**changes).view(topology))


Told = Callable[..., dict[str, Any]]


# -- the shape ----------------------------------------------------------------------------------------


def test_shape(told: Told) -> None:
    status = told(declared="east")
    assert {name: status[name] for name in ("activeSite", "epoch", "phase", "protected", "degraded", "warnings")} == {
        "activeSite": "east", "epoch": 1, "phase": "steady", "protected": True, "degraded": [], "warnings": [],
    }  # fmt: skip
    assert status["recoveryPoint"] == {"id": "e1-s1-00000001", "time": time_at(8)}
    assert status["vms"] == {vm: {"site": "east", "host": "east-1", "state": "running"} for vm in VMS}
    assert [{k: m[k] for k in ("volume", "from", "to", "state", "lagSeconds")} for m in status["mirrors"]] == [
        {"volume": name, "from": "east-a", "to": "west-a", "state": "synced", "lagSeconds": 120.0} for name in VOLUMES
    ]
    assert status["declared"] == {"dr/prod": "east"}


# -- phases -------------------------------------------------------------------------------------------

PARTLY = {"db": "east-1", "app": "east-1"}


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        pytest.param({}, "steady", id="well"),
        pytest.param({"west": False}, "steady", id="a dark copy degrades nothing"),
        pytest.param({"claim": CLAIM}, "claimed", id="claimed, nothing touched"),
        pytest.param({"claim": CLAIM, "running": PARTLY}, "moving", id="a VM was stopped"),
        pytest.param({"claim": CLAIM, "west_writable": True}, "moving", id="a volume was broken"),
        pytest.param({"claim": CLAIM, "east_hosts": False}, "claimed", id="silence is no progress"),
        pytest.param(
            {"claim": replace(CLAIM, proof=("db",)), "east_hosts": False}, "moving", id="the source is proved stopped"
        ),
        pytest.param({"running": PARTLY}, "committed", id="a VM is not in place yet"),
        pytest.param({"running": {}, "made": False}, "steady", id="VMs that were never made are for `up` to make"),
        pytest.param({"state": "off"}, "degraded", id="VMs are in place and do not run"),
        pytest.param({"running": {}, "east_hosts": False}, "degraded", id="hosts silent"),
        pytest.param({"east": False}, "degraded", id="array silent where it is active"),
        pytest.param({"epoch": None}, "degraded", id="never made"),
        pytest.param(
            {"split": Split("shop", ("east", "west"), None, (), time_at(0)), "claim": CLAIM}, "split", id="split"
        ),
    ],
)
def test_phase(told: Told, changes: dict[str, Any], phase: str) -> None:
    assert told(**changes)["phase"] == phase


# -- degraded, warnings, protected ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"state": "off"}, "VM db is off on east-1", id="off"),
        pytest.param({"running": PARTLY}, "VM web is on no host at east", id="nowhere"),
        pytest.param(
            {"running": {}, "east_hosts": False},
            "VM db is not seen at east, and east-1, east-2 are silent: it may run there",
            id="not known",
        ),
        pytest.param(
            {"running": {**PARTLY, "web": "west-1"}},
            "VM web runs on west-1 at west, though plan shop is active at east",
            id="at the wrong site",
        ),
        pytest.param({"east": False}, "array east-a at east, where plan shop is active, is silent", id="array"),
        pytest.param(
            {"east_writable": False},
            "volume vol-1 on east-a is not writable, though plan shop is active at east",
            id="not writable",
        ),
        pytest.param(
            {"epoch": None},
            "plan shop was never made as far as the arrays that answer know; make it with pulumi up, or dr apply",
            id="never made",
        ),
        pytest.param(
            {"epoch": None, "west": False},
            "nothing that answers knows plan shop, and west-a is silent, so nobody can say where it is active",
            id="who may know it is silent",
        ),
        pytest.param(
            {"epoch": None, "east": False, "west": False},
            "nothing that answers knows plan shop, and east-a and west-a are silent, so nobody can say where it is active",
            id="all dark",
        ),
    ],
)
def test_degraded(told: Told, changes: dict[str, Any], sentence: str) -> None:
    assert sentence in told(**changes)["degraded"]


def test_a_volume_that_is_missing(topology: Topology) -> None:
    view = Situation().view(topology)
    east = view.seen.array("east-a")
    assert east is not None
    less = replace(east, volumes={"vol-1": east.volumes["vol-1"]})
    seen = Observation({**view.seen.arrays, "east-a": less}, view.seen.hosts, view.seen.time)
    status = plan_status(plan_view(topology, "shop", seen))
    assert status["degraded"] == ["volume vol-2 is not on east-a, where plan shop is active"]
    assert status["phase"] == "degraded"


@pytest.mark.parametrize(
    ("changes", "protected", "warning"),
    [
        pytest.param({"west": False}, False, "west: gives no answer", id="silent copy"),
        pytest.param({"sent": False}, False, "plan shop is not protected", id="nothing there yet"),
        pytest.param({"west_writable": True}, False, "the copy on west-a is writable", id="broken mirror"),
        pytest.param({"east": False}, True, "", id="what is there is there, whatever became of the source"),
        pytest.param(
            {"epoch": replace(EPOCH, number=2, id="epoch2")},
            False,
            "no other site has a whole recovery point of epoch 2",
            id="old epoch",
        ),
    ],
)
def test_protected(told: Told, changes: dict[str, Any], protected: bool, warning: str) -> None:
    status = told(**changes)
    assert status["protected"] is protected
    assert any(warning in sentence for sentence in status["warnings"]) or not warning


def test_a_copy_that_a_move_has_broken_is_not_for_dr_protect_to_mend(told: Told) -> None:
    def advised(**changes: Any) -> bool:
        return any("dr protect" in sentence for sentence in told(west_writable=True, **changes)["warnings"])

    assert (advised(), advised(claim=CLAIM)) == (True, False)


def test_a_mirror_that_lags_says_so_without_a_number_that_changes(topology: Topology) -> None:
    view = Situation().view(topology)
    said = []
    for minutes in (60, 61):
        arrays = {name: state for name, state in view.seen.arrays.items() if isinstance(state, ArrayState)}
        east = arrays["east-a"]
        written = {name: replace(v, changed=4096) for name, v in east.volumes.items()}
        seen = Observation({**arrays, "east-a": replace(east, volumes=written)}, view.seen.hosts, time_at(minutes))
        said.append(plan_status(plan_view(topology, "shop", seen))["warnings"])
    assert said[0] == said[1]
    assert "volume vol-1: its copy on west-a is more than 10m behind" in said[0]


@pytest.mark.parametrize(
    ("changes", "vm"),
    [
        pytest.param({"state": "off"}, {"site": "east", "host": "east-1", "state": "off"}, id="off"),
        pytest.param({"running": {}}, {"site": "east", "host": None, "state": "off"}, id="nowhere"),
        pytest.param(
            {"running": {}, "east_hosts": False}, {"site": "east", "host": None, "state": "unknown"}, id="silent"
        ),
        pytest.param(
            {"running": {"db": "west-2"}}, {"site": "west", "host": "west-2", "state": "running"}, id="where it runs"
        ),
    ],
)
def test_where_a_vm_is(told: Told, changes: dict[str, Any], vm: dict[str, Any]) -> None:
    assert told(**changes)["vms"]["db"] == vm


def test_the_recovery_point_is_the_newest_at_the_other_site(told: Told) -> None:
    assert told(west=False)["recoveryPoint"]["id"] == "e1-s1-00000001", "where no other has one: the active site's"
    assert told(east=False)["recoveryPoint"]["id"] == "e1-s1-00000001"
    assert told(east=False, west=False)["recoveryPoint"] is None


# -- points -------------------------------------------------------------------------------------------


def test_points(make: MakeLab) -> None:
    lab = make()
    lab.write(7)
    first = lab.protect().point
    lab.lose("link:east/west")
    second = lab.protect().point
    listing = point_listing(lab.world(), "shop")
    assert [point["id"] for point in listing["points"]] == [second, first]
    newest, older = listing["points"]
    assert listing["newest"] == {"east": second, "west": first}
    assert (newest["level"], newest["kind"], newest["epoch"], newest["takenAt"]) == ("application", "backup", 1, "east")
    assert newest["vms"]["db"] == {
        "level": "application",
        "mark": 7,
        "reason": "",
        "host": lab.view().points[1].intent.hosts["db"],
    }
    assert newest["sites"] == {
        "east": {"complete": True, "missing": [], "unsealed": [], "corrupt": [], "holds": [], "arrays": ["east-a"]}
    }
    assert older["sites"]["west"]["holds"] == [f"common.east-a.{first}"]
    assert older["ageSeconds"] >= newest["ageSeconds"] >= 0
    assert listing["silent"] == {}
