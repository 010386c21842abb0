"""What a decision does to addresses, beside what it does to data: for `--dry-run`, previews and reports. Pure."""

from __future__ import annotations

from dr_provider.model.remap import CardMove, addresses_after, names_after
from dr_provider.model.topology import Topology
from dr_provider.reconcile.decision import Decision

__all__ = ["address_lines", "address_moves", "decision_document"]

_MOVES = frozenset({"planned", "disaster", "rollback", "resolve"})
_MOST_LINES = 20


def address_moves(topology: Topology, decision: Decision) -> tuple[CardMove, ...]:
    """Every card of the plan's VMs before and after; none where the decision moves nothing from one site to another."""
    source, target = decision.from_site, decision.to_site
    if decision.kind not in _MOVES or target is None or source is None or source == target or not decision.actions:
        return ()
    return addresses_after(topology, decision.plan, target, source)


def decision_document(topology: Topology, decision: Decision) -> dict[str, object]:
    """The decision's document, with `addresses` (each card before and after) and `names` (where each DNS name points)."""
    moves = address_moves(topology, decision)
    return {
        **decision.document(),
        "addresses": [move.document() for move in moves],
        "names": [name.document() for name in names_after(moves)],
    }


def address_lines(topology: Topology, decision: Decision) -> list[str]:
    """What changes for those who talk to the VMs, a line each; the first of them where there are many."""
    moves = address_moves(topology, decision)
    said = [f"address: {move.sentence()}" for move in moves if move.changed]
    said += [f"name: {name.sentence()}" for name in names_after(moves) if name.before != name.after or name.by_dhcp]
    more = len(said) - _MOST_LINES
    return [*said[:_MOST_LINES], f"and {more} more addresses and names (dr runbook lists them)"] if more > 0 else said
