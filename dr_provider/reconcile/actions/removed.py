"""What was removed while a side was away is cleared there (`tombstones.py` decides what and when)."""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import Conflict
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import VolumeState
from dr_provider.reconcile.context import Run, listed
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.ownership import claim_guard
from dr_provider.reconcile.provision_vms import remove_from

__all__ = ["forget_removed", "give_back", "remove_lun", "remove_vm", "remove_volume"]


def remove_vm(run: Run, action: Action) -> str:
    """Stop the VM, take its LUNs from its host and forget it; its disks stay."""
    vm, host = action.of["vm"], action.of["host"]
    found = run.world.fleet.host(host).state().vms.get(vm)
    if found is None:
        return "it is gone"
    if found.definition.owner.incarnation != action.of["incarnation"]:
        return "it was taken over meanwhile, and is left"
    site = run.world.topology.hosts[host].site
    arrays = [name for name, spec in run.world.topology.arrays.items() if spec.site == site]
    return remove_from(run.world, host, found, arrays, lambda array: _guard(run, action, array))


def remove_volume(run: Run, action: Action) -> str:
    """Unmap what was mapped when it was decided, and release the copy, or destroy it where the topology said so."""
    name, array = action.of["volume"], run.array(action.of["array"])
    found = array.state().volumes.get(name)
    if found is None or found.owner is None:
        return "it is gone"
    if found.owner.incarnation != action.of["incarnation"]:
        return "it was taken over meanwhile, and is left"
    guard = _guard(run, action, array.name)
    _unmap(run, action, found, guard)
    if action.of["how"] == "destroy":
        # Holds keep data for the volume's sake; a drill's clone still stands in the way.
        for tag in sorted({tag for s in found.snapshots for tag in s.holds if not tag.startswith("drill")}):
            array.release([name], tag, guard)
        array.delete_volume(name, found.owner, guard)
        return "destroyed"
    if found.writable:
        array.set_lun_online(name, sorted(found.luns), False, guard)
    array.adopt_volume(name, Owner(run.topology, "", found.owner.incarnation), guard)
    return "released"


def remove_lun(run: Run, action: Action) -> str:
    """Destroy a LUN whose volume stays."""
    array = run.array(action.of["array"])
    found = array.state().volumes.get(action.of["volume"])
    if found is None or action.of["lun"] not in found.luns:
        return "it is gone"
    guard = _guard(run, action, array.name)
    _unmap(run, action, found, guard, only=action.of["lun"])
    array.delete_lun(found.name, action.of["lun"], guard)
    return "destroyed"


def give_back(run: Run, action: Action) -> str:
    """Change the owner records that were seen, and none that has changed since."""
    key = keys.owner_key(run.topology, action.of["kind"], action.of["name"])
    for name in listed(action.of["arrays"]):
        seen, array = run.view.seen.array(name), run.array(name)
        text = array.read_record(key)
        if text is None or seen is None or text != seen.records.get(key):
            continue
        guard = _guard(run, action, name)
        if action.of["forget"]:
            array.delete_record(key, guard)
        else:
            owner = load(Owner, text, f"array {name}, {key}")
            array.put_record(key, dump(Owner(owner.topology, "", owner.incarnation)), guard)
    return ""


def forget_removed(run: Run, action: Action) -> str:
    """The tombstone has done its work."""
    key = keys.tombstone_key(run.topology, action.of["kind"], action.of["name"])
    for name in sorted(run.view.seen.arrays):
        state = run.view.seen.array(name)
        if state is not None and key in state.records:
            run.array(name).delete_record(key, _guard(run, action, name))
    return ""


def _unmap(run: Run, action: Action, found: VolumeState, guard: Guard, *, only: str | None = None) -> None:
    """Unmap what was mapped when it was decided; raise Conflict where somebody has mapped a LUN since."""
    mapped = {lun.name for lun in found.luns.values() if lun.mapped_to is not None and only in (None, lun.name)}
    late = sorted(mapped - set(listed(action.of["mapped"])))
    if late:
        raise Conflict(f"volume {found.name}: {', '.join(late)} was mapped meanwhile; nothing was done to it")
    if mapped:
        run.array(action.of["array"]).unmap_luns({found.name: sorted(mapped)}, guard)


def _guard(run: Run, action: Action, array: str) -> Guard:
    """The run's own; on arrays that its plan is not on, and for a plan that is in the topology no more: no move of that plan is under way."""
    plan = action.of.get("plan", run.plan)
    return run.guard if array in run.lease.arrays and plan == run.plan else claim_guard(run.topology, plan)
