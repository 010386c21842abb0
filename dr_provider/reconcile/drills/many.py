"""Several drills of a plan at once, each from a recovery point of its own: which of them is clean? Side by side as far as there is room, the
others as soon as one has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from dr_provider.model.errors import DrError
from dr_provider.reconcile.drills.decide import NoRoom
from dr_provider.reconcile.drills.outcome import DrillOutcome

__all__ = ["run_abreast"]


def run_abreast(
    points: Mapping[str, str], run: Callable[[str, str], DrillOutcome], *, staying: bool = False
) -> dict[str, DrillOutcome | DrError]:
    """`run(drill, point)` for each drill of `points`; what each came to, or why it was not run, in the order given. One for which there is no
    room waits until another of them has ended; it is refused when none is under way any more. `staying`: they give no room back, so they come up one after the other, and the first have it."""
    change = threading.Condition()
    under_way: set[str] = set()
    ended = 0

    def attempt(drill: str) -> DrillOutcome | DrError:
        nonlocal ended
        while True:
            with change:
                under_way.add(drill)
                before = ended
            full: NoRoom | None = None
            try:
                return run(drill, points[drill])
            except NoRoom as error:
                full = error
            except DrError as error:
                return error
            finally:
                with change:
                    under_way.discard(drill)
                    ended += full is None
                    change.notify_all()
            with change:
                # One may have ended since there was no room for this one.
                while ended == before and under_way:
                    change.wait()
                if ended == before:
                    return full

    with ThreadPoolExecutor(max_workers=1 if staying else max(1, len(points)), thread_name_prefix="drill") as pool:
        return dict(zip(points, pool.map(attempt, points), strict=True))
