"""Fencing by lease and by witness: what proves, without an operator, that a silent source is stopped. Pure.

Where a plan is active its site's guard renews a run lease (`Alive`): a beat that rises, on the arrays of the other sites and at the
witness. A guard that could renew on none of those that count for TTL seconds stops the VMs, and needs less than MARGIN for it.

Invariants:
1. A guard counts a renewal from the moment before it was sent, by its own monotonic clock, and stops the VMs at TTL whatever calls are
   still under way. So who sees one beat stand still for TTL + MARGIN, on its own monotonic clock and on *every* store that counts, knows
   that they are stopped. Clocks are never compared.
2. The target writes down that it goes on (the claim's `fenced`, the witness's grant) and then looks at the beat once more; the guard
   renews and then looks for both. Whoever comes second sees the other.
3. A beat that moves, a store that is silent, a guard that was ended in order and a guard that never ran prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dr_provider.model import keys
from dr_provider.model.codec import load
from dr_provider.model.records import Alive, Claim, Epoch, Grant, Known, WitnessPin
from dr_provider.model.state import ArrayState, Silent, WitnessState
from dr_provider.reconcile.source import Source
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = [
    "BEAT",
    "MARGIN",
    "TTL",
    "WITNESS",
    "Fence",
    "alive_at",
    "counted",
    "fence_of",
    "grant_of",
    "grant_steps",
    "granted_elsewhere",
    "known_of",
    "pin_steps",
    "silence_of",
    "taken_over",
    "unproved",
    "wait_steps",
    "witness_vouches",
]

TTL = 30.0
"""Seconds for which a renewal lets VMs run."""
MARGIN = 20.0
"""Seconds that a guard has to stop them after that: one that was killed and started anew, and clocks that run unevenly (1 %), are within it."""
BEAT = 5.0
"""Seconds between two renewals, and the deadline of each of the guard's calls."""
WITNESS = "witness"
"""The witness's name among stores; the others are arrays."""


@dataclass(frozen=True)
class Fence:
    """What the plan's fencing can prove of a site. `stores`: those to be watched; `why` it proves nothing (empty for an operator's plan too)."""

    mode: str
    stores: tuple[str, ...] = ()
    why: str = ""
    ttl: float = TTL

    @property
    def holds(self) -> bool:
        """Whether waiting for it can take the place of the word."""
        return self.mode != "operator" and not self.why


def counted(view: PlanView, site: str) -> tuple[str, ...]:
    """The stores whose renewal lets the VMs of a site run on: with fencing by witness that one, with lease the others' arrays and it."""
    witness = (WITNESS,) if view.topology.witness is not None else ()
    if view.spec.fencing == "witness":
        return witness
    others = sorted({array for other in view.spec.sites if other != site for array in view.site_arrays(other)})
    return (*others, *witness)


def fence_of(view: PlanView, site: str) -> Fence:
    """What waiting could prove of a site that is silent."""
    mode, epoch, plan = view.spec.fencing, view.epoch, view.spec.name
    if mode == "operator" or epoch is None:
        return Fence("operator")
    stores = counted(view, site)
    found = {name: alive for name in stores if (alive := alive_at(view, name, site)) and alive.epoch_id == epoch.id}
    # A guard that was started under another topology may count on more.
    stores = tuple(dict.fromkeys([*stores, *(name for alive in found.values() for name in alive.counts)]))
    for name in stores:
        silence = silence_of(view, name, site)
        if silence:
            return Fence(
                mode, stores, f"the guard at {site} may have renewed its lease where it cannot be seen ({silence})"
            )
    if not found:
        return Fence(
            mode, stores,
            f"no guard of plan {plan} is known to have run at {site} in epoch {epoch.number} (dr guard --site {site}), so nothing stops its VMs there",
        )  # fmt: skip
    ended = next((alive for alive in found.values() if alive.ended), None)
    if ended is not None:
        return Fence(
            mode, stores, f"the guard at {site} was ended in order at {ended.time}, so nothing stops its VMs there"
        )
    return Fence(mode, stores, ttl=max(TTL, *(alive.ttl for alive in found.values())))


def silence_of(view: PlanView, store: str, site: str = "") -> str:
    """Why nothing is known of a store, or of a site's run lease there; empty: it answers."""
    state = view.seen.witness if store == WITNESS else view.seen.arrays.get(store)
    if isinstance(state, Silent):
        return state.reason
    if state is None:
        return f"{store} is not in the topology any more"
    if (
        site
        and isinstance(state, ArrayState)
        and keys.alive_key(view.topology.name, view.spec.name, site) in state.damaged
    ):
        return f"its record on {store} is damaged"
    if isinstance(state, WitnessState) and not state.pinned:
        return "the witness is not known to the arrays yet; dr apply, or the next up, makes it so"
    return ""


def _text(view: PlanView, store: str, key: str) -> str | None:
    if store == WITNESS:
        state = view.seen.witness
        return state.records.get(key) if isinstance(state, WitnessState) else None
    array = view.seen.array(store)
    return array.records.get(key) if array else None


def alive_at(view: PlanView, store: str, site: str) -> Alive | None:
    """The run lease of a site's guard as a store knows it. Raises CorruptRecord."""
    text = _text(view, store, keys.alive_key(view.topology.name, view.spec.name, site))
    return load(Alive, text, f"{store}, run lease of plan {view.spec.name} at {site}") if text else None


