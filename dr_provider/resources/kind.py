"""What volumes, LUNs, VMs and mirrors have in common as dynamic resources.

Their `check` and `diff` are local: a dark site slows nothing. A change that could not be made yet stays as `pending` in the outputs, and
the next `up` takes it up. A resource's id is `name@incarnation`: a delete acts only for its own incarnation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from dr_provider.resources import props as bag
from dr_provider.resources import session

if TYPE_CHECKING:
    from dr_provider.model.records import Owner
    from dr_provider.reconcile.world import World

__all__ = ["Kind", "KindProps"]


@dataclass(frozen=True)
class KindProps:
    """`stack` is "project/stack". `reach`: how the plan's arrays are reached (JSON). `adopt`: take over what another stack owns."""

    topology: str = field(metadata=bag.BACKGROUND)
    stack: str = field(metadata=bag.BACKGROUND)
    plan: str = field(metadata=bag.BACKGROUND)
    name: str
    reach: str = field(metadata=bag.BACKGROUND)
    adopt: bool = field(default=False, metadata=bag.BACKGROUND)


P = TypeVar("P", bound=KindProps)


class Kind(ResourceProvider, Generic[P]):
    """A provider without state of its own; sub-classes say what is made, released and looked at."""

    serialize_as_secret_always = False
    props: ClassVar[type[Any]]
    ignored: ClassVar[tuple[str, ...]] = ("adopt",)
    replaced_by: ClassVar[tuple[str, ...]] = ("topology", "stack")

    # -- what a sub-class says --------------------------------------------------------------------

    def ensure(self, world: World, props: P, owner: Owner) -> dict[str, Any]:
        """Make or change it; outputs beside the echoed inputs, `pending` among them where it is not done yet."""
        raise NotImplementedError

    def release(self, world: World, props: P, owner: Owner) -> tuple[str, ...]:
        """Delete it; lines for people."""
        raise NotImplementedError

    def look(self, world: World, props: P) -> tuple[P, dict[str, Any]] | None:
        """What is there: the inputs as they are in reality, and changed outputs. None: positively not there.

        Raises Unreachable where the side that would know is silent.
        """
        raise NotImplementedError

    # -- what the engine calls --------------------------------------------------------------------

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        return CheckResult(bag.plain(news), bag.renamed(str(news.get("name")), olds, news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        before, after = bag.read(self.props, olds), bag.read(self.props, news)
        passed_over = (*self.ignored, "reach")
        changed = [
            each
            for each in fields(self.props)
            if each.name not in passed_over and getattr(before, each.name) != getattr(after, each.name)
        ]
        moved = before.reach != after.reach
        return DiffResult(
            changes=bool(changed) or moved or bool(olds.get("pending")),
            replaces=sorted({bag.key_of(each) for each in changed if each.name in self.replaced_by}),
        )

    def create(self, props: dict[str, Any]) -> CreateResult:
        from dr_provider.model import keys

        wanted = bag.read(self.props, props)
        incarnation = keys.new_incarnation()
        return CreateResult(f"{wanted.name}@{incarnation}", self._make(wanted, incarnation))

    def update(self, id_: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        wanted = bag.read(self.props, news)
        return UpdateResult(self._make(wanted, _incarnation(id_)))

    def _make(self, wanted: P, incarnation: str) -> dict[str, Any]:
        from dr_provider.model.errors import BadInput, NotReady, Unreachable
        from dr_provider.model.records import Owner

        owner = Owner(wanted.topology, wanted.stack, incarnation)
        with session.sentence():
            try:
                world = session.near(wanted.topology, wanted.stack, wanted.reach)
                session.touched(world)
                try:
                    made = self.ensure(world, wanted, owner)
                except KeyError as error:
                    raise BadInput(
                        f"{wanted.name}: {error} is not in the topology that the arrays store; run `pulumi up` without --target, so that the plan goes first"
                    ) from None
            except (Unreachable, NotReady) as error:
                made = {"pending": f"unreachable: {error}"}
        if made.get("pending"):
            session.say(f"{wanted.name}: {made['pending']}")
        return {**bag.write(wanted), "incarnation": incarnation, "reachable": True, **made}

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        from dr_provider.model.records import Owner

        old = bag.read(self.props, props)
        with session.sentence():
            world = session.settled(session.near(old.topology, old.stack, old.reach))
            for line in self.release(world, old, Owner(old.topology, old.stack, _incarnation(id_))):
                session.say(line)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from dr_provider.model.errors import NotReady, Unreachable

        known = bag.read(self.props, props)
        outputs = bag.plain(props)
        with session.sentence():
            try:
                found = self.look(session.near(known.topology, known.stack, known.reach), known)
            except (Unreachable, NotReady, KeyError) as error:
                # A silent side, or one that nobody can name any more, is not "not there".
                session.say(f"{known.name}: not refreshed ({error})")
                return ReadResult(id_, {**outputs, "reachable": False}, bag.write(known))
        if found is None:
            return ReadResult("", {})
        real, changed = found
        return ReadResult(id_, {**outputs, **bag.write(real), **changed, "reachable": True}, bag.write(real))


def _incarnation(id_: str) -> str:
    return id_.rpartition("@")[2]
