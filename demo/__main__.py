"""`python -m demo`: play a scenario, print its table, write its reports, and end with 1 if any fact is not true."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from demo import folder, page, play, scenario, show
from demo.commands import CommandFailed
from demo.embedded_stage import EmbeddedStage
from demo.facts import Account
from demo.operators import DrOperator, Operator, PulumiOperator
from demo.scene import Scene
from demo.stage import Stage
from dr_provider.model.errors import BadInput, DrError

__all__ = ["main"]

BUILD = folder.ROOT / "build"
README = folder.ROOT / "scenarios" / "readme.yaml"
WAYS: dict[str, type[PulumiOperator] | type[DrOperator]] = {"pulumi": PulumiOperator, "dr": DrOperator}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Play a scenario, and measure what it claims.")
    parser.add_argument("--scenario", type=Path, metavar="FILE", default=README, help="what to play (the README's)")
    parser.add_argument("--stage", choices=("embedded", "lab"), default="embedded", help="where (embedded)")
    parser.add_argument("--way", choices=tuple(WAYS), default="pulumi", help="by which commands (pulumi)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the table as an SVG too")
    parser.add_argument("--lab", metavar="NAME", default="demo", help="stage lab: the lab's name (demo)")
    parser.add_argument("--keep", action="store_true", help="stage lab: leave the lab up at the end")
    wanted = parser.parse_args(arguments)
    try:
        told = scenario.load(wanted.scenario)
    except BadInput as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    return run(told, _stage(wanted), wanted.way, wanted.picture)


def _stage(wanted: argparse.Namespace) -> Stage:
    if wanted.stage == "embedded":
        return EmbeddedStage(BUILD / "demo")
    # Real sites need what embedded ones do without.
    from demo.lab_stage import LabStage

    return LabStage(BUILD / "lab-demo", wanted.lab, keep=wanted.keep)


def run(told: scenario.Scenario, stage: Stage, way: str, picture: Path | None = None) -> int:
    """Play it on the stage; 0 where every fact is true, else 1."""
    screen, started = show.Screen(), time.monotonic()
    account = Account(datetime.now(UTC).isoformat(timespec="seconds"), title=told.title, about=stage.about, way=way)
    try:
        stage.take(screen.tell)
    except folder.FolderInUse as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    try:
        screen.print(show.opening(account, screen.width))
        stage.prepare()
        screen.print(show.heading(screen.width))
        scene = Scene(stage, operator(way, stage, told.plan), account, told.plan)
        play.play(list(play.parts(told, stage.name, way)), scene, screen)
    except (CommandFailed, DrError) as error:
        account.broken = str(error)
    except KeyboardInterrupt:
        account.broken = "stopped by Ctrl-C"
    finally:
        stage.close()
    account.seconds = time.monotonic() - started
    data, html = page.write_report(account, stage.folder.base)
    if picture:
        page.picture(account, picture)
    screen.print(show.closing(account, screen.width))
    shown = [
        str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
        for file in (html, data, stage.folder.log)
    ]
    screen.print(f"\nReport: {shown[0]} (and {Path(shown[1]).name}); what each command said: {shown[2]}/")
    return 0 if account.well else 1


def operator(way: str, stage: Stage, plan: str) -> Operator:
    """Who works with the product on a stage that is prepared."""
    if way == "dr":
        # No stack is there whose topology it could find.
        stage.run.env = {**stage.run.env, "DR_TOPOLOGY": str(stage.folder.topology)}
    return WAYS[way](stage.run, plan)


if __name__ == "__main__":
    # Whoever ends it ends it as Ctrl-C does: nothing of a lab stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