def grant_of(view: PlanView, number: int) -> Grant | None:
    """Whom the witness has given leave to commit an epoch; one for a claim that was called off is none. Raises CorruptRecord."""
    text = _text(view, WITNESS, keys.grant_key(view.topology.name, view.spec.name, number))
    if text is None:
        return None
    grant = load(Grant, text, f"witness, grant of epoch {number} of plan {view.spec.name}")
    return None if any(e.id == grant.claim and e.state == "aborted" for e in view.history) else grant


def known_of(view: PlanView) -> Known | None:
    """What the witness was told of the highest committed epoch. Raises CorruptRecord."""
    text = _text(view, WITNESS, keys.known_key(view.topology.name, view.spec.name))
    return load(Known, text, f"witness, what it knows of plan {view.spec.name}") if text else None


# -- in a move ------------------------------------------------------------------------------------


def unproved(source: Source, claim: Claim | None) -> bool:
    """Whether some VM of the source is not proved to be stopped, and was not before under this claim."""
    return bool(source.unproved) and not (claim and set(source.unproved) <= set(claim.proof))


def granted_elsewhere(view: PlanView, claim: Claim | None) -> list[str]:
    """The sentence on a grant of the next epoch that is another's."""
    epoch = view.epoch
    if view.spec.fencing == "operator" or epoch is None:
        return []
    grant = grant_of(view, epoch.number + 1)
    if grant is None or (claim is not None and claim.id == grant.claim):
        return []
    return [
        f"plan {view.spec.name}: the witness has granted epoch {grant.number} to a move to {grant.site} (by {grant.by}, {grant.time}), which may have been "
        f"committed where it cannot be seen"
    ]


def wait_steps(
    view: PlanView, source: Source, claim: Claim | None, steps: Steps, *, after: Iterable[str], target: str, word: str
) -> list[str]:
    """The waiting that takes the place of the word. Ids."""
    if word or (claim and claim.word) or not unproved(source, claim) or not fence_of(view, source.site).holds:
        return []
    sentence = f"wait until the guard at {source.site} must have stopped the VMs of plan {view.spec.name} (fencing by {view.spec.fencing})"
    return [steps.add("wait-fence", "", sentence, after=after, group="fence", site=source.site, target=target)]


def grant_steps(
    view: PlanView, claim: Claim | None, steps: Steps, *, after: Iterable[str], target: str, waited: bool, word: str
) -> list[str]:
    """Every move of a fenced plan asks the witness for its grant where it answers, so that two moves never both commit; a wait asks by itself. Ids."""
    state, epoch = view.seen.witness, view.epoch
    if view.spec.fencing == "operator" or waited or epoch is None or not isinstance(state, WitnessState):
        return []
    number = epoch.number + 1
    grant = grant_of(view, number)
    if claim is not None and grant is not None and grant.claim == claim.id:
        return []
    sentence = f"ask the witness for the grant of epoch {number}"
    return [steps.add("grant", "", sentence, after=after, group="fence", needed=not word, target=target)]


def pin_steps(view: PlanView, steps: Steps, *, after: Iterable[str]) -> list[str]:
    """Make the witness known to the arrays, so that one that has forgotten everything is found out, and tell it the epoch in force. Ids."""
    spec, state, epoch = view.topology.witness, view.seen.witness, view.epoch
    if spec is None or view.spec.fencing == "operator":
        return []
    arrays = {name: view.seen.arrays[name] for name in view.topology.plan_arrays(view.spec.name)}
    if isinstance(state, Silent) and not (state.missing and all(_new(known) for known in arrays.values())):
        return []
    lacking = [
        name for name, known in arrays.items() if _new(known) and not _pinned(known, view.topology.name, spec.place)
    ]
    if lacking:
        said = f"make the witness ({spec.place}) known to {', '.join(lacking)}"
        return [
            steps.add("pin-witness", "", said, after=after, group="records", needed=False, arrays=",".join(lacking))
        ]
    known = known_of(view)
    if epoch is not None and (known is None or known.number < epoch.number):
        said = f"tell the witness of epoch {epoch.number} ({epoch.site})"
        return [steps.add("tell-witness", "", said, after=after, group="records", needed=False)]
    return []


def _new(state: ArrayState | Silent) -> bool:
    """Whether the array answers, or may be made by this very run."""
    return isinstance(state, ArrayState) or state.missing


def _pinned(state: ArrayState | Silent, topology: str, place: str) -> bool:
    text = state.records.get(keys.witness_key(topology)) if isinstance(state, ArrayState) else None
    return text is not None and load(WitnessPin, text, "record of the witness").place == place


# -- before a start ---------------------------------------------------------------------------------


def witness_vouches(view: PlanView, epoch: Epoch) -> bool:
    """Whether the witness says that the epoch is still the last: it was told of this very one, and has granted no other site the next."""
    if view.spec.fencing == "operator":
        return False
    state, known = view.seen.witness, known_of(view)
    if not isinstance(state, WitnessState) or not state.pinned or known is None or known.id != epoch.id:
        return False
    grant = grant_of(view, epoch.number + 1)
    return grant is None or grant.site == epoch.site


def taken_over(view: PlanView, epoch: Epoch) -> tuple[str, ...]:
    """What the witness knows of another site that has gone on, or may have: a later epoch, or the grant of one."""
    if view.spec.fencing == "operator":
        return ()
    known, grant = known_of(view), grant_of(view, epoch.number + 1)
    if known is not None and known.number > epoch.number:
        return (f"the witness knows of epoch {known.number} at {known.site}",)
    if grant is not None and grant.site != epoch.site:
        return (f"the witness has granted epoch {grant.number} to {grant.site}",)
    return ()
