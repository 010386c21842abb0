"""The command: `python3 -m tools.setup all` (the venv and the engine) or `python` (the venv alone)."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tools.setup.console import SetupError, say
from tools.setup.engine import engine_is_ready, set_up_engine
from tools.setup.layout import Layout
from tools.setup.python_env import python_is_ready, set_up_python
from tools.setup.stamps import exclusive

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]


def _ready(layout: Layout, with_engine: bool) -> bool:
    return python_is_ready(layout) and (not with_engine or engine_is_ready(layout))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Do what is left of the set-up; 0 when all is there, 1 with one sentence on stderr when it cannot be."""
    if arguments not in (["all"], ["python"]):
        print("usage: python3 -m tools.setup all|python", file=sys.stderr)
        return 2
    with_engine = arguments == ["all"]
    layout = Layout.of(ROOT)
    # What set-up has started (pip, go) ends with it, by whichever signal.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if _ready(layout, with_engine):
            return 0
        started = time.monotonic()
        with exclusive(layout.root / "build" / "setup" / "lock", "set-up of this folder"):
            set_up_python(layout)
            if with_engine:
                set_up_engine(layout)
        say(f"done in {time.monotonic() - started:.0f} s")
    except SetupError as problem:
        print(f"set-up: {problem}", file=sys.stderr)
        return 1
    except OSError as problem:
        print(f"set-up: {problem.strerror}: {problem.filename}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; the next make takes it up where it was", file=sys.stderr)
        return 130
    return 0
