"""The person who works with the product, in one of two ways: with `pulumi`, or with `dr` alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from demo import measure
from demo.commands import CommandFailed, Commands, Said

__all__ = ["DrOperator", "Foretold", "Operator", "PulumiOperator", "Stands"]


@dataclass(frozen=True)
class Stands:
    """What the last `up` says it came to. `seconds` from its first call to the last VM; None where it moved nothing."""

    site: str | None
    epoch: int
    seconds: float | None
    loss_seconds: float | None


@dataclass(frozen=True)
class Foretold:
    """What a preview shows: the actions in order, and its remarks about recovery point, loss and time."""

    actions: tuple[str, ...]
    remarks: tuple[str, ...]


class Operator(Protocol):
    """`way`: the word of the scenario's `only` for it."""

    way: str

    def declare(self, site: str) -> None:
        """Say where the plan is to be active; nothing is done yet."""

    def give_word(self, word: str) -> None:
        """`word` is "EPOCH: REASON"."""

    def up(self, *, well: bool) -> Said:
        """Bring about what is declared. Raises CommandFailed where it fails and had to end well."""

    def preview(self) -> Foretold: ...

    def word_line(self, said: Said) -> tuple[str, str] | None:
        """The line to add that a refusal printed, and the epoch in it."""

    def stands(self) -> Stands: ...

    def settled(self) -> tuple[bool, str]:
        """Whether a preview finds nothing to do; else what it found."""

    def drill(self, site: str) -> Mapping[str, Any]:
        """Start a drill; its report."""

    def end_drill(self) -> None: ...


@dataclass
class PulumiOperator:
    """Config of stack `prod`, and `pulumi up`."""

    run: Commands
    plan: str
    way: str = "pulumi"
    _made: bool = False

    def declare(self, site: str) -> None:
        if not self._made:
            self.run.make_stack("prod", {"dr:topology": "topology/shop.yaml", f"dr:activeSites.{self.plan}": site})
            self._made = True
            return
        self.run.show(f"pulumi config set --path dr:activeSites.{self.plan} {site}")
        self.run.set(f"dr:activeSites.{self.plan}", site)

    def give_word(self, word: str) -> None:
        self.run.show(f"pulumi config set --path dr:force.{self.plan} ...")
        self.run.set(f"dr:force.{self.plan}", word)

    def up(self, *, well: bool) -> Said:
        self.run.show("pulumi up")
        return self.run.up(well=well)

    def preview(self) -> Foretold:
        self.run.show("pulumi preview")
        shown = self.run.preview()
        remarks = measure.remarks(shown, lambda line: "recovery point" in line and "loss" in line)
        return Foretold(tuple(measure.pending_actions(shown)), tuple(remarks))

    def word_line(self, said: Said) -> tuple[str, str] | None:
        found = re.search(r"""dr:force:\s*\{([a-z0-9-]+):\s*["'](\d+):""", f"{said.err}\n{said.out}")
        return (f'dr:force: {{{found[1]}: "{found[2]}: <reason>"}}', found[2]) if found else None

    def stands(self) -> Stands:
        out = self.run.outputs()[self.plan]
        return Stands(out["activeSite"], out["epoch"], out.get("seconds"), out.get("lossSeconds"))

    def settled(self) -> tuple[bool, str]:
        self.run.show("pulumi preview")
        said = self.run.pulumi("preview", "--expect-no-changes", "--diff", well=False)
        return said.status == 0, said.last_line()

    def drill(self, site: str) -> Mapping[str, Any]:
        self.run.show("pulumi up --stack drill")
        config = {"dr:topology": "topology/shop.yaml", "dr:mode": "drill", f"dr:drillSites.{self.plan}": site}
        self.run.make_stack("drill", config)
        self.run.up("drill")
        out: Mapping[str, Any] = self.run.outputs("drill")[self.plan]
        return out

    def end_drill(self) -> None:
        self.run.show("pulumi destroy --stack drill")
        self.run.pulumi("destroy", "--yes", "--skip-preview", "--suppress-progress", stack="drill")


@dataclass
class DrOperator:
    """`dr apply` once, and `dr failover` to where the plan is to be."""

    run: Commands
    plan: str
    way: str = "dr"
    _site: str = ""
    _word: tuple[str, ...] = ()
    _made: bool = False
    _moved: Mapping[str, Any] = field(default_factory=dict)

    def declare(self, site: str) -> None:
        self._site, self._word = site, ()

    def give_word(self, word: str) -> None:
        self._word = ("--force", word)

    def up(self, *, well: bool) -> Said:
        if not self._made:
            self.run.show("dr apply")
            said = self.run.dr_said("apply", well=well)
            self._made = True
            return said
        self.run.show(f"dr failover {self.plan} --to {self._site}" + (' --force "..."' if self._word else ""))
        said = self.run.dr_said("failover", self.plan, "--to", self._site, *self._word, "--yes", well=well)
        if said.status == 0:
            self._moved = said.json()
        return said

    def preview(self) -> Foretold:
        self.run.show(f"dr failover {self.plan} --to {self._site} --dry-run")
        shown = self._dry_run()
        loss = shown["loss"]["statement"]
        remark = f"recovery point {shown['point']}; loss: {loss}; time: {shown.get('estimateSeconds')} s"
        return Foretold(tuple(action["sentence"] for action in shown["actions"]), (remark,))

    def word_line(self, said: Said) -> tuple[str, str] | None:
        found = re.search(r"""--force ["'](\d+): <reason>["']""", " ".join(said.json().get("refused", [])))
        return (found[0], found[1]) if found else None

    def stands(self) -> Stands:
        moved = self._moved
        if not moved:
            now = self.run.dr("status")["plans"][self.plan]
            return Stands(now["activeSite"], now["epoch"], None, None)
        status = moved["status"]
        return Stands(status["activeSite"], status["epoch"], moved["seconds"], moved["loss"]["seconds"])

    def settled(self) -> tuple[bool, str]:
        self.run.show(f"dr failover {self.plan} --to {self._site} --dry-run")
        shown = self._dry_run()
        actions = [action["sentence"] for action in shown["actions"]]
        return not actions and not shown["refused"], "; ".join([*actions, *shown["refused"]])

    def _dry_run(self) -> Mapping[str, Any]:
        return self.run.dr("failover", self.plan, "--to", self._site, *self._word, "--dry-run")

    def drill(self, site: str) -> Mapping[str, Any]:
        raise CommandFailed(f"a drill at {site} is a stack of its own, so it needs the engine; say `only: pulumi`")

    def end_drill(self) -> None:
        raise CommandFailed("a drill is a stack of its own, so it needs the engine; say `only: pulumi`")
