"""Where a plan has been: its epochs as the arrays remember them, and the move under way. Pure."""

from __future__ import annotations

from typing import Any

from dr_provider.model.records import Epoch
from dr_provider.reconcile.view import PlanView

__all__ = ["history_document"]


def history_document(view: PlanView) -> dict[str, Any]:
    """The document of `dr history PLAN --json`: every epoch that an answering array knows, newest first."""
    claim = view.claim
    return {
        "plan": view.spec.name,
        "time": view.seen.time,
        "activeSite": view.active,
        "epochs": [_epoch(epoch) for epoch in reversed(view.history)],
        "underWay": None
        if claim is None
        else {
            "epoch": claim.number,
            "kind": claim.kind,
            "from": claim.from_site,
            "to": claim.site,
            "time": claim.time,
            "by": claim.by,
            "word": claim.word,
            "aborting": claim.aborting,
        },
        "silent": dict(sorted(view.unheard.items())),
    }


def _epoch(epoch: Epoch) -> dict[str, Any]:
    return {
        "epoch": epoch.number,
        "state": epoch.state,
        "kind": epoch.kind,
        "from": epoch.from_site,
        "to": epoch.site,
        "time": epoch.time,
        "by": epoch.by,
        "word": epoch.word,
        "point": epoch.point,
        "loss": {"seconds": epoch.loss_seconds, "statement": epoch.loss_statement},
        "windowUntil": epoch.window_until,
        "windowClosed": epoch.window_closed,
    }
