"""What moves that have ended may leave behind, where the run was killed or a party was silent at that moment. Pure.

Invariant: nothing is let go that a fork still needs: holds stay until every site has a recovery point of the epoch in force.
"""

from __future__ import annotations

from collections.abc import Iterable

from dr_provider.reconcile.placement import reservation_tag
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["PAST_HOLDS", "clear_leftovers", "past_holds"]

PAST_HOLDS = ("fork.", "point.")
"""How the tags of the holds that moves make begin."""


def clear_leftovers(view: PlanView, steps: Steps, *, starting_at: str | None, after: Iterable[str]) -> None:
    """Give back capacity that hosts keep, and let go snapshots that arrays hold, for a move that has ended. `starting_at`: the site where
    VMs are about to take what is kept."""
    if kept := _kept(view, starting_at):
        sentence = f"give back what {', '.join(kept)} keep for a move that has ended"
        steps.add("unreserve", "", sentence, after=after, group="records", needed=False, hosts=",".join(kept))
    arrays = sorted({view.copy_array(name, site) for site, name in past_holds(view)})
    if arrays and not steps.ids("settle"):
        sentence = f"let go what {', '.join(arrays)} hold for a move that has ended"
        steps.add("unhold", "", sentence, after=after, group="records", needed=False)


def _kept(view: PlanView, starting_at: str | None) -> tuple[str, ...]:
    tag = reservation_tag(view.topology.name, view.spec.name)
    return tuple(
        name
        for name, spec in sorted(view.topology.hosts.items())
        if spec.site != starting_at
        and (state := view.seen.host(name)) is not None
        and any(kept.tag == tag for kept in state.reservations)
    )


def past_holds(view: PlanView) -> dict[tuple[str, str], tuple[str, ...]]:
    """Tags of holds that no move needs any more, by (site, volume); none as long as a site lacks a point of the epoch in force."""
    epoch = view.epoch
    if epoch is None or view.claim is not None or view.split is not None:
        return {}
    ours = [point for point in view.points if point.epoch == epoch.number]
    if not all(any(point.complete_at(site) for point in ours) for site in view.spec.sites):
        return {}
    found = {
        (site, name): tuple(sorted({h for s in volume.snapshots for h in s.holds if h.startswith(PAST_HOLDS)}))
        for site in view.spec.sites
        for name in view.volume_names
        if (volume := view.volume(name, site)) is not None
    }
    return {place: tags for place, tags in found.items() if tags}
