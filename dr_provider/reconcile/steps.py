"""Small builders of actions, so that every decision names the same step the same way."""

from __future__ import annotations

from collections.abc import Iterable

from dr_provider.model.topology import PlanSpec
from dr_provider.reconcile.decision import Action

__all__ = ["Steps", "started_before", "tier_of"]


class Steps:
    """A growing list of actions. `add` returns the id, for the `after` of later ones."""

    def __init__(self, actions: Iterable[Action] = ()) -> None:
        self.actions: list[Action] = list(actions)
        self._count: dict[str, int] = dict.fromkeys((action.id for action in self.actions), 1)

    def add(
        self,
        verb: str,
        subject: str,
        sentence: str,
        *,
        after: Iterable[str] = (),
        last: Iterable[str] = (),
        group: str = "",
        needed: bool = True,
        **of: str,
    ) -> str:
        action_id = f"{verb}:{subject}".removesuffix(":")
        # A VM that is seen running on two hosts of a site is stopped on both.
        count = self._count[action_id] = self._count.get(action_id, 0) + 1
        action_id += f"#{count}" if count > 1 else ""
        wait, ended = tuple(dict.fromkeys(after)), tuple(dict.fromkeys(last))
        self.actions.append(Action(action_id, verb, sentence, wait, ended, of, group or verb, needed))
        return action_id

    def ids(self, *verbs: str) -> list[str]:
        return [action.id for action in self.actions if action.verb in verbs]

    def done(self) -> tuple[Action, ...]:
        return tuple(self.actions)


def tier_of(spec: PlanSpec, vm: str) -> int:
    return next(index for index, tier in enumerate(spec.tiers) if vm in tier.members)


def started_before(spec: PlanSpec, vm: str) -> tuple[str, ...]:
    """The VMs that must be up before this one starts: those that its tier's `after` names, else the whole tier before."""
    index = tier_of(spec, vm)
    after = spec.tiers[index].after
    if after is not None:
        return after
    return spec.tiers[index - 1].members if index else ()
