"""Runs in a child process that is ended, as by SIGKILL, before or after a chosen action."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Literal

from dr_provider.reconcile import run as runs
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action

__all__ = ["count_actions", "killed_at"]

_FORK = multiprocessing.get_context("fork")


def killed_at(work: Callable[[], object], at: int, when: Literal["before", "after"]) -> bool:
    """Run `work` in a child that is killed before or after its action number `at` (from 0); whether it came to that."""

    def child() -> None:
        numbers = itertools.count()
        perform = runs.perform

        def counted(run: Run, action: Action) -> str:
            number = next(numbers)
            if number == at and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            remark = perform(run, action)
            if number == at and when == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return remark

        runs.perform = counted  # the child's own copy of the module
        try:
            work()
        finally:
            os._exit(0)

    process = _FORK.Process(target=child)
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
        raise AssertionError("the child did not end")
    return process.exitcode == -signal.SIGKILL


def count_actions(work: Callable[[], object]) -> int:
    """How many actions the work takes, in this process."""
    taken = 0
    perform = runs.perform

    def counted(run: Run, action: Action) -> str:
        nonlocal taken
        taken += 1
        return perform(run, action)

    runs.perform = counted
    try:
        work()
    finally:
        runs.perform = perform
    return taken
