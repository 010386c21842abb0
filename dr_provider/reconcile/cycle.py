"""One run of `dr protect` for one plan: what it has come to so far, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from dr_provider.model import keys
from dr_provider.model.units import counted
from dr_provider.protection.retention import Prune
from dr_provider.reconcile.world import World

__all__ = ["Cycle", "ProtectOutcome", "Stop", "Transfer"]

Stop = Callable[[], str | None]


@dataclass(frozen=True)
class Transfer:
    """One volume sent to one copy."""

    volume: str
    source: str
    target: str
    snapshot: str
    bytes: int
    seconds: float


@dataclass(frozen=True)
class ProtectOutcome:
    """What a run came to. `point`: the group that it took, `level` what that reached. `warnings`: what is not as it should be and not this
    run's fault; `failures`: what it should have done and could not. `drills`: what became of drills. `next_due` None: nothing is known of the plan."""

    plan: str
    point: str | None = None
    level: str | None = None
    sent: tuple[Transfer, ...] = ()
    pruned: tuple[Prune, ...] = ()
    repaired: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    drills: tuple[str, ...] = ()
    next_due: datetime | None = None

    @property
    def well(self) -> bool:
        return not self.failures

    def line(self) -> str:
        """The cycle in one line."""
        parts = list(self.repaired)
        if self.point:
            parts.append(f"took {self.point} ({self.level})")
        if self.sent:
            moved = sum(transfer.bytes for transfer in self.sent) / 2**20
            targets = ", ".join(sorted({transfer.target for transfer in self.sent}))
            parts.append(f"sent {counted(len({t.volume for t in self.sent}), 'volume')} to {targets} ({moved:.1f} MiB)")
        if self.pruned:
            parts.append(f"pruned {len(self.pruned)}")
        parts += self.drills
        said = ", ".join(parts) or ("nothing is due" if self.well else "nothing was done")
        more = "".join(f"; {sentence}" for sentence in (*self.failures, *self.warnings))
        return f"plan {self.plan}: {said}{more}"

    def document(self) -> dict[str, object]:
        """For `dr protect --json`."""
        return {
            "plan": self.plan,
            "point": self.point,
            "level": self.level,
            "sent": [
                {"volume": t.volume, "from": t.source, "to": t.target, "point": t.snapshot, "bytes": t.bytes,
                 "seconds": round(t.seconds, 3)}
                for t in self.sent
            ],
            "pruned": [{"point": p.point, "site": p.site} for p in self.pruned],
            "repaired": list(self.repaired),
            "drills": list(self.drills),
            "warnings": list(self.warnings),
            "failures": list(self.failures),
            "nextDue": keys.stamp(self.next_due) if self.next_due else None,
        }  # fmt: skip


@dataclass
class Cycle:
    """One run for one plan: what it has come to so far."""

    world: World
    plan: str
    stop: Stop
    point: str | None = None
    level: str | None = None
    sent: list[Transfer] = field(default_factory=list)
    pruned: tuple[Prune, ...] = ()
    repaired: tuple[str, ...] = ()
    drills: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def outcome(self, due: datetime | None) -> ProtectOutcome:
        return ProtectOutcome(
            self.plan, self.point, self.level, tuple(self.sent), self.pruned, self.repaired,
            tuple(self.warnings), tuple(self.failures), tuple(self.drills), due,
        )  # fmt: skip
