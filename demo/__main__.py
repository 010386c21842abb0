"""`python -m demo [--picture FILE]`: run the demo, print its table, write its reports, and end with 1 if any fact is not true."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from demo import folder, page, show, story
from demo.commands import CommandFailed, Commands, environment
from demo.facts import Account, Step

__all__ = ["main", "play"]

BASE = folder.ROOT / "build" / "demo"


def play(steps: Sequence[story.StepOf], scene: story.Scene, screen: show.Screen) -> None:
    """Run the steps in order; the first that cannot go on ends the demo, and says why in the account."""
    account = scene.account
    for number, part in enumerate(steps, 1):
        step = Step(part.title, part.command)
        account.steps.append(step)
        started = time.monotonic()
        with screen.during(step):
            try:
                part.do(scene, step)
            except CommandFailed as error:
                account.broken = str(error)
            except (KeyError, TypeError, ValueError, OSError) as error:
                # What a command printed has not the shape of SPEC.md, or a file is not there: that, too, is a finding.
                account.broken = f"{part.title}: {type(error).__name__}: {error}"
        step.seconds = round(time.monotonic() - started, 2)
        screen.print(show.row(number, step, screen.width, plain=screen.plain))
        if account.broken:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Run the demo in build/demo.")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the table as an SVG too")
    wanted = parser.parse_args(arguments)
    screen, started = show.Screen(), time.monotonic()
    try:
        place, image = folder.prepare(BASE)
    except folder.FolderInUse as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    account = Account(datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        screen.print(show.opening(screen.width))
        screen.print(show.heading(screen.width))
        run = Commands(place.project, place.log, environment(place.home, place.state), screen.tell)
        play(story.STEPS, story.Scene(run, place, account, image), screen)
    except KeyboardInterrupt:
        account.broken = "stopped by Ctrl-C"
    finally:
        folder.release(BASE)
    account.seconds = time.monotonic() - started
    data, html = page.write_report(account, BASE)
    if wanted.picture:
        page.picture(account, wanted.picture)
    screen.print(show.closing(account, screen.width))
    shown = [
        str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
        for file in (html, data, place.log)
    ]
    screen.print(f"\nReport: {shown[0]} (and {Path(shown[1]).name}); what each command said: {shown[2]}/")
    return 0 if account.well else 1


if __name__ == "__main__":
    sys.exit(main())
