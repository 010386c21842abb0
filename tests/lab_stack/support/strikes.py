"""Faults that strike right before or after an action of a run, which happens in this process; and a run that dies with a guest frozen.

python -m tests.lab_stack.support.strikes protect shop --now --topology FILE      `dr`, killed -9 as it asks an array for a snapshot
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NoReturn

from dr_provider.reconcile import run as runs
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action

__all__ = ["struck"]


@contextmanager
def struck(verb: str, when: Literal["before", "after"], fault: Callable[[], object]) -> Iterator[None]:
    """While this lasts, `fault` is called once: before or after the first action with that verb."""
    perform = vars(runs)["perform"]
    left = [verb]

    def faulty(run: Run, action: Action) -> str:
        strikes = action.verb in left
        if strikes:
            left.remove(action.verb)
        if strikes and when == "before":
            fault()
        remark: str = perform(run, action)
        if strikes and when == "after":
            fault()
        return remark

    vars(runs)["perform"] = faulty
    try:
        yield
    finally:
        vars(runs)["perform"] = perform
    assert not left, f"no action {verb} was ever performed"


def _die(*_words: object, **_more: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it was killed")


if __name__ == "__main__":
    from dr_provider.arrays.zfs.array import ZfsArray
    from dr_provider.cli.main import main

    # All guests are frozen when an array is first asked for it.
    ZfsArray.snapshot = _die  # type: ignore[method-assign]
    main()
