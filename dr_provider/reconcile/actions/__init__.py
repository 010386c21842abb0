"""What each verb of a decision does. Every action checks reality first, so it can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dr_provider.model.errors import DrError
from dr_provider.reconcile.actions import (
    callouts,
    claims,
    compute,
    drills,
    fencing,
    founding,
    late,
    mending,
    removed,
    restarting,
    restoring,
    reversing,
    storage,
)
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action

__all__ = ["perform"]

VERBS: Mapping[str, Callable[[Run, Action], str]] = {
    "create-array": founding.create_array,
    "create-host": founding.create_host,
    "found": founding.found,
    "reserve": compute.reserve,
    "unreserve": compute.unreserve,
    "claim": claims.claim,
    "callout": callouts.callout,
    "prompt": callouts.prompt,
    "stop": compute.stop,
    "fence": storage.fence,
    "wait-fence": fencing.wait_fence,
    "prove": claims.prove,
    "grant": fencing.grant,
    "pin-witness": fencing.pin_witness,
    "tell-witness": fencing.tell,
    "final": storage.final,
    "bring": storage.bring,
    "fetch": storage.fetch,
    "choose": claims.choose,
    "keep": storage.keep,
    "break": storage.break_mirror,
    "online": storage.online,
    "rescan": compute.rescan,
    "scan": claims.scan,
    "take-over": late.take_over,
    "bring-late": late.bring_late,
    "make-late": late.make_late,
    "commit": claims.commit,
    "end-window": claims.end_window,
    "attach": compute.attach,
    "export": compute.export,
    "isolate": restarting.isolate,
    "evict": restarting.evict,
    "detach": restoring.detach,
    "copy": restoring.copy,
    "set-aside": restoring.set_aside,
    "set-back": restoring.set_back,
    "end-restore": restoring.end_restore,
    "check": compute.check,
    "start": compute.start,
    "reverse": reversing.reverse,
    "protect": reversing.protect,
    "demote": reversing.demote,
    "clear": reversing.clear,
    "backup": reversing.backup,
    "send": reversing.send,
    "settle": reversing.settled,
    "unhold": reversing.unhold,
    "remirror": reversing.remirror,
    "record": claims.record,
    "mend": mending.mend,
    "split": claims.split,
    "aborting": claims.aborting,
    "withdraw": claims.withdraw,
    "end-drill": drills.end,
    "remove-vm": removed.remove_vm,
    "remove-volume": removed.remove_volume,
    "remove-lun": removed.remove_lun,
    "give-back": removed.give_back,
    "forget-removed": removed.forget_removed,
}


# What these do on hosts carries no lease that somebody would check.
_ON_HOSTS = frozenset({"stop", "attach", "start", "end-drill"})


def perform(run: Run, action: Action) -> str:
    """Do one action; a remark, or empty. Raises DrError."""
    run.lease.check()
    if action.verb in _ON_HOSTS:
        run.lease.verify()
    verb = VERBS.get(action.verb)
    if verb is None:
        raise DrError(f"plan {run.plan}: there is no action {action.verb!r}; this is a fault of the program")
    return verb(run, action)
