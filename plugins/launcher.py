"""Runs Pulumi's dynamic provider for this project, with four things changed.

- 64 workers in place of 4: a stack's resources wait for arrays, not for each other.
- A provider's exception shows as its one sentence, without a traceback.
- The engine's Cancel call, and a first SIGINT or SIGTERM, ask a running move to end at its next safe action.
- The engine is watched: when it is gone, nobody would hear the outcome, so the move ends the same way, and the process.

The provider process asks through `dr_provider.model.stopping`; the reconciler obeys.
"""

import concurrent.futures
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from pulumi.runtime.proto import provider_pb2_grpc

from dr_provider.model import stopping

WORKERS = 64
# How often to look whether the engine is still there. Not prctl(PR_SET_PDEATHSIG): that one tells of the death of the
# parent's *thread*, and the engine's threads come and go.
LOOK_EVERY = 0.2
# A move that does not end by itself within this time is hung; its lease and journal hold what the next one needs.
GRACE = 600.0

_Pool = concurrent.futures.ThreadPoolExecutor


class WidePool(_Pool):
    """The pool that the provider asks for with four workers; other pools keep their size."""

    def __init__(self, max_workers: int | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(WORKERS, *args, **kwargs)
        # The server has the one pool that was meant: whatever libraries make later is theirs to size.
        concurrent.futures.ThreadPoolExecutor = _Pool  # type: ignore[misc]


def end_when_idle(reason: str, status: int) -> None:
    """Let the running move come to its next safe action, then end the process, without waiting for other threads."""
    stopping.request(reason)
    stopping.wait_idle(GRACE)
    os._exit(status)


def watch_engine(engine: int) -> None:
    """End this process once its parent is not `engine` any more."""
    while os.getppid() == engine:
        time.sleep(LOOK_EVERY)
    end_when_idle("the Pulumi engine is gone", 1)


def on_signal(number: int, _frame: FrameType | None) -> None:
    """The first signal is a request, the second is final."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    name = signal.Signals(number).name
    # In a thread: a handler runs in the midst of the main thread's work, where it must not wait.
    threading.Thread(target=end_when_idle, args=(f"the Pulumi engine sent {name}", 128 + number), daemon=True).start()


def with_cancel(register: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """The generated function that puts a servicer into a server, made to hear Cancel, which Pulumi's own ignores."""

    def wrapper(servicer: Any, server: Any) -> None:
        answer = servicer.Cancel

        def cancel(request: Any, context: Any) -> Any:
            stopping.request("the update was cancelled")
            return answer(request, context)

        servicer.Cancel = cancel
        register(servicer, server)

    return wrapper


def main() -> None:
    """Take the place of `python -u -m pulumi.dynamic`."""
    engine = os.getppid()
    sys.tracebacklimit = 0
    concurrent.futures.ThreadPoolExecutor = WidePool  # type: ignore[misc]
    register = provider_pb2_grpc.add_ResourceProviderServicer_to_server
    provider_pb2_grpc.add_ResourceProviderServicer_to_server = with_cancel(register)  # type: ignore[assignment]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    threading.Thread(target=watch_engine, args=(engine,), name="engine-watch", daemon=True).start()
    # Python puts the script's own folder first on the path; `-m` would not have.
    del sys.path[0]
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
