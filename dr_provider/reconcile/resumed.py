"""Whether a run goes on with what an earlier one began and did not finish, and how it says so."""

from __future__ import annotations

from dataclasses import dataclass

from dr_provider.reconcile.lease import HeldLease
from dr_provider.reconcile.terms import what_is_open
from dr_provider.reconcile.view import PlanView

__all__ = ["Resumed", "found_unfinished"]


@dataclass(frozen=True)
class Resumed:
    """Who began what this run finishes, and since when (RFC 3339, by the clock of whoever began it)."""

    since: str
    by: str
    sentence: str


def found_unfinished(view: PlanView, lease: HeldLease) -> Resumed | None:
    """What an earlier run left: a claim that nothing has ended, or else a lease that was never released."""
    claim, left = view.claim, lease.after
    if claim is not None:
        said = (
            f"resumed: an earlier run by {claim.by} claimed {what_is_open(claim)} at {claim.time} and did not finish it"
        )
        return Resumed(claim.time, claim.by, said)
    if left is not None:
        said = f"resumed: an earlier run by {left.holder} ({left.doing}) began at {left.since} and did not end"
        return Resumed(left.since, left.holder, said)
    return None
