"""What happens in a scenario: each deed of scenario.schema.json once. Facts are stated in demo/truths.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from demo import measure
from demo.commands import CommandFailed
from demo.scene import Drill, Point, Scene

__all__ = ["DEEDS", "Deed"]

Args = Mapping[str, Any]
Deed = Callable[[Scene, Args], None]
DEEDS: dict[str, Deed] = {}


def _deed(name: str) -> Callable[[Deed], Deed]:
    def keep(function: Deed) -> Deed:
        DEEDS[name] = function
        return function

    return keep


# -- the operator ---------------------------------------------------------------------------------


@_deed("declare")
def _declare(scene: Scene, args: Args) -> None:
    scene.operator.declare(args["at"])


@_deed("word")
def _word(scene: Scene, args: Args) -> None:
    """The line comes from the refusal, so that it fails here if that ever stops being the right one."""
    line = scene.operator.word_line(scene.up) if scene.up is not None and scene.up.status != 0 else None
    if line is None:
        raise CommandFailed("no refusal has named the line to add, so it cannot be followed")
    scene.word = f"{line[1]}: {args['reason']}"
    scene.operator.give_word(scene.word)


@_deed("up")
def _up(scene: Scene, args: Args) -> None:
    refused = bool(args.get("refused"))
    if refused:
        scene.epoch_before = scene.status()["epoch"]
    # The very first one makes the guests, which have written nothing yet.
    scene.known = scene.up is None
    scene.up = scene.operator.up(well=not refused)
    if refused and scene.up.status == 0:
        raise CommandFailed(f"{' '.join(scene.up.argv[:2])} ended well, and it had to be refused")


@_deed("preview")
def _preview(scene: Scene, args: Args) -> None:
    scene.foretold = scene.operator.preview()


@_deed("protect")
def _protect(scene: Scene, args: Args) -> None:
    failing = bool(args.get("failing"))
    scene.run.show(f"dr protect {scene.plan} --now")
    said = scene.run.dr_said("protect", scene.plan, "--now", well=not failing)
    if failing and said.status == 0:
        raise CommandFailed("dr protect ended well, and it had to say that a copy is out of reach")
    done = said.json()["plans"][scene.plan]
    marks = measure.marks(scene.points(), done["point"])
    scene.point = Point(done["point"] or "", done["level"] or "", marks, scene.ends(marks, scene.taken))
    if done["level"] == "application":
        scene.on_disk = dict(scene.point.ends)


@_deed("drill")
def _drill(scene: Scene, args: Args) -> None:
    before, points = scene.inventory(), scene.points()
    report = scene.operator.drill(args["at"])
    marks = measure.marks(points, report["recoveryPoint"])
    newest = scene.point is not None and scene.point.name == report["recoveryPoint"]
    # A move's own last point, say, is none of the scenario's: it has what was taken until then.
    ends = scene.need_point().ends if newest else scene.ends(marks, scene.taken)
    scene.under_drill = Drill(report, marks, ends, before)


@_deed("end-drill")
def _end_drill(scene: Scene, args: Args) -> None:
    scene.operator.end_drill()


# -- the guests -------------------------------------------------------------------------------------


@_deed("write")
def _write(scene: Scene, args: Args) -> None:
    if not scene.known:
        scene.taken = {vm: ledger.taken for vm, ledger in scene.ledgers().items()}
    counts = {vm: args["each"] + n * args.get("growing", 0) for n, vm in enumerate(scene.vms)}
    scene.asked = {vm: scene.taken.get(vm, 0) + count for vm, count in counts.items()}
    found = scene.stage.write(counts)
    scene.taken = {vm: ledger.taken for vm, ledger in found.items()}
    scene.on_disk = {vm: ledger.last for vm, ledger in found.items()}
    scene.at_stake = dict(scene.taken)
    scene.buffered = sum(ledger.buffered for ledger in found.values())
    scene.known = True


# -- the world ------------------------------------------------------------------------------------


def _lost(args: Args) -> tuple[str, str]:
    return ("site", args["site"]) if "site" in args else ("host", args["host"])


@_deed("lose")
def _lose(scene: Scene, args: Args) -> None:
    scene.ended = scene.stage.lose(*_lost(args))
    # What was in memory only is gone with the power; a planned move after this has the rest to bring along.
    for vm in scene.ended:
        scene.at_stake[vm] = scene.taken[vm] = scene.on_disk.get(vm, 0)
    scene.lost = {vm: scene.on_disk.get(vm, 0) for vm in scene.ended}
    scene.saved = dict(scene.point.ends) if scene.point else {}


@_deed("return")
def _return(scene: Scene, args: Args) -> None:
    scene.stage.give_back(*_lost(args))


@_deed("cut")
def _cut(scene: Scene, args: Args) -> None:
    scene.stage.cut(*args["between"])


@_deed("heal")
def _heal(scene: Scene, args: Args) -> None:
    scene.stage.heal(*args["between"])
