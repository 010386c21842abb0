"""What a refresh asks of the shared observation: is a thing there, positively not there, or is who would know silent."""

from __future__ import annotations

from collections.abc import Iterable

from dr_provider.model.errors import Unreachable
from dr_provider.model.state import VolumeState
from dr_provider.reconcile import ownership
from dr_provider.reconcile.view import PlanView, VmPlace
from dr_provider.reconcile.world import World

__all__ = ["active_vm", "active_volume", "mirror_there"]


def _view(world: World, plan: str) -> tuple[PlanView, str]:
    """The plan, and the site where it is active as far as all who could know say. Raises Unreachable, BadInput."""
    view = world.view(plan)
    if view.epoch is None:
        silent = ownership.silent_among(view.seen, view.topology.plan_arrays(plan))
        said = "; ".join(silent.values()) or "no array knows of it"
        raise Unreachable(f"plan {plan}: nobody says where it is active ({said})")
    return view, view.epoch.site


def active_volume(world: World, plan: str, arrays: Iterable[str], volume: str) -> tuple[str, str, VolumeState | None]:
    """Site, array and state of the volume where its plan is active. Raises Unreachable."""
    view, site = _view(world, plan)
    array = next((a for a in arrays if a in world.topology.arrays and world.topology.arrays[a].site == site), None)
    state = view.seen.array(array) if array else None
    if array is None or state is None:
        said = ownership.silent_among(view.seen, [array]) if array else {}
        raise Unreachable(f"volume {volume}: {'; '.join(said.values()) or f'no array of it is at {site}'}")
    found = state.volumes.get(volume)
    return site, array, found if found is not None and found.kind == "data" else None


def active_vm(world: World, plan: str, vm: str) -> VmPlace | None:
    """Where the VM is. None: every host of the active site answers, and none has it. Raises Unreachable."""
    view, site = _view(world, plan)
    found = view.place(vm, site)
    silent = view.silent_hosts(site)
    if found is None and silent:
        raise Unreachable(f"VM {vm}: {'; '.join(silent.values())}")
    return found


def mirror_there(world: World, volume: str, pair: tuple[str, str]) -> bool:
    """Whether both copies of the pair are there. Raises Unreachable."""
    seen = world.look()
    silent = ownership.silent_among(seen, pair)
    if silent:
        raise Unreachable(f"mirror of {volume}: {'; '.join(silent.values())}")
    return all(volume in state.volumes for array in pair if (state := seen.array(array)) is not None)
