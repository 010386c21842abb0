"""Playing a scenario: its steps in order, each timed, what happens first and then the facts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from demo.commands import CommandFailed
from demo.deeds import DEEDS
from demo.facts import Account, Step
from demo.scenario import Call, Scenario, ScenarioStep
from demo.scene import Scene
from demo.show import Screen, row
from demo.truths import QUANTITIES, TRUTHS
from dr_provider.model.errors import DrError

__all__ = ["Part", "parts", "play"]


@dataclass(frozen=True)
class Part:
    """A step that can be done; it states its facts in the Step that it is given."""

    title: str
    do: Callable[[Scene, Step], None]


def parts(scenario: Scenario, stage: str, way: str) -> Iterator[Part]:
    """The scenario's steps that count on this stage and with these commands."""

    def counts(part: ScenarioStep | Call) -> bool:
        return part.only in ("", stage, way)

    for step in scenario.steps:
        if counts(step):
            yield Part(
                step.title, _doing(step, [c for c in step.do if counts(c)], [c for c in step.facts if counts(c)])
            )


def _doing(part: ScenarioStep, deeds: Sequence[Call], facts: Sequence[Call]) -> Callable[[Scene, Step], None]:
    def do(scene: Scene, step: Step) -> None:
        for call in deeds:
            scene.happened()
            DEEDS[call.name](scene, call.args)
        scene.happened()
        for call in facts:
            TRUTHS[call.name](scene, step, call.args)
        for name, quantities in part.numbers.items():
            scene.account.numbers[name] = ", ".join(QUANTITIES[quantity](scene) for quantity in quantities)

    return do


def play(steps: Sequence[Part], scene: Scene, screen: Screen) -> None:
    """Run the steps in order; the first that cannot go on ends it, and says why in the account."""
    account = scene.account
    for number, part in enumerate(steps, 1):
        step = Step(part.title)
        account.steps.append(step)
        started = time.monotonic()
        scene.run.typed.clear()
        with screen.during(step):
            _do(part, scene, step, account)
        step.command = "; ".join(scene.run.typed)
        step.seconds = round(time.monotonic() - started, 2)
        screen.print(row(number, step, screen.width, plain=screen.plain))
        if account.broken:
            return


def _do(part: Part, scene: Scene, step: Step, account: Account) -> None:
    try:
        part.do(scene, step)
    except (CommandFailed, DrError) as error:
        account.broken = f"{part.title}: {error}"
    except (KeyError, TypeError, ValueError, OSError) as error:
        # What a command printed has not the shape of SPEC.md, or a file is not there: that, too, is a finding.
        account.broken = f"{part.title}: {type(error).__name__}: {error}"
