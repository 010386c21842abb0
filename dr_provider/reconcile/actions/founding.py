"""A plan's beginning: arrays and hosts made where they may be, arrays pinned, epoch 1 committed."""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Epoch, MadeHost, Pin
from dr_provider.protection.pins import write_pins
from dr_provider.reconcile.actions.claims import declare
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.stored import store_topology

__all__ = ["create_array", "create_host", "found"]


def create_array(run: Run, action: Action) -> str:
    """Make the array where nothing is there, and pin it: its own id is tied to its name in this topology."""
    name = action.of["array"]
    array = run.world.fleet.array(name)
    own_id = array.create()
    site = run.world.topology.arrays[name].site
    pin = Pin(run.topology, name, own_id, site, keys.stamp(keys.now()))
    array.create_record(keys.pin_key(run.topology), dump(pin))
    return f"its own id is {own_id}"


def create_host(run: Run, action: Action) -> str:
    name = action.of["host"]
    run.world.fleet.forget_silence(f"host {name}")
    run.world.fleet.host(name).create()
    _remember(run, name)
    return ""


def _remember(run: Run, host: str) -> None:
    made = MadeHost(host, keys.stamp(keys.now()))
    run.write_all(keys.host_key(run.topology, host), dump(made), must=())


def _remember_hosts(run: Run) -> None:
    """Put on record every host that answers: one that no array knows of would be taken for new when it is lost."""
    states = [state for name in run.answering() if (state := run.view.seen.array(name)) is not None]
    for name in sorted(run.world.topology.hosts):
        key = keys.host_key(run.topology, name)
        if run.view.seen.host(name) is not None and not all(key in state.records for state in states):
            _remember(run, name)


def found(run: Run, action: Action) -> str:
    """Commit epoch 1 at the plan's home. The first run to create the record on the first array decides its id."""
    view = run.fresh()
    arrays = run.world.topology.plan_arrays(run.plan)
    epoch = view.epoch or Epoch(
        run.plan, 1, keys.new_id(), action.of["site"], "committed", keys.stamp(keys.now()), "create", run.want.by
    )
    # Arrays of other plans only carry other leases: these get both when their own plan is worked on.
    write_pins(run.world.fleet, run.world.topology, view.seen, run.guard, arrays=run.lease.arrays)
    store_topology(run.world.topology, run.world.fleet, run.view.seen, run.guard, run.lease.arrays)
    _remember_hosts(run)
    run.write_all(keys.epoch_key(run.topology, run.plan, epoch.number, epoch.id), dump(epoch), must=arrays)
    run.committed = epoch
    # The stack that makes a plan has declared its home, said or not: its first changed value is a move, another stack's is not.
    declare(run, epoch.site)
    return ""
