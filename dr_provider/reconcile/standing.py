"""What the copies of a site stand on: the recovery points in whose line they are. Pure.

A site that the plan was moved away from, and back to at an older point, has points of its own that say nothing of what is there now.
"""

from __future__ import annotations

from dr_provider.model.records import Epoch
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.reconcile.view import PlanView

__all__ = ["arrival", "line", "taken_since"]


def arrival(view: PlanView, site: str, upto: int | None = None) -> Epoch | None:
    """The epoch of the last move to the site. None: what is there was made there. A rollback and a resolve move nothing: they go on with what the
    site has."""
    moves = [e for e in view.history if e.state == "committed" and e.point and e.site == site]
    return max((e for e in moves if upto is None or e.number <= upto), key=lambda e: (e.number, e.time), default=None)


def taken_since(view: PlanView, site: str) -> tuple[RecoveryPoint, ...]:
    """The points that the site has taken since the plan was last moved to it; since it was made, where it never was."""
    return _taken(view, site, arrival(view, site))


def line(view: PlanView, site: str) -> tuple[RecoveryPoint, ...]:
    """Those, and the one that the plan was moved there at with all before it, back to where the plan was made.

    Where the point of a move is not known any more, all that are older than that move count: better one too many than one too few.
    """
    moved = arrival(view, site)
    found = _taken(view, site, moved)
    while moved is not None:
        stood = next((point for point in view.points if point.id == moved.point), None)
        if stood is None:
            return (*found, *(point for point in view.points if point.epoch < moved.number))
        moved = arrival(view, stood.intent.site, stood.epoch)
        found += tuple(p for p in _taken(view, stood.intent.site, moved) if p.order <= stood.order)
    return found


def _taken(view: PlanView, site: str, moved: Epoch | None) -> tuple[RecoveryPoint, ...]:
    first = moved.number if moved else 0
    return tuple(point for point in view.points if point.intent.site == site and point.epoch >= first)
