"""Runs in a child process that is ended, as by SIGKILL, before or after a chosen action."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from dr_provider.model.errors import DrError
from dr_provider.reconcile import run as runs
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action

__all__ = ["failing", "killed_at", "paused_at", "watched"]

_FORK = multiprocessing.get_context("fork")


def killed_at(work: Callable[[], object], at: int | str, when: Literal["before", "after"]) -> bool:
    """Run `work` in a child that is killed before or after its action number `at` (from 0), or of that id; whether it came to that."""

    def child() -> None:
        numbers = itertools.count()
        perform = vars(runs)["perform"]

        def counted(run: Run, action: Action) -> str:
            reached = next(numbers) == at or action.id == at
            if reached and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            remark: str = perform(run, action)
            if reached and when == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return remark

        vars(runs)["perform"] = counted  # the child's own copy of the module
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


@contextmanager
def paused_at(work: Callable[[], object], action_id: str) -> Iterator[list[str]]:
    """`work` runs in a child that stops itself (SIGSTOP, heartbeats and all) before the action of that id; it wakes when this ends, and
    what it raised then is in the list, as text."""
    said: list[str] = []
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        perform = vars(runs)["perform"]

        def pausing(run: Run, action: Action) -> str:
            if action.id == action_id:
                run.settle()  # nothing of it is in the middle of a transaction of an array's file, which would hold up everybody
                # To this thread, which goes no further then; sent to the process, it might run on for a moment.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
            remark: str = perform(run, action)
            return remark

        vars(runs)["perform"] = pausing
        try:
            work()
            theirs.send("")
        except DrError as error:
            theirs.send(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)

    process = _FORK.Process(target=child)
    process.start()
    assert process.pid is not None
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), f"{action_id} was never begun"
        yield said
    finally:
        os.kill(process.pid, signal.SIGCONT)
        if ours.poll(60):
            said.append(ours.recv())
        process.join(60)


@contextmanager
def failing(action_id: str) -> Iterator[None]:
    """While this lasts, the action of that id fails the first time that it is performed."""
    perform = vars(runs)["perform"]
    left = [action_id]

    def faulty(run: Run, action: Action) -> str:
        if action.id in left:
            left.remove(action.id)
            raise DrError(f"{action.id}: a fault of the test")
        remark: str = perform(run, action)
        return remark

    vars(runs)["perform"] = faulty
    try:
        yield
    finally:
        vars(runs)["perform"] = perform
    assert not left, f"{action_id} was never performed"


@contextmanager
def watched(before: Callable[[Action], None] | None = None) -> Iterator[list[str]]:
    """The ids of the actions that are performed while this lasts, as they begin and, with a `/` before them, as they end well; `before`
    is called ahead of each."""
    perform = vars(runs)["perform"]
    seen: list[str] = []

    def noted(run: Run, action: Action) -> str:
        seen.append(action.id)
        if before is not None:
            before(action)
        remark: str = perform(run, action)
        seen.append(f"/{action.id}")
        return remark

    vars(runs)["perform"] = noted
    try:
        yield seen
    finally:
        vars(runs)["perform"] = perform
