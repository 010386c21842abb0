"""The commit window: for a while after its commit a planned move can go back to the side that it left, which is as it was. Pure.

Invariants:
1. Only a planned move opens one: its source answered to the end, and was proved to hold still. After a disaster nobody knows what the
   other side is like when it returns, so there is nothing untouched to promise.
2. While it is open nothing of that side is changed: no mirror is turned to it, nothing is pruned, cleared or started there. What runs
   there is stopped, as at any side that is past.
3. That it is over is put on record (`end-window`) before anything of that side is changed. From then on nobody goes back to it, however
   late his clock is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dr_provider.model import keys
from dr_provider.model.records import Claim
from dr_provider.model.units import format_duration
from dr_provider.reconcile.source import Source
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["Window", "add_end", "left_untouched", "opens", "said_at_commit", "window_line", "window_of"]


@dataclass(frozen=True)
class Window:
    """`site`: the side that the plan can go back to. `over`: its time is past, by the clock of whoever looked, and that is not on record yet."""

    site: str
    until: str
    over: bool


def window_of(view: PlanView) -> Window | None:
    """The window of the epoch in force; None: it has none, or that it is over is on record."""
    epoch = view.epoch
    if epoch is None or epoch.window_until is None or epoch.window_closed or epoch.from_site not in view.spec.sites:
        return None
    return Window(epoch.from_site, epoch.window_until, keys.at(view.seen.time) >= keys.at(epoch.window_until))


def left_untouched(view: PlanView) -> str | None:
    """The site of which nothing is changed now, because the plan may go back to it."""
    window = window_of(view)
    return window.site if window is not None and not window.over else None


def window_line(view: PlanView) -> str:
    """What an open window means, for people; empty: none is open."""
    window, plan = window_of(view), view.spec.name
    if window is None or window.over:
        return ""
    return (
        f"{window.site} is left as it was until {window.until} (commitWindow), so nothing is sent there: "
        f"dr rollback {plan} goes back to it, dr commit {plan} ends the window"
    )


def opens(view: PlanView, source: Source, claim: Claim | None) -> float | None:
    """The seconds for which a move that leaves this source can go back to it; None: it cannot. A move that was claimed in a disaster stays
    one, though its source answers by the time when it is gone on with."""
    planned = source.kind == "planned" and (claim is None or claim.kind == "planned")
    return view.spec.commit_window if planned else None


def add_end(view: PlanView, steps: Steps, *, after: Iterable[str]) -> list[str]:
    """Put on record that the window is over, if there is one. Ids."""
    window, epoch = window_of(view), view.epoch
    if window is None or epoch is None:
        return []
    sentence = f"end the commit window of epoch {epoch.number}: there is no way back to {window.site} as it was"
    return [steps.add("end-window", "", sentence, after=after, group="records")]


def said_at_commit(site: str, seconds: float | None) -> str:
    return f"; {site} is left as it is for {format_duration(seconds)}" if seconds is not None else ""
