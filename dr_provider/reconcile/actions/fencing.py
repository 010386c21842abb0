"""Waiting for a fence, and what the witness is told: grants, the epoch in force, who it is."""

from __future__ import annotations

from collections.abc import Callable

from dr_provider.model import keys
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import DeviceFault, DrError, LeaseLost, NotFound, NotReady, Stopped, Unreachable
from dr_provider.model.records import Claim, Epoch, Grant, Known, WitnessPin
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.context import Run, listed
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.fencing import MARGIN, WITNESS, Fence, fence_of

__all__ = ["grant", "pin_witness", "return_grant", "tell", "tell_witness", "wait_fence"]

_LOOK = 2.0
_SAY = 10.0
_SILENT = (Unreachable, NotReady, DeviceFault, NotFound)


def wait_fence(run: Run, action: Action) -> str:
    """Watch the beat of the source's guard stand still for its ttl and the margin, on this run's own clock; then win the grant, and look
    once more. Raises DrError: it moves, a store fell silent, or another has the grant; nothing was broken then."""
    site, target = action.of["site"], action.of["target"]
    fence = fence_of(run.fresh(), site)
    if not fence.holds:
        raise DrError(
            f"plan {run.plan}: {fence.why or 'its fencing proves nothing'}; nothing was broken; give your word, or run again"
        )
    first = _beats(run, fence, site)
    seconds = fence.ttl + MARGIN
    until, said = run.world.monotonic() + seconds, run.world.monotonic()
    run.world.progress(
        f"plan {run.plan}: watching the run lease of {site} on {', '.join(fence.stores)} for {seconds:g} s"
    )
    over = False
    while not over:
        if (reason := run.stop()) is not None:
            raise Stopped(reason)
        run.lease.check()
        left = until - run.world.monotonic()
        run.world.sleep(max(0.0, min(_LOOK, left)))
        over = run.world.monotonic() >= until  # before the look: the last one comes after the time is over
        _must_stand(run, fence, site, first)
        if run.world.monotonic() - said >= _SAY and not over:
            said = run.world.monotonic()
            run.world.progress(f"plan {run.plan}: the run lease of {site} stands still; {until - said:.0f} s to go")
    run.change_claim(fenced=fence.mode)
    try:
        if run.world.topology.witness is not None:
            _win(run, target)
        _must_stand(run, fence, site, first)
    except LeaseLost:
        raise
    except DrError:
        # The claim first: it carries the lease, and a runner that was overtaken must not give back what is another's by now.
        run.change_claim(fenced="")
        return_grant(run, run.open_claim())
        raise
    run.change_claim(proof=tuple(sorted({*run.open_claim().proof, *run.view.spec.members})))
    return f"its run lease stood still for {seconds:g} s on {', '.join(fence.stores)}"


def _beats(run: Run, fence: Fence, site: str) -> dict[str, str | None]:
    """The run lease as each store has it now. Raises Unreachable, NotReady."""
    key = keys.alive_key(run.topology, run.plan, site)
    found: dict[str, str | None] = {}

    def read(store: str) -> None:
        found[store] = run.world.fleet.witness().read(key) if store == WITNESS else run.array(store).read_record(key)

    abreast(fence.stores, read)
    return found


def _must_stand(run: Run, fence: Fence, site: str, first: dict[str, str | None]) -> None:
    try:
        now = _beats(run, fence, site)
    except _SILENT as error:
        raise DrError(
            f"plan {run.plan}: {error}; the run lease of {site} could not be watched to the end, so nothing is proved and nothing was broken; "
            "run again, or give your word"
        ) from error
    moved = [store for store in fence.stores if now[store] != first[store]]
    if moved:
        raise DrError(
            f"plan {run.plan}: {site} lives: its guard has renewed the run lease on {', '.join(moved)}; nothing was broken. "
            f"The move needs a link to {site}, or your word that its VMs are stopped"
        )


# -- the witness --------------------------------------------------------------------------------------


def grant(run: Run, action: Action) -> str:
    """The grant of a move that needs no waiting. A witness that fell silent holds up no source that is proved to be stopped."""
    run.change_claim()  # the witness knows no lease: a runner that was overtaken learns it from the arrays
    try:
        _win(run, action.of["target"])
    except _SILENT as error:
        run.remark(f"the witness was not asked for its grant: {error}")
    return ""


def _win(run: Run, target: str) -> None:
    """Win the grant of the claim's epoch. Raises DrError naming who has it."""
    made, store = run.open_claim(), run.world.fleet.witness()
    key = keys.grant_key(run.topology, run.plan, made.number)
    mine = Grant(run.plan, made.number, made.id, target, made.by, keys.stamp(keys.now()))
    while not store.create(key, dump(mine)):
        text = store.read(key)
        if text is None:
            continue  # given back between the two calls
        other = load(Grant, text, f"witness, {key}")
        if other.claim == made.id:
            return
        if any(epoch.id == other.claim and epoch.state == "aborted" for epoch in run.view.history):
            store.delete(key)
            continue
        raise DrError(
            f"plan {run.plan}: the witness has granted epoch {made.number} to a move to {other.site} (by {other.by}, {other.time}), so this one goes no further; "
            f"nothing was broken; see dr status at {other.site}"
        )


def return_grant(run: Run, made: Claim) -> None:
    """A claim that is withdrawn gives its grant back; where the witness is silent, the record of its end voids it."""
    if run.world.topology.witness is None or run.view.spec.fencing == "operator":
        return
    key = keys.grant_key(run.topology, run.plan, made.number)

    def give() -> None:
        store = run.world.fleet.witness()
        text = store.read(key)
        if text is not None and load(Grant, text, f"witness, {key}").claim == made.id:
            store.delete(key)

    _best_effort(run, give, "the grant was not given back")


def tell_witness(run: Run, epoch: Epoch) -> None:
    """Tell the witness of a commit, so that a side that can ask nobody else learns of it there."""
    if run.world.topology.witness is None or run.view.spec.fencing == "operator":
        return
    known = Known(run.plan, epoch.number, epoch.id, epoch.site, epoch.time)
    key = keys.known_key(run.topology, run.plan)
    _best_effort(
        run, lambda: run.world.fleet.witness().put(key, dump(known)), f"epoch {epoch.number} was not told to it"
    )


def _best_effort(run: Run, call: Callable[[], None], what: str) -> None:
    try:
        call()
    except _SILENT as error:
        run.remark(f"the witness is silent, so {what}: {error}")


def pin_witness(run: Run, action: Action) -> str:
    """Give the witness an id where it has none yet, and write it to the arrays."""
    spec = run.world.topology.witness
    if spec is None:
        raise DrError(f"plan {run.plan}: the topology has no witness any more; run again")
    run.world.fleet.forget_silence(WITNESS)
    store, key = run.world.fleet.witness(), keys.witness_key(run.topology)
    store.make()
    pin = WitnessPin(keys.new_id(), spec.place, keys.stamp(keys.now()))
    text = dump(pin) if store.create(key, dump(pin)) else store.read(key)
    if text is None:
        raise DrError(f"the witness ({spec.place}) lost its record between two calls; run again")
    own = load(WitnessPin, text, f"witness, {key}")
    for name in listed(action.of["arrays"]):
        run.array(name).put_record(key, dump(WitnessPin(own.id, spec.place, own.time)), run.guard)
    tell(run, action)
    return f"its id is {own.id}"


def tell(run: Run, action: Action) -> str:
    """Tell the witness of the epoch in force."""
    tell_witness(run, run.epoch())
    return ""
