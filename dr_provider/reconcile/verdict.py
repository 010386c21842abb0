"""What a guard finds of a plan at its site. Pure, but for the one look of `look_once`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dr_provider.model.records import Epoch
from dr_provider.reconcile.fencing import counted, grant_of, known_of
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["Verdict", "judge", "look_once", "something_runs"]


@dataclass(frozen=True)
class Verdict:
    """What a plan is at a site: `active`, `elsewhere`, `stale` (a later epoch is committed elsewhere), `granted` (another site may commit
    one), or `unknown`; `epoch` is the one in force as far as is known."""

    state: str
    why: str
    epoch: Epoch | None = None


def judge(view: PlanView, site: str, before: Epoch | None) -> Verdict:
    """`before`: the epoch that was in force when it was last known; arrays that were away since then do not undo it."""
    epoch = max((e for e in (view.epoch, before) if e is not None), key=lambda e: e.number, default=None)
    if view.epoch is None and before is not None:
        return Verdict("unknown", "no array of it answers", before)
    if epoch is None:
        return Verdict("unknown", "no array that answers knows of it")
    known, grant, claim = known_of(view), grant_of(view, epoch.number + 1), view.claim
    here = {epoch.site, *(e.site for e in view.committed if e.number == epoch.number)}
    if site not in here:
        past = any(e.site == site for e in view.history if e.state == "committed") or view.running_at(site)
        return Verdict(
            "stale" if past else "elsewhere", f"it is active at {epoch.site} since epoch {epoch.number}", epoch
        )
    if known is not None and known.number > epoch.number and known.site != site:
        return Verdict("granted", f"the witness knows of epoch {known.number} at {known.site}", epoch)
    ours = claim is not None and grant is not None and claim.id == grant.claim and not claim.fenced
    if grant is not None and grant.site != site and not ours:
        return Verdict("granted", f"the witness has granted epoch {grant.number} to {grant.site}", epoch)
    if claim is not None and claim.fenced and claim.site != site and not claim.aborting:
        return Verdict(
            "granted",
            f"{claim.site} goes on with epoch {claim.number}, since the run lease of {site} had stood still",
            epoch,
        )
    return Verdict("active", f"it is active here since epoch {epoch.number}", epoch)


def something_runs(view: PlanView, site: str) -> bool:
    volumes = [view.volume(name, site) for name in view.volume_names]
    mapped = any(lun.mapped_to for volume in volumes if volume is not None for lun in volume.luns.values())
    return bool(view.running_at(site)) or mapped


def look_once(world: World, site: str, plans: Iterable[str]) -> dict[str, object]:
    """What a guard would do now, for `--once`; nothing is changed."""
    found: dict[str, object] = {}
    world.look(refresh=True)
    for plan in plans:
        view = world.view(plan)
        verdict = judge(view, site, None)
        state, why = verdict.state, verdict.why
        would = {
            "active": f"renew its run lease on {', '.join(counted(view, site)) or 'nothing'}",
            "stale": "stop what runs of it here, and unmap its LUNs",
            "granted": "stop what runs of it here, and unmap its LUNs",
        }.get(state, "do nothing")
        if state in ("stale", "granted") and not something_runs(view, site):
            would = "do nothing: nothing of it runs here"
        found[plan] = {
            "state": state, "epoch": verdict.epoch.number if verdict.epoch else None, "sentence": why, "would": would,
            "runs": sorted(place.vm for place in view.running_at(site)),
        }  # fmt: skip
    return {"site": site, "plans": found}
