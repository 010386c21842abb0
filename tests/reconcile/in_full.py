"""The situations of which every decision is written down in full (test_decisions_in_full.py): those of other tests' tables, and more."""

from __future__ import annotations

from typing import Any

from dr_provider.reconcile.view import PlanView
from tests.reconcile.in_full_moves import MOVES
from tests.reconcile.in_full_steady import BESIDE, LATE, ROLLBACKS, STEADY
from tests.reconcile.test_callouts import IN_FULL as CALLOUTS
from tests.reconcile.test_decide import DONE, WHY_NOT
from tests.reconcile.test_repair import ASKED, LEFT_TO_DO, NOT_STARTED
from tests.reconcile.test_restart import NOT_RESTARTED, RESTARTS
from tests.reconcile.test_window import DONE as WINDOWS
from tests.reconcile.test_window import NO_WAY_BACK

SITUATIONS: dict[str, tuple[PlanView, dict[str, Any]]] = {
    **{f"done {number}": (seen, want) for number, (seen, want, _, _) in enumerate(DONE)},
    **{f"why not {number}": (seen, want) for number, (seen, want, _) in enumerate(WHY_NOT)},
    **{f"window {number}": (seen, want) for number, (seen, want, _, _) in enumerate(WINDOWS)},
    **{f"no way back {number}": (seen, {"goal": "rollback"}) for number, (seen, _) in enumerate(NO_WAY_BACK)},
    **{f"left to do {number}": (seen, {}) for number, (seen, _) in enumerate(LEFT_TO_DO)},
    **{f"not started {number}": (seen, {}) for number, (seen, _) in enumerate(NOT_STARTED)},
    **{f"asked {number}": (seen, want) for number, (seen, want, _) in enumerate(ASKED)},
    **{f"restart {number}": (seen, {"goal": goal}) for number, (seen, goal, _) in enumerate(RESTARTS)},
    **{f"not restarted {number}": (seen, {"goal": goal}) for number, (seen, goal, _) in enumerate(NOT_RESTARTED)},
    **MOVES,
    **STEADY,
    **BESIDE,
    **LATE,
    **{f"rollback: {name}": asked for name, asked in ROLLBACKS.items()},
    **CALLOUTS,
}
